//! What the server refuses with 422.

use serde_json::{Map, Value};

use super::{
    failure::{Failure, FieldError},
    resource::Resource,
    schema::Node,
};

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";
const IMMUTABLE: &str = "field is immutable";
const IMMUTABLE_CONTENT: &str = "field is immutable when `immutable` is set";

/// Checks an object that stands for itself.
pub(crate) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let mut errors = Vec::new();
    check_metadata(&object["metadata"], &mut errors);
    check_content(resource, object, &mut errors);
    refuse(resource, object, &errors)
}

/// Which door an update came through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Main,
    Status,
}

/// Checks an object against the one that it replaces.
pub(crate) fn check_update(
    resource: &Resource,
    new: &Value,
    old: &Value,
    part: Part,
) -> Result<(), Failure> {
    let mut errors = Vec::new();
    check_metadata(&new["metadata"], &mut errors);
    // The server checks this twice, once for every kind and once for this one.
    check_metadata_update(&new["metadata"], &old["metadata"], &mut errors);
    check_metadata_update(&new["metadata"], &old["metadata"], &mut errors);
    if resource.plural == "secrets" && new["type"] != old["type"] {
        errors.push(FieldError::invalid("type", &new["type"], IMMUTABLE));
    }
    let holds_data = matches!(resource.plural.as_str(), "secrets" | "configmaps");
    if holds_data && !resource.custom && old["immutable"] == Value::Bool(true) {
        if new["immutable"] != Value::Bool(true) {
            errors.push(FieldError::forbidden("immutable", IMMUTABLE_CONTENT));
        }
        for field in ["data", "binaryData"] {
            // The server fills in the data of a ConfigMap, and nothing else that is absent.
            let is_filled_in = resource.plural == "configmaps" && field == "data";
            let content = |object: &Value| {
                let is_filled_in = is_filled_in && object[field].is_null();
                if is_filled_in { Value::Object(Map::new()) } else { object[field].clone() }
            };
            if content(new) != content(old) {
                errors.push(FieldError::forbidden(field, IMMUTABLE_CONTENT));
            }
        }
    }
    match part {
        Part::Main => check_content(resource, new, &mut errors),
        Part::Status => check_status(resource, new, &mut errors),
    }
    refuse(resource, new, &errors)
}

fn refuse(resource: &Resource, object: &Value, errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::invalid(&resource.group, &resource.kind, name, errors))
}

fn check_metadata(metadata: &Value, errors: &mut Vec<FieldError>) {
    match metadata["name"].as_str() {
        None => {
            errors.push(FieldError::required("metadata.name", "name or generateName is required"));
        }
        Some(name) if !is_subdomain(name) => {
            errors.push(FieldError::invalid("metadata.name", &metadata["name"], NAME_RULE));
        }
        Some(_) => {}
    }
    for value in metadata["labels"].as_object().into_iter().flat_map(|labels| labels.values()) {
        if !value.as_str().is_some_and(is_label_value) {
            errors.push(FieldError::invalid("metadata.labels", value, "not a valid label value"));
        }
    }
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let mut controllers = 0;
    for (index, owner) in owners.enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                let text = if field == "apiVersion" {
                    "version must not be empty".to_owned()
                } else {
                    "must not be empty".to_owned()
                };
                errors.push(FieldError::invalid(&path, &owner[field], &text));
            }
        }
        controllers += usize::from(owner["controller"] == Value::Bool(true));
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            &metadata["ownerReferences"],
            "Only one reference can have Controller set to true",
        ));
    }
}

fn check_metadata_update(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    check_finalizers(new, old, errors);
    for field in ["name", "namespace", "uid"] {
        if new[field] != old[field] {
            errors.push(FieldError::invalid(&format!("metadata.{field}"), &new[field], IMMUTABLE));
        }
    }
}

fn check_finalizers(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if old["deletionTimestamp"].is_null() {
        return;
    }
    let known = old["finalizers"].as_array().cloned().unwrap_or_default();
    let added: Vec<&Value> = new["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finalizer| !known.contains(finalizer))
        .collect();
    if !added.is_empty() {
        let mut shown: Vec<String> = added.iter().map(ToString::to_string).collect();
        shown.sort();
        errors.push(FieldError::forbidden(
            "metadata.finalizers",
            &format!(
                "no new finalizers can be added if the object is being deleted, found new \
                 finalizers []string{{{}}}",
                shown.join(", ")
            ),
        ));
    }
}

fn check_content(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    if resource.custom {
        Node(Some(&resource.schema)).check(object, "", errors);
        return;
    }
    for field in ["data", "binaryData"] {
        let entries = object[field].as_object().into_iter().flatten();
        for (key, _) in entries.filter(|(key, _)| !is_config_key(key)) {
            let path = format!("{field}[{key}]");
            errors.push(FieldError::invalid(&path, &Value::from(key.as_str()), KEY_RULE));
        }
    }
}

/// Messages about a status name its fields as if it were the whole object.
fn check_status(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let Some(status) = object.get("status").filter(|_| resource.custom) else {
        return;
    };
    let mut found = Vec::new();
    Node(Some(&resource.schema)).field("status").check(status, "", &mut found);
    errors.extend(
        found
            .into_iter()
            .map(|error| FieldError { field: format!("status.{}", error.field), ..error }),
    );
}

fn is_subdomain(name: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(inner)
                && label.ends_with(inner)
                && label.chars().all(|letter| inner(letter) || letter == '-')
        })
}

fn is_label_value(value: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_alphanumeric();
    value.is_empty()
        || (value.len() <= 63
            && value.starts_with(inner)
            && value.ends_with(inner)
            && value.chars().all(|letter| inner(letter) || "-_.".contains(letter)))
}

fn is_config_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 253
        && key != "."
        && !key.starts_with("..")
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}
