//! Who owns which field: the rules of structured-merge-diff, as far as clients can see them.
//!
//! A field set is a set of paths. Elements are written as in `FieldsV1`: `f:data`, `k:{"uid":"u"}`,
//! `v:"x"`. A container is a member of its own only where something added it as a whole.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

use super::schema::{ListType, Node};

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

    /// The owner in the words of a conflict.
    pub(crate) fn described(&self) -> String {
        let mut text = format!("\"{}\"", self.manager);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource \"{}\"", self.subresource);
        }
        if self.operation == "Update" {
            text = format!("{text} using {}", self.api_version);
        }
        text
    }
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Comparison {
    /// Compares, leaving out what `is_tracked` does not hold for.
    pub(crate) fn of(
        schema: Node<'_>,
        old: &Value,
        new: &Value,
        is_tracked: impl Fn(&Path) -> bool,
    ) -> Self {
        let mut comparison = Self::default();
        comparison.descend(schema, Some(old), Some(new), &mut Vec::new());
        for set in [&mut comparison.added, &mut comparison.modified, &mut comparison.removed] {
            set.retain(&is_tracked);
        }
        comparison
    }

    /// Whether the field has a new value.
    pub(crate) fn changes(&self, path: &Path) -> bool {
        self.modified.contains(path) || self.added.contains(path)
    }

    fn descend(
        &mut self,
        schema: Node<'_>,
        old: Option<&Value>,
        new: Option<&Value>,
        path: &mut Path,
    ) {
        let children = match (container(schema, old), container(schema, new)) {
            (None, None) => None,
            (old_items, new_items) => {
                // A leaf turned container, or the other way round, changes as a whole.
                let is_torn = |value: Option<&Value>, items: &Option<_>| {
                    value.is_some_and(|value| !value.is_null()) && items.is_none()
                };
                let torn = is_torn(old, &old_items) || is_torn(new, &new_items);
                let old_items = old_items.unwrap_or_default();
                let new_items = new_items.unwrap_or_default();
                let both_empty = old_items.is_empty() && new_items.is_empty();
                (!torn && !both_empty).then_some((old_items, new_items))
            }
        };
        let Some((old_items, new_items)) = children else {
            match (old, new) {
                (None, Some(_)) => self.added.insert(path.clone()),
                (Some(_), None) => self.removed.insert(path.clone()),
                (Some(old), Some(new)) if old != new => self.modified.insert(path.clone()),
                _ => false,
            };
            return;
        };
        let names: BTreeSet<&String> = old_items.keys().chain(new_items.keys()).collect();
        for name in names {
            let (old, new) = (old_items.get(name), new_items.get(name));
            let child = new.or(old).map_or(Node(None), |(_, schema)| *schema);
            path.push(name.clone());
            self.descend(child, old.map(|(it, _)| *it), new.map(|(it, _)| *it), path);
            path.pop();
        }
        match (old, new) {
            (None, Some(_)) if !path.is_empty() => self.added.insert(path.clone()),
            (Some(_), None) if !path.is_empty() => self.removed.insert(path.clone()),
            _ => false,
        };
    }
}

type Children<'a> = BTreeMap<String, (&'a Value, Node<'a>)>;

/// The parts of a value that are owned one by one; nothing for leaves.
fn container<'a>(schema: Node<'a>, value: Option<&'a Value>) -> Option<Children<'a>> {
    match value? {
        Value::Object(fields) if !schema.is_atomic_map() => Some(
            fields
                .iter()
                .map(|(name, child)| (format!("f:{name}"), (child, schema.field(name))))
                .collect(),
        ),
        Value::Array(items) => {
            let keyed = |item: &Value| element(&schema.list_type(), item);
            let known: Option<Vec<String>> = items.iter().map(keyed).collect();
            match schema.list_type() {
                ListType::Atomic => None,
                ListType::Set | ListType::Map(_) => {
                    let items = items.iter().map(|item| (item, schema.items()));
                    Some(known?.into_iter().zip(items).collect())
                }
            }
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            None
        }
    }
}

/// How an item of a list is addressed.
pub(crate) fn element(list_type: &ListType, item: &Value) -> Option<String> {
    match list_type {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{item}")),
        ListType::Map(keys) => {
            let named: Map<String, Value> =
                keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
            Some(format!("k:{}", Value::Object(named)))
        }
    }
}

/// The fields that an applied configuration speaks of.
pub(crate) fn field_set(schema: Node<'_>, value: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: Node<'_>, value: &Value, path: &mut Path, set: &mut FieldSet) {
    let Some(children) = container(schema, Some(value)) else {
        set.insert(path.clone());
        return;
    };
    for (name, (child, child_schema)) in children {
        let declared = name.strip_prefix("f:").is_some_and(|field| schema.declares(field));
        let is_empty = child.is_null() || child.as_object().is_some_and(Map::is_empty);
        path.push(name);
        collect(child_schema, child, path, set);
        if !declared || is_empty {
            set.insert(path.clone());
        }
        path.pop();
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

/// Owners after an update by `actor`, whose own set of fields is ignored: it takes what it changed.
pub(crate) fn after_update(
    mut owners: Vec<Owner>,
    comparison: &Comparison,
    actor: Owner,
) -> Vec<Owner> {
    let taken: FieldSet = comparison.added.union(&comparison.modified).cloned().collect();
    for owner in &mut owners {
        owner.fields.retain(|path| !taken.contains(path) && !comparison.removed.contains(path));
    }
    if !taken.is_empty() {
        match owners.iter_mut().find(|owner| owner.is(&actor)) {
            Some(owner) => {
                owner.fields.extend(taken);
                owner.time = actor.time;
            }
            None => owners.push(Owner { fields: taken, ..actor }),
        }
    }
    owners.retain(|owner| !owner.fields.is_empty());
    cap_updaters(&mut owners);
    owners
}

/// The server merges the oldest updaters into one when there are more than ten.
fn cap_updaters(owners: &mut Vec<Owner>) {
    const LIMIT: usize = 10;
    const BUCKET: &str = "ancient-changes";
    loop {
        let mut updaters: Vec<usize> =
            (0..owners.len()).filter(|index| owners[*index].operation == "Update").collect();
        if updaters.len() <= LIMIT {
            return;
        }
        updaters.retain(|index| owners[*index].manager != BUCKET);
        let oldest =
            updaters.into_iter().min_by(|left, right| owners[*left].time.cmp(&owners[*right].time));
        let Some(oldest) = oldest else { return };
        let mut moved = owners.remove(oldest);
        BUCKET.clone_into(&mut moved.manager);
        match owners.iter_mut().find(|owner| owner.is(&moved)) {
            Some(bucket) => {
                bucket.fields.extend(moved.fields);
                bucket.time = bucket.time.clone().max(moved.time);
            }
            None => owners.push(moved),
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

/// Keeps the times of `old` where nothing but times differs, so that they alone make no version.
/// Like the server it compares entry by entry: times that change the order make a version.
pub(crate) fn keep_times(new: &mut Value, old: &Value) {
    let timeless = |object: &Value| -> Vec<Owner> {
        decode(object).into_iter().map(|owner| Owner { time: None, ..owner }).collect()
    };
    if timeless(new) == timeless(old) && !old["metadata"]["managedFields"].is_null() {
        new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
    }
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
