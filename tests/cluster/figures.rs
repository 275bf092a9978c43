//! Says what was measured, and keeps it where reports are made from.

use std::fs;
use std::path::Path;

use serde_json::Value;

#[expect(
    clippy::disallowed_methods,
    reason = "the one switch of these tests, which have no arguments"
)]
pub(crate) fn is_thorough() -> bool {
    std::env::var("PROVE").is_ok_and(|value| value == "1")
}

pub(crate) fn keep(name: &str, figures: &Value) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/figures");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), format!("{figures:#}\n")).unwrap();
}

#[expect(clippy::print_stdout, reason = "figures are for people and scripts")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
