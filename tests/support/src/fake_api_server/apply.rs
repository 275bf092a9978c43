//! Patches: merge patch and server-side apply.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::{Map, Value};

use super::{
    failure::Failure,
    managed_fields::{Comparison, FieldSet, Owner, Path, element, field_set},
    pruning::prune,
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
    /// The object after the apply, its owners, and whether more than ownership changed.
    ///
    /// # Errors
    ///
    /// 409 when another manager owns a field with another value, unless forced.
    pub(crate) fn run(
        self,
        mut owners: Vec<Owner>,
        is_tracked: impl Fn(&Path) -> bool,
    ) -> Result<(Value, Vec<Owner>), Failure> {
        let merged = merge(self.schema, Some(self.live), self.wanted);
        let wanted = field_set(self.schema, self.wanted);
        let set = wanted.iter().filter(|path| is_tracked(path)).cloned().collect();
        let own = owners.iter_mut().find(|owner| owner.is(&self.actor));
        let last = if let Some(own) = own {
            own.api_version.clone_from(&self.actor.api_version);
            std::mem::replace(&mut own.fields, set)
        } else {
            owners.push(Owner { fields: set, time: None, ..self.actor.clone() });
            FieldSet::new()
        };
        let others = owners.iter().flat_map(|owner| &owner.fields);
        let owned = wanted.iter().chain(others).cloned().collect();
        let merged = prune(self.schema, &merged, &last, &owned);
        let comparison = Comparison::of(self.schema, self.live, &merged, &is_tracked);
        let mut conflicts = Vec::new();
        for owner in owners.iter_mut().filter(|owner| !owner.is(&self.actor)) {
            let mut contested: Vec<Path> =
                owner.fields.iter().filter(|path| comparison.changes(path)).cloned().collect();
            contested.sort_by(members_first);
            conflicts.extend(contested.iter().map(|path| (owner.described(), shown(path))));
            owner
                .fields
                .retain(|path| !contested.contains(path) && !comparison.removed.contains(path));
        }
        if !conflicts.is_empty() && !self.force {
            return Err(Failure::apply_conflict(&conflicts));
        }
        // An apply that changes nothing but owners leaves their times alone.
        let own = owners.iter_mut().find(|owner| owner.is(&self.actor));
        if let (true, Some(own)) = (differs(&merged, self.live), own) {
            own.time = self.actor.time;
        }
        owners.retain(|owner| !owner.fields.is_empty());
        Ok((merged, owners))
    }
}

/// Whether two objects differ beyond who owns them.
fn differs(left: &Value, right: &Value) -> bool {
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        object
    };
    content(left) != content(right)
}

/// The order in which the server walks a set of fields: what is a member here, then what is deeper.
fn members_first(left: &Path, right: &Path) -> Ordering {
    let depth = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    let is_deeper = |path: &Path| path.len() > depth + 1;
    is_deeper(left).cmp(&is_deeper(right)).then_with(|| left.cmp(right))
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
