//! PATCH in its two kinds.

use std::sync::Arc;

use serde_json::Value;

use super::{
    apply::{Application, merge_patch},
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
        if call.content_type != "application/merge-patch+json" {
            return Err(Failure::unsupported_media_type(&call.content_type));
        }
        merge_patch(&mut object, &patch);
        let object = decode(&call.resource, object, Defaults::Fill)?;
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
            _ if hidden.is_empty() => {}
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

/// What an apply says.
fn configuration(call: &Call) -> Result<Value, Failure> {
    if call.parameter("fieldManager").is_none() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
    }
    let wanted = decode(&call.resource, call.json()?, Defaults::Leave)?;
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
