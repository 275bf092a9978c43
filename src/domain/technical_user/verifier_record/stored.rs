//! The record as it is stored: one JSON document with a format version of its own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, EntryState, HandledRequests, Owner, Record, Version};
use crate::domain::crypto::client_secret::CredentialId;
use crate::domain::unknown_fields::UnknownFields;

/// The field that is read first, because a newer operator may have written the others in another format.
pub(super) const FORMAT_VERSION: i64 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Format {
    pub(super) format_version: i64,
}

/// The whole document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    format_version: i64,
    #[serde(rename = "clientID")]
    client_id: String,
    owner: Owner,
    serial: i64,
    entries: BTreeMap<String, StoredEntry>,
    #[serde(default)]
    rotated: HandledRequests,
    #[serde(default)]
    revoked: HandledRequests,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredEntry {
    bcrypt: String,
    state: StoredState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placeholder: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    serial: i64,
    issued_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredState {
    Pending,
    Current,
    Old,
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Self {
        let entries = record.entries.iter();
        Self {
            format_version: FORMAT_VERSION,
            client_id: record.client_id.to_string(),
            owner: record.owner.clone(),
            serial: record.serial,
            entries: entries.map(|(id, entry)| (id.to_string(), entry.into())).collect(),
            rotated: record.rotated.clone(),
            revoked: record.revoked.clone(),
            revoked_at: record.revoked_at,
        }
    }
}

impl Stored {
    pub(super) fn into_record(self) -> Option<Record> {
        if self.entries.len() > Record::CAPACITY || self.serial < 0 {
            return None;
        }
        let entries = self.entries.into_iter();
        let entries: BTreeMap<CredentialId, Entry> = entries
            .map(|(id, entry)| Some((id.parse().ok()?, entry.into_entry()?)))
            .collect::<Option<_>>()?;
        let current = entries.values().filter(|entry| entry.state == EntryState::Current).count();
        (current <= 1).then_some(Record {
            client_id: self.client_id.parse().ok()?,
            owner: self.owner,
            serial: self.serial,
            entries,
            rotated: self.rotated,
            revoked: self.revoked,
            revoked_at: self.revoked_at,
            unknown: UnknownFields::default(),
        })
    }
}

impl From<&Entry> for StoredEntry {
    fn from(entry: &Entry) -> Self {
        let (state, placeholder, not_after) = match &entry.state {
            EntryState::Pending(version) => (StoredState::Pending, version.clone(), None),
            EntryState::Current => (StoredState::Current, None, None),
            EntryState::Old(not_after) => (StoredState::Old, None, Some(*not_after)),
        };
        Self {
            bcrypt: entry.verifier.as_str().to_owned(),
            state,
            placeholder,
            not_after,
            serial: entry.serial,
            issued_at: entry.issued_at,
        }
    }
}

impl StoredEntry {
    fn into_entry(self) -> Option<Entry> {
        let state = match (self.state, self.placeholder, self.not_after) {
            (StoredState::Pending, version, None) => EntryState::Pending(version),
            (StoredState::Current, None, None) => EntryState::Current,
            (StoredState::Old, None, Some(not_after)) => EntryState::Old(not_after),
            (StoredState::Pending | StoredState::Current | StoredState::Old, _, _) => return None,
        };
        let verifier = self.bcrypt.parse().ok()?;
        Some(Entry { verifier, state, serial: self.serial, issued_at: self.issued_at })
    }
}
