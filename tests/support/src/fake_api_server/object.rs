//! Turns the body of a request into an object as the server understands it.

use serde_json::{Map, Value, json};

use super::resource::Resource;

/// Decodes an object: empty fields of built-in types go, defaults come.
pub(crate) fn decode(resource: &Resource, mut object: Value) -> Value {
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    drop_empty(&mut object["metadata"]);
    if !resource.custom {
        drop_empty(&mut object);
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    resource.fill(&mut object);
    object
}

/// Go leaves out what is empty in its own types: nulls, empty texts, maps and lists.
fn drop_empty(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    fields.retain(|_, child| match child {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
}

/// RFC 7386.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge_patch(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// Sets the field, or removes it where the value is null.
pub(crate) fn put(value: &mut Value, field: &str, to: Value) {
    if let Some(fields) = value.as_object_mut() {
        if to.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.to_owned(), to);
        }
    }
}
