//! What an apply removes: the rules of structured-merge-diff, step by step, because clients see
//! their corner cases. A container that loses its last part goes too; what it loses by itself
//! leaves a null.

use serde_json::{Map, Value};

use super::{
    managed_fields::{FieldSet, Path, element, field_set},
    schema::{ListType, Node},
};

/// Removes what the applier wanted last time (`last`), wants no longer, and has no other owner
/// (`owned`: everybody's fields, those of the new configuration among them).
pub(crate) fn prune(schema: Node<'_>, merged: &Value, last: &FieldSet, owned: &FieldSet) -> Value {
    if last.is_empty() {
        return merged.clone();
    }
    let last = with_containers(schema, last);
    let all = with_containers(schema, &field_set(schema, merged));
    let visible = |value: &Value| with_containers(schema, &field_set(schema, value));

    let without_last = remove(schema, merged, &last);
    let mut kept = visible(&without_last);
    kept.extend(with_containers(schema, owned));
    let with_owned = remove(schema, merged, &all.difference(&kept).cloned().collect());

    // What goes was the applier's; what has no owner stays.
    let kept = visible(&with_owned);
    let gone = all.difference(&kept).filter(|path| last.contains(*path)).cloned().collect();
    remove(schema, merged, &gone)
}

/// Adds the structs that have parts in the set.
fn with_containers(schema: Node<'_>, set: &FieldSet) -> FieldSet {
    let mut complete = set.clone();
    for path in set {
        let mut node = schema;
        for (depth, name) in path.iter().enumerate() {
            let Some(field) = name.strip_prefix("f:") else {
                node = node.items();
                continue;
            };
            if node.declares(field) {
                complete.insert(path[..=depth].to_vec());
            }
            node = node.field(field);
        }
    }
    complete
}

fn remove(schema: Node<'_>, value: &Value, gone: &FieldSet) -> Value {
    remove_below(schema, value, gone, &mut Vec::new())
}

fn remove_below(schema: Node<'_>, value: &Value, gone: &FieldSet, path: &mut Path) -> Value {
    let reaches = |path: &Path| {
        gone.range(path.clone()..).next().is_some_and(|found| found.starts_with(path))
    };
    let mut keep = |name: String, child_schema: Node<'_>, child: &Value| {
        path.push(name);
        let kept = if gone.contains(path) {
            None
        } else if reaches(path) {
            Some(remove_below(child_schema, child, gone, path))
        } else {
            Some(child.clone())
        };
        path.pop();
        kept
    };
    match value {
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .iter()
                .filter_map(|(name, child)| {
                    let kept = keep(format!("f:{name}"), schema.field(name), child)?;
                    Some((name.clone(), kept))
                })
                .collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        Value::Array(items) => {
            let list_type: ListType = schema.list_type();
            let kept: Vec<Value> = items
                .iter()
                .filter_map(|item| match element(&list_type, item) {
                    Some(name) => keep(name, schema.items(), item),
                    None => Some(item.clone()),
                })
                .collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
