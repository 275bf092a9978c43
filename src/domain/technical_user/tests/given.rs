//! A user with its record and its Secret, all in order; each test changes what it is about.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::api;
use crate::api::technical_user::SecretTemplate;
use crate::domain::crypto::client_secret::CredentialId;
use crate::domain::object::Belongs;
use crate::domain::schedule::{Now, saturating_add};
use crate::domain::technical_user::delivered_secret::{
    DesiredSecret, Endpoints, ManagedFields, Mutability, ObservedSecret, Refresh, SECRET_FIELDS,
};
use crate::domain::technical_user::verifier_record::{Entry, EntryState, Owner, Record, Version};
use crate::domain::technical_user::{
    Cause, Change, ClientIdReservation, Delivery, Observed, Step, User, Write,
};
use crate::domain::technical_user::{Done, Outcome, decide};

pub(super) const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// So many hours after the instant of every decision.
pub(super) fn at(from_now: i64) -> Timestamp {
    saturating_add("2026-11-24T06:00:00Z".parse().unwrap(), hours(from_now))
}

pub(super) fn now() -> Now {
    Now::at(at(0))
}

pub(super) fn id(letter: char) -> CredentialId {
    letter.to_string().repeat(CredentialId::LENGTH).parse().unwrap()
}

pub(super) fn version(resource_version: &str) -> Version {
    Version { uid: "secret-uid".to_owned(), resource_version: resource_version.to_owned() }
}

pub(super) fn record_version() -> Version {
    Version { uid: "record-uid".to_owned(), resource_version: "100".to_owned() }
}

pub(super) fn user() -> User {
    let client_id = "billing".parse().unwrap();
    let endpoints = Endpoints { issuer: "https://issuer.example".to_owned() };
    let content = DesiredSecret::of("billing", &client_id, &SecretTemplate::default(), &endpoints);
    User {
        owner: Owner {
            uid: "user-uid".to_owned(),
            namespace: "payments".to_owned(),
            name: "billing".to_owned(),
            namespace_uid: Some("namespace-uid".to_owned()),
        },
        created_at: at(-2),
        generation: 3,
        client_id,
        secret_name: "billing-credentials".to_owned(),
        content,
        is_suspended: false,
        excess: None,
        delivery: Delivery::Retained,
        period: None,
        overlap: OVERLAP,
        rotate_request: None,
        revoke_request: None,
        ignored_requests: Vec::new(),
    }
}

pub(super) fn entry(state: EntryState, serial: i64) -> Entry {
    let verifier = "$2b$04$abcdefghijklmnopqrstuuRx5tsRnQT5qKv0Gmd5JkfbQaVkHQGSm";
    Entry { verifier: verifier.parse().unwrap(), state, serial, issued_at: at(-1) }
}

pub(super) fn current(serial: i64) -> Entry {
    entry(EntryState::Current, serial)
}

/// About to be revealed by the creation of the Secret.
pub(super) fn created(serial: i64) -> Entry {
    entry(EntryState::Pending(None), serial)
}

/// About to be revealed in the Secret at that version.
pub(super) fn pending(resource_version: &str, serial: i64) -> Entry {
    entry(EntryState::Pending(Some(version(resource_version))), serial)
}

pub(super) fn old(ends_in_hours: i64) -> Entry {
    entry(EntryState::Old(at(ends_in_hours)), 1)
}

pub(super) fn record<const N: usize>(entries: [(char, Entry); N]) -> Record {
    let user = user();
    let mut record = Record::empty(user.client_id, user.owner);
    record.serial = entries.iter().map(|(_, entry)| entry.serial).max().unwrap_or(0);
    record.entries = entries.map(|(letter, entry)| (id(letter), entry)).into();
    record
}

/// The Secret at version 7 as the operator makes it, without a client secret.
pub(super) fn placeholder() -> ObservedSecret {
    let content = user().content;
    ObservedSecret {
        version: version("7"),
        belongs: Belongs::Ours,
        is_terminating: false,
        mutability: Mutability::Mutable,
        credential_id: None,
        secret_fields: BTreeSet::new(),
        attempt: 4,
        content_digest: None,
        annotations: BTreeMap::new(),
        has_applied_copy: false,
        ours: ManagedFields {
            labels: content.labels.keys().cloned().collect(),
            ..ManagedFields::default()
        },
        foreign_fields: BTreeMap::new(),
        rewritten_fields: BTreeSet::new(),
        labels: content.labels,
    }
}

/// The Secret at version 7 as it is once that credential was delivered for `user`.
pub(super) fn showing(letter: char, user: &User) -> ObservedSecret {
    let mut delivered = placeholder();
    let mut annotations = user.content.delivery_annotations(&id(letter));
    delivered.ours.annotations = annotations.keys().cloned().collect();
    delivered.content_digest = annotations.remove(api::CONTENT_DIGEST);
    delivered.credential_id = Some(id(letter));
    delivered.secret_fields.clone_from(&user.content.secret_fields);
    delivered.labels.clone_from(&user.content.labels);
    delivered.annotations.clone_from(&user.content.annotations);
    let fields = user.content.fields.keys().chain(&user.content.secret_fields);
    delivered.ours.fields = fields.cloned().collect();
    delivered
}

/// The same after another manager wrote the client secret.
pub(super) fn altered(letter: char, user: &User) -> ObservedSecret {
    let mut delivered = showing(letter, user);
    delivered.ours.fields.remove(SECRET_FIELDS[0]);
    delivered.foreign_fields.insert(SECRET_FIELDS[0].to_owned(), "kubectl".to_owned());
    delivered
}

/// The Secret after the refresh.
pub(super) fn refreshed(mut delivered: ObservedSecret, refresh: &Refresh) -> ObservedSecret {
    change(&mut delivered.labels, &mut delivered.ours.labels, &refresh.labels);
    let mut books = refresh.annotations.clone();
    if let Some(Some(digest)) = books.remove(api::CONTENT_DIGEST) {
        delivered.content_digest = Some(digest);
    }
    if let Some(Some(fields)) = books.remove(api::CLIENT_SECRET_FIELDS) {
        let fields = fields.split(',').filter(|field| !field.is_empty());
        delivered.secret_fields = fields.map(str::to_owned).collect();
    }
    change(&mut delivered.annotations, &mut delivered.ours.annotations, &books);
    for (field, value) in &refresh.fields {
        delivered.foreign_fields.remove(field);
        match value {
            Some(_) => delivered.ours.fields.insert(field.clone()),
            None => delivered.ours.fields.remove(field),
        };
    }
    let resource_version: u64 = delivered.version.resource_version.parse().unwrap();
    delivered.version = version(&(resource_version + 1).to_string());
    delivered
}

fn change(
    present: &mut BTreeMap<String, String>,
    ours: &mut BTreeSet<String>,
    changes: &BTreeMap<String, Option<String>>,
) {
    for (name, value) in changes {
        if let Some(value) = value {
            present.insert(name.clone(), value.clone());
            ours.insert(name.clone());
        } else {
            present.remove(name);
            ours.remove(name);
        }
    }
}

pub(super) fn observed(
    user: User,
    record: Record,
    delivered: impl Into<Option<ObservedSecret>>,
) -> Observed {
    Observed {
        user: Some(user),
        record: ClientIdReservation::Held(record_version(), Box::new(record)),
        delivered: delivered.into(),
    }
}

/// The step, decided at [`now`].
pub(super) fn step(
    user: User,
    record: Record,
    delivered: impl Into<Option<ObservedSecret>>,
) -> Step {
    decide(&observed(user, record, delivered), now())
}

pub(super) fn rests(step: &Step) -> Option<&Done> {
    match step {
        Step::Done(rest) => Some(rest),
        Step::Write(_) => None,
    }
}

pub(super) fn outcome(step: &Step) -> Option<&Outcome> {
    rests(step).map(|rest| &rest.outcome)
}

/// The record that is put, and why.
pub(super) fn put(step: &Step) -> Option<(&Record, Change)> {
    match step {
        Step::Write(Write::PutRecord(version, record, change)) => {
            assert_eq!(*version, record_version());
            Some((record, *change))
        }
        Step::Write(_) | Step::Done(_) => None,
    }
}

/// The record that an issue starts from, and its cause.
pub(super) fn issued(step: &Step) -> Option<(&Record, Cause)> {
    match step {
        Step::Write(Write::Issue(issue)) => {
            assert_eq!(issue.record_version, record_version());
            assert!(issue.placeholder.as_ref().is_none_or(|it| *it == version("7")));
            Some((&issue.record, issue.cause))
        }
        Step::Write(_) | Step::Done(_) => None,
    }
}

pub(super) fn cause(step: &Step) -> Option<Cause> {
    issued(step).map(|(_, cause)| cause)
}
