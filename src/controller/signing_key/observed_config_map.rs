//! A ConfigMap that may hold a JWKS, and its relation to a `SigningKey`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api;
use crate::controller::ownership::Ownership;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::crypto::jwks::{self, Jwks};
use crate::domain::object::Belongs;
use crate::domain::signing_key::{ConfigMapRef, ConfigMapState, Published, Series};
use crate::kubernetes::codec::version_of;

/// A ConfigMap that may be the JWKS of a series, in its small form.
#[derive(Debug)]
pub(super) struct ObservedConfigMap {
    pub(super) place: ConfigMapRef,
    ownership: Option<Ownership>,
    /// The series that its labels name, if they say that the operator made it.
    labelled: Option<String>,
    is_going: bool,
    pub(super) published: Published,
}

impl ObservedConfigMap {
    /// With its content.
    pub(super) fn of(map: &ConfigMap) -> Option<Self> {
        let found = Self::of_metadata(&map.metadata)?;
        let (digest, kids) = content(map, found.labelled.is_some() && found.ownership.is_some());
        let fields = map.data.iter().flat_map(BTreeMap::keys);
        let surplus = fields.filter(|field| !FIELDS.contains(&field.as_str())).cloned();
        let Published { version, .. } = found.published;
        let published = Published { version, digest, kids, surplus_fields: surplus.collect() };
        Some(Self { published, ..found })
    }

    /// By its metadata alone: its content is not known.
    pub(super) fn of_metadata(metadata: &ObjectMeta) -> Option<Self> {
        let place =
            ConfigMapRef { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
        let ownership = Ownership::of("SigningKey", metadata);
        let label = |name: &str| metadata.labels.as_ref()?.get(name);
        let is_managed = label(api::MANAGED).is_some_and(|it| it == "true");
        let labelled = label(api::SIGNING_KEY).filter(|_| is_managed).cloned();
        let owner = ownership.as_ref().and_then(|it| it.name.as_ref());
        let labelled = labelled.filter(|series| owner.is_none_or(|owner| owner == series));
        let published = Published {
            version: version_of(metadata)?,
            digest: None,
            kids: BTreeSet::new(),
            surplus_fields: BTreeSet::new(),
        };
        let is_going = metadata.deletion_timestamp.is_some();
        Some(Self { place, ownership, labelled, is_going, published })
    }

    /// Whether a `SigningKey` owns it.
    pub(super) fn is_of_a_series(&self) -> bool {
        self.ownership.as_ref().is_some_and(|it| it.name.is_some())
    }

    /// With the contents that were read, if it still has that version.
    pub(super) fn with(&self, contents: &BTreeMap<ConfigMapRef, Published>) -> Self {
        let content = contents.get(&self.place);
        let content = content.filter(|it| it.version == self.published.version);
        let Self { place, ownership, labelled, is_going, published } = self;
        Self {
            place: place.clone(),
            ownership: ownership.clone(),
            labelled: labelled.clone(),
            is_going: *is_going,
            published: content.unwrap_or(published).clone(),
        }
    }

    /// Without the ids of its keys, where digests alone are compared.
    pub(super) fn small(mut self) -> Self {
        self.published.kids = BTreeSet::new();
        self
    }

    /// Its relation to that `SigningKey`.
    pub(super) fn seen_by(&self, series: &Series) -> ConfigMapState {
        let Some(ownership) = &self.ownership else {
            // In its own namespace the operator knows its own labels: owners get lost when a
            // SigningKey is deleted without its dependents, or in a restore.
            let is_home = self.place.namespace == series.operator_namespace;
            let is_ours = is_home && self.labelled.as_ref() == Some(&series.name);
            return match (is_ours, self.is_going) {
                (true, false) => ConfigMapState::Owned(self.published.clone()),
                (true, true) => self.contended(),
                (false, _) => ConfigMapState::Conflict,
            };
        };
        match ownership.relation_to(&series.uid, &series.name) {
            Belongs::Ours if self.is_going => self.contended(),
            Belongs::Ours => ConfigMapState::Owned(self.published.clone()),
            Belongs::Predecessor if self.is_going => {
                let object = self.place.config_map();
                ConfigMapState::Unwritable(
                    BlockedReason::AwaitingGarbageCollection { object },
                    BTreeSet::new(),
                )
            }
            Belongs::Predecessor => ConfigMapState::Orphaned(self.published.version.clone()),
            Belongs::Foreign => ConfigMapState::Conflict,
        }
    }

    /// Ours, and being deleted by another program.
    fn contended(&self) -> ConfigMapState {
        let object = Some(self.place.config_map());
        ConfigMapState::Unwritable(
            BlockedReason::WriteConflict { object },
            self.published.kids.clone(),
        )
    }
}

/// The digest of a key set that is exactly as the operator writes it, and the keys in it.
fn content(map: &ConfigMap, is_marked: bool) -> (Option<String>, BTreeSet<jwks::Kid>) {
    let data = map.data.clone().unwrap_or_default();
    let field = data.get(api::JWKS_FIELD).map(String::as_str).unwrap_or_default();
    let kids = jwks::kids_of(field);
    let is_exact = is_marked
        && data.len() == FIELDS.len()
        && data.get(api::JWKS_FILE).map(String::as_str) == Some(field)
        && map.binary_data.as_ref().is_none_or(BTreeMap::is_empty);
    (is_exact.then(|| Jwks::digest_of(field)), kids)
}

const FIELDS: [&str; 2] = [api::JWKS_FIELD, api::JWKS_FILE];
