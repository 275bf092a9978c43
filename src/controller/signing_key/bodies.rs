//! The bodies of writes. One of them, [`key_pair_secret`], carries a private key.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};

use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::ownership::owner_references;
use crate::domain::signing_key::{Ledger, Series};
use crate::environment::private_key::Pkcs8;

/// The JWKS ConfigMap of a series, the same for every namespace.
#[derive(Debug)]
pub(super) struct JwksMap {
    pub(super) object: Value,
    labels: Value,
    owners: [OwnerReference; 1],
    data: Map<String, Value>,
}

impl JwksMap {
    pub(super) fn of(jwks: &str, series: &Series) -> Self {
        let labels = labels(series, "jwks", Map::new());
        // Envoy Gateway reads the one, workloads that mount the ConfigMap the other.
        let data = [api::JWKS_FIELD, api::JWKS_FILE].map(|field| (field.to_owned(), json!(jwks)));
        let data = Map::from_iter(data);
        let owners = owner_references::<SigningKey>(&series.uid, &series.name);
        let object = json!({
            "metadata": {"labels": labels, "ownerReferences": owners},
            "data": data,
        });
        Self { object, labels, owners, data }
    }
}

/// The patch that restores a ConfigMap of ours; labels of others survive. In the operator's namespace it
/// gets its owner back as well.
pub(super) fn jwks_patch(map: &JwksMap, surplus: &BTreeSet<String>, is_home: bool) -> Value {
    let mut data: Map<String, Value> =
        surplus.iter().map(|field| (field.clone(), Value::Null)).collect();
    data.extend(map.data.clone());
    let mut metadata = json!({"labels": map.labels});
    if let Some(fields) = metadata.as_object_mut().filter(|_| is_home) {
        fields.insert("ownerReferences".to_owned(), json!(map.owners));
    }
    json!({"metadata": metadata, "data": data, "binaryData": null})
}

pub(super) fn ledger_secret(ledger: &Ledger, series: &Series) -> Value {
    json!({
        "metadata": {
            "labels": labels(series, "signing-key-ledger", Map::new()),
            "ownerReferences": owner_references::<SigningKey>(&series.uid, &series.name),
        },
        "type": api::LEDGER_TYPE,
        "data": {api::LEDGER_FIELD: STANDARD.encode(ledger.to_json().to_string())},
    })
}

pub(super) fn key_pair_secret(key_pair: &Pkcs8, index: u32, series: &Series) -> Value {
    let its_own = [
        (api::KEY_INDEX.to_owned(), json!(index.to_string())),
        (api::ALGORITHM.to_owned(), json!(series.algorithm.name())),
    ];
    let its_own = Map::from_iter(its_own);
    let labels = labels(series, "signing-key-pair", its_own);
    let mut secret = json!({
        "metadata": {"labels": labels, "ownerReferences": owner_references::<SigningKey>(&series.uid, &series.name)},
        "type": api::KEY_PAIR_TYPE,
        "immutable": true,
    });
    // Moved, not copied: the caller zeroes the one there is.
    let private_key = Value::String(STANDARD.encode(key_pair.as_bytes()));
    let data = Map::from_iter([(api::KEY_PAIR_FIELD.to_owned(), private_key)]);
    if let Some(fields) = secret.as_object_mut() {
        fields.insert("data".to_owned(), Value::Object(data));
    }
    secret
}

/// The labels of everything that belongs to a series, and those of its own.
fn labels(series: &Series, component: &str, its_own: Map<String, Value>) -> Value {
    let common = [
        (api::MANAGED, "true"),
        (api::SIGNING_KEY, series.name.as_str()),
        ("app.kubernetes.io/managed-by", api::MANAGER),
        ("app.kubernetes.io/component", component),
    ];
    let common = common.map(|(name, value)| (name.to_owned(), json!(value)));
    Value::Object(common.into_iter().chain(its_own).collect())
}
