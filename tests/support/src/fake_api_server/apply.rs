//! Patches: merge patch, JSON patch, and server-side apply.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    failure::Failure,
    managed_fields::{self, Comparison, FieldSet, Owner, Path, element, field_set},
    schema::{ListType, Node},
};

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

/// RFC 6902: `test`, `add`, `replace` and `remove`. The error is the text of the server.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), String> {
    let steps = patch.as_array().ok_or("a JSON patch is a list")?;
    for step in steps {
        let pointer = step["path"].as_str().unwrap_or_default();
        let missing = || {
            format!(
                "jsonpatch {} operation does not apply: {pointer}",
                step["op"]
            )
        };
        let (parent, name) = pointer.rsplit_once('/').ok_or_else(missing)?;
        let name = name.replace("~1", "/").replace("~0", "~");
        if step["op"] == "test" {
            let found = target.pointer(pointer).cloned().unwrap_or(Value::Null);
            if found != step["value"] {
                return Err(format!("testing value {pointer} failed: test failed"));
            }
            continue;
        }
        let parent = target.pointer_mut(parent).ok_or_else(missing)?;
        let done = match parent {
            Value::Object(fields) => change_field(fields, &name, step),
            Value::Array(items) => change_item(items, &name, step),
            _ => None,
        };
        done.ok_or_else(missing)?;
    }
    Ok(())
}

fn change_field(fields: &mut Map<String, Value>, name: &str, step: &Value) -> Option<()> {
    match step["op"].as_str()? {
        "remove" => fields.remove(name).map(|_| ()),
        "replace" => fields
            .get_mut(name)
            .map(|found| *found = step["value"].clone()),
        "add" => {
            fields.insert(name.to_owned(), step["value"].clone());
            Some(())
        }
        _ => None,
    }
}

fn change_item(items: &mut Vec<Value>, name: &str, step: &Value) -> Option<()> {
    let index = if name == "-" {
        items.len()
    } else {
        name.parse().ok()?
    };
    match step["op"].as_str()? {
        "remove" if index < items.len() => {
            items.remove(index);
        }
        "replace" => *items.get_mut(index)? = step["value"].clone(),
        "add" if index <= items.len() => items.insert(index, step["value"].clone()),
        _ => return None,
    }
    Some(())
}

/// An apply: what one manager wants, on top of what is.
pub(crate) struct Application<'a> {
    pub(crate) schema: Node<'a>,
    pub(crate) live: &'a Value,
    pub(crate) wanted: &'a Value,
    /// The applier, with the fields that it may own in this request left out.
    pub(crate) actor: Owner,
    pub(crate) force: bool,
}

impl Application<'_> {
    /// The object after the apply and its owners.
    ///
    /// # Errors
    ///
    /// 409 when another manager owns a field with another value, unless forced.
    pub(crate) fn run(
        self,
        is_tracked: impl Fn(&Path) -> bool,
    ) -> Result<(Value, Vec<Owner>), Failure> {
        let mut owners = managed_fields::decode(self.live);
        let mut merged = merge(self.schema, Some(self.live), self.wanted);
        let mut set = field_set(self.schema, self.wanted);
        set.retain(&is_tracked);
        let last = match owners.iter_mut().find(|owner| owner.is(&self.actor)) {
            Some(owner) => {
                owner.api_version.clone_from(&self.actor.api_version);
                std::mem::replace(&mut owner.fields, set)
            }
            None => {
                owners.push(Owner {
                    fields: set,
                    ..self.actor.clone()
                });
                FieldSet::new()
            }
        };
        prune(self.schema, &mut merged, &last, &owners);
        let comparison = Comparison::of(self.schema, self.live, &merged, &is_tracked);
        let mut conflicts = Vec::new();
        for owner in owners.iter_mut().filter(|owner| !owner.is(&self.actor)) {
            let contested: FieldSet = owner
                .fields
                .iter()
                .filter(|path| {
                    comparison.modified.contains(*path) || comparison.added.contains(*path)
                })
                .cloned()
                .collect();
            for path in &contested {
                conflicts.push(json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {}", owner.described()),
                    "field": shown(path)
                }));
            }
            owner
                .fields
                .retain(|path| !contested.contains(path) && !comparison.removed.contains(path));
        }
        if !conflicts.is_empty() && !self.force {
            return Err(Failure::apply_conflict(conflicts));
        }
        owners.retain(|owner| !owner.fields.is_empty());
        Ok((merged, owners))
    }
}

/// A path as people write it.
fn shown(path: &Path) -> String {
    path.iter()
        .map(|name| match name.split_at(2) {
            ("f:", field) => format!(".{field}"),
            ("k:", keys) => {
                let keys: Value = serde_json::from_str(keys).unwrap_or_default();
                let pairs = keys.as_object().into_iter().flatten();
                let pairs: Vec<String> =
                    pairs.map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", pairs.join(","))
            }
            (_, value) => format!("[={value}]"),
        })
        .collect()
}

/// Live and wanted, laid on top of each other.
fn merge(schema: Node<'_>, live: Option<&Value>, wanted: &Value) -> Value {
    match (live, wanted) {
        (Some(Value::Object(live)), Value::Object(wanted)) if !schema.is_atomic_map() => {
            let mut merged = live.clone();
            for (name, value) in wanted {
                let child = merge(schema.field(name), live.get(name), value);
                merged.insert(name.clone(), child);
            }
            Value::Object(merged)
        }
        (Some(Value::Array(live)), Value::Array(wanted)) => match schema.list_type() {
            ListType::Atomic => wanted.clone().into(),
            keyed @ (ListType::Set | ListType::Map(_)) => {
                merge_lists(schema, &keyed, live, wanted).into()
            }
        },
        _ => wanted.clone(),
    }
}

/// The order is that of structured-merge-diff: items of the live list alone come as soon as they
/// are met, shared ones in the order of the wanted list.
fn merge_lists(
    schema: Node<'_>,
    list_type: &ListType,
    live: &[Value],
    wanted: &[Value],
) -> Vec<Value> {
    let keys = |items: &[Value]| -> Vec<Option<String>> {
        items.iter().map(|item| element(list_type, item)).collect()
    };
    let (live_keys, wanted_keys) = (keys(live), keys(wanted));
    let mut merged = Vec::new();
    let mut done = BTreeSet::new();
    let (mut from_live, mut from_wanted) = (0, 0);
    while from_live < live.len() || from_wanted < wanted.len() {
        if let Some(key) = live_keys.get(from_live) {
            let meets = wanted_keys.get(from_wanted) == Some(key);
            if done.contains(key) {
                from_live += 1;
                continue;
            }
            if !wanted_keys.contains(key) {
                merged.push(live[from_live].clone());
                from_live += 1;
                continue;
            }
            if meets {
                from_live += 1;
            }
        }
        let Some(item) = wanted.get(from_wanted) else {
            continue;
        };
        let key = &wanted_keys[from_wanted];
        let before = live_keys.iter().position(|known| known == key);
        let before = before.and_then(|index| live.get(index));
        merged.push(merge(schema.items(), before, item));
        done.insert(key.clone());
        from_wanted += 1;
    }
    merged
}

/// Removes what the applier wanted last time, wants no longer, and nobody else owns.
fn prune(schema: Node<'_>, merged: &mut Value, last: &FieldSet, owners: &[Owner]) {
    let is_owned = |path: &Path| {
        owners.iter().any(|owner| {
            owner
                .fields
                .range(path.clone()..)
                .next()
                .is_some_and(|it| it.starts_with(path))
        })
    };
    let dropped: Vec<&Path> = last.iter().filter(|path| !is_owned(path)).collect();
    // From the deepest up, so that containers are seen after what was in them.
    for path in dropped.iter().rev() {
        remove(schema, merged, path, true);
    }
    for path in dropped {
        for length in (1..path.len()).rev() {
            let parent = path[..length].to_vec();
            if !is_owned(&parent) {
                remove(schema, merged, &parent, false);
            }
        }
    }
}

/// Removes the value at a path; a container only when it is empty, unless it was applied as one.
fn remove(schema: Node<'_>, value: &mut Value, path: &[String], as_leaf: bool) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    match value {
        Value::Object(fields) => {
            let Some(field) = name.strip_prefix("f:") else {
                return;
            };
            let child_schema = schema.field(field);
            let Some(child) = fields.get_mut(field) else {
                return;
            };
            if !rest.is_empty() {
                remove(child_schema, child, rest, as_leaf);
            } else if may_go(child_schema, child, as_leaf) {
                fields.remove(field);
            }
        }
        Value::Array(items) => {
            let list_type = schema.list_type();
            let is_it = |item: &Value| element(&list_type, item).as_ref() == Some(name);
            let Some(index) = items.iter().position(is_it) else {
                return;
            };
            if !rest.is_empty() {
                remove(schema.items(), &mut items[index], rest, as_leaf);
            } else if matches!(list_type, ListType::Set)
                || may_go(schema.items(), &items[index], as_leaf)
                || has_only_keys(&list_type, &items[index])
            {
                items.remove(index);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn may_go(schema: Node<'_>, value: &Value, as_leaf: bool) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty() || (as_leaf && schema.is_atomic_map()),
        Value::Array(items) => {
            items.is_empty() || (as_leaf && matches!(schema.list_type(), ListType::Atomic))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => as_leaf,
    }
}

fn has_only_keys(list_type: &ListType, item: &Value) -> bool {
    match list_type {
        ListType::Map(keys) => item
            .as_object()
            .is_some_and(|fields| fields.keys().all(|name| keys.contains(name))),
        ListType::Atomic | ListType::Set => false,
    }
}
