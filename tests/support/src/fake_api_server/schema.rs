//! What a schema does to an object: prune, default, and say how parts of it are owned.

use serde_json::{Map, Value};

/// A node of an `OpenAPI` v3 schema, or nothing where none is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a>(pub(crate) Option<&'a Value>);

/// How a list is merged and owned.
#[derive(Debug, Clone)]
pub(crate) enum ListType {
    /// As a whole.
    Atomic,
    /// By value.
    Set,
    /// By these fields of its items.
    Map(Vec<String>),
}

impl<'a> Node<'a> {
    fn attribute(self, name: &str) -> Option<&'a Value> {
        self.0.and_then(|schema| schema.get(name))
    }

    /// The schema of a field.
    pub(crate) fn field(self, name: &str) -> Self {
        let declared = self.attribute("properties").and_then(|all| all.get(name));
        let additional = self.attribute("additionalProperties").filter(|it| it.is_object());
        Node(declared.or(additional))
    }

    /// Whether the field is one of a struct, not an entry of a map.
    pub(crate) fn declares(self, name: &str) -> bool {
        self.attribute("properties").is_some_and(|all| all.get(name).is_some())
    }

    pub(crate) fn items(self) -> Self {
        Node(self.attribute("items"))
    }

    pub(crate) fn is_atomic_map(self) -> bool {
        self.attribute("x-kubernetes-map-type").is_some_and(|it| it == "atomic")
    }

    pub(crate) fn list_type(self) -> ListType {
        let text = self.attribute("x-kubernetes-list-type").and_then(Value::as_str);
        match text {
            Some("set") => ListType::Set,
            Some("map") => {
                let keys = self.attribute("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                ListType::Map(keys.map(str::to_owned).collect())
            }
            _ => ListType::Atomic,
        }
    }

    fn keeps_unknown(self) -> bool {
        self.0.is_none()
            || self.attribute("additionalProperties").is_some_and(|it| *it != Value::Bool(false))
            || self.attribute("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
    }

    /// Drops what the schema does not know.
    pub(crate) fn prune(self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if !self.keeps_unknown() {
                    fields.retain(|name, _| self.declares(name));
                }
                for (name, child) in fields {
                    self.field(name).prune(child);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.items().prune(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Fills in defaults, from the outside in, as structural schemas do.
    pub(crate) fn default(self, value: &mut Value) {
        match value {
            Value::Object(fields) => self.default_fields(fields),
            Value::Array(items) => items.iter_mut().for_each(|item| self.items().default(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn default_fields(self, fields: &mut Map<String, Value>) {
        let declared = self.attribute("properties").and_then(Value::as_object);
        for (name, schema) in declared.into_iter().flatten() {
            let Some(default) = schema.get("default") else {
                continue;
            };
            let nullable = schema.get("nullable") == Some(&Value::Bool(true));
            let absent = fields.get(name).is_none_or(|found| found.is_null() && !nullable);
            if absent {
                fields.insert(name.clone(), default.clone());
            }
        }
        for (name, child) in fields {
            self.field(name).default(child);
        }
    }

    /// Drops nulls that no default has replaced, where the schema does not allow them.
    pub(crate) fn drop_nulls(self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, child| !child.is_null() || self.field(name).allows_null());
                for (name, child) in fields {
                    self.field(name).drop_nulls(child);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.items().drop_nulls(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn allows_null(self) -> bool {
        self.0.is_none() || self.attribute("nullable") == Some(&Value::Bool(true))
    }
}
