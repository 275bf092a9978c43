//! Who owns which field: the rules of structured-merge-diff without schemas. Lists are owned as a whole,
//! except for owner references and finalizers.
//!
//! A field set is a set of paths. Elements are written as in `FieldsV1`: `f:data`, `k:{"uid":"u"}`,
//! `v:"x"`. A container is a member of its own only where something added it as a whole.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

use super::{request::Call, storage::State};

pub(crate) type Path = Vec<String>;
pub(crate) type FieldSet = BTreeSet<Path>;

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) manager: String,
    pub(crate) operation: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

impl Owner {
    /// Whether two entries are one owner. An applier stays itself across versions of the API.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == "Apply" || self.api_version == other.api_version)
    }
}

/// The fields that a write changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Fields with a new value, and new containers.
    pub(crate) taken: FieldSet,
    pub(crate) removed: FieldSet,
}

/// Compares, leaving out what `is_tracked` does not hold for.
pub(crate) fn changes(old: &Value, new: &Value, is_tracked: impl Fn(&Path) -> bool) -> Changes {
    let mut changes = Changes::default();
    changes.descend(Some(old), Some(new), &mut Vec::new());
    changes.taken.retain(&is_tracked);
    changes.removed.retain(&is_tracked);
    changes
}

impl Changes {
    fn descend(&mut self, old: Option<&Value>, new: Option<&Value>, path: &mut Path) {
        let (old_items, new_items) = (container(path, old), container(path, new));
        // A leaf turned container, or the other way round, changes as a whole.
        let is_torn = (old.is_some() && old_items.is_none() && new_items.is_some())
            || (new.is_some() && new_items.is_none() && old_items.is_some());
        let is_leaf = is_torn || (old_items.is_none() && new_items.is_none());
        let (old_items, new_items) =
            if is_leaf { Default::default() } else { (old_items, new_items) };
        let (old_items, new_items) = (old_items.unwrap_or_default(), new_items.unwrap_or_default());
        let names: BTreeSet<&String> = old_items.keys().chain(new_items.keys()).collect();
        for name in names {
            path.push(name.clone());
            self.descend(old_items.get(name).copied(), new_items.get(name).copied(), path);
            path.pop();
        }
        match (old, new) {
            (None, Some(_)) => self.taken.insert(path.clone()),
            (Some(_), None) => self.removed.insert(path.clone()),
            (Some(old), Some(new)) if is_leaf && old != new => self.taken.insert(path.clone()),
            _ => false,
        };
    }
}

/// The parts of a value that are owned one by one; nothing for leaves.
fn container<'a>(path: &Path, value: Option<&'a Value>) -> Option<BTreeMap<String, &'a Value>> {
    let is_metadata = path.len() == 2 && path[0] == "f:metadata";
    let list = path.last().filter(|_| is_metadata).map(String::as_str);
    match (list, value?) {
        (Some("f:ownerReferences"), Value::Array(items)) => {
            let key = |item: &Value| format!("k:{}", json!({"uid": item["uid"]}));
            Some(items.iter().map(|item| (key(item), item)).collect())
        }
        (Some("f:finalizers"), Value::Array(items)) => {
            Some(items.iter().map(|item| (format!("v:{item}"), item)).collect())
        }
        (_, Value::Object(fields)) if !path.last().is_some_and(|name| name.starts_with("k:")) => {
            Some(fields.iter().map(|(name, child)| (format!("f:{name}"), child)).collect())
        }
        _ => None,
    }
}

/// The fields that an applied configuration speaks of.
pub(crate) fn field_set(value: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(value, &mut Vec::new(), &mut set);
    set
}

fn collect(value: &Value, path: &mut Path, set: &mut FieldSet) {
    let children = container(path, Some(value)).unwrap_or_default();
    if children.is_empty() {
        set.insert(path.clone());
    }
    for (name, child) in children {
        path.push(name);
        collect(child, path, set);
        path.pop();
    }
}

/// Removes a field, and each container that it leaves empty. A container with content stays.
pub(crate) fn remove(value: &mut Value, path: &[String]) {
    let (Some((name, below)), Some(fields)) = (path.split_first(), value.as_object_mut()) else {
        return;
    };
    let name = name.trim_start_matches("f:");
    if let Some(child) = fields.get_mut(name) {
        remove(child, below);
        let is_leaf = below.is_empty() && !child.is_object();
        if is_leaf || child.as_object().is_some_and(Map::is_empty) {
            fields.remove(name);
        }
    }
}

/// What has no owner, because the server decides it.
pub(crate) fn is_owned_by_clients(path: &Path) -> bool {
    const SERVER: [&str; 8] = [
        "f:name",
        "f:namespace",
        "f:uid",
        "f:resourceVersion",
        "f:generation",
        "f:creationTimestamp",
        "f:managedFields",
        "f:selfLink",
    ];
    match path.as_slice() {
        [] => false,
        [only] => !["f:apiVersion", "f:kind", "f:metadata"].contains(&only.as_str()),
        [first, second, ..] => first != "f:metadata" || !SERVER.contains(&second.as_str()),
    }
}

/// Which fields a request can come to own: status through /status alone, the rest elsewhere.
pub(crate) fn tracked(call: &Call) -> impl Fn(&Path) -> bool + use<> {
    let (has_status, is_status) = (call.resource.custom, call.is_status());
    move |path: &Path| {
        let leads_there = path.first().is_some_and(|name| name == "f:status");
        is_owned_by_clients(path) && (!has_status || leads_there == is_status)
    }
}

impl State {
    /// Makes the requester own what differs between `old` and `new`.
    pub(crate) fn own(&self, call: &Call, old: &Value, new: &mut Value) {
        let is_reset = new["metadata"]["managedFields"] == json!([{}]);
        let mut owners = if is_reset { Vec::new() } else { decode(old) };
        // An object that is not tracked stays so.
        if owners.is_empty() && !old["metadata"]["uid"].is_null() {
            return encode(new, owners);
        }
        let Changes { taken, removed } = changes(old, new, tracked(call));
        let actor = self.actor(call, "Update");
        for owner in &mut owners {
            owner.fields.retain(|path| !taken.contains(path) && !removed.contains(path));
        }
        match owners.iter_mut().find(|owner| owner.is(&actor)) {
            _ if taken.is_empty() => {}
            Some(owner) => {
                owner.fields.extend(taken);
                owner.time = actor.time;
            }
            None => owners.push(Owner { fields: taken, ..actor }),
        }
        owners.retain(|owner| !owner.fields.is_empty());
        encode(new, owners);
    }

    pub(crate) fn actor(&self, call: &Call, operation: &str) -> Owner {
        Owner {
            manager: call.manager(),
            operation: operation.to_owned(),
            api_version: call.resource.api_version(),
            subresource: call.subresource.clone(),
            time: Some(self.now()),
            fields: FieldSet::new(),
        }
    }
}

/// Reads `metadata.managedFields`; nothing when it is absent or unreadable.
pub(crate) fn decode(object: &Value) -> Vec<Owner> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array();
    entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["fieldsV1"].is_object())
        .map(|entry| {
            let mut fields = FieldSet::new();
            decode_fields(&entry["fieldsV1"], &mut Vec::new(), &mut fields);
            Owner {
                manager: text(entry, "manager"),
                operation: text(entry, "operation"),
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
                time: entry["time"].as_str().map(str::to_owned),
                fields,
            }
        })
        .collect()
}

fn decode_fields(node: &Value, path: &mut Path, set: &mut FieldSet) {
    let Some(fields) = node.as_object() else {
        return;
    };
    if fields.is_empty() && !path.is_empty() {
        set.insert(path.clone());
    }
    for (name, child) in fields {
        if name == "." {
            set.insert(path.clone());
            continue;
        }
        path.push(name.clone());
        decode_fields(child, path, set);
        path.pop();
    }
}

/// Writes `metadata.managedFields`, in the order of the server.
pub(crate) fn encode(object: &mut Value, mut owners: Vec<Owner>) {
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return;
    };
    if owners.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    owners.sort_by(server_order);
    let entries: Vec<Value> = owners
        .iter()
        .map(|owner| {
            let mut entry = json!({
                "manager": owner.manager, "operation": owner.operation,
                "apiVersion": owner.api_version, "fieldsType": "FieldsV1",
                "fieldsV1": encode_fields(&owner.fields)
            });
            if let Some(time) = &owner.time {
                entry["time"] = time.clone().into();
            }
            if !owner.subresource.is_empty() {
                entry["subresource"] = owner.subresource.clone().into();
            }
            entry
        })
        .collect();
    metadata.insert("managedFields".to_owned(), entries.into());
}

fn server_order(left: &Owner, right: &Owner) -> Ordering {
    let key = |owner: &Owner| {
        (
            owner.operation.clone(),
            owner.time.clone(),
            owner.manager.clone(),
            owner.api_version.clone(),
            owner.subresource.clone(),
        )
    };
    key(left).cmp(&key(right))
}

fn encode_fields(set: &FieldSet) -> Value {
    let mut root = Value::Object(Map::new());
    for path in set {
        let mut node = &mut root;
        for name in path {
            node = &mut node[name.as_str()];
            if node.is_null() {
                *node = Value::Object(Map::new());
            }
        }
        node["."] = Value::Object(Map::new());
    }
    without_lone_dots(&mut root);
    root
}

/// A leaf is written `{}`, not `{".": {}}`.
fn without_lone_dots(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else {
        return;
    };
    if fields.len() == 1 {
        fields.remove(".");
    }
    fields.iter_mut().filter(|(name, _)| *name != ".").for_each(|(_, child)| {
        without_lone_dots(child);
    });
}
