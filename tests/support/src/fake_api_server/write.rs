//! The writing verbs, each with the checks of the real server in the order of the real server.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    failure::{Failure, FieldError},
    handler::Answer,
    managed_fields::{self, Owner},
    object::{Defaults, decode, drop_empty_data, fill},
    ownership::blank,
    request::{Call, Verb},
    resource::Resource,
    storage::{State, Stored},
};

impl State {
    pub(crate) fn create(&mut self, call: &Call) -> Result<Answer, Failure> {
        let mut object = decode(&call.resource, call.json()?, Defaults::Fill)?;
        check_body_namespace(call, &object)?;
        drop_empty_data(&call.resource, &mut object);
        let live = blank(call, &object);
        self.own(call, &live, &mut object);
        self.insert(call, object)
    }

    /// Completes and stores an object that did not exist.
    pub(crate) fn insert(&mut self, call: &Call, mut object: Value) -> Result<Answer, Failure> {
        let resource = &call.resource;
        drop_empty_data(resource, &mut object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.check_namespace(resource, &call.namespace, &name)?;
        let given_version = object["metadata"]["resourceVersion"].clone();
        self.complete(call, &mut object);
        let drops_status = resource.custom && resource.status_subresource;
        if drops_status {
            set_or_remove(&mut object, "status", None);
        }
        self.check_quota(resource, &call.namespace, &name)?;
        let key = Self::key(resource, &call.namespace, &name);
        let checks_version = call.verb == Verb::Create;
        if checks_version && given_version.as_str().is_some_and(|version| version != "0") {
            return Err(Failure::internal(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if let Some(existing) = self.objects.get(&key) {
            let is_going = !existing.object["metadata"]["deletionTimestamp"].is_null();
            return Err(Failure::already_exists(resource, &name, is_going));
        }
        // A default status is shown from now on, but stored with the first write.
        if drops_status {
            fill(resource, &mut object);
        }
        let shows_default_status = drops_status && !object["status"].is_null();
        let stored = self.store(key.clone(), object, &call.agent);
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.is_stored_differently = shows_default_status;
        }
        Ok(Answer::Object(201, stored))
    }

    /// Fills in what the server alone decides about a new object.
    fn complete(&mut self, call: &Call, object: &mut Value) {
        let resource = &call.resource;
        let namespace = resource.namespaced.then(|| call.namespace.clone().into());
        let generation = resource.custom.then(|| 1.into());
        let metadata = &mut object["metadata"];
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            set_or_remove(metadata, field, None);
        }
        set_or_remove(metadata, "uid", Some(self.draw_uid().into()));
        set_or_remove(metadata, "creationTimestamp", Some(self.now().into()));
        set_or_remove(metadata, "namespace", namespace);
        set_or_remove(metadata, "generation", generation);
        if resource.plural == "namespaces" {
            metadata["labels"]["kubernetes.io/metadata.name"] = metadata["name"].clone();
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({"phase": "Active"});
        }
    }

    /// The object that the request names.
    pub(crate) fn existing(&self, call: &Call) -> Option<Stored> {
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        self.objects.get(&key).cloned()
    }

    pub(crate) fn replace(&mut self, call: &Call) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let mut object = decode(resource, call.json()?, Defaults::Fill)?;
        check_body_name(call, &object)?;
        check_body_namespace(call, &object)?;
        let existing = self.existing(call);
        if existing.is_none() && !resource.create_on_update {
            return Err(Failure::not_found(resource, &call.name));
        }
        if let Some(wanted) = object["metadata"]["uid"].as_str() {
            let found = existing.as_ref().map_or(&Value::Null, |it| &it.object["metadata"]["uid"]);
            let found = found.as_str().unwrap_or_default();
            if wanted != found {
                return Err(precondition_failed(call, wanted, found));
            }
        }
        let Some(existing) = existing else {
            let live = blank(call, &object);
            self.own(call, &live, &mut object);
            return self.insert(call, object);
        };
        let owned = has_managed_fields(&object) && !call.is_status();
        if !owned {
            let managed = existing.object["metadata"].get("managedFields").cloned();
            set_or_remove(&mut object["metadata"], "managedFields", managed);
        }
        self.finish(call, &existing, object, None)
    }

    /// Checks, completes and stores the successor of an object.
    pub(crate) fn finish(
        &mut self,
        call: &Call,
        existing: &Stored,
        mut new: Value,
        applied: Option<Vec<Owner>>,
    ) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let old = existing.object.as_ref();
        let asks_for_nothing = is_same_but_for_owners(&new, old);
        check_version(call, &mut new, old)?;
        carry_over(call, &mut new, old);
        check_immutable(resource, &new, old)?;
        drop_empty_data(resource, &mut new);
        match applied {
            Some(owners) => managed_fields::encode(&mut new, owners),
            None => self.own(call, old, &mut new),
        }
        if asks_for_nothing {
            managed_fields::keep_times(&mut new, old);
        }
        if resource.custom && !call.is_status() && content(&new) != content(old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        let is_released = !new["metadata"]["deletionTimestamp"].is_null()
            && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let key = Self::key(resource, &call.namespace, &call.name);
        if is_released {
            self.remove(&key, &call.agent);
            return Ok(Answer::Object(200, Arc::new(new)));
        }
        if new == *old && !existing.is_stored_differently {
            return Ok(Answer::Object(200, Arc::clone(&existing.object)));
        }
        Ok(Answer::Object(200, self.store(key, new, &call.agent)))
    }
}

fn check_body_name(call: &Call, object: &Value) -> Result<(), Failure> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if name == call.name {
        return Ok(());
    }
    Err(Failure::bad_request(if name.is_empty() {
        format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name
        )
    } else {
        format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        )
    }))
}

fn check_body_namespace(call: &Call, object: &Value) -> Result<(), Failure> {
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) if call.resource.namespaced && namespace != call.namespace => {
            Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on \
                 the request",
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses a write that was computed from another version.
fn check_version(call: &Call, new: &mut Value, old: &Value) -> Result<(), Failure> {
    let resource = &call.resource;
    let given = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if given.is_empty() || given == "0" {
        if !resource.unconditional_update {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                &Value::from(0),
                "must be specified for an update",
            );
            return Err(Failure::invalid(&resource.group, &resource.plural, &call.name, &[error]));
        }
    } else if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
        return Err(Failure::stale(resource, &call.name));
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    Ok(())
}

/// Fills in what an update cannot change.
fn carry_over(call: &Call, new: &mut Value, old: &Value) {
    if call.is_status() {
        let status = new.get("status").cloned();
        let managed = new["metadata"]["managedFields"].clone();
        *new = old.clone();
        set_or_remove(new, "status", status);
        set_or_remove(&mut new["metadata"], "managedFields", Some(managed));
        return;
    }
    if call.resource.status_subresource {
        set_or_remove(new, "status", old.get("status").cloned());
    }
    if new["metadata"]["uid"].is_null() {
        new["metadata"]["uid"] = old["metadata"]["uid"].clone();
    }
    if new["metadata"]["namespace"].is_null() && call.resource.namespaced {
        new["metadata"]["namespace"] = call.namespace.clone().into();
    }
    for field in
        ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        let value = old["metadata"].get(field).cloned();
        set_or_remove(&mut new["metadata"], field, value);
    }
}

fn set_or_remove(value: &mut Value, field: &str, to: Option<Value>) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    match to {
        Some(to) if !to.is_null() => {
            fields.insert(field.to_owned(), to);
        }
        _ => {
            fields.remove(field);
        }
    }
}

/// The parts whose change makes a new generation.
fn content(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(name, _)| *name != "metadata" && *name != "status").collect()
}

/// Whether two objects say the same, written by any client.
fn is_same_but_for_owners(left: &Value, right: &Value) -> bool {
    let are_same = |left: &Value, right: &Value, but_for: &str| {
        let left = left.as_object().into_iter().flatten().filter(|(name, _)| *name != but_for);
        let right = right.as_object().into_iter().flatten().filter(|(name, _)| *name != but_for);
        left.eq(right)
    };
    are_same(left, right, "metadata")
        && are_same(&left["metadata"], &right["metadata"], "managedFields")
}

pub(crate) fn has_managed_fields(object: &Value) -> bool {
    object["metadata"]["managedFields"].as_array().is_some_and(|all| !all.is_empty())
}

fn precondition_failed(call: &Call, wanted: &str, found: &str) -> Failure {
    let path = if call.resource.group.is_empty() {
        format!("/registry/{}/{}/{}", call.resource.plural, call.namespace, call.name)
    } else {
        format!(
            "/registry/{}/{}/{}/{}",
            call.resource.group, call.resource.plural, call.namespace, call.name
        )
    };
    let text = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object \
         meta: {found}"
    );
    Failure::conflict(&call.resource, &call.name, &text)
}

/// Refuses a change of what never changes: uid, the type of a Secret, the content of an immutable object.
fn check_immutable(resource: &Resource, new: &Value, old: &Value) -> Result<(), Failure> {
    let mut errors = Vec::new();
    if new["metadata"]["uid"] != old["metadata"]["uid"] {
        let uid = &new["metadata"]["uid"];
        // The server checks this twice, once for every kind and once for this one.
        let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
        errors.extend([error.clone(), error]);
    }
    if resource.plural == "secrets" && new["type"] != old["type"] {
        errors.push(FieldError::invalid("type", &new["type"], "field is immutable"));
    }
    if !resource.custom && old["immutable"] == Value::Bool(true) {
        let text = "field is immutable when `immutable` is set";
        if new["immutable"] != Value::Bool(true) {
            errors.push(FieldError::forbidden("immutable", text));
        }
        for field in ["data", "binaryData"] {
            // The server fills in the data of a ConfigMap, and nothing else that is absent.
            let is_filled_in = resource.plural == "configmaps" && field == "data";
            let content = |object: &Value| {
                let is_filled_in = is_filled_in && object[field].is_null();
                if is_filled_in { json!({}) } else { object[field].clone() }
            };
            if content(new) != content(old) {
                errors.push(FieldError::forbidden(field, text));
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::invalid(&resource.group, &resource.kind, name, &errors))
}
