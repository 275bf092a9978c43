//! PATCH in its three kinds.

use std::sync::Arc;

use serde_json::Value;

use super::{
    apply::{Application, json_patch, merge_patch},
    failure::{Failure, FieldError},
    handler::Answer,
    managed_fields,
    object::{Defaults, decode},
    ownership::{blank, tracked},
    request::Call,
    schema::Node,
    storage::{State, Stored},
    write::has_managed_fields,
};

impl State {
    pub(crate) fn patch(&mut self, call: &Call) -> Result<Answer, Failure> {
        let existing = self.existing(call);
        if call.content_type == "application/apply-patch+yaml" {
            return self.apply(call, existing.as_ref());
        }
        let patch = call.json()?;
        let existing = existing.ok_or_else(|| Failure::not_found(&call.resource, &call.name))?;
        let mut object = existing.object.as_ref().clone();
        match (call.content_type.as_str(), call.resource.custom) {
            ("application/merge-patch+json", _)
            | ("application/strategic-merge-patch+json", false) => {
                merge_patch(&mut object, &patch);
            }
            ("application/json-patch+json", _) => {
                json_patch(&mut object, &patch).ok_or_else(Failure::patch_does_not_fit)?;
            }
            (other, _) => return Err(Failure::unsupported_media_type(other)),
        }
        let shown = object.to_string();
        let object = decode(&call.resource, object, Defaults::Fill).map_err(|failure| {
            let error = FieldError::invalid("patch", &Value::from(shown), &failure.message);
            Failure::invalid("", "", "", &[error])
        })?;
        self.finish(call, &existing, object, None)
    }

    fn apply(&mut self, call: &Call, existing: Option<&Stored>) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let wanted = configuration(call)?;
        let live = match existing {
            Some(existing) => existing.object.as_ref().clone(),
            None if call.is_status() => return Err(Failure::not_found(resource, &call.name)),
            None => {
                check_no_uid(call, &wanted)?;
                blank(call, &wanted)
            }
        };
        let application = Application {
            schema: Node(Some(&resource.schema)),
            live: &live,
            wanted: &wanted,
            actor: self.actor(call, "Apply"),
            force: call.parameter("force") == Some("true"),
        };
        let mut owners = managed_fields::decode(&live);
        if owners.is_empty() {
            owners = self.before_first_apply(call, &live);
        }
        let (merged, owners) = application.run(owners, tracked(call))?;
        let mut object = decode(resource, merged.clone(), Defaults::AfterApply)?;
        let hidden = hidden_metadata(call, &merged, &object);
        managed_fields::encode(&mut object, owners.clone());
        let mut answer = match existing {
            Some(existing) => self.finish(call, existing, object, Some(owners)),
            None => self.insert(call, object),
        }?;
        let key = Self::key(resource, &call.namespace, &call.name);
        match (self.objects.get_mut(&key), &mut answer) {
            _ if hidden.is_empty() || call.is_dry_run() => {}
            (Some(stored), _) => stored.is_stored_differently = true,
            // Released by this apply: the answer does not come from the store, and hides nothing.
            (None, Answer::Object(_, object)) => {
                for (field, value) in hidden {
                    Arc::make_mut(object)["metadata"][field] = value;
                }
            }
            (None, Answer::Plain(_) | Answer::Watch(_)) => {}
        }
        Ok(answer)
    }
}

/// What an apply says, refused where it does not fit the schema.
fn configuration(call: &Call) -> Result<Value, Failure> {
    if call.parameter("fieldManager").is_none() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let resource = &call.resource;
    let body = call.json()?;
    let wanted = decode(resource, body.clone(), Defaults::Leave)?;
    let mut reasons = unknown_fields(&body, &wanted, "");
    reasons.extend(Node(Some(&resource.schema)).not_numeric(&wanted, ""));
    if !reasons.is_empty() {
        let reason = match reasons.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let text = |field: &str| body["metadata"][field].as_str().unwrap_or_default();
        return Err(Failure::internal(format!(
            "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {reason}",
            text("namespace"),
            text("name"),
            resource.group,
            resource.version,
            resource.kind
        )));
    }
    if has_managed_fields(&wanted) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    Ok(wanted)
}

/// An apply that names a uid cannot create.
fn check_no_uid(call: &Call, wanted: &Value) -> Result<(), Failure> {
    let Some(uid) = wanted["metadata"]["uid"].as_str() else {
        return Ok(());
    };
    let text = format!(
        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    );
    Err(Failure::conflict(&call.resource, &call.name, &text))
}

/// Empty metadata of a custom kind: it is stored, but not shown.
fn hidden_metadata(call: &Call, merged: &Value, shown: &Value) -> Vec<(&'static str, Value)> {
    if !call.resource.custom || call.is_status() {
        return Vec::new();
    }
    ["labels", "annotations", "finalizers", "ownerReferences"]
        .into_iter()
        .filter(|field| shown["metadata"].get(field).is_none())
        .filter_map(|field| Some((field, merged["metadata"].get(field)?.clone())))
        .collect()
}

/// The fields that the schema took away, in the words of an apply.
fn unknown_fields(before: &Value, after: &Value, path: &str) -> Vec<String> {
    let fields = before.as_object().into_iter().flatten();
    fields
        .flat_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match after.get(name) {
                None => vec![format!("{path}: field not declared in schema")],
                Some(kept) => unknown_fields(value, kept, &path),
            }
        })
        .collect()
}
