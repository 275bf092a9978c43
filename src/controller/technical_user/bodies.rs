//! The bodies of writes. Two of them, [`delivery_patch`] and [`whole`], carry a client secret.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::api;
use crate::api::technical_user::TechnicalUser;
use crate::controller::ownership::owner_references;
use crate::domain::crypto::client_secret::{ClientSecret, CredentialId};
use crate::domain::technical_user::User;
use crate::domain::technical_user::delivered_secret::Refresh;
use crate::domain::technical_user::verifier_record::Record;
use crate::kubernetes::client::Redacted;

pub(super) fn record_secret(record: &Record) -> Value {
    json!({
        "metadata": {
            "labels": {
                api::MANAGED: "true",
                "app.kubernetes.io/managed-by": api::MANAGER,
                "app.kubernetes.io/component": "verifier",
            },
        },
        "type": api::RECORD_TYPE,
        "data": {api::RECORD_FIELD: STANDARD.encode(record.to_json().to_string())},
    })
}

pub(super) fn placeholder(user: &User) -> Value {
    json!({
        "metadata": {
            "labels": user.content.labels,
            "annotations": user.content.annotations,
            "ownerReferences": owner_references::<TechnicalUser>(&user.owner.uid, &user.owner.name),
        },
        "type": api::DELIVERED_TYPE,
    })
}

/// The Secret with its client secret, to be created.
pub(super) fn whole(id: &CredentialId, secret: &ClientSecret, user: &User) -> Redacted {
    let mut whole = Redacted(placeholder(user));
    let mut delivery = Redacted(delivery_patch(id, secret, user));
    if let (Some(fields), Some(data)) = (whole.0.as_object_mut(), delivery.0.get_mut("data")) {
        fields.insert("data".to_owned(), data.take());
    }
    if let Some(metadata) = whole.0.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = user.content.delivery_annotations(id);
        metadata.insert("annotations".to_owned(), json!(annotations));
    }
    whole
}

pub(super) fn delivery_patch(id: &CredentialId, secret: &ClientSecret, user: &User) -> Value {
    let content = &user.content;
    let mut data = Map::new();
    for (field, value) in &content.fields {
        data.insert(field.clone(), Value::String(STANDARD.encode(value)));
    }
    for field in &content.secret_fields {
        data.insert(field.clone(), Value::String(STANDARD.encode(secret.reveal())));
    }
    let annotations = content.delivery_annotations(id);
    json!({"metadata": {"labels": content.labels, "annotations": annotations}, "data": data})
}

pub(super) fn refresh_patch(refresh: &Refresh) -> Value {
    let encoded = |value: &Option<String>| value.as_ref().map(|value| STANDARD.encode(value));
    let data: BTreeMap<_, _> =
        refresh.fields.iter().map(|(field, value)| (field, encoded(value))).collect();
    json!({
        "metadata": {"labels": refresh.labels, "annotations": refresh.annotations},
        "data": data,
    })
}
