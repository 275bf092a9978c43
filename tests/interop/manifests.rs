//! Whether the YAML files that users apply say the same under YAML 1.1, by which `PyYAML` and tools on top
//! of it go, as under YAML 1.2, and whether kubeconform accepts the examples.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Value, json};
use technical_user_operator::api::crds::crds;

use crate::languages::{KUBECONFORM, PYTHON, run};

#[test]
fn yaml_1_1_and_yaml_1_2_read_every_manifest_alike() {
    let Some(python) = PYTHON.installed() else { return };
    let files = manifests();

    let said = run(python.program("manifests").args(&files));
    let read: BTreeMap<PathBuf, Vec<Value>> = serde_json::from_str(&said).unwrap();

    assert!(files.len() >= 12, "where are the manifests?");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        let documents: Vec<Value> =
            documents.map(|document| Value::deserialize(document).unwrap()).collect();
        assert_eq!(read[&file], documents, "{}", file.display());
    }
}

/// `kubeconform` and editors check manifests with JSON schemas that are made from definitions.
#[test]
fn kubeconform_accepts_the_examples_and_refuses_an_unknown_field() {
    let Some(kubeconform) = KUBECONFORM.installed() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for crd in crds().iter().map(|crd| json!(crd)) {
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_lowercase();
        let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        // The API server adds what every object has: the root stays open.
        schema["properties"].as_object_mut().unwrap().values_mut().for_each(close);
        fs::write(folder.path().join(format!("{kind}.json")), schema.to_string()).unwrap();
    }
    let schemas = folder.path().join("{{.ResourceKind}}.json");
    let mistaken = folder.path().join("mistaken.yaml");
    let example = fs::read_to_string(root.join("examples/technical-user.yaml")).unwrap();
    fs::write(&mistaken, example.replace("spec: {}", "spec: {clientId: billing}")).unwrap();
    let check = |path: &Path| {
        let mut kubeconform = kubeconform.program("kubeconform");
        kubeconform.arg("-strict").arg("-schema-location").arg(&schemas).arg(path);
        kubeconform.output().unwrap()
    };

    let accepted = check(&root.join("examples"));
    let refused = check(&mistaken);

    let text = String::from_utf8_lossy(&accepted.stdout);
    assert!(accepted.status.success(), "{text}");
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && text.contains("clientId"), "{text}");
}

/// Refuses unknown fields, as the tools that make JSON schemas from definitions do.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let has_fields = fields.get("properties").is_some_and(Value::is_object);
            if has_fields && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn manifests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["crds", "config", "examples"].map(|folder| root.join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    files.sort();
    files
}
