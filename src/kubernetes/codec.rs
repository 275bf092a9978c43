//! What the operator keeps in Secrets, read back: for itself, and for the token service.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::api;
use crate::api::signing_key::SigningKeySpec;
use crate::api::technical_user::TechnicalUser;
use crate::domain::crypto::client_secret::ClientId;
use crate::domain::crypto::public_key::Algorithm;
use crate::domain::object::Version;
use crate::domain::signing_key::Ledger;
use crate::domain::signing_key::ledger;
use crate::domain::technical_user::verifier_record::{self, Owner, Record};
use crate::environment::private_key::PrivateKey;

/// The version of an object, by its metadata.
pub fn version_of(metadata: &ObjectMeta) -> Option<Version> {
    let uid = metadata.uid.clone()?;
    let resource_version = metadata.resource_version.clone()?;
    Some(Version { uid, resource_version })
}

/// The identity of an object, without the uid of its namespace, which its metadata does not have.
pub fn owner(metadata: &ObjectMeta) -> Option<Owner> {
    Some(Owner {
        uid: metadata.uid.clone()?,
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        namespace_uid: None,
    })
}

/// The client id of a user; nothing when it passed admission and is none all the same.
pub(crate) fn client_id(object: &TechnicalUser, uid: &str) -> Option<ClientId> {
    match &object.spec.client_id {
        Some(chosen) => chosen.parse().ok().filter(|id: &ClientId| !id.looks_derived()),
        None => Some(ClientId::derived_from(uid)),
    }
}

/// Reads a verifier record.
///
/// # Errors
///
/// [`verifier_record::Unreadable`] when it is none; the caller leaves it alone.
pub fn record(
    secret: &Secret,
    client_id: Option<&ClientId>,
) -> Result<(Version, Record), verifier_record::Unreadable> {
    if secret.type_.as_deref() != Some(api::RECORD_TYPE) {
        return Err(verifier_record::Unreadable::Type);
    }
    let version = version_of(&secret.metadata).ok_or(verifier_record::Unreadable::Malformed)?;
    let stored = secret.data.as_ref().and_then(|data| data.get(api::RECORD_FIELD));
    let stored = stored.ok_or(verifier_record::Unreadable::Missing)?;
    Ok((version, Record::from_json(&stored.0, client_id)?))
}

/// Reads a ledger.
///
/// # Errors
///
/// [`ledger::Unreadable`] when it is none; the caller leaves it alone.
pub fn ledger(secret: &Secret, uid: &str) -> Result<(Version, Ledger), ledger::Unreadable> {
    if secret.type_.as_deref() != Some(api::LEDGER_TYPE) {
        return Err(ledger::Unreadable::Type);
    }
    let version = version_of(&secret.metadata).ok_or(ledger::Unreadable::Malformed)?;
    let stored = secret.data.as_ref().and_then(|data| data.get(api::LEDGER_FIELD));
    let stored = stored.ok_or(ledger::Unreadable::Missing)?;
    Ok((version, Ledger::from_json(&stored.0, uid)?))
}

/// Names in the operator's namespace: a uid never comes twice.
#[derive(Clone, Copy, Debug)]
pub struct SecretNames<'a>(&'a str);

impl<'a> SecretNames<'a> {
    /// Those of the series of that uid.
    pub fn of(uid: &'a str) -> Self {
        Self(uid)
    }

    /// The Secret that holds the ledger.
    pub fn ledger(self) -> String {
        format!("sk-{}", self.0)
    }

    /// The Secret that holds that key pair.
    pub fn key_pair(self, index: u32) -> String {
        format!("sk-{}-{index}", self.0)
    }

    /// What the names of all key pairs begin with.
    pub fn key_pair_prefix(self) -> String {
        format!("sk-{}-", self.0)
    }

    /// The index of a key pair by the name of its Secret.
    pub fn index(self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.key_pair_prefix())?.parse().ok()
    }
}

/// The uid of the series whose ledger or key pair has that name.
pub(crate) fn uid_of(name: &str) -> Option<&str> {
    // A uid has hyphens as well; only a key pair has a number behind it that is no part of a uid.
    let rest = name.strip_prefix("sk-")?;
    let (uid, last) = rest.split_at_checked(UID)?;
    let is_index = || last.strip_prefix('-').is_some_and(|index| index.parse::<u32>().is_ok());
    (last.is_empty() || is_index()).then_some(uid)
}

/// The length of a uid.
const UID: usize = 36;

/// The owner of an object that controls it.
pub(crate) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let references = metadata.owner_references.as_deref().unwrap_or_default();
    references.iter().find(|reference| reference.controller == Some(true))
}

/// The name of the JWKS ConfigMaps of the series of that name.
pub(crate) fn config_map_name(name: &str, spec: &SigningKeySpec) -> String {
    spec.jwks.config_map_name.clone().unwrap_or_else(|| format!("{name}-jwks"))
}

/// The algorithm of a key pair, by its label. Earlier versions wrote none: then it is that of the series.
pub(crate) fn algorithm_of(metadata: &ObjectMeta) -> Option<Algorithm> {
    let label = metadata.labels.as_ref()?.get(api::ALGORITHM)?;
    Algorithm::ALL.into_iter().find(|it| it.name() == label)
}

/// Reads the private half of a key pair; nothing when the Secret holds none of its algorithm, which is
/// `algorithm` unless a label says otherwise.
pub(crate) fn private_key(secret: &Secret, algorithm: Algorithm) -> Option<PrivateKey> {
    if secret.type_.as_deref() != Some(api::KEY_PAIR_TYPE) {
        return None;
    }
    let stored = secret.data.as_ref()?.get(api::KEY_PAIR_FIELD)?;
    let algorithm = algorithm_of(&secret.metadata).unwrap_or(algorithm);
    PrivateKey::from_pkcs8(algorithm, &stored.0).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The CRD refuses it as well, unless it was weakened.
    #[test]
    fn a_chosen_client_id_of_the_derived_form_is_none() {
        let uid = "0f0e0d0c-0b0a-4908-8706-050403020100";
        let derived = ClientId::derived_from(uid);
        let chosen = |id: &str| {
            let object = json!({
                "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
                "metadata": {"name": "billing"}, "spec": {"clientID": id},
            });
            client_id(&serde_json::from_value(object).unwrap(), uid)
        };

        assert_eq!(chosen(&derived.to_string()), None, "not even for the one that it derives from");
        assert_eq!(chosen(&ClientId::derived_from("another").to_string()), None);
        assert_eq!(chosen("billing"), Some("billing".parse().unwrap()));
    }
}
