//! Makes answers of two servers comparable: uids and versions become ranks, times vanish.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

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
            metadata.remove("resourceVersion");
        }
        if is_list && answer["items"] == json!([]) {
            // The real list may hold nothing but what its controllers put there.
            answer["items"] = Value::Null;
        }
        self.walk(&mut answer);
        if answer["kind"] == "Status" {
            self.message(&mut answer);
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

    /// A text with ranks for uids and versions, or a dash for those that no answer has shown.
    fn renamed(&self, text: &str) -> Value {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let mut renamed = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let (before, from) = rest.split_at(start);
            let (word, after) = from.split_at(from.find(|it| !is_part(it)).unwrap_or(from.len()));
            let is_number = word.chars().all(|letter| letter.is_ascii_digit());
            let is_version = is_number && before.ends_with('(') && after.starts_with(')');
            let is_uid = word.len() == 36 && word.matches('-').count() == 4;
            renamed.push_str(before);
            renamed.push_str(match (self.uids.get(word), self.versions.get(word)) {
                (Some(rank), _) if is_uid => rank,
                (_, Some(rank)) if is_version => rank,
                _ if is_uid || is_version => "-",
                _ => word,
            });
            rest = after;
        }
        renamed.push_str(rest);
        renamed.into()
    }

    /// Messages may quote uids, versions and times; what they quote of an object is not compared.
    fn message(&self, status: &mut Value) {
        status["message"] = self.renamed(status["message"].as_str().unwrap_or_default());
        let causes = status.pointer_mut("/details/causes").and_then(Value::as_array_mut);
        for cause in causes.into_iter().flatten().filter_map(Value::as_object_mut) {
            for text in cause.values_mut() {
                *text = self.renamed(text.as_str().unwrap_or_default());
            }
        }
        if let Some((head, errors)) =
            status["message"].as_str().and_then(|it| it.split_once("errors:\n"))
        {
            let mut errors: Vec<&str> = errors.lines().collect();
            errors.sort_unstable();
            status["message"] = format!("{head}{}", errors.join("")).into();
        }
        // The server lists several causes in the random order of a Go map.
        let causes = status.pointer_mut("/details/causes").and_then(Value::as_array_mut);
        if let Some(causes) = causes
            && causes.len() > 1
        {
            causes.sort_by_key(ToString::to_string);
            status["message"] = "several causes".into();
        }
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
