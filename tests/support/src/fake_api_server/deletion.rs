//! Deletion.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    failure::Failure, failure::details, handler::Answer, request::Call, resource::Resource,
    storage::State,
};

impl State {
    pub(crate) fn delete(&mut self, call: &Call) -> Result<Answer, Failure> {
        let options = options(call)?;
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        let existing = self.objects.get(&key).map(|stored| Arc::clone(&stored.object));
        let existing = existing.ok_or_else(|| Failure::not_found(&call.resource, &call.name))?;
        check_preconditions(call, &options["preconditions"], &existing)?;
        if call.resource.plural == "namespaces" {
            self.terminate_namespace(&call.name, &call.agent);
            let object = self.objects.get(&key).map(|stored| Arc::clone(&stored.object));
            return Ok(Answer::Object(200, object.unwrap_or(existing)));
        }
        match self.delete_stored(&key, &call.agent) {
            Some((object, true)) => Ok(Answer::Plain(deleted(&call.resource, &object))),
            Some((object, false)) => Ok(Answer::Object(200, object)),
            None => Err(Failure::not_found(&call.resource, &call.name)),
        }
    }

    pub(crate) fn terminate_namespace(&mut self, name: &str, agent: &str) {
        let key = Self::key(&self.resource("namespaces"), "", name);
        let Some(stored) = self.objects.get(&key) else {
            return;
        };
        let mut object = stored.object.as_ref().clone();
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        object["metadata"]["deletionTimestamp"] = self.now().into();
        object["status"]["phase"] = "Terminating".into();
        self.store(key, object, agent);
    }
}

fn options(call: &Call) -> Result<Value, Failure> {
    if call.body.is_empty() { Ok(json!({})) } else { call.json() }
}

/// The body of a successful deletion.
fn deleted(resource: &Resource, object: &Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut details = details(resource, name, &resource.plural);
    details["uid"] = object["metadata"]["uid"].clone();
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details
    })
}

fn check_preconditions(call: &Call, wanted: &Value, existing: &Value) -> Result<(), Failure> {
    let found = |field: &str| existing["metadata"][field].as_str().unwrap_or_default();
    let checks = [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ];
    for (field, shown, hint) in checks {
        let Some(wanted) = wanted[field].as_str() else {
            continue;
        };
        let found = found(field);
        if wanted != found {
            let text = format!(
                "the {shown} in the precondition ({wanted}) does not match the {shown} in record \
                 ({found}). {hint}"
            );
            return Err(Failure::other_object(&call.resource, &call.name, &text));
        }
    }
    Ok(())
}
