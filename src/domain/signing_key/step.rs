//! The writes of the protocol.

use std::collections::BTreeSet;

use super::{ConfigMapRef, Ledger, Outcome};
use crate::domain::object::Version;
use crate::domain::step;

/// The next step.
pub type Step = step::Step<Write, Outcome>;

/// Nothing to do.
pub type Done = step::Done<Outcome>;

/// A conditional write. It carries no private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create the ledger.
    CreateLedger(Box<Ledger>),
    /// Make the key pair of that index and create its Secret.
    Stage(u32),
    /// Write this key set to these places. Each write depends only on its own ConfigMap, so the writes
    /// may be sent together, and each of them may fail.
    Publish(String, Vec<Publication>),
    /// Replace the ledger at exactly that version.
    PutLedger(Version, Box<Ledger>, Change),
    /// Delete the Secret of a key pair that is in no JWKS any more, at exactly that version.
    DeleteKeyPair(u32, Version),
}

/// One write to one JWKS ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Create it in that namespace.
    Create(String),
    /// Replace what it says in that namespace, at exactly that version, and drop these fields.
    Replace(String, Version, BTreeSet<String>),
    /// Delete it, since it is not wanted there any more, at exactly that version.
    Delete(ConfigMapRef, Version),
}

impl Publication {
    /// The namespace of the ConfigMap.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Create(namespace) | Self::Replace(namespace, ..) => namespace,
            Self::Delete(place, _) => &place.namespace,
        }
    }
}

/// Why the ledger is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The next key begins to sign at a certain instant.
    Schedule,
    /// A live read showed when keys end.
    Drain,
    /// Keys leave the JWKS, since their last token has expired.
    Remove,
    /// A key leaves the JWKS on request.
    Revoke,
    /// Every key leaves the JWKS on request.
    RevokeAll,
    /// It says which settings the token servers have to share.
    Agree,
    /// No write that was decided before can give its time to a key whose pair is gone.
    Fence,
    /// The ledger was lost and is rebuilt from the key pairs.
    Recover,
}
