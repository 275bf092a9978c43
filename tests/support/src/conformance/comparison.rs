//! Makes answers of two servers comparable: uids and versions become ranks, times vanish.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fake_api_server::put;

/// The uids and versions of one server, in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Names {
    uids: BTreeMap<String, String>,
    versions: BTreeMap<String, String>,
}

impl Names {
    /// The rank of a uid.
    pub(super) fn uid(&mut self, uid: &str) -> String {
        let rank = self.uids.len();
        self.uids.entry(uid.to_owned()).or_insert_with(|| format!("uid-{rank}")).clone()
    }

    pub(super) fn knows_version(&self, version: &str) -> bool {
        self.versions.contains_key(version)
    }

    fn version(&mut self, version: &str) -> String {
        let rank = self.versions.len();
        self.versions.entry(version.to_owned()).or_insert_with(|| format!("version-{rank}")).clone()
    }

    /// An answer without what differs between servers by nature.
    pub(super) fn normalise(&mut self, answer: &Value) -> Value {
        let mut answer = answer.clone();
        if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
            items.retain(|item| item["metadata"]["name"] != "kube-root-ca.crt");
        }
        let is_list = answer["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        if let (true, Some(metadata)) =
            (is_list, answer.get_mut("metadata").and_then(Value::as_object_mut))
        {
            for field in ["resourceVersion", "continue"] {
                metadata.remove(field);
            }
        }
        if is_list && answer["items"] == json!([]) {
            // The real list may hold nothing but what its controllers put there.
            answer["items"] = Value::Null;
        }
        self.walk(&mut answer);
        if answer["kind"] == "Status" {
            Self::without_messages(&mut answer);
        }
        answer
    }

    fn walk(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, child) in fields.iter_mut() {
                    match (name.as_str(), child.as_str().map(str::to_owned)) {
                        ("uid", Some(uid)) => *child = self.uid(&uid).into(),
                        ("resourceVersion", Some(version)) => {
                            *child = self.version(&version).into();
                        }
                        ("time" | "creationTimestamp" | "deletionTimestamp", Some(_)) => {
                            *child = "some time".into();
                        }
                        _ => self.walk(child),
                    }
                }
                // Keys of lists that are owned by uid.
                let keyed: Vec<String> =
                    fields.keys().filter(|name| name.starts_with("k:{\"uid\"")).cloned().collect();
                for name in keyed {
                    let child = fields.remove(&name).unwrap_or_default();
                    let inner: Value = serde_json::from_str(&name[2..]).unwrap_or_default();
                    let uid = self.uid(inner["uid"].as_str().unwrap_or_default());
                    fields.insert(format!("k:{{{uid}}}"), child);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Clients branch on code, reason and details, not on messages.
    fn without_messages(status: &mut Value) {
        put(status, "message", Value::Null);
        let causes = status.pointer_mut("/details/causes").and_then(Value::as_array_mut);
        let Some(causes) = causes else { return };
        for cause in causes.iter_mut() {
            put(cause, "message", Value::Null);
            if cause["reason"] == "FieldManagerConflict" {
                put(cause, "field", Value::Null);
            }
        }
        // The server lists causes in the random order of a Go map, and some of them twice.
        causes.sort_by_key(ToString::to_string);
        causes.dedup();
    }
}

/// When the fields of an answered object were last written, in seconds.
pub(super) fn newest_time(answer: &Value) -> i64 {
    let entries = answer["metadata"]["managedFields"].as_array().into_iter().flatten();
    let times = entries.filter_map(|entry| entry["time"].as_str()?.parse::<Timestamp>().ok());
    times.map(Timestamp::as_second).max().unwrap_or_default()
}

/// Where two values differ, for people.
pub(super) fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    descend("", left, right, &mut found);
    found
}

fn descend(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let absent = json!("(absent)");
            let names: std::collections::BTreeSet<&String> =
                left.keys().chain(right.keys()).collect();
            for name in names {
                let left = left.get(name).unwrap_or(&absent);
                let right = right.get(name).unwrap_or(&absent);
                descend(&format!("{path}/{name}"), left, right, found);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                found.push(format!("{path}: fake has {} real has {}", left.len(), right.len()));
            }
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                descend(&format!("{path}/{index}"), left, right, found);
            }
        }
        _ if left != right => found.push(format!("{path}: fake {left} real {right}")),
        _ => {}
    }
}
