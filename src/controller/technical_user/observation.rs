//! From the objects of the API server to what a decision looks at.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::api;
use crate::api::technical_user::{DeliveryMode, OnDeleted, TechnicalUser};
use crate::controller::Settings;
use crate::controller::ownership::Ownership;
use crate::domain::delivery::{Content, Delivered, Written};
use crate::domain::object::Belongs;
use crate::domain::request::{ignored, requested};
use crate::domain::schedule::parse_duration;
use crate::domain::technical_user::{Delivery, User};
use crate::stored::{client_id, version_of};

pub use crate::stored::{owner, record};

/// Reads a `TechnicalUser`; nothing when it cannot be read although it passed admission.
pub fn user(object: &TechnicalUser, settings: &Settings) -> Option<User> {
    let Settings { endpoints, policy, .. } = settings;
    let spec = &object.spec;
    let owner = owner(&object.metadata)?;
    let client_id = client_id(object, &owner.uid)?;
    let secret_name = match &spec.secret_template.name {
        Some(chosen) => chosen.clone(),
        None => format!("{}-credentials", owner.name),
    };
    let delivery = match (spec.delivery.mode, spec.delivery.on_deleted) {
        (DeliveryMode::OneTime, _) => Delivery::OneTime(parse_duration(&spec.delivery.ttl)?),
        (DeliveryMode::Retained, OnDeleted::Rotate) => Delivery::Retained,
        (DeliveryMode::Retained, OnDeleted::Ignore) => Delivery::Lenient,
    };
    let period = match &spec.rotation.period {
        Some(period) => Some(parse_duration(period)?),
        None => None,
    };
    let annotations = object.metadata.annotations.as_ref();
    Some(User {
        created_at: object.metadata.creation_timestamp.as_ref()?.0,
        generation: object.metadata.generation.unwrap_or_default(),
        content: Content::of(&owner.name, &client_id, &spec.secret_template, endpoints),
        client_id,
        secret_name,
        is_suspended: spec.suspend,
        excess: policy.excess(&spec.roles, &spec.audiences),
        delivery,
        period,
        overlap: parse_duration(&spec.rotation.overlap)?,
        rotate_request: requested(annotations, api::ROTATE_REQUESTED_AT),
        revoke_request: requested(annotations, api::REVOKE_REQUESTED_AT),
        ignored_requests: ignored(annotations, &api::REQUESTS),
        owner,
    })
}

/// Reads the metadata of a delivered Secret.
pub(super) fn delivered(metadata: &ObjectMeta, belongs: Belongs) -> Option<Delivered> {
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let secret_fields = annotations.get(api::CLIENT_SECRET_FIELDS).map(String::as_str);
    let secret_fields = secret_fields.unwrap_or_default().split(',').filter(|it| !it.is_empty());
    let fields = metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = written(fields);
    Some(Delivered {
        version: version_of(metadata)?,
        belongs,
        is_terminating: metadata.deletion_timestamp.is_some(),
        is_immutable: fields.iter().any(|entry| names(entry, &["f:immutable"])),
        credential_id: annotations.get(api::CREDENTIAL_ID).and_then(|id| id.parse().ok()),
        secret_fields: secret_fields.map(str::to_owned).collect(),
        attempt: annotations
            .get(api::DELIVERY_ATTEMPT)
            .and_then(|attempt| attempt.parse().ok())
            .unwrap_or_default(),
        content_digest: annotations.get(api::CONTENT_DIGEST).cloned(),
        labels: metadata.labels.clone().unwrap_or_default(),
        foreign_fields: foreign_fields(fields, &ours.fields),
        ours,
        annotations: annotations
            .into_iter()
            .filter(|(name, _)| !name.starts_with(api::RESERVED_PREFIX))
            .collect(),
    })
}

/// Who owns a delivered Secret.
pub(super) fn ownership(metadata: &ObjectMeta) -> Option<Ownership> {
    Ownership::of("TechnicalUser", metadata)
}

fn written(entries: &[ManagedFieldsEntry]) -> Written {
    let ours: Vec<_> =
        entries.iter().filter(|entry| entry.manager.as_deref() == Some(api::MANAGER)).collect();
    let all = |path: &[&str]| ours.iter().flat_map(|entry| children(entry, path)).collect();
    Written {
        fields: all(&["f:data"]),
        labels: all(&["f:metadata", "f:labels"]),
        annotations: all(&["f:metadata", "f:annotations"]),
    }
}

/// Fields that somebody else wrote last, with a word for who and when.
fn foreign_fields(
    entries: &[ManagedFieldsEntry],
    ours: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    let mut foreign = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.manager.as_deref() != Some(api::MANAGER)) {
        let manager = entry.manager.as_deref().unwrap_or_default();
        let written_at = entry.time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        for field in children(entry, &["f:data"]).filter(|field| !ours.contains(field)) {
            foreign.insert(field, format!("{manager} {written_at}"));
        }
    }
    foreign
}

fn names(entry: &ManagedFieldsEntry, path: &[&str]) -> bool {
    at(entry, path).is_some()
}

fn children<'a>(entry: &'a ManagedFieldsEntry, path: &[&str]) -> impl Iterator<Item = String> + 'a {
    let object = at(entry, path).and_then(Value::as_object);
    let fields = object.into_iter().flat_map(|object| object.keys());
    fields.filter_map(|field| field.strip_prefix("f:")).map(str::to_owned)
}

fn at<'a>(entry: &'a ManagedFieldsEntry, path: &[&str]) -> Option<&'a Value> {
    let fields = &entry.fields_v1.as_ref()?.0;
    path.iter().try_fold(fields, |value, field| value.get(field))
}
