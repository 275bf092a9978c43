//! Who comes to own what by a request.

use serde_json::{Value, json};

use super::{
    managed_fields::{self, Comparison, Owner, Path, is_owned_by_clients},
    request::Call,
    schema::Node,
    storage::State,
};

impl State {
    /// Makes the requester own what differs between `old` and `new`.
    pub(crate) fn own(&self, call: &Call, old: &Value, new: &mut Value) {
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
    pub(crate) fn before_first_apply(&self, call: &Call, live: &Value) -> Vec<Owner> {
        let actor =
            Owner { manager: "before-first-apply".to_owned(), ..self.actor(call, "Update") };
        let schema = Node(Some(&call.resource.schema));
        let blank = blank(call, live);
        let comparison = Comparison::of(schema, &blank, live, tracked(call));
        managed_fields::after_update(Vec::new(), &comparison, actor)
    }

    pub(crate) fn actor(&self, call: &Call, operation: &str) -> Owner {
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

/// What an object is compared with that did not exist.
pub(crate) fn blank(call: &Call, object: &Value) -> Value {
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

/// Which fields a request can come to own: status through /status alone, the rest elsewhere.
pub(crate) fn tracked(call: &Call) -> impl Fn(&Path) -> bool + use<> {
    let has_status = call.resource.status_subresource && call.resource.custom;
    let is_status = call.is_status();
    move |path: &Path| {
        let leads_there = path.first().is_some_and(|name| name == "f:status");
        is_owned_by_clients(path) && (!has_status || leads_there == is_status)
    }
}
