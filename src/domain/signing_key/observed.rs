//! The input of a decision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use super::ledger::{Entry, SharedSettings, Unreadable};
use super::retention::APART;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::crypto::public_key::{Algorithm, KeyType, Kid, PublicKey};
use crate::domain::object::Version;
use crate::domain::schedule::due_at;

/// The results of live reads: the `SigningKey`, then every JWKS, then the ledger, then the key pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The `SigningKey`, unless it is gone or going.
    pub series: Option<Series>,
    /// The namespaces where the JWKS shall be, and what is there under its name.
    pub targets: BTreeMap<String, ConfigMapState>,
    /// JWKS ConfigMaps of this series where none shall be any more.
    pub surplus: BTreeMap<ConfigMapRef, StaleCopy>,
    /// Whether the JWKS of every namespace was read.
    pub sight: Scope,
    /// The ledger.
    pub ledger: LedgerState,
    /// The key pairs that exist: those of the ledger, and the next.
    pub key_pairs: BTreeMap<u32, KeyPair>,
}

/// Which JWKS ConfigMaps were read.
///
/// The namespaces are a list that users can grow. A revocation must not wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The JWKS of every namespace.
    AllNamespaces,
    /// Only the JWKS of the operator's namespace: the others could not be read.
    OperatorNamespace,
}

/// A `SigningKey`, parsed: it cannot be wrong any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// When the API server made it.
    pub created_at: Timestamp,
    /// The generation of its spec.
    pub generation: i64,
    /// The algorithm of its keys.
    pub algorithm: Algorithm,
    /// The type of its next key pair.
    pub shape: KeyType,
    /// How long each key signs.
    pub period: SignedDuration,
    /// How long a key is in every JWKS before it signs.
    pub pre_publish: SignedDuration,
    /// How long it stays there after it can have signed last.
    pub retention: SignedDuration,
    /// The namespace of the operator: its JWKS is the one that the token service serves.
    pub operator_namespace: String,
    /// The name of the JWKS ConfigMap.
    pub config_map_name: String,
    /// Whether nothing signs and nothing is made.
    pub is_suspended: bool,
    /// The token of the request to rotate, if there is one.
    pub rotate_request: Option<String>,
    /// The kid that is to be revoked, if there is one.
    pub revoke_request: Option<String>,
    /// The value of the request to revoke every key, if there is one.
    pub revoke_all_request: Option<String>,
    /// The annotations of requests whose values are empty, so that they ask for nothing.
    pub ignored_requests: Vec<&'static str>,
    /// Whose object the `SigningKey` is.
    pub origin: Origin,
    /// The settings of the operator that token servers have to share.
    pub agreement: SharedSettings,
}

/// Whose object a `SigningKey` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A user declared it: its algorithm is immutable.
    Declared,
    /// The operator made it, and no user has set its algorithm.
    Bootstrapped,
    /// The operator made it, and a user has set its algorithm since.
    Claimed,
}

/// The state of the JWKS ConfigMap in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMapState {
    /// Nothing.
    Absent,
    /// A JWKS of this series.
    Owned(Published),
    /// The leftover of a series of the same name that is certainly deleted.
    Orphaned(Version),
    /// It belongs to another owner: left alone.
    Conflict,
    /// It cannot be written, or is on its way out; with the keys that verifiers still find in it.
    Unwritable(BlockedReason, BTreeSet<Kid>),
}

/// A JWKS ConfigMap of this series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its version.
    pub version: Version,
    /// The digest of its key set, if it is exactly as the operator writes it, labels included.
    pub digest: Option<String>,
    /// The keys that verifiers find in it.
    pub kids: BTreeSet<Kid>,
    /// Fields that the operator did not write.
    pub surplus_fields: BTreeSet<String>,
}

/// A JWKS ConfigMap of this series that is not wanted any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaleCopy {
    /// It is to be deleted, at exactly that version.
    Deletable(Version),
    /// It cannot be deleted.
    Blocked(BlockedReason),
}

/// A ConfigMap by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigMapRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The state of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerState {
    /// There is none.
    Absent,
    /// This one.
    Ledger(Version, Box<Ledger>),
    /// There is something that cannot be read. It is never written over.
    Unreadable(Unreadable),
    /// The observation failed before it was read.
    Unread,
}

/// A key pair that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The version of its Secret.
    pub version: Version,
    /// Its public half, if its private half was read and is of this `SigningKey`.
    pub public: Option<PublicKey>,
}

// === impl Observed ===

impl Observed {
    /// Whether the key pair of that entry is there, and not another one in its place.
    pub fn has_pair(&self, index: u32, entry: &Entry) -> bool {
        let key_pair = self.key_pairs.get(&index);
        key_pair.is_some_and(|it| entry.pair_uid.as_ref().is_none_or(|uid| *uid == it.version.uid))
    }

    /// The keys that verifiers find in the JWKS of that namespace, if there is one of this series.
    pub(super) fn published_at(&self, namespace: &str) -> Option<&BTreeSet<Kid>> {
        match self.targets.get(namespace) {
            Some(
                ConfigMapState::Owned(Published { kids, .. }) | ConfigMapState::Unwritable(_, kids),
            ) => Some(kids),
            Some(
                ConfigMapState::Absent | ConfigMapState::Orphaned(_) | ConfigMapState::Conflict,
            )
            | None => None,
        }
    }

    /// Whether a token service can sign with this entry: its private half is there, and the JWKS at
    /// home has it.
    pub(super) fn can_sign(&self, operator_namespace: &str, index: u32, entry: &Entry) -> bool {
        let published = self.published_at(operator_namespace);
        published.is_some_and(|kids| kids.contains(entry.key.kid())) && self.has_pair(index, entry)
    }

    /// The entry, with the key pair that exists under its index for its own.
    pub(super) fn paired(&self, index: u32, entry: Entry) -> Entry {
        let pair_uid = self.key_pairs.get(&index).map(|key_pair| key_pair.version.uid.clone());
        Entry { pair_uid, ..entry }
    }
}

// === impl Place ===

impl ConfigMapRef {
    /// The ConfigMap in that place, as messages name it.
    pub fn config_map(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }
}

// === impl Series ===

impl Series {
    /// The object, as messages name it.
    pub fn object(&self) -> String {
        object(&self.name)
    }

    /// The JWKS ConfigMap of that namespace.
    pub(super) fn place_in(&self, namespace: &str) -> ConfigMapRef {
        ConfigMapRef { namespace: namespace.to_owned(), name: self.config_map_name.clone() }
    }

    /// The Secret that holds the ledger, as `namespace/name`.
    pub fn ledger(&self) -> String {
        format!("{}/sk-{}", self.operator_namespace, self.uid)
    }

    /// The Secret that holds that key pair, as `namespace/name`.
    pub fn key_pair(&self, index: u32) -> String {
        format!("{}-{index}", self.ledger())
    }

    /// How long before it signs a key gets its time: `prePublish`, by every clock (K3).
    pub(super) fn activation_delay(&self) -> SignedDuration {
        self.pre_publish.saturating_add(APART)
    }

    /// Whether a key is as the spec wants it. The size of the keys of a declared series may change
    /// without a rotation.
    pub(super) fn fits(&self, key: &PublicKey) -> bool {
        match self.origin {
            Origin::Declared => key.algorithm() == self.algorithm,
            Origin::Bootstrapped | Origin::Claimed => {
                key.algorithm() == self.algorithm && key.key_type() == Some(self.shape)
            }
        }
    }

    /// When the successor of a key that began at `activate_at` is to take over.
    pub fn promoted_at(&self, activate_at: Timestamp) -> Timestamp {
        due_at(activate_at, self.period, self.pre_publish, &self.uid)
    }
}

/// The `SigningKey` of that name, as messages name it.
pub(super) fn object(name: &str) -> String {
    format!("SigningKey {name}")
}
