//! PATCH in the two kinds that the operator and its users send.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    handler::Answer,
    managed_fields::{self, FieldSet, Owner},
    object::{decode, merge_patch},
    request::Call,
    storage::State,
};

impl State {
    pub(crate) fn patch(&mut self, call: &Call) -> Result<Answer, Failure> {
        let patch = call.json()?;
        if call.content_type == "application/apply-patch+yaml" {
            return self.apply(call, &patch);
        }
        let existing = self.existing(call)?;
        let mut object = existing.as_ref().clone();
        merge_patch(&mut object, &patch);
        self.finish(call, &existing, decode(&call.resource, object), None)
    }

    /// Replaces what the manager applied before. Lists are replaced as a whole.
    fn apply(&mut self, call: &Call, wanted: &Value) -> Result<Answer, Failure> {
        let existing = self.existing(call);
        let live = match &existing {
            Ok(existing) => existing.as_ref().clone(),
            Err(absent) if call.is_status() => return Err(absent.clone()),
            Err(_) => json!({"metadata": {"name": call.name}}),
        };
        let is_tracked = managed_fields::tracked(call);
        let fields: FieldSet =
            managed_fields::field_set(wanted).into_iter().filter(&is_tracked).collect();
        let actor = Owner { fields: fields.clone(), ..self.actor(call, "Apply") };
        let mut others = managed_fields::decode(&live);
        if others.is_empty() && existing.is_ok() {
            let fields = managed_fields::changes(&json!({}), &live, &is_tracked).taken;
            let manager = "before-first-apply".to_owned();
            others.push(Owner { manager, fields, ..self.actor(call, "Update") });
        }
        let own = others.iter().position(|owner| owner.is(&actor)).map(|at| others.remove(at));

        let mut merged = live.clone();
        let last = own.iter().flat_map(|own| &own.fields);
        for path in last.filter(|path| !fields.contains(*path)) {
            if !others.iter().any(|other| other.fields.contains(path)) {
                managed_fields::remove(&mut merged, path);
            }
        }
        merge_patch(&mut merged, wanted);
        let changes = managed_fields::changes(&live, &merged, &is_tracked);
        for other in &mut others {
            let before = other.fields.len();
            other.fields.retain(|path| !changes.taken.contains(path));
            if other.fields.len() < before && call.parameter("force") != Some("true") {
                return Err(Failure::apply_conflict());
            }
            other.fields.retain(|path| !changes.removed.contains(path));
        }
        // An apply that changes no value leaves the time alone.
        let is_idle = changes.taken.is_empty() && changes.removed.is_empty();
        let time = if is_idle { own.and_then(|own| own.time) } else { actor.time.clone() };
        let owners = others.into_iter().chain([Owner { time, ..actor }]);
        let owners: Vec<Owner> = owners.filter(|owner| !owner.fields.is_empty()).collect();
        let mut object = decode(&call.resource, merged);
        if let Ok(existing) = existing {
            return self.finish(call, &existing, object, Some(owners));
        }
        managed_fields::encode(&mut object, owners);
        self.insert(call, object)
    }
}
