//! Whether the YAML files that users apply say the same under YAML 1.1, by which `PyYAML` and tools on top
//! of it go, as under YAML 1.2.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

use crate::languages::{PYTHON, run};

#[test]
fn yaml_1_1_and_yaml_1_2_read_every_manifest_alike() {
    let Some(python) = PYTHON.installed() else { return };
    let files = manifests();

    let said = run(python.program("manifests").args(&files));
    let read: BTreeMap<PathBuf, Vec<Value>> = serde_json::from_str(&said).unwrap();

    assert!(files.len() >= 12, "where are the manifests?");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        let documents: Vec<Value> =
            documents.map(|document| Value::deserialize(document).unwrap()).collect();
        assert_eq!(read[&file], documents, "{}", file.display());
    }
}

fn manifests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["crds", "config", "examples"].map(|folder| root.join(folder));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    files
}
