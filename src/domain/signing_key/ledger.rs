//! The ledger: which keys there are, and when each signs. Servers sign by it.
//!
//! It never holds a private key. Every change is a function from ledger to ledger; none forgets a
//! key that verifiers may still need.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::FIRST;
use super::dropped::Dropped;
use crate::domain::crypto::public_key::PublicKey;
use crate::domain::policy::Policy;
use crate::domain::request::HandledRequests;
use crate::domain::schedule::saturating_add;
use crate::domain::unknown_fields::UnknownFields;

/// The keys of one series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    format_version: i64,
    /// The uid of the `SigningKey`.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The keys by their index.
    pub entries: BTreeMap<u32, Entry>,
    /// Requests to rotate that were answered.
    #[serde(default)]
    pub rotated: HandledRequests,
    /// Requests to revoke that were answered.
    #[serde(default)]
    pub revoked: HandledRequests,
    /// The last request to revoke every key that was handled.
    #[serde(default, skip_serializing_if = "is_blank")]
    pub revoked_all: HandledRequests,
    /// Keys that leave the JWKS without having had their time, since their pair is gone.
    #[serde(default)]
    pub vanished: Dropped,
    /// No key gets a lower index: a recovered ledger may not know the keys between its last entry and
    /// the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next_from: u32,
    /// The settings of the operator that token servers have to share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<SharedSettings>,
    /// Fields of a newer version. They stay when the ledger is rewritten.
    #[serde(skip)]
    pub unknown: UnknownFields,
}

/// The settings of the operator that token servers have to share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedSettings {
    /// How old the watches of a token server may be for it to sign, in seconds.
    pub view_age_seconds: i64,
    /// How long a token lives at most, in seconds.
    pub token_lifetime_seconds: i64,
    /// The issuer in delivered Secrets.
    pub issuer: String,
    /// The roles that tokens may carry, as `--allowed-roles` lists them; unknown in a ledger of an
    /// older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_roles: Option<String>,
    /// The audiences that tokens may have, as `--allowed-audiences` lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_audiences: Option<String>,
}

/// A setting of a token server that does not agree with that of the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SettingMismatch {
    /// The flag of both processes.
    pub flag: &'static str,
    /// The value of the operator.
    pub operator: String,
    /// The value of this token server.
    pub token_server: String,
}

impl std::fmt::Display for SettingMismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { flag, operator, token_server } = self;
        write!(
            formatter,
            "{flag} of this token server is \"{token_server}\", and that of the operator is \
             \"{operator}\": give both processes the same value"
        )
    }
}

/// One key, without its private half.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The public half.
    pub key: PublicKey,
    /// When it begins to sign.
    pub activate_at: Timestamp,
    /// When it stops, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When a live read showed that end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_seen_at: Option<Timestamp>,
    /// When it may leave the JWKS, as was settled when its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
    /// The uid of the Secret with its private half: another one in its place is not this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair_uid: Option<String>,
    /// Why it is in no JWKS any more, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal: Option<Withdrawal>,
    /// When it was revoked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Why a key left the JWKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Withdrawal {
    /// Its last token has expired.
    Drained,
    /// A request asked for it.
    Revoked,
}

/// Why a stored ledger cannot be read. It never quotes what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no such field in the Secret.
    #[error("it has no field `ledger.json`")]
    Missing,
    /// Not the JSON of a ledger.
    #[error("its field `ledger.json` is not a ledger")]
    Malformed,
    /// Written by a newer operator.
    #[error("it has a format version that this operator does not know")]
    FormatVersion,
    /// Of another `SigningKey` than its name says.
    #[error("it is of another SigningKey than its name says")]
    Owner,
    /// The Secret is not of the type of a ledger.
    #[error("the Secret of that name is not of type iam.cyoda.com/signing-key-ledger")]
    Type,
}

/// What is read first: a newer operator may have written the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Format {
    format_version: i64,
}

// === impl Ledger ===

impl Ledger {
    /// How many keys may be published at once.
    pub const CAPACITY: usize = 64;

    /// How many keys that are gone are remembered.
    pub const REMEMBERED: usize = 8;

    /// The ledger of a series without keys.
    pub fn empty(uid: &str, name: &str) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            uid: uid.to_owned(),
            name: name.to_owned(),
            entries: BTreeMap::new(),
            rotated: HandledRequests::default(),
            revoked: HandledRequests::default(),
            revoked_all: HandledRequests::default(),
            vanished: Dropped::default(),
            next_from: 0,
            agreement: None,
            unknown: UnknownFields::default(),
        }
    }

    /// The keys that are published, by index.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = (u32, &Entry)> {
        let entries = self.entries.iter().filter(|(_, entry)| entry.withdrawal.is_none());
        entries.map(|(index, entry)| (*index, entry))
    }

    /// The newest key that is published.
    pub fn newest(&self) -> Option<(u32, &Entry)> {
        self.live().next_back()
    }

    /// The index of the next key. No index is ever used twice.
    pub fn next_index(&self) -> u32 {
        let last = self.entries.keys().next_back();
        last.map_or(FIRST, |index| index.saturating_add(1)).max(self.next_from)
    }

    /// The key that signs at that instant, by the ledger alone.
    pub fn active(&self, now: Timestamp) -> Option<(u32, &Entry)> {
        self.live().rev().find(|(_, entry)| entry.signs_at(now))
    }

    /// Without the oldest of the keys that are gone, pair and all.
    #[must_use]
    pub fn without_vanished(mut self, exists: impl Fn(u32) -> bool) -> Self {
        let gone = self.entries.iter().filter(|(_, entry)| entry.withdrawal.is_some());
        let gone: Vec<u32> = gone.map(|(index, _)| *index).filter(|it| !exists(*it)).collect();
        let surplus = gone.len().saturating_sub(Self::REMEMBERED);
        for index in gone.into_iter().take(surplus) {
            self.entries.remove(&index);
        }
        self
    }

    /// The JSON that is stored.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        self.unknown.add_to(&mut json);
        json
    }

    /// Reads what is stored for the `SigningKey` of that uid.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]. Such a ledger is never written over: servers may still sign by it.
    pub fn from_json(bytes: &[u8], uid: &str) -> Result<Self, Unreadable> {
        // A text of serde quotes the value that it could not read.
        let format: Format = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        if format.format_version != FORMAT_VERSION {
            return Err(Unreadable::FormatVersion);
        }
        // The same.
        let mut ledger: Self = serde_json::from_slice(bytes).map_err(|_| Unreadable::Malformed)?;
        if ledger.uid != uid {
            return Err(Unreadable::Owner);
        }
        ledger.unknown = UnknownFields::between(bytes, &ledger.to_json());
        Ok(ledger)
    }
}

// === impl Agreement ===

impl SharedSettings {
    /// The settings of one process.
    pub fn of(
        max_staleness: SignedDuration,
        token_lifetime: SignedDuration,
        issuer: &str,
        policy: &Policy,
    ) -> Self {
        Self {
            view_age_seconds: max_staleness.as_secs(),
            token_lifetime_seconds: token_lifetime.as_secs(),
            issuer: issuer.to_owned(),
            allowed_roles: Some(policy.roles.to_string()),
            allowed_audiences: Some(policy.audiences.to_string()),
        }
    }

    /// Where the settings of a token server do not agree with these of the operator. A shorter bound
    /// on time agrees with a longer one, and everything agrees with what an older version left out.
    pub fn mismatches(&self, token_server: &Self) -> Vec<SettingMismatch> {
        let mut differences = Vec::new();
        let mut tell = |flag, operator: String, token_server: String| {
            differences.push(SettingMismatch { flag, operator, token_server });
        };
        for (flag, operator, own) in [
            ("--max-staleness", self.view_age_seconds, token_server.view_age_seconds),
            (
                "--max-access-token-ttl",
                self.token_lifetime_seconds,
                token_server.token_lifetime_seconds,
            ),
        ] {
            if own > operator {
                tell(flag, format!("{operator}s"), format!("{own}s"));
            }
        }
        let issuers = (Some(&self.issuer), Some(&token_server.issuer));
        let roles = (self.allowed_roles.as_ref(), token_server.allowed_roles.as_ref());
        let audiences = (self.allowed_audiences.as_ref(), token_server.allowed_audiences.as_ref());
        for (flag, values) in
            [("--issuer", issuers), ("--allowed-roles", roles), ("--allowed-audiences", audiences)]
        {
            if let (Some(operator), Some(own)) = values
                && operator != own
            {
                tell(flag, operator.clone(), own.clone());
            }
        }
        differences
    }
}

// === impl Entry ===

impl Entry {
    /// A key that signs from that instant on.
    pub fn scheduled(key: PublicKey, activate_at: Timestamp) -> Self {
        Self {
            key,
            activate_at,
            until: None,
            end_seen_at: None,
            kept_until: None,
            pair_uid: None,
            withdrawal: None,
            revoked_at: None,
        }
    }

    /// A key that was revoked before it could sign.
    pub fn never_used(key: PublicKey, now: Timestamp) -> Self {
        let (until, end_seen_at) = (Some(now), Some(now));
        Self { until, end_seen_at, ..Self::scheduled(key, now) }
    }

    /// Leaves every JWKS on request, and stops signing now.
    pub(super) fn revoke(&mut self, now: Timestamp) {
        self.withdrawal = Some(Withdrawal::Revoked);
        self.revoked_at = Some(now);
        self.until = Some(self.until.map_or(now, |until| until.min(now)));
    }

    /// Whether it ever came to sign.
    pub fn has_signed(&self) -> bool {
        self.revoked_at.is_none_or(|revoked_at| self.activate_at < revoked_at)
    }

    /// Whether it may sign at that instant.
    pub fn signs_at(&self, now: Timestamp) -> bool {
        self.activate_at <= now && self.until.is_none_or(|until| now < until)
    }

    /// When its last token has expired, once its end was seen.
    pub fn removal_at(&self, drain: SignedDuration) -> Option<Timestamp> {
        let (until, seen) = (self.until?, self.end_seen_at?);
        let removal_at = saturating_add(until.max(seen), drain);
        Some(self.kept_until.map_or(removal_at, |kept_until| kept_until.max(removal_at)))
    }

    /// Signs until then, with everything that was settled for another end forgotten.
    pub(super) fn ends(&mut self, until: Option<Timestamp>) {
        (self.until, self.end_seen_at, self.kept_until) = (until, None, None);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_blank(handled: &HandledRequests) -> bool {
    *handled == HandledRequests::default()
}

const FORMAT_VERSION: i64 = 1;
