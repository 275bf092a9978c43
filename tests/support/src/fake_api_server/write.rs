//! The writing verbs, each with the checks of the real server in the order of the real server.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    failure::Failure,
    handler::Answer,
    managed_fields::{self, Owner},
    object::{decode, put},
    request::Call,
    storage::State,
};

impl State {
    pub(crate) fn create(&mut self, call: &Call) -> Result<Answer, Failure> {
        let mut body = call.json()?;
        if call.resource.custom {
            put(&mut body, "status", Value::Null);
        }
        let mut object = decode(&call.resource, body);
        self.own(call, &json!({}), &mut object);
        self.insert(call, object)
    }

    /// Completes and stores an object that did not exist.
    pub(crate) fn insert(&mut self, call: &Call, mut object: Value) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.check_namespace(resource, &call.namespace)?;
        self.check_quota(resource, &call.namespace, &name)?;
        let key = Self::key(resource, &call.namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(Failure::already_exists(resource, &name));
        }
        let metadata = &mut object["metadata"];
        put(metadata, "deletionTimestamp", Value::Null);
        put(metadata, "uid", self.draw_uid().into());
        put(metadata, "creationTimestamp", self.now().into());
        if resource.namespaced {
            put(metadata, "namespace", call.namespace.clone().into());
        }
        if resource.custom {
            put(metadata, "generation", 1.into());
        }
        Ok(Answer::Object(201, self.store(key, object, &call.agent)))
    }

    /// The object that the request names.
    pub(crate) fn existing(&self, call: &Call) -> Result<Arc<Value>, Failure> {
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        let found = self.objects.get(&key).cloned();
        found.ok_or_else(|| Failure::not_found(&call.resource, &call.name))
    }

    pub(crate) fn replace(&mut self, call: &Call) -> Result<Answer, Failure> {
        let mut object = decode(&call.resource, call.json()?);
        let existing = self.existing(call)?;
        let (wanted, old) = (&object["metadata"], &existing["metadata"]);
        if !wanted["uid"].is_null() && wanted["uid"] != old["uid"] {
            return Err(Failure::stale(&call.resource, &call.name));
        }
        put(&mut object["metadata"], "managedFields", old["managedFields"].clone());
        self.finish(call, &existing, object, None)
    }

    /// Checks, completes and stores the successor of an object. An apply knows the owners of its fields.
    pub(crate) fn finish(
        &mut self,
        call: &Call,
        old: &Arc<Value>,
        mut new: Value,
        applied: Option<Vec<Owner>>,
    ) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let given = &new["metadata"]["resourceVersion"];
        if !given.is_null() && *given != old["metadata"]["resourceVersion"] {
            return Err(Failure::stale(resource, &call.name));
        }
        carry_over(call, &mut new, old);
        check_immutable(call, &new, old)?;
        match applied {
            Some(owners) => managed_fields::encode(&mut new, owners),
            None => self.own(call, old, &mut new),
        }
        if resource.custom && !call.is_status() && content(&new) != content(old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        let is_held = new["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let key = Self::key(resource, &call.namespace, &call.name);
        if !new["metadata"]["deletionTimestamp"].is_null() && !is_held {
            self.remove(&key, &call.agent);
            return Ok(Answer::Object(200, Arc::new(new)));
        }
        if new == **old {
            return Ok(Answer::Object(200, Arc::clone(old)));
        }
        Ok(Answer::Object(200, self.store(key, new, &call.agent)))
    }
}

/// Fills in what an update cannot change.
fn carry_over(call: &Call, new: &mut Value, old: &Value) {
    let managed = new["metadata"]["managedFields"].clone();
    if call.is_status() {
        let status = new["status"].clone();
        *new = old.clone();
        put(new, "status", status);
        put(&mut new["metadata"], "managedFields", managed);
        return;
    }
    if call.resource.custom {
        put(new, "status", old["status"].clone());
    }
    for field in ["resourceVersion", "creationTimestamp", "deletionTimestamp", "generation"]
        .iter()
        .chain(&["deletionGracePeriodSeconds"])
    {
        put(&mut new["metadata"], field, old["metadata"][field].clone());
    }
    for field in ["uid", "namespace"] {
        if new["metadata"][field].is_null() {
            put(&mut new["metadata"], field, old["metadata"][field].clone());
        }
    }
}

/// Refuses another uid, another type of Secret, other data of an immutable object, and new finalizers of an object
/// that is being deleted.
fn check_immutable(call: &Call, new: &Value, old: &Value) -> Result<(), Failure> {
    let mut causes = Vec::new();
    if new["metadata"]["uid"] != old["metadata"]["uid"] {
        causes.push(("FieldValueInvalid", "metadata.uid"));
    }
    if call.resource.plural == "secrets" && new["type"] != old["type"] {
        causes.push(("FieldValueInvalid", "type"));
    }
    if !call.resource.custom && old["immutable"] == true {
        let fields = ["immutable", "data", "binaryData"].into_iter();
        let changed = fields.filter(|field| new[field] != old[field]);
        causes.extend(changed.map(|field| ("FieldValueForbidden", field)));
    }
    let finalizers = |object: &Value| object["metadata"]["finalizers"].as_array().cloned();
    let known = finalizers(old).unwrap_or_default();
    let is_going = !old["metadata"]["deletionTimestamp"].is_null();
    if is_going && finalizers(new).is_some_and(|all| all.iter().any(|it| !known.contains(it))) {
        causes.push(("FieldValueForbidden", "metadata.finalizers"));
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(&call.resource, &call.name, &causes))
    }
}

/// The parts whose change makes a new generation.
fn content(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| *name != "metadata" && *name != "status").collect()
}
