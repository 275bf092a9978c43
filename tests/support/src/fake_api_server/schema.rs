//! What a schema does to an object: prune, default, and say how parts of it are owned.

use serde_json::{Map, Value};

use super::failure::FieldError;

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

    /// Numbers that are none, in the words of an apply.
    pub(crate) fn not_numeric(self, value: &Value, path: &str) -> Vec<String> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, child)| {
                    self.field(name).not_numeric(child, &format!("{path}.{name}"))
                })
                .collect(),
            Value::String(_) => {
                let wanted = self.attribute("type").and_then(Value::as_str);
                let is_wrong = matches!(wanted, Some("integer" | "number"));
                let text = format!("{path}: expected numeric (int or float), got string");
                is_wrong.then_some(text).into_iter().collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Vec::new(),
        }
    }

    /// Types, enumerations, bounds and required fields. Patterns and CEL rules are not evaluated.
    pub(crate) fn check(self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        if self.0.is_none() {
            return;
        }
        if let Some(error) = self.type_error(value, path) {
            errors.push(error);
            return;
        }
        self.check_bounds(value, path, errors);
        match value {
            Value::Object(fields) => {
                let required = self.attribute("required").and_then(Value::as_array);
                for name in required.into_iter().flatten().filter_map(Value::as_str) {
                    if !fields.contains_key(name) {
                        errors.push(FieldError::required(&join(path, name), ""));
                    }
                }
                for (name, child) in fields {
                    self.field(name).check(child, &join(path, name), errors);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.items().check(item, &format!("{path}[{index}]"), errors);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn type_error(self, value: &Value, path: &str) -> Option<FieldError> {
        let wanted = self.attribute("type").and_then(Value::as_str)?;
        if self.attribute("nullable") == Some(&Value::Bool(true)) && value.is_null() {
            return None;
        }
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = wanted == found || (wanted == "number" && found == "integer");
        let text = format!("{path} in body must be of type {wanted}: \"{found}\"");
        (!fits).then(|| FieldError::type_invalid(path, &Value::from(found), &text))
    }

    fn check_bounds(self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        if let Some(allowed) = self.attribute("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            errors.push(FieldError::not_supported(path, value, allowed));
        }
        let limit = |name: &str| self.attribute(name).and_then(Value::as_f64);
        if let (Some(number), Some(minimum)) = (value.as_f64(), limit("minimum"))
            && number < minimum
        {
            let text = format!("{path} in body should be greater than or equal to {minimum}");
            errors.push(FieldError::invalid(path, value, &text));
        }
        if let (Some(number), Some(maximum)) = (value.as_f64(), limit("maximum"))
            && number > maximum
        {
            let text = format!("{path} in body should be less than or equal to {maximum}");
            errors.push(FieldError::invalid(path, value, &text));
        }
        let whole = |name: &str| self.attribute(name).and_then(Value::as_u64);
        let size = value.as_str().and_then(|text| u64::try_from(text.chars().count()).ok());
        if let (Some(size), Some(minimum)) = (size, whole("minLength"))
            && size < minimum
        {
            let text = format!("{path} in body should be at least {minimum} chars long");
            errors.push(FieldError::invalid(path, value, &text));
        }
        if let (Some(size), Some(maximum)) = (size, whole("maxLength"))
            && size > maximum
        {
            errors.push(FieldError {
                reason: "FieldValueTooLong",
                field: path.to_owned(),
                message: format!("Too long: may not be more than {maximum} bytes"),
            });
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
