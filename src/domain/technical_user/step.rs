//! The writes of the protocol.

use super::Outcome;
use super::delivered_secret::Refresh;
use super::verifier_record::{Record, Version};
use crate::domain::step;

/// The next step.
pub type Step = step::Step<Write, Outcome>;

/// Nothing to do.
pub type Done = step::Done<Outcome>;

/// A conditional write. It carries no client secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create the record: claim the client id.
    CreateRecord(Box<Record>),
    /// Delete the record of a user that is gone, at exactly that version.
    DeleteRecord(Version),
    /// Create the Secret without a client secret: while it exists, no late creation can reveal one.
    CreatePlaceholder,
    /// Replace the record at exactly that version.
    PutRecord(Version, Box<Record>, Change),
    /// Move the Secret's version, so that a delivery in flight fails.
    Fence(Version, u64),
    /// Draw a client secret, register its verifier and reveal it.
    Issue(Box<Issue>),
    /// Remove the field `immutable` of the Secret. The API server refuses that when it is `true`.
    ClearImmutable(Version),
    /// Correct everything in the Secret but the client secret.
    Refresh(Version, Box<Refresh>),
    /// Delete the Secret that was to be read once.
    Withdraw(Version),
    /// Delete the Secret without a client secret, since none can be delivered into it now.
    Discard(Version),
    /// Delete the Secret that a predecessor left.
    Collect(Version),
}

/// Why the record is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pending client secret was seen delivered.
    Promote,
    /// Every client secret ends.
    Revoke,
    /// Ended entries go; dead ones get an end.
    Prune,
    /// A record of an earlier version gets the uid of the namespace.
    Complete,
}

/// Everything that an issue needs but the client secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The version of the record that was read.
    pub record_version: Version,
    /// The record as it shall be, still without the new verifier.
    pub record: Record,
    /// The version of the Secret that the client secret goes to. Without one, the Secret is created
    /// with the client secret in it.
    pub placeholder: Option<Version>,
    /// Whether that Secret is empty, so that it goes when the client secret is refused.
    pub placeholder_is_empty: bool,
    /// Why.
    pub cause: Cause,
}

/// Why a new client secret is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none, or it was begun and not finished.
    Unissued,
    /// The period is over.
    Due,
    /// The user asked for it.
    Requested,
    /// The delivered Secret is gone.
    Deleted,
    /// Another manager changed the client secret in the delivered Secret.
    Altered,
    /// The delivered Secret carries a client secret that is not the current one.
    Unknown,
}
