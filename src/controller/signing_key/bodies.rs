//! The bodies of writes. One of them, [`key_pair_secret`], carries a private key.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::api;
use crate::domain::signing_key::{Ledger, Series};
use crate::environment::private_key::Pkcs8;

/// The JWKS ConfigMap of a series, the same for every namespace.
#[derive(Debug)]
pub(super) struct JwksMap {
    pub(super) object: Value,
}

impl JwksMap {
    pub(super) fn of(jwks: &str, series: &Series) -> Self {
        let object = json!({
            "metadata": {
                "labels": labels(series, "jwks"),
                "ownerReferences": owner_references(series),
            },
            // Envoy Gateway reads the one, whoever mounts the ConfigMap the other.
            "data": {api::JWKS_FIELD: jwks, api::JWKS_FILE: jwks},
        });
        Self { object }
    }
}

/// What brings a ConfigMap of ours back to what it shall be; labels of others survive.
pub(super) fn jwks_patch(map: &JwksMap, surplus: &BTreeSet<String>) -> Value {
    let mut data: Map<String, Value> =
        surplus.iter().map(|field| (field.clone(), Value::Null)).collect();
    let wanted = map.object.get("data").and_then(Value::as_object);
    data.extend(wanted.cloned().unwrap_or_default());
    json!({
        "metadata": {"labels": map.object["metadata"]["labels"]},
        "data": data,
        "binaryData": null,
    })
}

pub(super) fn ledger_secret(ledger: &Ledger, series: &Series) -> Value {
    json!({
        "metadata": {
            "labels": labels(series, "signing-key-ledger"),
            "ownerReferences": owner_references(series),
        },
        "type": api::LEDGER_TYPE,
        "data": {api::LEDGER_FIELD: STANDARD.encode(ledger.to_json().to_string())},
    })
}

pub(super) fn key_pair_secret(key_pair: &Pkcs8, index: u32, series: &Series) -> Value {
    let mut labels = labels(series, "signing-key-pair");
    labels[api::KEY_INDEX] = json!(index.to_string());
    json!({
        "metadata": {"labels": labels, "ownerReferences": owner_references(series)},
        "type": api::KEY_PAIR_TYPE,
        "immutable": true,
        "data": {api::KEY_PAIR_FIELD: STANDARD.encode(key_pair.as_bytes())},
    })
}

/// The labels of everything that belongs to a series.
pub(super) fn labels(series: &Series, component: &str) -> Value {
    json!({
        api::MANAGED: "true",
        api::SIGNING_KEY: series.name,
        "app.kubernetes.io/managed-by": api::MANAGER,
        "app.kubernetes.io/component": component,
    })
}

fn owner_references(series: &Series) -> Value {
    json!([{
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": "SigningKey",
        "name": series.name,
        "uid": series.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}
