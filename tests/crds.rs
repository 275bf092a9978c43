//! The printed CRDs and the examples agree with the Rust types, and the schema keeps the promises that every
//! resource of this project makes: nothing unbounded, nothing undescribed, nothing that clients read differently.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Map, Value, json};
use technical_user_operator::api::crds::{crds, yaml};
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::api::technical_user::TechnicalUser;

#[test]
fn the_printed_crds_are_those_of_the_types() {
    for crd in crds() {
        let file = format!("crds/iam.cyoda.com_{}.yaml", crd.spec.names.plural);
        let printed = fs::read_to_string(root().join(&file)).unwrap_or_default();

        assert!(
            printed == yaml(&crd).unwrap(),
            "{file} is not what the types say: run `make crds` and commit the result"
        );
    }
}

#[test]
fn the_printed_crds_are_read_alike_by_every_version_of_yaml() {
    for crd in crds() {
        let printed = yaml(&crd).unwrap();

        assert_eq!(serde_yaml_ng::from_str::<Value>(&printed).unwrap(), json!(crd));
        let plain = printed.lines().filter_map(|line| line.split_once(": "));
        let dates: Vec<_> = plain.filter(|(_, value)| value.starts_with("1970-")).collect();
        assert_eq!(dates, [], "a plain timestamp is a date in YAML 1.1");
    }
}

/// Their deletion takes every client secret and every private key along.
#[test]
fn neither_helm_nor_argo_cd_nor_flux_deletes_the_crds_and_the_namespace() {
    let manifest = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let rights = ["config/rbac.yaml", "config/rbac-namespaced.yaml"].map(manifest).join("\n---\n");
    let objects = serde_yaml_ng::Deserializer::from_str(&rights);
    let objects = objects.map(|it| Value::deserialize(it).unwrap());
    let mut kept: Vec<_> = objects.filter(|it| it["kind"] == "Namespace").collect();
    kept.extend(as_json());

    assert_eq!(kept.len(), 4, "a namespace in either file, and both CRDs");
    for object in kept {
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep", "{object}");
        let synced = &annotations["argocd.argoproj.io/sync-options"];
        assert_eq!(synced, "Prune=false,Delete=false", "{object}");
        assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled", "{object}");
    }
}

#[test]
fn every_schema_is_bounded_described_and_plain() {
    let mut faults = Vec::new();
    for version in versions() {
        let schema = &version["schema"]["openAPIV3Schema"];
        examine(schema, "", &mut faults);
    }

    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn an_untouched_object_is_not_taken_for_ready() {
    for version in versions() {
        let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
        let condition = &status["default"]["conditions"][0];

        assert_eq!(condition["type"], "Ready");
        assert_eq!(condition["status"], "Unknown");
        assert_eq!(status["default"]["observedGeneration"], -1);
        assert_eq!(version["subresources"], json!({"status": {}}));
    }
}

#[test]
fn people_find_and_read_the_resources_with_kubectl() {
    let wanted = [
        ("SigningKey", json!(["sk", "sigkey"]), "Ready Reason Algorithm Next Rotation Age"),
        ("TechnicalUser", json!(["tu", "techuser"]), "Ready Reason Secret Age"),
    ];
    for (definition, (kind, short_names, columns)) in as_json().iter().zip(wanted) {
        let names = &definition["spec"]["names"];
        assert_eq!(names["kind"], kind);
        assert_eq!(names["shortNames"], short_names);
        assert_eq!(names["categories"], json!(["iam"]));
        for version in definition["spec"]["versions"].as_array().unwrap() {
            assert_eq!(shown_columns(version).join(" "), columns);
        }
    }
}

#[test]
fn every_example_says_nothing_that_the_types_do_not_know() {
    let mut examples = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display();

        let written: Value = serde_yaml_ng::from_str(&text).unwrap();
        let understood = match written["kind"].as_str() {
            Some("TechnicalUser") => understood::<TechnicalUser>(&text),
            Some("SigningKey") => understood::<SigningKey>(&text),
            kind => panic!("{name}: an example of {kind:?}"),
        };

        assert!(
            contains(&understood, &written),
            "{name}: written {written:#}, understood {understood:#}"
        );
        assert_eq!(written["apiVersion"], "iam.cyoda.com/v1alpha1", "{name}");
        assert!(text.starts_with("# "), "{name}: says not what it is for");
        examples += 1;
    }

    assert!(examples >= 6, "where are the examples?");
}

fn understood<T: DeserializeOwned + Serialize>(text: &str) -> Value {
    serde_json::to_value(serde_yaml_ng::from_str::<T>(text).unwrap()).unwrap()
}

/// The names of the columns without `-o wide`. Every column shows a field that there is.
fn shown_columns(version: &Value) -> Vec<&str> {
    let columns = version["additionalPrinterColumns"].as_array().unwrap();
    for column in columns {
        let path = column["jsonPath"].as_str().unwrap();
        assert!(leads_somewhere(version, path), "no field at {path}");
    }
    columns
        .iter()
        .filter(|column| column["priority"].as_i64().unwrap_or_default() == 0)
        .map(|column| column["name"].as_str().unwrap())
        .collect()
}

// === what a schema must keep to ===

fn examine(schema: &Value, path: &str, faults: &mut Vec<String>) {
    let mut fault = |text: &str| faults.push(format!("{path}: {text}"));
    let has = |keyword: &str| schema.get(keyword).is_some();
    if has("nullable") {
        fault("nullable: clients disagree about what null means");
    }
    if !has("description") && !path.ends_with("[]") && !path.ends_with("{}") {
        fault("no description");
    }
    if schema["description"].as_str().is_some_and(|it| it.contains('\n')) {
        fault("a description of several lines, which kubectl breaks once more");
    }
    match schema["type"].as_str() {
        Some("string") => {
            let is_time = schema["format"] == "date-time";
            if !has("maxLength") && !has("enum") && !is_time {
                fault("a string without maxLength");
            }
        }
        Some("array") => {
            if !has("maxItems") {
                fault("a list without maxItems");
            }
            if !has("x-kubernetes-list-type") {
                fault("a list without x-kubernetes-list-type");
            }
        }
        Some("object") => {
            if has("additionalProperties") && !has("maxProperties") {
                fault("a map without maxProperties");
            }
        }
        Some("integer") => {
            let format = schema["format"].as_str().unwrap_or_default();
            if !["int32", "int64"].contains(&format) {
                fault("a number that is neither int32 nor int64");
            }
            if !has("minimum") {
                fault("a number without minimum");
            }
        }
        Some("boolean") => {}
        other => fault(&format!("of type {other:?}")),
    }
    for (name, property) in properties(schema) {
        examine(property, &format!("{path}.{name}"), faults);
    }
    if let Some(items) = schema.get("items") {
        examine(items, &format!("{path}[]"), faults);
    }
    if let Some(values) = schema.get("additionalProperties") {
        examine(values, &format!("{path}{{}}"), faults);
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flat_map(Map::iter)
}

/// Whether the schema has what a printer column shows; filters of lists are passed over.
fn leads_somewhere(version: &Value, path: &str) -> bool {
    if path.starts_with(".metadata.") {
        return true;
    }
    let (before, after) = path.split_once("[?(").unwrap_or((path, ""));
    let after = after.split_once(")]").map_or("", |(_, after)| after);
    let mut schema = &version["schema"]["openAPIV3Schema"];
    for name in before.split('.').filter(|name| !name.is_empty()) {
        schema = &schema["properties"][name];
    }
    for name in after.split('.').filter(|name| !name.is_empty()) {
        schema = &schema["items"]["properties"][name];
    }
    schema.is_object()
}

// === the rest ===

/// Whether everything in `part` is in `whole` too; `whole` may have more fields, such as defaults.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|it| contains(it, value)))
        }
        (whole, part) => whole == part,
    }
}

fn versions() -> Vec<Value> {
    let definitions = as_json();
    definitions.iter().flat_map(|it| it["spec"]["versions"].as_array().cloned().unwrap()).collect()
}

fn as_json() -> Vec<Value> {
    crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
