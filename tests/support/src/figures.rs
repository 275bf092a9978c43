//! Keeps what was measured where reports are made from.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Writes figures to `target/figures/<name>.json`.
pub fn keep(name: &str, figures: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/figures");
    fs::create_dir_all(&folder).expect("the folder for figures");
    let file = folder.join(format!("{name}.json"));
    fs::write(file, format!("{figures:#}\n")).expect("the file for figures");
}
