//! From the objects of the API server to the input of a decision.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use zeroize::Zeroize;

use super::Memory;
use super::placement::{Placement, placement};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::{Context, Error, Settings};
use crate::domain::crypto::public_key::{Algorithm, KeyType, PublicKey};
use crate::domain::invalid_field::InvalidField;
use crate::domain::object::Version;
use crate::domain::request::{ignored, requested};
use crate::domain::schedule::parse_duration;
use crate::domain::signing_key::ledger::SharedSettings;
use crate::domain::signing_key::{
    ConfigMapState, FIRST, KeyPair, LedgerState, Observed, Origin, Scope, Series, retention,
};
use crate::kubernetes::client::ObjectRef as At;
use crate::kubernetes::codec::{SecretNames, config_map_name, ledger, private_key, version_of};

/// What is known of a series of which nothing was read yet.
pub(super) fn unread(series: Series) -> Observed {
    Observed {
        series: Some(series),
        targets: BTreeMap::new(),
        surplus: BTreeMap::new(),
        sight: Scope::OperatorNamespace,
        ledger: LedgerState::Unread,
        key_pairs: BTreeMap::new(),
    }
}

/// Reads every JWKS, then the ledger, since both may be replaced by resourceVersion, then the objects that
/// both depend on. Returns also why only the JWKS of the operator's namespace was read, if so.
///
/// # Errors
///
/// A read of the operator's namespace failed.
pub(super) async fn observe(
    object: &SigningKey,
    series: Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<(Observed, Option<Error>), Error> {
    let Placement { targets, surplus, sight, condition } =
        placement(object, &series, memory, context).await?;
    let ledger_name = SecretNames::of(&series.uid).ledger();
    let at = At { namespace: &series.operator_namespace, name: &ledger_name };
    let secret = context.cluster.own_secret(at).await?;
    let ledger = secret.map_or(LedgerState::Absent, |secret| match ledger(&secret, &series.uid) {
        Ok((version, ledger)) => LedgerState::Ledger(version, Box::new(ledger)),
        Err(reason) => LedgerState::Unreadable(reason),
    });
    let key_pairs = key_pairs(&ledger, &series, context).await?;
    let is_left = targets.values().any(|target| matches!(target, ConfigMapState::Orphaned(_)));
    // Unless the name still has that uid, the JWKS may be the one of a successor.
    let lives = !is_left || {
        let at = At::cluster_scoped(&series.name);
        let present = context.cluster.resource::<SigningKey>(at).await?;
        present.is_some_and(|it| it.metadata.uid.as_ref() == Some(&series.uid))
    };
    let series = lives.then_some(series);
    Ok((Observed { series, targets, surplus, sight, ledger, key_pairs }, condition))
}

/// The next key pair, if it exists and is not in the ledger yet.
pub(super) fn next(observed: &Observed) -> Option<(Version, PublicKey)> {
    let LedgerState::Ledger(_, ledger) = &observed.ledger else {
        return None;
    };
    let next = observed.key_pairs.get(&ledger.next_index())?;
    Some((next.version.clone(), next.public.clone()?))
}

/// The key pairs of the ledger, by their metadata, and the next one with its public half. Without a
/// ledger, all there are.
async fn key_pairs(
    ledger: &LedgerState,
    series: &Series,
    context: &Context,
) -> Result<BTreeMap<u32, KeyPair>, Error> {
    let cluster = &context.cluster;
    let names = SecretNames::of(&series.uid);
    let mut key_pairs = BTreeMap::new();
    let (known, unknown): (Vec<u32>, BTreeSet<u32>) = match ledger {
        LedgerState::Unreadable(_) | LedgerState::Unread => return Ok(key_pairs),
        LedgerState::Ledger(_, ledger) if !ledger.entries.is_empty() => {
            (ledger.entries.keys().copied().collect(), BTreeSet::from([ledger.next_index()]))
        }
        LedgerState::Ledger(..) | LedgerState::Absent => {
            let listed =
                cluster.secrets_of_type(&series.operator_namespace, api::KEY_PAIR_TYPE).await?;
            let indices = listed.iter().filter_map(|it| names.index(it.name.as_deref()?));
            (Vec::new(), indices.chain([FIRST]).collect())
        }
    };
    for index in known {
        let name = names.key_pair(index);
        let at = At { namespace: &series.operator_namespace, name: &name };
        let metadata = cluster.secret_metadata(at).await?;
        if let Some(version) = metadata.and_then(|metadata| existing(&metadata)) {
            key_pairs.insert(index, KeyPair { version, public: None });
        }
    }
    for index in unknown {
        let name = names.key_pair(index);
        let at = At { namespace: &series.operator_namespace, name: &name };
        let Some(mut secret) = cluster.own_secret(at).await? else { continue };
        let public = private_key(&secret, series.algorithm).map(|it| it.public().clone());
        secret.data.iter_mut().flat_map(BTreeMap::values_mut).for_each(|it| it.0.zeroize());
        let Some(version) = existing(&secret.metadata) else { continue };
        key_pairs.insert(index, KeyPair { version, public });
    }
    Ok(key_pairs)
}

// === reading objects ===

/// Reads a `SigningKey`; nothing when it cannot be read although it passed admission.
pub fn series(object: &SigningKey, settings: &Settings) -> Option<Series> {
    let spec = &object.spec;
    let name = object.metadata.name.clone()?;
    let grace = parse_duration(&spec.rotation.grace)?;
    let annotations = object.metadata.annotations.as_ref();
    Some(Series {
        uid: object.metadata.uid.clone()?,
        created_at: object.metadata.creation_timestamp.as_ref()?.0,
        generation: object.metadata.generation.unwrap_or_default(),
        algorithm: spec.algorithm,
        shape: KeyType::of(spec.algorithm, spec.rsa_key_size)?,
        period: parse_duration(&spec.rotation.period)?,
        pre_publish: parse_duration(&spec.rotation.pre_publish)?,
        retention: retention(grace, settings.limits.max_staleness, settings.limits.token_lifetime),
        operator_namespace: settings.namespace.clone(),
        config_map_name: config_map_name(&name, spec),
        is_suspended: spec.suspend,
        rotate_request: requested(annotations, api::ROTATE_REQUESTED_AT),
        revoke_request: requested(annotations, api::REVOKE_REQUESTED_AT),
        revoke_all_request: requested(annotations, api::REVOKE_ALL_REQUESTED_AT),
        ignored_requests: ignored(annotations, &api::SIGNING_KEY_REQUESTS),
        origin: origin(object),
        agreement: SharedSettings::of(
            settings.limits.max_staleness,
            settings.limits.token_lifetime,
            &settings.endpoints.issuer,
            &settings.policy,
        ),
        name,
    })
}

/// The field for which [`series`] finds nothing, of those that a weakened CRD may let through.
pub(super) fn invalid_field(object: &SigningKey) -> InvalidField {
    let spec = &object.spec;
    let durations = [
        ("spec.rotation.period", &spec.rotation.period),
        ("spec.rotation.prePublish", &spec.rotation.pre_publish),
        ("spec.rotation.grace", &spec.rotation.grace),
    ];
    let wrong = durations.into_iter().find(|(_, it)| parse_duration(it).is_none());
    if let Some((path, value)) = wrong {
        return InvalidField { path, value: value.clone() };
    }
    let size = spec.rsa_key_size.map(|size| size.to_string()).unwrap_or_default();
    let value = format!("{size} with spec.algorithm {}", spec.algorithm.name());
    InvalidField { path: "spec.rsaKeySize", value }
}

/// The version of a key pair, unless it is on its way out.
pub(super) fn existing(metadata: &ObjectMeta) -> Option<Version> {
    if metadata.deletion_timestamp.is_some() { None } else { version_of(metadata) }
}

/// Whose object it is: what the operator marked in its status, or has just made.
fn origin(object: &SigningKey) -> Origin {
    let fields = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let (ours, others): (Vec<_>, Vec<_>) = fields
        .iter()
        .filter(|entry| entry.subresource.is_none())
        .partition(|entry| entry.manager.as_deref() == Some(api::MANAGER));
    let status = object.status.as_ref();
    let is_marked = status.and_then(|status| status.bootstrapped) == Some(true);
    // A generation begins at 1.
    let is_untouched = status.is_none_or(|status| status.observed_generation < 1);
    let is_applied = ours.iter().any(|entry| entry.operation.as_deref() == Some("Apply"));
    let is_made_by_us = is_untouched
        && object.metadata.name.as_deref() == Some(DEFAULT)
        && is_applied
        && !others.iter().any(|entry| writes(entry, &["f:spec"]));
    if !is_marked && !is_made_by_us {
        return Origin::Declared;
    }
    let spec = &object.spec;
    let is_plain = spec.algorithm == Algorithm::default() && spec.rsa_key_size.is_none();
    let says = |field| others.iter().any(|entry| writes(entry, &["f:spec", field]));
    if is_plain && !says("f:algorithm") && !says("f:rsaKeySize") {
        Origin::Bootstrapped
    } else {
        Origin::Claimed
    }
}

fn writes(entry: &ManagedFieldsEntry, path: &[&str]) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    fields.is_some_and(|fields| path.iter().try_fold(fields, |it, name| it.get(name)).is_some())
}

/// The `SigningKey` of a `TechnicalUser` that names none.
pub(super) const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(spec: &Value, status: &Value, others: &[Value]) -> Origin {
        let ours = json!({
            "manager": api::MANAGER, "operation": "Apply", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {}}, "f:spec": {}},
        });
        let fields: Vec<&Value> = std::iter::once(&ours).chain(others).collect();
        let object = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey", "spec": spec,
            "metadata": {"name": "default", "managedFields": fields}, "status": status,
        });
        let mut object: SigningKey = serde_json::from_value(object).unwrap();
        object.spec.suspend = false;
        origin(&object)
    }

    fn written(manager: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": "Apply", "fieldsV1": fields})
    }

    #[test]
    fn the_field_that_cannot_be_read_is_found_with_its_value() {
        let found = |spec: Value| {
            let object = json!({
                "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey", "spec": spec,
                "metadata": {"name": "default"},
            });
            let InvalidField { path, value } =
                invalid_field(&serde_json::from_value(object).unwrap());
            (path, value)
        };
        let soon = || "soon".to_owned();

        for (field, path) in [
            ("period", "spec.rotation.period"),
            ("prePublish", "spec.rotation.prePublish"),
            ("grace", "spec.rotation.grace"),
        ] {
            assert_eq!(found(json!({"rotation": {field: "soon"}})), (path, soon()));
        }
        let size = found(json!({"algorithm": "ES256", "rsaKeySize": 2048, "rotation": {}}));
        assert_eq!(size, ("spec.rsaKeySize", "2048 with spec.algorithm ES256".to_owned()));
    }

    #[test]
    fn what_the_operator_made_is_its_own_until_somebody_says_which_algorithm_it_shall_have() {
        let (untouched, marked) =
            (json!({}), json!({"bootstrapped": true, "observedGeneration": 1}));
        let (plain, other) =
            (json!({"rotation": {}}), json!({"algorithm": "ES256", "rotation": {}}));
        let annotated = written("kubectl-annotate", &json!({"f:metadata": {"f:annotations": {}}}));
        let declared = written("git", &json!({"f:spec": {"f:algorithm": {}}}));
        let suspended = written("kubectl-patch", &json!({"f:spec": {"f:suspend": {}}}));

        assert_eq!(of(&plain, &untouched, &[]), Origin::Bootstrapped);
        assert_eq!(of(&plain, &untouched, &[annotated]), Origin::Bootstrapped);
        assert_eq!(of(&plain, &marked, &[suspended]), Origin::Bootstrapped);
        assert_eq!(of(&plain, &marked, std::slice::from_ref(&declared)), Origin::Claimed);
        assert_eq!(of(&other, &marked, &[]), Origin::Claimed);
        let size_alone = json!({"rsaKeySize": 3072, "rotation": {}});
        assert_eq!(of(&size_alone, &marked, &[]), Origin::Claimed);
        assert_eq!(of(&other, &untouched, &[declared]), Origin::Declared);
        let seen = json!({"observedGeneration": 1});
        assert_eq!(of(&plain, &seen, &[]), Origin::Declared);
    }
}
