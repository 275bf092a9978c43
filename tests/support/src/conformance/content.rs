//! Random objects and changes to them.

use serde_json::{Map, Value, json};

use super::sequence::{Kind, Sequence};

impl Sequence {
    /// A whole object without a name.
    pub(super) fn object(&mut self, kind: Kind) -> Value {
        let mut object = self.change(kind);
        strip_nulls(&mut object);
        object["apiVersion"] = kind.api_version.into();
        object["kind"] = kind.kind.into();
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        if kind.kind == "Probe" && self.chance(20) {
            object["status"] = self.status();
        }
        object
    }

    /// What a patch changes.
    pub(super) fn change(&mut self, kind: Kind) -> Value {
        let mut change = match kind.kind {
            "Probe" => json!({"spec": self.spec()}),
            _ => self.content(kind),
        };
        if self.chance(30) {
            change["metadata"]["labels"] = self.map(&["l", "m"], &["1", "2"]);
        }
        if self.chance(20) {
            change["metadata"]["annotations"] = self.map(&["n", "example.com/o"], &["1", ""]);
        }
        if self.chance(8) {
            change["metadata"]["finalizers"] = self
                .one_of(&[
                    "[\"example.com/hold\"]",
                    "null",
                    "[]",
                    "[\"example.com/x\",\"example.com/hold\"]",
                ])
                .parse()
                .expect("valid JSON");
        }
        if self.chance(8) {
            change["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Namespace", "name": "$NAMESPACE",
                "uid": "$NAMESPACE_UID", "controller": self.chance(50)
            }]);
        }
        change
    }

    fn content(&mut self, kind: Kind) -> Value {
        let mut content = json!({});
        if self.chance(80) {
            content["data"] = self.map(&["a", "b", "c"], &["MQ==", "Mg=="]);
            // The server compares data that is empty with data that is absent in ways of its own.
            content["data"]["d"] = "MQ==".into();
        }
        if kind.kind == "Secret" && self.chance(25) {
            content["type"] = self.one_of(&["Opaque", "example.com/x", ""]).into();
        }
        if self.chance(6) {
            content["immutable"] = self.chance(70).into();
        }
        content
    }

    fn map(&mut self, keys: &[&str], values: &[&str]) -> Value {
        let mut map = Map::new();
        for key in keys {
            if self.chance(45) {
                map.insert((*key).to_owned(), self.one_of(values).into());
            } else if self.chance(15) {
                map.insert((*key).to_owned(), Value::Null);
            }
        }
        map.into()
    }

    fn spec(&mut self) -> Value {
        let mut spec = json!({});
        let choices: [(&str, &[&str]); 5] = [
            ("size", &["1", "2", "3", "null"]),
            ("colour", &["\"red\"", "\"green\"", "null"]),
            ("words", &["[]", "[\"a\"]", "[\"b\",\"a\"]", "null"]),
            ("nested", &["{}", "{\"y\":\"1\"}", "{\"x\":\"2\"}", "{\"x\":null}", "null"]),
            ("entries", &["{}", "{\"k\":\"1\"}", "{\"k\":\"2\",\"l\":\"1\"}", "null"]),
        ];
        for (field, values) in choices {
            if self.chance(25) {
                spec[field] = self.one_of(values).parse().expect("valid JSON");
            }
        }
        spec
    }

    /// A label, and little or nothing of the spec: the operator applies this beside a status.
    pub(super) fn applied(&mut self) -> Value {
        let spec = self.one_of(&["{}", "{\"colour\":\"red\"}", "{\"colour\":\"green\"}"]);
        let spec: Value = spec.parse().expect("valid JSON");
        json!({"metadata": {"labels": {"l": self.one_of(&["1", "2"])}}, "spec": spec})
    }

    pub(super) fn status(&mut self) -> Value {
        let mut status = json!({"phase": self.one_of(&["Ready", "Pending"])});
        let choices: [(&str, &[&str]); 2] = [
            ("serial", &["1", "2"]),
            (
                "conditions",
                &[
                    "[{\"type\":\"A\",\"status\":\"True\"}]",
                    "[{\"type\":\"B\",\"status\":\"False\"},{\"type\":\"A\",\"status\":\"True\"}]",
                    "[]",
                ],
            ),
        ];
        for (field, values) in choices {
            if self.chance(60) {
                status[field] = self.one_of(values).parse().expect("valid JSON");
            }
        }
        status
    }
}

/// Nulls are for patches.
pub(super) fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, child| !child.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
