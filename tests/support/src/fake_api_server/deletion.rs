//! Deletion, on request and of what has lost its owners.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    failure::{Failure, details},
    handler::Answer,
    request::Call,
    storage::{Key, State},
};

impl State {
    pub(crate) fn delete(&mut self, call: &Call) -> Result<Answer, Failure> {
        let wanted = if call.body.is_empty() { json!({}) } else { call.json()? };
        let existing = self.existing(call)?;
        for field in ["uid", "resourceVersion"] {
            let wanted = &wanted["preconditions"][field];
            if !wanted.is_null() && *wanted != existing["metadata"][field] {
                return Err(Failure::other_object(&call.resource, &call.name));
            }
        }
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        self.delete_stored(&key, &call.agent);
        if let Some(held) = self.objects.get(&key) {
            return Ok(Answer::Object(200, Arc::clone(held)));
        }
        let mut details = details(&call.resource, &call.name, &call.resource.plural);
        details["uid"] = existing["metadata"]["uid"].clone();
        Ok(Answer::Plain(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details
        })))
    }

    /// Deletes objects all of whose owners are gone, until none is left.
    pub(crate) fn collect_garbage(&mut self) {
        loop {
            let metadata = || self.objects.iter().map(|(key, object)| (key, &object["metadata"]));
            let uids: BTreeSet<&str> =
                metadata().filter_map(|(_, metadata)| metadata["uid"].as_str()).collect();
            let is_gone = |owner: &Value| owner["uid"].as_str().is_none_or(|it| !uids.contains(it));
            let is_orphan = |metadata: &Value| {
                let owners = metadata["ownerReferences"].as_array().filter(|all| !all.is_empty());
                metadata["deletionTimestamp"].is_null()
                    && owners.is_some_and(|owners| owners.iter().all(is_gone))
            };
            let orphans: Vec<Key> = metadata()
                .filter(|(_, metadata)| is_orphan(metadata))
                .map(|(key, _)| key.clone())
                .collect();
            if orphans.is_empty() {
                return;
            }
            for key in orphans {
                self.delete_stored(&key, "");
            }
        }
    }

    /// Deletes at once, or marks as being deleted where finalizers hold the object.
    fn delete_stored(&mut self, key: &Key, agent: &str) {
        let Some(existing) = self.objects.get(key) else { return };
        let metadata = &existing["metadata"];
        if metadata["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.remove(key, agent);
        } else if metadata["deletionTimestamp"].is_null() {
            let mut marked = existing.as_ref().clone();
            let metadata = &mut marked["metadata"];
            metadata["deletionTimestamp"] = self.now().into();
            metadata["deletionGracePeriodSeconds"] = 0.into();
            if let Some(generation) = metadata["generation"].as_i64() {
                metadata["generation"] = (generation + 1).into();
            }
            self.store(key.clone(), marked, agent);
        }
    }
}
