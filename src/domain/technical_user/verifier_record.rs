//! The verifier record: what the operator keeps of a client's secrets.
//!
//! One record per client id. It never holds a client secret, and what it holds of verifiers cannot
//! be printed. Every change is a function from record to record; none forgets an entry that a workload
//! may still use.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::stored::{FORMAT_VERSION, Format, Stored};
use crate::domain::crypto::client_secret::{ClientId, CredentialId, Verifier};
use crate::domain::schedule::{Now, saturating_add};
use crate::domain::unknown_fields::UnknownFields;

pub use crate::domain::object::Version;
pub use crate::domain::request::HandledRequests;

mod stored;

/// The verifiers of one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The client id that this record claims for the whole cluster.
    pub client_id: ClientId,
    /// The `TechnicalUser` that the record belongs to.
    pub owner: Owner,
    /// The number of the newest client secret that was begun.
    pub serial: i64,
    /// At most [`Record::CAPACITY`] verifiers.
    pub entries: BTreeMap<CredentialId, Entry>,
    /// Requests to rotate that were answered.
    pub rotated: HandledRequests,
    /// Requests to revoke that were answered.
    pub revoked: HandledRequests,
    /// The latest instant at which the last revocation of all client secrets can have happened.
    pub revoked_at: Option<Timestamp>,
    /// Fields of a newer version. They stay when the record is rewritten.
    pub unknown: UnknownFields,
}

/// A `TechnicalUser` that is one and no other: names do not identify, uids do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The uid.
    pub uid: String,
    /// The namespace it lived in when the record was made.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid of the namespace, from live reads that prove that it is the one of this
    /// `TechnicalUser`. A record of an earlier version has none until the next reconcile.
    #[serde(rename = "namespaceUID", default, skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
}

/// One verifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The bcrypt hash of the client secret.
    pub verifier: Verifier,
    /// Where it is in its life.
    pub state: EntryState,
    /// The number of the client secret.
    pub serial: i64,
    /// When it was begun; once current, when it was seen delivered.
    pub issued_at: Timestamp,
}

/// Where a client secret is in its life. It is accepted in all three.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// About to be revealed: in the Secret at exactly this version, or, without a version, by the
    /// creation of the Secret.
    Pending(Option<Version>),
    /// Revealed, without an end.
    Current,
    /// Replaced, or perhaps revealed: accepted until then.
    Old(Timestamp),
}

/// Why a stored record cannot be read. It never quotes what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no such field in the Secret.
    #[error("it has no field `record.json`")]
    Missing,
    /// Not the JSON of a record.
    #[error("its field `record.json` is not a record")]
    Malformed,
    /// Written by a newer operator.
    #[error("it has a format version that this operator does not know")]
    FormatVersion,
    /// For another client id than its name says.
    #[error("it is of another client id than its name says")]
    ClientId,
    /// The Secret is not of the type of a record.
    #[error("the Secret of that name is not of type iam.cyoda.com/verifier")]
    Type,
}

/// What the delivered Secret shows of a credential: enough to tell which pending entries are dead.
#[derive(Clone, Copy, Debug)]
pub struct DeliveredCredential<'a> {
    /// The version of the delivered Secret.
    pub version: &'a Version,
    /// The credential that it carries unaltered, if any.
    pub unaltered_id: Option<&'a CredentialId>,
}

// === impl Owner ===

impl Owner {
    /// The object, as messages name it.
    pub fn object(&self) -> String {
        format!("TechnicalUser {}/{}", self.namespace, self.name)
    }
}

// === impl Record ===

impl Record {
    /// How many verifiers a record holds: with each secret 62 bytes and each hash 60, the bound
    /// keeps one client from growing without end.
    pub const CAPACITY: usize = 8;

    /// A record without verifiers: it claims the client id.
    pub fn empty(client_id: ClientId, owner: Owner) -> Self {
        Self {
            client_id,
            owner,
            serial: 0,
            entries: BTreeMap::new(),
            rotated: HandledRequests::default(),
            revoked: HandledRequests::default(),
            revoked_at: None,
            unknown: UnknownFields::default(),
        }
    }

    /// The verifier that a client secret of this id is checked against, unless it has ended.
    pub fn verifier(&self, id: &CredentialId, now: Timestamp) -> Option<&Verifier> {
        self.entries.get(id).filter(|entry| entry.is_accepted(now)).map(|entry| &entry.verifier)
    }

    /// The current entry, if any.
    pub fn current(&self) -> Option<(&CredentialId, &Entry)> {
        self.entries.iter().find(|(_, entry)| entry.state == EntryState::Current)
    }

    /// Whether a pending entry may still be revealed in the Secret at this version.
    pub fn awaits(&self, version: &Version) -> bool {
        self.entries
            .values()
            .any(|entry| matches!(&entry.state, EntryState::Pending(Some(at)) if at == version))
    }

    /// Whether a creation of the Secret that reveals a pending entry may still be under way.
    pub fn awaits_creation(&self) -> bool {
        self.entries.values().any(|entry| entry.state == EntryState::Pending(None))
    }

    /// When entries end that have an end.
    pub fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.entries.values().filter_map(|entry| match entry.state {
            EntryState::Old(not_after) => Some(not_after),
            EntryState::Pending(_) | EntryState::Current => None,
        })
    }

    /// Without what has ended; pending entries that can no longer be revealed, but may have been
    /// seen, get an end instead of a current place.
    ///
    /// # Guarantees
    ///
    /// An entry leaves only past its end.
    #[must_use]
    pub fn prune(
        &self,
        shown: Option<DeliveredCredential<'_>>,
        overlap: SignedDuration,
        now: Now,
    ) -> Self {
        let mut tidy = self.clone();
        tidy.entries.retain(|_, entry| !entry.has_ended(now));
        for (id, entry) in &mut tidy.entries {
            if entry.can_prune(id, shown) {
                // A creation carries no version: it could still arrive if the Secret is deleted.
                let is_late = entry.state == EntryState::Pending(None);
                let overlap = if is_late { overlap.max(MAX_WRITE_DELAY) } else { overlap };
                entry.state = EntryState::Old(saturating_add(now.latest(), overlap));
            }
        }
        tidy
    }

    /// With the entry `id` current, and the former current one ending after `overlap`.
    #[must_use]
    pub fn promote(&self, id: &CredentialId, overlap: SignedDuration, now: Now) -> Self {
        let mut promoted = self.clone();
        for (each, entry) in &mut promoted.entries {
            if each == id {
                entry.state = EntryState::Current;
                entry.issued_at = now.likely();
            } else if entry.state == EntryState::Current {
                entry.state = EntryState::Old(saturating_add(now.latest(), overlap));
            }
        }
        promoted
    }

    /// With every client secret ended now, and the request answered.
    #[must_use]
    pub fn revoke_all(&self, request: &str, now: Now) -> Self {
        let mut ended = self.clone();
        ended.entries.clear();
        ended.serial = self.serial.saturating_add(1);
        ended.revoked = self.revoked.with(request);
        ended.revoked_at = self.revoked_at.max(Some(now.latest()));
        ended
    }

    /// With one more verifier, to be revealed in the Secret at exactly `placeholder`, or by the
    /// creation of the Secret.
    #[must_use]
    pub fn with_pending(
        &self,
        id: CredentialId,
        verifier: Verifier,
        placeholder: Option<Version>,
        now: Now,
    ) -> Self {
        let mut more = self.clone();
        let entry = Entry {
            verifier,
            state: EntryState::Pending(placeholder),
            serial: self.serial,
            issued_at: now.likely(),
        };
        more.entries.insert(id, entry);
        more
    }

    /// Without a verifier whose client secret was never revealed, and never will be.
    #[must_use]
    pub fn without(&self, id: &CredentialId) -> Self {
        let mut less = self.clone();
        less.entries.remove(id);
        less
    }

    /// Whether there is room for one more verifier.
    pub fn has_room(&self) -> bool {
        self.entries.len() < Self::CAPACITY
    }

    /// The JSON that is stored.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(Stored::from(self)).unwrap_or_default();
        self.unknown.add_to(&mut json);
        json
    }

    /// Reads what is stored under the name of `client_id`.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]. Such a record is never written over: the verifiers in it may be all there is.
    pub fn from_json(bytes: &[u8], client_id: Option<&ClientId>) -> Result<Self, Unreadable> {
        // A text of serde quotes the value that it could not read.
        let format: Format = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        if format.format_version != FORMAT_VERSION {
            return Err(Unreadable::FormatVersion);
        }
        // The same.
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        let mut record = stored.into_record().ok_or(Unreadable::Malformed)?;
        if client_id.is_some_and(|expected| *expected != record.client_id) {
            return Err(Unreadable::ClientId);
        }
        record.unknown = UnknownFields::between(bytes, &record.to_json());
        Ok(record)
    }
}

// === impl Entry ===

impl Entry {
    /// Whether the client secret of this entry works at that instant.
    pub fn is_accepted(&self, now: Timestamp) -> bool {
        match self.state {
            EntryState::Pending(_) | EntryState::Current => true,
            EntryState::Old(not_after) => now < not_after,
        }
    }

    /// Whether its end has come for certain.
    pub fn has_ended(&self, now: Now) -> bool {
        match self.state {
            EntryState::Pending(_) | EntryState::Current => false,
            EntryState::Old(not_after) => now.has_reached(not_after),
        }
    }

    /// Whether it is pending, cannot be revealed now, and is not what the Secret shows. A workload may
    /// have seen it all the same, before the Secret was deleted or altered.
    pub fn can_prune(&self, id: &CredentialId, shown: Option<DeliveredCredential<'_>>) -> bool {
        let EntryState::Pending(placeholder) = &self.state else {
            return false;
        };
        match (placeholder, shown) {
            (Some(_), None) => true,
            (Some(placeholder), Some(shown)) => {
                shown.version != placeholder && shown.unaltered_id != Some(id)
            }
            // As long as there is no Secret, its creation may arrive.
            (None, None) => false,
            (None, Some(shown)) => shown.unaltered_id != Some(id),
        }
    }
}

/// How long a creation may be under way at most. The API server ends a request after one minute;
/// this is twice as long, for all steps in between.
const MAX_WRITE_DELAY: SignedDuration = SignedDuration::from_mins(2);

#[cfg(test)]
mod tests;
