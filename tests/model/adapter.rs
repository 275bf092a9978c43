//! Between the small numbers of the model and the types that the operator decides on.
//!
//! Nothing is decided here: what was observed is spelt out, the production code is asked, and what
//! it says is turned back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use technical_user_operator::api;
use technical_user_operator::api::technical_user::SecretTemplate;
use technical_user_operator::domain::crypto::client_secret::{ClientId, CredentialId, Verifier};
use technical_user_operator::domain::object::Belongs;
use technical_user_operator::domain::schedule::Now;
use technical_user_operator::domain::technical_user::delivered_secret::{
    DesiredSecret, Endpoints, ManagedFields, Mutability, ObservedSecret, SECRET_FIELDS,
};
use technical_user_operator::domain::technical_user::verifier_record::{
    self, EntryState, HandledRequests, Owner,
};
use technical_user_operator::domain::technical_user::{
    self as decision, Change, ClientIdReservation, Delivery, Holder, Observed, Step, Write,
};

use technical_user_operator::domain::unknown_fields::UnknownFields;

use crate::cluster::{ANY, Entry, FOREIGN, Life, Mode, Record, Secret, User, Version, Why};
use crate::wrong::Wrong;

/// The record as a replica read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Seen {
    Free,
    Held(Record),
    Taken { version: Version, owner: u8, lives: bool },
}

/// All that a decision looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Look {
    pub(crate) user: User,
    pub(crate) record: Seen,
    pub(crate) secret: Option<Secret>,
}

/// A step, in small numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The reason in the status.
    Rest(&'static str),
    CreateRecord,
    DeleteRecord(Version),
    CreatePlaceholder,
    Put(Record, Why),
    Fence(Version),
    /// Without a placeholder, the Secret is created with the client secret in it.
    Issue {
        record: Record,
        placeholder: Version,
    },
    ClearImmutable,
    Refresh(Version),
    Withdraw(Version, u8),
    Collect(Version),
}

/// What every spelling shares.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) is_scheduled: bool,
    verifier: Verifier,
    content: DesiredSecret,
    digest: Option<String>,
}

impl Adapter {
    pub(crate) fn new(is_scheduled: bool) -> Self {
        let verifier = "$2b$04$abcdefghijklmnopqrstuuRx5tsRnQT5qKv0Gmd5JkfbQaVkHQGSm";
        let endpoints = Endpoints { issuer: "https://issuer.example".to_owned() };
        let template = SecretTemplate::default();
        let content = DesiredSecret::of("billing", &client_id(0), &template, &endpoints);
        let digest = content.delivery_annotations(&credential_id(1)).remove(api::CONTENT_DIGEST);
        Self { is_scheduled, verifier: verifier.parse().unwrap(), content, digest }
    }

    /// The instant of every decision; what is old, aged or ended lies at fixed distances from it.
    pub(crate) fn now() -> Now {
        Now::at("2026-11-24T00:00:00Z".parse().unwrap())
    }

    pub(crate) fn observed(&self, look: &Look) -> Observed {
        Observed {
            user: Some(self.user(look.user)),
            record: match &look.record {
                Seen::Free => ClientIdReservation::Free,
                Seen::Held(record) => ClientIdReservation::Held(
                    record_version(record.version),
                    Box::new(self.record(record)),
                ),
                Seen::Taken { version, owner, lives } => {
                    let holder = if *lives { Holder::Exists } else { Holder::Gone };
                    ClientIdReservation::Taken(record_version(*version), owner_of(*owner), holder)
                }
            },
            delivered: look.secret.map(|it| self.delivered(it, look.user.uid)),
        }
    }

    /// Turns a step back, after a look at these objects.
    pub(crate) fn outcome(step: &Step, look: &Look) -> Outcome {
        let owner = look.user.uid;
        let write = match step {
            Step::Done(rest) => return Outcome::Rest(rest.outcome.reason()),
            Step::Write(write) => write,
        };
        match write {
            Write::CreateRecord(_) => Outcome::CreateRecord,
            Write::DeleteRecord(version) => Outcome::DeleteRecord(small(version)),
            Write::CreatePlaceholder => Outcome::CreatePlaceholder,
            Write::PutRecord(version, record, change) => {
                let why = match change {
                    Change::Promote => Why::Promote,
                    Change::Revoke => Why::Revoke,
                    Change::Prune | Change::Complete => Why::Tidy,
                };
                Outcome::Put(small_record(record, small(version), owner), why)
            }
            Write::Fence(version, _) => Outcome::Fence(small(version)),
            Write::Issue(issue) => Outcome::Issue {
                record: small_record(&issue.record, small(&issue.record_version), owner),
                placeholder: issue.placeholder.as_ref().map_or(ANY, small),
            },
            Write::ClearImmutable(_) => Outcome::ClearImmutable,
            Write::Refresh(version, _) => Outcome::Refresh(small(version)),
            Write::Collect(version) => Outcome::Collect(small(version)),
            Write::Discard(version) => Outcome::Withdraw(small(version), ANY),
            Write::Withdraw(version) => {
                Outcome::Withdraw(small(version), look.secret.map_or(ANY, |secret| secret.id))
            }
        }
    }

    /// The record with one more verifier, as the operator registers it.
    pub(crate) fn registered(&self, record: &Record, id: u8, placeholder: Version) -> Record {
        let more = self.record(record).with_pending(
            credential_id(id),
            self.verifier.clone(),
            self::placeholder(placeholder),
            Self::now(),
        );
        small_record(&more, record.version, record.owner)
    }

    /// The record without that verifier, as the operator takes it back after a refused reveal.
    pub(crate) fn taken_back(&self, record: &Record, id: u8) -> Record {
        let less = self.record(record).without(&credential_id(id));
        small_record(&less, record.version, record.owner)
    }

    /// The record with that verifier current, as the operator promotes it after a reveal.
    pub(crate) fn promoted(&self, wrong: Option<Wrong>, record: &Record, id: u8) -> Record {
        let before = self.record(record);
        let promoted = before.promote(&credential_id(id), OVERLAP, Self::now());
        let promoted = Wrong::promote(wrong, &before, promoted);
        small_record(&promoted, record.version, record.owner)
    }

    fn user(&self, user: User) -> decision::User {
        let token = |kind: &str, number: u8| (number > 0).then(|| format!("{kind}{number}"));
        decision::User {
            owner: owner_of(user.uid),
            created_at: instant(-LONG),
            generation: 1,
            client_id: client_id(user.uid),
            secret_name: "billing-credentials".to_owned(),
            content: self.content.clone(),
            is_suspended: user.is_suspended,
            excess: None,
            delivery: match user.mode {
                Mode::Retained => Delivery::Retained,
                Mode::Lenient => Delivery::Lenient,
                Mode::OneTime => Delivery::OneTime(LONG),
            },
            period: self.is_scheduled.then_some(LONG),
            overlap: OVERLAP,
            rotate_request: token("rotate", user.rotate),
            revoke_request: token("revoke", user.revoke),
            ignored_requests: Vec::new(),
        }
    }

    fn record(&self, record: &Record) -> verifier_record::Record {
        let entry = |entry: &Entry| {
            let state = match entry.life {
                Life::Pending(version) => EntryState::Pending(placeholder(version)),
                Life::Current => EntryState::Current,
                Life::Old => EntryState::Old(instant(OVERLAP)),
                Life::Ended => EntryState::Old(instant(-OVERLAP)),
            };
            let age = if entry.is_aged { LONG * 2 } else { SignedDuration::ZERO };
            let entry_ = verifier_record::Entry {
                verifier: self.verifier.clone(),
                state,
                serial: i64::from(entry.serial),
                issued_at: instant(-age),
            };
            (credential_id(entry.id), entry_)
        };
        verifier_record::Record {
            client_id: client_id(record.owner),
            owner: owner_of(record.owner),
            serial: i64::from(record.serial),
            entries: record.entries.iter().map(entry).collect(),
            rotated: handled("rotate", record.rotated),
            revoked: handled("revoke", record.revoked),
            revoked_at: None,
            unknown: UnknownFields::default(),
        }
    }

    fn delivered(&self, secret: Secret, uid: u8) -> ObservedSecret {
        let mut ours = ManagedFields::default();
        let mut foreign_fields = BTreeMap::new();
        let carries = secret.id != ANY;
        if carries {
            ours.fields.extend(self.content.fields.keys().cloned());
            ours.fields.extend(SECRET_FIELDS.map(str::to_owned));
            ours.annotations.insert(api::CREDENTIAL_ID.to_owned());
        }
        if secret.is_altered {
            ours.fields.remove(SECRET_FIELDS[0]);
            foreign_fields.insert(SECRET_FIELDS[0].to_owned(), "kubectl".to_owned());
        }
        let mut labels = self.content.labels.clone();
        ours.labels.extend(labels.keys().cloned());
        if secret.has_drifted {
            labels.remove(api::MANAGED);
        }
        ObservedSecret {
            version: secret_version(secret.version),
            belongs: match secret.owner {
                owner if owner == uid => Belongs::Ours,
                FOREIGN => Belongs::Foreign,
                _ => Belongs::Predecessor,
            },
            is_terminating: false,
            mutability: Mutability::Mutable,
            has_applied_copy: false,
            rewritten_fields: BTreeSet::new(),
            credential_id: carries.then(|| credential_id(secret.id)),
            secret_fields: SECRET_FIELDS
                .map(str::to_owned)
                .into_iter()
                .filter(|_| carries)
                .collect(),
            attempt: 0,
            content_digest: self.digest.clone().filter(|_| carries),
            labels,
            annotations: BTreeMap::new(),
            ours,
            foreign_fields,
        }
    }
}

fn small_record(record: &verifier_record::Record, version: Version, owner: u8) -> Record {
    let entry = |(id, entry): (&CredentialId, &verifier_record::Entry)| Entry {
        id: id.as_str().parse().unwrap(),
        life: match &entry.state {
            EntryState::Pending(version) => Life::Pending(version.as_ref().map_or(ANY, small)),
            EntryState::Current => Life::Current,
            EntryState::Old(not_after) if *not_after > instant(SignedDuration::ZERO) => Life::Old,
            EntryState::Old(_) => Life::Ended,
        },
        serial: entry.serial.try_into().unwrap(),
        is_aged: entry.issued_at < instant(SignedDuration::ZERO),
    };
    Record {
        version,
        owner,
        serial: record.serial.try_into().unwrap(),
        rotated: bits("rotate", &record.rotated),
        revoked: bits("revoke", &record.revoked),
        entries: record.entries.iter().map(entry).collect(),
    }
}

fn handled(kind: &str, bits: u8) -> HandledRequests {
    (1..TOKENS)
        .filter(|number| bits & (1 << number) != 0)
        .fold(HandledRequests::default(), |handled, number| {
            handled.with(&format!("{kind}{number}"))
        })
}

fn bits(kind: &str, handled: &HandledRequests) -> u8 {
    (1..TOKENS)
        .filter(|number| handled.includes(&format!("{kind}{number}")))
        .fold(0, |bits, number| bits | (1 << number))
}

fn credential_id(id: u8) -> CredentialId {
    format!("{id:010}").parse().unwrap()
}

fn client_id(uid: u8) -> ClientId {
    format!("client{uid}").parse().unwrap()
}

fn owner_of(uid: u8) -> Owner {
    Owner {
        uid: uid.to_string(),
        namespace: "payments".to_owned(),
        name: "billing".to_owned(),
        namespace_uid: Some("payments".to_owned()),
    }
}

/// The API server never uses a version twice, so it tells the uid too.
fn record_version(version: Version) -> verifier_record::Version {
    version_of("record", version)
}

/// Where a client secret is to be revealed; by the creation of the Secret when that is [`ANY`].
fn placeholder(version: Version) -> Option<verifier_record::Version> {
    (version != ANY).then(|| secret_version(version))
}

fn secret_version(version: Version) -> verifier_record::Version {
    version_of("secret", version)
}

fn version_of(uid: &str, version: Version) -> verifier_record::Version {
    verifier_record::Version { uid: uid.to_owned(), resource_version: version.to_string() }
}

fn small(version: &verifier_record::Version) -> Version {
    version.resource_version.parse().unwrap()
}

fn instant(from_now: SignedDuration) -> Timestamp {
    Adapter::now().earliest() + from_now
}

const OVERLAP: SignedDuration = SignedDuration::from_hours(1);
/// The period of rotation and the time of a one-time delivery.
const LONG: SignedDuration = SignedDuration::from_hours(500);
/// Tokens are numbered below this.
const TOKENS: u8 = 5;
