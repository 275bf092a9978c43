//! The desired delivered Secret, and the state of the present one as its metadata shows it.
//!
//! The operator never receives the data of a delivered Secret. The metadata (`managedFields`) names the last
//! writer of each field, so a change by another program is detected without reading a value.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::verifier_record::{DeliveredCredential, Version};
use crate::api;
use crate::api::technical_user::{CredentialField, SecretTemplate};
use crate::domain::crypto::client_secret::{ClientId, CredentialId};
use crate::domain::crypto::digest::short;
use crate::domain::object::Belongs;

/// The URLs that every delivered Secret carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The issuer, `https://…`, without a trailing slash.
    pub issuer: String,
}

/// The desired content of the delivered Secret of one `TechnicalUser`, without the client secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSecret {
    /// Fields and their values, in the clear: nothing here is secret.
    pub fields: BTreeMap<String, String>,
    /// The fields that carry the client secret.
    pub secret_fields: BTreeSet<String>,
    /// Labels, ours and the user's.
    pub labels: BTreeMap<String, String>,
    /// The user's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Whether the data of a Secret can be changed, as far as is known.
///
/// Metadata names the field `immutable` when a manager set it, but not its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// No manager set `immutable`, or it is `false`.
    Mutable,
    /// `immutable` may be `true`. A write that clears the field shows it.
    Unknown,
    /// `immutable` is `true`: the API server refused to clear it.
    Immutable,
}

/// The delivered Secret as its metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSecret {
    /// Its uid and resourceVersion.
    pub version: Version,
    /// Whose it is.
    pub belongs: Belongs,
    /// Whether it is being deleted and only waits for a finalizer.
    pub is_terminating: bool,
    /// Whether a client secret can be delivered into it.
    pub mutability: Mutability,
    /// The credential that its annotation names.
    pub credential_id: Option<CredentialId>,
    /// The fields that the annotation says carry the client secret.
    pub secret_fields: BTreeSet<String>,
    /// The number of fences so far.
    pub attempt: u64,
    /// The digest of what we wrote last.
    pub content_digest: Option<String>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, without those that the operator keeps its books in, and without the copy
    /// that `kubectl apply` leaves.
    pub annotations: BTreeMap<String, String>,
    /// Whether it has the annotation of `kubectl apply`, which may hold the client secret.
    pub has_applied_copy: bool,
    /// The fields that the operator wrote last, by `managedFields`.
    pub ours: ManagedFields,
    /// The other manager that wrote a field of data last, and when.
    pub foreign_fields: BTreeMap<String, String>,
    /// Fields of data of which `managedFields` proves that another manager wrote them last. A manager
    /// that only took over an older account, or that created the Secret from a copy, is no proof.
    pub rewritten_fields: BTreeSet<String>,
}

/// Names of what a field manager wrote last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedFields {
    /// Fields of `data`.
    pub fields: BTreeSet<String>,
    /// Labels.
    pub labels: BTreeSet<String>,
    /// Annotations.
    pub annotations: BTreeSet<String>,
}

/// A change of everything but the client secret: `None` removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// Fields of `data`.
    pub fields: BTreeMap<String, Option<String>>,
    /// Labels.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations.
    pub annotations: BTreeMap<String, Option<String>>,
}

// === impl Endpoints ===

impl Endpoints {
    fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.issuer)
    }

    fn jwks_uri(&self) -> String {
        format!("{}/.well-known/jwks.json", self.issuer)
    }
}

// === impl Content ===

impl DesiredSecret {
    /// The content for one client, under both spellings of every field: with hyphens as Service
    /// Binding and Envoy Gateway read them, with underscores as OAuth spells them.
    pub fn of(
        name: &str,
        client_id: &ClientId,
        template: &SecretTemplate,
        endpoints: &Endpoints,
    ) -> Self {
        let mut fields: BTreeMap<String, String> = [
            ("type", "oauth2".to_owned()),
            ("provider", api::MANAGER.to_owned()),
            ("client_id", client_id.to_string()),
            ("client-id", client_id.to_string()),
            ("token_url", endpoints.token_url()),
            ("token-uri", endpoints.token_url()),
            ("issuer", endpoints.issuer.clone()),
            ("issuer-uri", endpoints.issuer.clone()),
            ("jwk-set-uri", endpoints.jwks_uri()),
            ("jwks_uri", endpoints.jwks_uri()),
            ("authorization-grant-type", "client_credentials".to_owned()),
            ("client-authentication-method", "client_secret_basic".to_owned()),
        ]
        .map(|(field, value)| (field.to_owned(), value))
        .into();
        let mut secret_fields: BTreeSet<String> = SECRET_FIELDS.map(str::to_owned).into();
        for (alias, source) in &template.keys {
            let value = match source {
                CredentialField::ClientId => client_id.to_string(),
                CredentialField::TokenUrl => endpoints.token_url(),
                CredentialField::Issuer => endpoints.issuer.clone(),
                CredentialField::JwksUri => endpoints.jwks_uri(),
                CredentialField::ClientSecret => {
                    secret_fields.insert(alias.clone());
                    continue;
                }
            };
            fields.insert(alias.clone(), value);
        }
        let mut labels = template.labels.clone();
        labels.extend(own_labels(name));
        Self { fields, secret_fields, labels, annotations: template.annotations.clone() }
    }

    /// The necessary changes in the Secret, or nothing if it is as desired.
    ///
    /// A field that another manager wrote last is written over once for each of its writes: the
    /// digest names them, so a value that already was right is written once.
    pub fn refresh(&self, delivered: &ObservedSecret) -> Option<Refresh> {
        let mut refresh = Refresh {
            labels: difference(&self.labels, &delivered.labels, &delivered.ours.labels),
            annotations: difference(
                &self.annotations,
                &delivered.annotations,
                &delivered.ours.annotations,
            ),
            ..Refresh::default()
        };
        if delivered.has_applied_copy {
            refresh.annotations.insert(api::LAST_APPLIED.to_owned(), None);
        }
        let carried: BTreeSet<_> =
            delivered.secret_fields.intersection(&self.secret_fields).cloned().collect();
        if delivered.credential_id.is_some() {
            self.refresh_fields(delivered, &carried, &mut refresh);
        }
        let is_same = refresh == Refresh::default();
        (!is_same).then_some(refresh)
    }

    /// Annotations that go with a client secret of that id.
    pub fn delivery_annotations(&self, id: &CredentialId) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.clone();
        annotations.insert(api::CREDENTIAL_ID.to_owned(), id.to_string());
        annotations.insert(api::CLIENT_SECRET_FIELDS.to_owned(), joined(&self.secret_fields));
        annotations.insert(api::CONTENT_DIGEST.to_owned(), self.digest(&BTreeMap::new()));
        annotations
    }

    /// The fields that are to carry the client secret, but do not before the next one.
    pub fn pending_aliases(&self, delivered: &ObservedSecret) -> Vec<String> {
        let missing = self.secret_fields.difference(&delivered.secret_fields);
        missing.filter(|_| delivered.credential_id.is_some()).cloned().collect()
    }

    fn refresh_fields(
        &self,
        delivered: &ObservedSecret,
        carried: &BTreeSet<String>,
        refresh: &mut Refresh,
    ) {
        let digest = self.digest(&delivered.foreign_fields);
        let is_known = |field: &String| {
            delivered.ours.fields.contains(field) || delivered.foreign_fields.contains_key(field)
        };
        // Without `managedFields` only the digest shows a change.
        let is_whole = !delivered.is_tracked() || self.fields.keys().all(is_known);
        let surplus: Vec<_> = delivered
            .ours
            .fields
            .iter()
            .filter(|field| !self.fields.contains_key(*field) && !carried.contains(*field))
            .collect();
        let is_same = delivered.content_digest.as_ref() == Some(&digest)
            && is_whole
            && surplus.is_empty()
            && *carried == delivered.secret_fields;
        if is_same {
            return;
        }
        refresh.fields.extend(surplus.into_iter().map(|field| (field.clone(), None)));
        let fields = self.fields.iter();
        refresh.fields.extend(fields.map(|(field, value)| (field.clone(), Some(value.clone()))));
        refresh.annotations.extend([
            (api::CONTENT_DIGEST.to_owned(), Some(digest)),
            (api::CLIENT_SECRET_FIELDS.to_owned(), Some(joined(carried))),
        ]);
    }

    fn digest(&self, foreign_fields: &BTreeMap<String, String>) -> String {
        let mut digest = Sha256::new();
        for (field, value) in &self.fields {
            let hand = foreign_fields.get(field).map_or("", String::as_str);
            for part in [field, value, hand] {
                digest.update(part.len().to_be_bytes());
                digest.update(part.as_bytes());
            }
        }
        short(&digest.finalize())
    }
}

// === impl Refresh ===

impl Refresh {
    /// Whether it changes data, which an immutable Secret does not allow.
    pub fn changes_data(&self) -> bool {
        !self.fields.is_empty()
    }

    /// The part that an immutable Secret allows, if there is any.
    #[must_use]
    pub fn of_metadata(mut self) -> Option<Self> {
        if self.changes_data() {
            self.fields.clear();
            self.annotations.remove(api::CONTENT_DIGEST);
            self.annotations.remove(api::CLIENT_SECRET_FIELDS);
        }
        (self != Self::default()).then_some(self)
    }
}

// === impl Delivered ===

impl ObservedSecret {
    /// Whether it is proved that another manager wrote a field that carries the client secret, or
    /// removed it.
    ///
    /// `managedFields` that were reset, merged or lost in a restore prove nothing.
    pub fn is_altered(&self) -> bool {
        let is_missed = |field: &str| {
            let is_proved = self.has_field_owner() || self.rewritten_fields.contains(field);
            is_proved && !self.ours.fields.contains(field)
        };
        let is_altered = SECRET_FIELDS.iter().any(|field| is_missed(field))
            || self.secret_fields.iter().any(|field| is_missed(field));
        self.credential_id.is_some() && is_altered
    }

    /// Whether the account of the delivery is still there. One write set the client secret and the
    /// annotation with its id, so the manager that still owns the annotation wrote both.
    fn has_field_owner(&self) -> bool {
        self.ours.annotations.contains(api::CREDENTIAL_ID)
    }

    /// Whether `managedFields` says anything of the data.
    fn is_tracked(&self) -> bool {
        self.has_field_owner() || !self.ours.fields.is_empty() || !self.foreign_fields.is_empty()
    }

    /// The credential that it carries unaltered.
    pub fn unaltered_id(&self) -> Option<&CredentialId> {
        self.credential_id.as_ref().filter(|_| !self.is_altered())
    }

    /// Whether it is ours and certainly has no data.
    pub fn is_empty(&self) -> bool {
        let is_known = !self.ours.labels.is_empty();
        let names_data = !self.ours.fields.is_empty() || !self.foreign_fields.is_empty();
        self.belongs == Belongs::Ours && self.credential_id.is_none() && is_known && !names_data
    }

    /// The part that a record needs.
    pub fn credential(&self) -> DeliveredCredential<'_> {
        DeliveredCredential { version: &self.version, unaltered_id: self.unaltered_id() }
    }
}

/// The labels of everything the operator makes for the `TechnicalUser` of that name.
pub fn own_labels(name: &str) -> BTreeMap<String, String> {
    [
        (api::MANAGED, "true"),
        (api::TECHNICAL_USER, name),
        ("app.kubernetes.io/managed-by", api::MANAGER),
        ("app.kubernetes.io/component", "credential"),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into()
}

/// The fields that always carry the client secret.
pub const SECRET_FIELDS: [&str; 2] = ["client_secret", "client-secret"];

/// The writes that establish `wanted`. Entries that we wrote before and that are no longer wanted are removed.
fn difference(
    wanted: &BTreeMap<String, String>,
    present: &BTreeMap<String, String>,
    ours: &BTreeSet<String>,
) -> BTreeMap<String, Option<String>> {
    let surplus = ours
        .iter()
        .filter(|name| !wanted.contains_key(*name) && present.contains_key(*name))
        .map(|name| (name.clone(), None));
    let missing = wanted
        .iter()
        .filter(|(name, value)| present.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), Some(value.clone())));
    surplus.chain(missing).collect()
}

fn joined(fields: &BTreeSet<String>) -> String {
    fields.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
