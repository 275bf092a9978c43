//! Turns the body of a request into an object as the server understands it.

use serde_json::{Map, Value};

use super::{failure::Failure, resource::Resource, schema::Node};

/// Whether an object is completed: not the configuration of an apply, which owns what it says, empty
/// or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defaults {
    Fill,
    Leave,
    /// Filled in, but nulls that an apply leaves behind stay, and are refused later.
    AfterApply,
}

/// Decodes an object: unknown fields go, empty ones of built-in types go, defaults come.
pub(crate) fn decode(
    resource: &Resource,
    mut object: Value,
    defaults: Defaults,
) -> Result<Value, Failure> {
    let refuse = |text: &str| {
        Failure::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {text}",
            resource.kind, resource.version, resource.kind
        ))
    };
    let Some(fields) = object.as_object_mut() else {
        return Err(refuse("not an object"));
    };
    check_kind(resource, fields)?;
    let schema = Node(Some(&resource.schema));
    if !fields.get("metadata").is_some_and(Value::is_object) {
        fields.insert("metadata".to_owned(), Map::new().into());
    }
    schema.prune(&mut object);
    if defaults == Defaults::Leave {
        return Ok(object);
    }
    drop_empty(&mut object["metadata"]);
    if !resource.custom {
        let data = ["data", "binaryData"].map(|field| (field, object.get(field).cloned()));
        drop_empty(&mut object);
        for (field, value) in data {
            if let Some(value) = value.filter(Value::is_object) {
                object[field] = value;
            }
        }
        if !object["metadata"].is_object() {
            object["metadata"] = Map::new().into();
        }
    }
    fill(resource, &mut object);
    if resource.custom && defaults == Defaults::Fill {
        schema.drop_nulls(&mut object);
    }
    Ok(object)
}

/// Fills in the defaults of the kind.
pub(crate) fn fill(resource: &Resource, object: &mut Value) {
    Node(Some(&resource.schema)).default(object);
    if resource.plural == "secrets" && object["type"].as_str().is_none_or(str::is_empty) {
        object["type"] = "Opaque".into();
    }
}

/// Drops what an immutable object must not have lost or gained, but no reader sees: empty data.
pub(crate) fn drop_empty_data(resource: &Resource, object: &mut Value) {
    if resource.custom {
        return;
    }
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, value| {
            let is_data = name == "data" || name == "binaryData";
            !(is_data && value.as_object().is_some_and(Map::is_empty))
        });
    }
}

fn check_kind(resource: &Resource, fields: &mut Map<String, Value>) -> Result<(), Failure> {
    for (name, expected) in
        [("apiVersion", resource.api_version()), ("kind", resource.kind.clone())]
    {
        match fields.get(name).and_then(Value::as_str) {
            Some(found) if found != expected => {
                return Err(Failure::bad_request(format!(
                    "the {name} in the data ({found}) does not match the expected {name} \
                     ({expected})"
                )));
            }
            Some(_) => {}
            None if resource.custom => {
                return Err(Failure::bad_request(format!(
                    "Object '{name}' is missing in the body"
                )));
            }
            None => {
                fields.insert(name.to_owned(), expected.into());
            }
        }
    }
    Ok(())
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
