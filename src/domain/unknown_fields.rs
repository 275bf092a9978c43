//! Fields of a stored document that this version of the program does not know.
//!
//! A newer version may add fields under the same format version. An older version must not lose them
//! when it rewrites the document. A field that an older version must not carry along unchanged needs a
//! new format version instead: readers refuse a format version that they do not know.

use std::fmt;

use serde_json::{Map, Value};

/// The unknown fields of one document, with the objects that they belong to.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownFields(Vec<Field>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Field {
    /// The names that lead to the object with the field.
    path: Vec<String>,
    name: String,
    /// JSON: a `Value` has no order.
    value: String,
}

// === impl Unknown ===

impl UnknownFields {
    /// Compares a document with the document that its reader would write.
    pub fn between(stored: &[u8], known: &Value) -> Self {
        let mut fields = Vec::new();
        if let (Ok(Value::Object(stored)), Value::Object(known)) =
            (serde_json::from_slice(stored), known)
        {
            collect(&stored, known, &mut Vec::new(), &mut fields);
        }
        Self(fields)
    }

    /// Adds the unknown fields to a document. A field whose object is gone goes with the object.
    pub fn add_to(&self, document: &mut Value) {
        for field in &self.0 {
            let object = field.path.iter().try_fold(&mut *document, |it, name| it.get_mut(name));
            let value = serde_json::from_str(&field.value);
            if let (Some(Value::Object(object)), Ok(value)) = (object, value) {
                object.entry(field.name.clone()).or_insert(value);
            }
        }
    }
}

impl fmt::Debug for UnknownFields {
    /// The values may be anything, so only the number of fields is printed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} unknown fields", self.0.len())
    }
}

fn collect(
    stored: &Map<String, Value>,
    known: &Map<String, Value>,
    path: &mut Vec<String>,
    fields: &mut Vec<Field>,
) {
    for (name, value) in stored {
        match (value, known.get(name)) {
            (Value::Object(stored), Some(Value::Object(known))) => {
                path.push(name.clone());
                collect(stored, known, path, fields);
                path.pop();
            }
            (_, Some(_)) => {}
            (value, None) => {
                let (path, name) = (path.clone(), name.clone());
                fields.push(Field { path, name, value: value.to_string() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_survive_a_rewrite_with_the_objects_that_they_belong_to() {
        let stored = json!({
            "serial": 1, "later": {"a": [1, null]},
            "entries": {"a": {"state": "old", "later": 1}, "b": {"state": "current", "later": 2}},
        });
        let known =
            json!({"serial": 1, "entries": {"a": {"state": "old"}, "b": {"state": "current"}}});

        let unknown = UnknownFields::between(stored.to_string().as_bytes(), &known);
        let mut same = known;
        unknown.add_to(&mut same);
        let mut changed = json!({"serial": 2, "entries": {"b": {"state": "old"}, "c": {}}});
        unknown.add_to(&mut changed);

        assert_eq!(same, stored);
        let expected = json!({
            "serial": 2, "later": {"a": [1, null]},
            "entries": {"b": {"state": "old", "later": 2}, "c": {}},
        });
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_known_field_is_never_overwritten_and_no_value_is_printed() {
        let stored = json!({"placeholder": null, "token": "hunter2"});
        let unknown = UnknownFields::between(stored.to_string().as_bytes(), &json!({}));

        let mut document = json!({"placeholder": "7"});
        unknown.add_to(&mut document);

        assert_eq!(document["placeholder"], "7");
        assert_eq!(format!("{unknown:?}"), "2 unknown fields");
    }
}
