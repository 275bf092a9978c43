//! The writing verbs, each with the checks of the real server in the order of the real server.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    apply::{Application, json_patch, merge_patch},
    deleted,
    failure::{Failure, FieldError},
    handler::{Answer, item},
    managed_fields::{self, Comparison, Owner, Path, is_owned_by_clients},
    object::{Defaults, decode, drop_empty_data, fill},
    request::{Call, Verb},
    schema::Node,
    storage::{Key, State, Stored},
    validation::{self, Part},
    watch::Selection,
};

impl State {
    pub(crate) fn create(&mut self, call: &Call) -> Result<Answer, Failure> {
        let object = decode(&call.resource, call.json()?, Defaults::Fill)?;
        self.check_body_namespace(call, &object)?;
        let mut object = object;
        drop_empty_data(&call.resource, &mut object);
        let live = self.blank(call, &object);
        self.own(call, &live, &mut object);
        self.insert(call, object)
    }

    /// Completes and stores an object that did not exist.
    fn insert(&mut self, call: &Call, mut object: Value) -> Result<Answer, Failure> {
        let resource = &call.resource;
        drop_empty_data(resource, &mut object);
        let name = self.settle_name(&mut object);
        self.check_namespace(resource, &call.namespace, &name)?;
        let given_version = object["metadata"]["resourceVersion"].clone();
        let uid = self.draw_uid();
        let now = self.now();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for field in [
                "resourceVersion",
                "generation",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            ] {
                metadata.remove(field);
            }
            metadata.insert("uid".to_owned(), uid.into());
            metadata.insert("creationTimestamp".to_owned(), now.into());
            if resource.namespaced {
                metadata.insert("namespace".to_owned(), call.namespace.clone().into());
            }
            if resource.custom {
                metadata.insert("generation".to_owned(), 1.into());
            }
        }
        if resource.plural == "namespaces" {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.clone().into();
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({"phase": "Active"});
        }
        let drops_status = resource.custom && resource.status_subresource;
        if let (true, Some(fields)) = (drops_status, object.as_object_mut()) {
            fields.remove("status");
        }
        validation::check(resource, &object)?;
        self.check_quota(resource, &call.namespace, &name)?;
        let key = Self::key(resource, &call.namespace, &name);
        let checks_version = call.verb == Verb::Create && !call.is_dry_run();
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
        if call.is_dry_run() {
            set_or_remove(
                &mut object["metadata"],
                "resourceVersion",
                Some(given_version),
            );
            return Ok(Answer::Object(201, Arc::new(object)));
        }
        let shows_default_status = drops_status && !object["status"].is_null();
        let stored = self.store(key.clone(), object, &call.agent);
        if let Some(entry) = self.objects.get_mut(&key) {
            entry.is_stored_differently = shows_default_status;
        }
        Ok(Answer::Object(201, stored))
    }

    fn settle_name(&mut self, object: &mut Value) -> String {
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let (name, prefix) = (text("name"), text("generateName"));
        if !name.is_empty() || prefix.is_empty() {
            return name;
        }
        let drawn = format!("{prefix}{}", self.draw_suffix());
        object["metadata"]["name"] = drawn.clone().into();
        drawn
    }

    pub(crate) fn replace(&mut self, call: &Call) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let mut object = decode(resource, call.json()?, Defaults::Fill)?;
        let body_name = object["metadata"]["name"].as_str().unwrap_or_default();
        if body_name != call.name {
            return Err(Failure::bad_request(if body_name.is_empty() {
                format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be \
                     provided",
                    call.name
                )
            } else {
                format!(
                    "the name of the object ({body_name}) does not match the name on the URL ({})",
                    call.name
                )
            }));
        }
        self.check_body_namespace(call, &object)?;
        let key = Self::key(resource, &call.namespace, &call.name);
        let existing = self.objects.get(&key).cloned();
        if existing.is_none() && !resource.create_on_update {
            return Err(Failure::not_found(resource, &call.name));
        }
        if let Some(wanted) = object["metadata"]["uid"].as_str() {
            let found = existing
                .as_ref()
                .map_or(&Value::Null, |it| &it.object["metadata"]["uid"]);
            let found = found.as_str().unwrap_or_default();
            if wanted != found {
                return Err(precondition_failed(call, wanted, found));
            }
        }
        let Some(existing) = existing else {
            let live = self.blank(call, &object);
            self.own(call, &live, &mut object);
            return self.insert(call, object);
        };
        let owned = has_managed_fields(&object) && !call.is_status();
        if !owned {
            let managed = existing.object["metadata"].get("managedFields").cloned();
            set_or_remove(&mut object["metadata"], "managedFields", managed);
        }
        self.finish(call, &key, &existing, object, None)
    }

    pub(crate) fn patch(&mut self, call: &Call) -> Result<Answer, Failure> {
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        let existing = self.objects.get(&key).cloned();
        if call.content_type == "application/apply-patch+yaml" {
            return self.apply(call, &key, existing.as_ref());
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
        self.finish(call, &key, &existing, object, None)
    }

    fn apply(
        &mut self,
        call: &Call,
        key: &Key,
        existing: Option<&Stored>,
    ) -> Result<Answer, Failure> {
        if call.parameter("fieldManager").is_none() {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(Failure::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                &[error],
            ));
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
        let (creates, live) = match existing {
            Some(existing) => (false, existing.object.as_ref().clone()),
            None if call.is_status() => return Err(Failure::not_found(resource, &call.name)),
            None => (true, self.blank(call, &wanted)),
        };
        if let (true, Some(uid)) = (creates, wanted["metadata"]["uid"].as_str()) {
            return Err(Failure::conflict(
                resource,
                &call.name,
                &format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing \
                     object was found"
                ),
            ));
        }
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
        // Empty metadata of a custom kind is stored, but not shown.
        let hides_something = resource.custom
            && !call.is_status()
            && ["labels", "annotations", "finalizers", "ownerReferences"]
                .iter()
                .any(|field| {
                    let metadata = &merged["metadata"];
                    !metadata[*field].is_null() && object["metadata"][*field].is_null()
                });
        managed_fields::encode(&mut object, owners.clone());
        let answer = match existing {
            Some(existing) => self.finish(call, key, existing, object, Some(owners)),
            None => self.insert(call, object),
        }?;
        if let (true, false, Some(stored)) = (
            hides_something,
            call.is_dry_run(),
            self.objects.get_mut(key),
        ) {
            stored.is_stored_differently = true;
        }
        Ok(answer)
    }

    /// Checks, completes and stores the successor of an object.
    fn finish(
        &mut self,
        call: &Call,
        key: &Key,
        existing: &Stored,
        mut new: Value,
        applied: Option<Vec<Owner>>,
    ) -> Result<Answer, Failure> {
        let resource = &call.resource;
        let old = existing.object.as_ref();
        check_version(call, &mut new, old)?;
        // Ownership cannot be worked out for what does not fit the schema, and is given up; only an
        // update of the status gets away with such an object.
        let schema = Node(Some(&resource.schema));
        let gives_up = call.is_status() && !schema.not_numeric(&new, "").is_empty();
        carry_over(call, &mut new, old);
        let part = if call.is_status() {
            Part::Status
        } else {
            Part::Main
        };
        validation::check_update(resource, &new, old, part)?;
        drop_empty_data(resource, &mut new);
        match applied {
            Some(owners) => managed_fields::encode(&mut new, owners),
            None if gives_up => managed_fields::encode(&mut new, Vec::new()),
            None => self.own(call, old, &mut new),
        }
        if resource.custom && !call.is_status() && content(&new) != content(old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
            new["metadata"]["generation"] = (generation + 1).into();
        }
        let is_released = !new["metadata"]["deletionTimestamp"].is_null()
            && new["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty);
        if is_released {
            if !call.is_dry_run() {
                self.remove(key, &call.agent);
            }
            return Ok(Answer::Object(200, Arc::new(new)));
        }
        if new == *old && !existing.is_stored_differently {
            return Ok(Answer::Object(200, Arc::clone(&existing.object)));
        }
        if call.is_dry_run() {
            return Ok(Answer::Object(200, Arc::new(new)));
        }
        Ok(Answer::Object(
            200,
            self.store(key.clone(), new, &call.agent),
        ))
    }

    pub(crate) fn delete(&mut self, call: &Call) -> Result<Answer, Failure> {
        let options: Value = if call.body.is_empty() {
            json!({})
        } else {
            call.json()?
        };
        let key = Self::key(&call.resource, &call.namespace, &call.name);
        let existing = self
            .objects
            .get(&key)
            .map(|stored| Arc::clone(&stored.object));
        let existing = existing.ok_or_else(|| Failure::not_found(&call.resource, &call.name))?;
        check_preconditions(call, &options["preconditions"], &existing)?;
        if call.resource.plural == "namespaces" {
            self.terminate_namespace(&call.name, &call.agent);
            let object = self
                .objects
                .get(&key)
                .map(|stored| Arc::clone(&stored.object));
            return Ok(Answer::Object(200, object.unwrap_or(existing)));
        }
        let dry_run = is_dry_deletion(call, &options);
        match self.delete_stored(&key, &call.agent, dry_run) {
            Some((object, true)) => Ok(Answer::Plain(deleted(&call.resource, &object))),
            Some((object, false)) => Ok(Answer::Object(200, object)),
            None => Err(Failure::not_found(&call.resource, &call.name)),
        }
    }

    pub(crate) fn delete_collection(&mut self, call: &Call) -> Result<Answer, Failure> {
        let options: Value = if call.body.is_empty() {
            json!({})
        } else {
            call.json()?
        };
        let dry_run = is_dry_deletion(call, &options);
        let selection = Selection::of(call)?;
        let selected: Vec<Arc<Value>> = selection
            .of_objects(&self.objects)
            .into_iter()
            .map(Arc::clone)
            .collect();
        for object in &selected {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let key = Self::key(&call.resource, text("namespace"), text("name"));
            self.delete_stored(&key, &call.agent, dry_run);
        }
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if call.resource.custom {
            metadata["continue"] = "".into();
        }
        Ok(Answer::Plain(json!({
            "kind": format!("{}List", call.resource.kind),
            "apiVersion": call.resource.api_version(),
            "metadata": metadata,
            "items": selected.iter().map(|object| item(call, object)).collect::<Vec<_>>()
        })))
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

    fn check_body_namespace(&self, call: &Call, object: &Value) -> Result<(), Failure> {
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

    /// What an object is compared with that did not exist.
    fn blank(&self, call: &Call, object: &Value) -> Value {
        let mut blank = json!({
            "apiVersion": call.resource.api_version(), "kind": call.resource.kind,
            "metadata": {"name": object["metadata"]["name"]}
        });
        if call.resource.namespaced {
            blank["metadata"]["namespace"] = call.namespace.clone().into();
        }
        for field in call.resource.always_present {
            blank[*field] = json!({});
        }
        blank
    }

    /// Makes the requester own what differs between `old` and `new`.
    fn own(&self, call: &Call, old: &Value, new: &mut Value) {
        let resets = new["metadata"]["managedFields"] == json!([{}]) && !call.is_status();
        let owners = match managed_fields::decode(new) {
            _ if resets => Vec::new(),
            owners if owners.is_empty() => managed_fields::decode(old),
            owners => owners,
        };
        let is_untracked = owners.is_empty() && !old["metadata"]["uid"].is_null();
        if is_untracked {
            managed_fields::encode(new, owners);
            return;
        }
        let schema = Node(Some(&call.resource.schema));
        let comparison = Comparison::of(schema, old, new, tracked(call));
        let owners = managed_fields::after_update(owners, &comparison, self.actor(call, "Update"));
        managed_fields::encode(new, owners);
    }

    /// What was there before anybody's fields were tracked belongs to a manager of its own.
    fn before_first_apply(&self, call: &Call, live: &Value) -> Vec<Owner> {
        let actor = Owner {
            manager: "before-first-apply".to_owned(),
            ..self.actor(call, "Update")
        };
        let schema = Node(Some(&call.resource.schema));
        let blank = self.blank(call, live);
        let comparison = Comparison::of(schema, &blank, live, tracked(call));
        managed_fields::after_update(Vec::new(), &comparison, actor)
    }

    fn actor(&self, call: &Call, operation: &str) -> Owner {
        Owner {
            manager: call.manager(),
            operation: operation.to_owned(),
            api_version: call.resource.api_version(),
            subresource: call.subresource.clone(),
            time: Some(self.now()),
            fields: managed_fields::FieldSet::new(),
        }
    }
}

/// Which fields a request can come to own: status through /status alone, the rest elsewhere.
fn tracked(call: &Call) -> impl Fn(&Path) -> bool + use<> {
    let has_status = call.resource.status_subresource && call.resource.custom;
    let is_status = call.is_status();
    move |path: &Path| {
        let in_status = path.first().is_some_and(|name| name == "f:status");
        is_owned_by_clients(path) && (!has_status || in_status == is_status)
    }
}

/// Refuses a write that was computed from another version.
fn check_version(call: &Call, new: &mut Value, old: &Value) -> Result<(), Failure> {
    let resource = &call.resource;
    let given = new["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if given.is_empty() || given == "0" {
        if !resource.unconditional_update {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                &Value::from(0),
                "must be specified for an update",
            );
            return Err(Failure::invalid(
                &resource.group,
                &resource.plural,
                &call.name,
                &[error],
            ));
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
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
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
    fields
        .filter(|(name, _)| *name != "metadata" && *name != "status")
        .collect()
}

fn has_managed_fields(object: &Value) -> bool {
    object["metadata"]["managedFields"]
        .as_array()
        .is_some_and(|all| !all.is_empty())
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

fn precondition_failed(call: &Call, wanted: &str, found: &str) -> Failure {
    let root = if call.is_dry_run() { "" } else { "/registry" };
    let path = if call.resource.group.is_empty() {
        format!(
            "{root}/{}/{}/{}",
            call.resource.plural, call.namespace, call.name
        )
    } else {
        format!(
            "{root}/{}/{}/{}/{}",
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

/// A deletion with a body is governed by the body alone.
fn is_dry_deletion(call: &Call, options: &Value) -> bool {
    if call.body.is_empty() {
        call.is_dry_run()
    } else {
        options["dryRun"] == json!(["All"])
    }
}

fn check_preconditions(call: &Call, wanted: &Value, existing: &Value) -> Result<(), Failure> {
    let found = |field: &str| existing["metadata"][field].as_str().unwrap_or_default();
    let checks = [
        (
            "uid",
            "UID",
            "The object might have been deleted and then recreated",
        ),
        (
            "resourceVersion",
            "ResourceVersion",
            "The object might have been modified",
        ),
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
