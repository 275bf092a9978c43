//! From the objects of the API server to the input of a decision.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use crate::api;
use crate::api::technical_user::{DeliveryMode, OnDeleted, TechnicalUser};
use crate::controller::Settings;
use crate::controller::ownership::Ownership;
use crate::domain::object::Belongs;
use crate::domain::request::{ignored, requested};
use crate::domain::schedule::parse_duration;
use crate::domain::technical_user::delivered_secret::{
    DesiredSecret, ManagedFields, Mutability, ObservedSecret,
};
use crate::domain::technical_user::status::{ReferredKey, SigningKeyState};
use crate::domain::technical_user::{Delivery, InvalidField, User};
use crate::kubernetes::codec::{client_id, version_of};

pub use crate::kubernetes::codec::{owner, record};

/// Reads a `TechnicalUser`; nothing when it cannot be read although it passed admission.
pub fn user(object: &TechnicalUser, settings: &Settings) -> Option<User> {
    let Settings { endpoints, policy, .. } = settings;
    let spec = &object.spec;
    let owner = owner(&object.metadata)?;
    let client_id = client_id(object, &owner.uid)?;
    let secret_name = match &spec.secret_template.name {
        Some(chosen) => chosen.clone(),
        None => format!("{}{DEFAULT_SUFFIX}", owner.name),
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
        content: DesiredSecret::of(&owner.name, &client_id, &spec.secret_template, endpoints),
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

/// The name of the `TechnicalUser` whose delivered Secret has that name unless another one was chosen.
pub(super) fn default_user(secret_name: &str) -> Option<&str> {
    secret_name.strip_suffix(DEFAULT_SUFFIX)
}

const DEFAULT_SUFFIX: &str = "-credentials";

/// The field for which [`user`] finds nothing, of those that a weakened CRD may let through.
pub(super) fn invalid_field(object: &TechnicalUser) -> InvalidField {
    let spec = &object.spec;
    let is_one_time = spec.delivery.mode == DeliveryMode::OneTime;
    let durations = [
        ("spec.delivery.ttl", Some(&spec.delivery.ttl).filter(|_| is_one_time)),
        ("spec.rotation.period", spec.rotation.period.as_ref()),
        ("spec.rotation.overlap", Some(&spec.rotation.overlap)),
    ];
    let mut durations = durations.into_iter().filter_map(|(path, it)| Some((path, it?)));
    let wrong = durations.find(|(_, it)| parse_duration(it).is_none());
    let client_id = || ("spec.clientID", spec.client_id.clone().unwrap_or_default());
    let (path, value) = wrong.map_or_else(client_id, |(path, value)| (path, value.clone()));
    InvalidField { path, value }
}

/// The `SigningKey` of a `TechnicalUser`, by its name.
pub(super) fn referred_key(object: &TechnicalUser, ability: SigningKeyState) -> ReferredKey {
    ReferredKey { name: object.spec.signing_key_ref.name.clone(), ability }
}

/// Reads the metadata of a delivered Secret.
pub(super) fn delivered(metadata: &ObjectMeta, belongs: Belongs) -> Option<ObservedSecret> {
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let secret_fields = annotations.get(api::CLIENT_SECRET_FIELDS).map(String::as_str);
    let secret_fields = secret_fields.unwrap_or_default().split(',').filter(|it| !it.is_empty());
    let fields = metadata.managed_fields.as_deref().unwrap_or_default();
    let ours = written(fields);
    Some(ObservedSecret {
        version: version_of(metadata)?,
        belongs,
        is_terminating: metadata.deletion_timestamp.is_some(),
        mutability: mutability(fields),
        credential_id: annotations.get(api::CREDENTIAL_ID).and_then(|id| id.parse().ok()),
        secret_fields: secret_fields.map(str::to_owned).collect(),
        attempt: annotations
            .get(api::DELIVERY_ATTEMPT)
            .and_then(|attempt| attempt.parse().ok())
            .unwrap_or_default(),
        content_digest: annotations.get(api::CONTENT_DIGEST).cloned(),
        labels: metadata.labels.clone().unwrap_or_default(),
        foreign_fields: foreign_fields(fields, &ours.fields),
        rewritten_fields: rewritten_fields(fields),
        ours,
        has_applied_copy: annotations.contains_key(api::LAST_APPLIED),
        annotations: annotations
            .into_iter()
            .filter(|(name, _)| !name.starts_with(api::RESERVED_PREFIX))
            .filter(|(name, _)| name != api::LAST_APPLIED)
            .collect(),
    })
}

/// The names of the fields are all there is to go by. Without any, nothing can be excluded.
fn mutability(entries: &[ManagedFieldsEntry]) -> Mutability {
    let may_be_set = entries.is_empty() || entries.iter().any(|it| names(it, &["f:immutable"]));
    if may_be_set { Mutability::Unknown } else { Mutability::Mutable }
}

/// The owner of a delivered Secret.
pub(super) fn ownership(metadata: &ObjectMeta) -> Option<Ownership> {
    Ownership::of("TechnicalUser", metadata)
}

fn written(entries: &[ManagedFieldsEntry]) -> ManagedFields {
    let ours: Vec<_> =
        entries.iter().filter(|entry| entry.manager.as_deref() == Some(api::MANAGER)).collect();
    let all = |path: &[&str]| ours.iter().flat_map(|entry| children(entry, path)).collect();
    ManagedFields {
        fields: all(&["f:data"]),
        labels: all(&["f:metadata", "f:labels"]),
        annotations: all(&["f:metadata", "f:annotations"]),
    }
}

/// Fields that another manager wrote last, with that manager and the time.
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

/// Fields that have an owner, and none that may be the operator under another name: a manager of the
/// API server that takes over older accounts, or one that wrote our annotation along with the data.
fn rewritten_fields(entries: &[ManagedFieldsEntry]) -> BTreeSet<String> {
    let id = format!("f:{}", api::CREDENTIAL_ID);
    let is_harmless = |entry: &&ManagedFieldsEntry| {
        let manager = entry.manager.as_deref().unwrap_or_default();
        manager == api::MANAGER
            || HEIRS.contains(&manager)
            || names(entry, &["f:metadata", "f:annotations", &id])
    };
    let (harmless, others): (Vec<_>, Vec<_>) = entries.iter().partition(is_harmless);
    let fields = |entries: Vec<&ManagedFieldsEntry>| -> BTreeSet<String> {
        entries.into_iter().flat_map(|entry| children(entry, &["f:data"])).collect()
    };
    let known = fields(harmless);
    fields(others).into_iter().filter(|field| !known.contains(field)).collect()
}

/// The managers of the API server that take over what others own: when there are too many, and when
/// the first server-side apply finds no account.
const HEIRS: [&str; 2] = ["ancient-changes", "before-first-apply"];

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

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;

    const DATA: [&str; 2] = ["f:client_secret", "f:client-secret"];

    /// The fields that `manager` owns: the client secret, and our annotation with its id.
    fn entry(manager: &str, fields: &[&str], owns_annotation: bool) -> Value {
        let data: serde_json::Map<_, _> =
            fields.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
        let mut metadata = json!({});
        if owns_annotation {
            metadata = json!({"f:annotations": {"f:iam.cyoda.com/credential-id": {}}});
        }
        json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": data, "f:metadata": metadata},
        })
    }

    fn seen(entries: &[Value]) -> ObservedSecret {
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "uid": "uid", "resourceVersion": "7", "managedFields": entries,
            "annotations": {
                "iam.cyoda.com/credential-id": "aaaaaaaaaa",
                "iam.cyoda.com/client-secret-fields": "client-secret,client_secret",
                "kubectl.kubernetes.io/last-applied-configuration": "{\"data\": \"hunter2\"}",
            },
        }))
        .unwrap();
        delivered(&metadata, Belongs::Ours).unwrap()
    }

    #[test]
    fn only_a_proof_of_another_writer_is_an_alteration() {
        let ours = || entry(api::MANAGER, &DATA, true);
        let half = || entry(api::MANAGER, &DATA[..1], true);
        let table = [
            ("as delivered", vec![ours()], false),
            ("somebody wrote one field", vec![half(), entry("kubectl", &DATA[1..], false)], true),
            ("somebody removed one field", vec![half()], true),
            ("the ownership was reset", vec![], false),
            ("too many managers", vec![entry("ancient-changes", &DATA, true)], false),
            (
                "the first apply after a reset",
                vec![entry("before-first-apply", &DATA, true)],
                false,
            ),
            ("a copy was restored", vec![entry("velero-server", &DATA, true)], false),
            (
                "somebody wrote it after a reset",
                vec![
                    entry("before-first-apply", &DATA[..1], true),
                    entry("kubectl", &DATA[1..], false),
                ],
                true,
            ),
            (
                "somebody applied the same value after a reset",
                vec![entry("before-first-apply", &DATA, true), entry("kubectl", &DATA[1..], false)],
                false,
            ),
            (
                "an apply of the whole Secret with another value",
                vec![half(), entry("kubectl", &DATA[1..], true)],
                true,
            ),
        ];
        for (what, entries, is_altered) in table {
            assert_eq!(seen(&entries).is_altered(), is_altered, "{what}");
        }
    }

    #[test]
    fn a_secret_may_be_immutable_when_somebody_set_the_field_or_nobody_can_tell() {
        let mut set = entry("kubectl", &[], false);
        set["fieldsV1"]["f:immutable"] = json!({});

        assert_eq!(seen(&[entry(api::MANAGER, &DATA, true)]).mutability, Mutability::Mutable);
        assert_eq!(seen(&[set]).mutability, Mutability::Unknown);
        assert_eq!(seen(&[]).mutability, Mutability::Unknown);
    }

    #[test]
    fn the_copy_that_kubectl_apply_leaves_is_noticed_and_not_kept() {
        let seen = seen(&[]);

        assert!(seen.has_applied_copy);
        assert!(!format!("{seen:?}").contains("hunter2"));
    }
}
