//! Secrets that appear whole, are lost again and again, or cannot be written.

use jiff::SignedDuration;

use super::given::{
    OVERLAP, altered, at, cause, created, current, id, issued, old, outcome, placeholder, put,
    record, rests, showing, step, user, version,
};
use crate::api::technical_user::{CredentialField, SecretTemplate};
use crate::domain::schedule::saturating_add;
use crate::domain::technical_user::delivered_secret::{
    DesiredSecret, Endpoints, ManagedFields, Mutability, ObservedSecret,
};
use crate::domain::technical_user::verifier_record::{Entry, EntryState};
use crate::domain::technical_user::{Cause, Change, Outcome, Step, User, Write};

#[test]
fn a_missing_secret_is_created_with_its_client_secret() {
    let step = step(user(), record([]), None);

    let Step::Write(Write::Issue(issue)) = step else { panic!("{step:?}") };
    assert_eq!((issue.placeholder, issue.cause), (None, Cause::Unissued));
}

#[test]
fn a_creation_whose_answer_was_lost_is_fenced_by_a_secret_without_a_client_secret() {
    let lost = record([('a', created(1))]);

    let fence = step(user(), lost.clone(), None);
    let again = step(user(), lost.clone(), placeholder());
    let arrived = step(user(), lost, showing('a', &user()));

    assert_eq!(fence, Step::Write(Write::CreatePlaceholder));
    let (record, cause) = issued(&again).unwrap();
    assert_eq!(cause, Cause::Unissued);
    assert_eq!(record.entries[&id('a')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
    assert_eq!(put(&arrived).unwrap().1, Change::Promote);
}

#[test]
fn a_creation_that_arrives_after_its_fence_was_deleted_is_replaced_at_once() {
    let mut late = record([('a', current(1))]);
    for letter in ('b'..).take(6) {
        late.entries.insert(id(letter), old(9));
    }

    let step = step(user(), late, showing('b', &user()));

    assert_eq!(cause(&step), Some(Cause::Unknown), "what is accepted for a while is not paced");
}

#[test]
fn a_full_record_gets_no_secret_without_a_client_secret() {
    let mut full = record([('a', created(2)), ('b', current(1))]);
    for letter in ('c'..).take(6) {
        full.entries.insert(id(letter), old(9));
    }

    let without = step(user(), full.clone(), None);
    let with = step(user(), full.clone(), placeholder());
    full.entries.insert(id('a'), old(8));
    let fenced = step(user(), full, placeholder());

    assert_eq!(outcome(&without), Some(&Outcome::TooManyCredentials));
    assert_eq!(put(&with).unwrap().1, Change::Prune);
    assert_eq!(fenced, Step::Write(Write::Discard(version("7"))));
}

#[test]
fn a_full_record_does_not_hold_up_what_needs_no_client_secret() {
    let mut full = record([('a', current(1))]);
    for letter in ('b'..).take(7) {
        full.entries.insert(id(letter), old(9));
    }
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let mut unlabelled = showing('a', &requesting);
    unlabelled.labels.clear();
    let keys = [("OIDC_ISSUER", CredentialField::Issuer)].map(|(key, it)| (key.to_owned(), it));
    let template = SecretTemplate { keys: keys.into(), ..SecretTemplate::default() };
    let endpoints = Endpoints { issuer: "https://moved.example".to_owned() };
    let content = DesiredSecret::of("billing", &requesting.client_id, &template, &endpoints);
    let moved = User { content, ..requesting.clone() };

    let labels = step(requesting.clone(), full.clone(), unlabelled);
    let fields = step(moved, full, showing('a', &requesting));

    assert!(matches!(labels, Step::Write(Write::Refresh(..))), "{labels:?}");
    let Step::Write(Write::Refresh(_, refresh)) = fields else { panic!("{fields:?}") };
    for field in ["issuer", "issuer-uri", "OIDC_ISSUER"] {
        assert_eq!(refresh.fields[field].as_deref(), Some("https://moved.example"), "{field}");
    }
}

#[test]
fn losses_are_replaced_at_once_three_times_and_then_after_longer_and_longer_times() {
    let lost = |replaced: usize| {
        let mut lost = record([('z', Entry { issued_at: at(0), ..current(1) })]);
        lost.entries.extend(('a'..).take(replaced).map(|letter| (id(letter), old(20))));
        lost
    };
    let waiting = |record, delivered| {
        let step = step(user(), record, delivered);
        rests(&step).map(|rest| (rest.outcome.reason(), rest.requeue_at))
    };
    let minutes = |minutes| saturating_add(at(0), SignedDuration::from_mins(minutes));

    for replaced in 0..3 {
        assert_eq!(cause(&step(user(), lost(replaced), None)), Some(Cause::Deleted));
    }
    for (replaced, after) in [(3, 30), (4, 90), (5, 360)] {
        let paced = Some(("SecretLostRepeatedly", Some(minutes(after))));
        assert_eq!(waiting(lost(replaced), None), paced);
        assert_eq!(waiting(lost(replaced), Some(altered('z', &user()))), paced);
    }
    let full = Some(("SecretLostRepeatedly", Some(at(20))));
    assert_eq!(waiting(lost(6), None), full, "the last place is for requests");
}

#[test]
fn a_requested_rotation_is_not_paced() {
    let mut lost = record([('z', current(1))]);
    lost.entries.extend(('a'..).take(6).map(|letter| (id(letter), old(20))));
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };

    assert_eq!(cause(&step(requesting, lost, None)), Some(Cause::Requested));
}

#[test]
fn labels_of_an_immutable_secret_are_still_corrected() {
    let mut delivered = showing('a', &user());
    delivered.mutability = Mutability::Immutable;
    delivered.content_digest = None;
    delivered.labels.clear();

    let step = step(user(), record([('a', current(1))]), delivered);

    let Step::Write(Write::Refresh(_, refresh)) = step else { panic!("{step:?}") };
    assert_eq!(refresh.labels.len(), user().content.labels.len());
    assert!(refresh.fields.is_empty() && refresh.annotations.is_empty());
}

#[test]
fn a_secret_that_may_be_immutable_is_asked_by_clearing_the_field() {
    let perhaps = ObservedSecret { mutability: Mutability::Unknown, ..placeholder() };
    let drifted = ObservedSecret {
        mutability: Mutability::Unknown,
        content_digest: None,
        ..showing('a', &user())
    };

    let to_issue = step(user(), record([]), perhaps.clone());
    let to_refresh = step(user(), record([('a', current(1))]), drifted);
    let at_rest = ObservedSecret { mutability: Mutability::Unknown, ..showing('a', &user()) };
    let nothing_due = step(user(), record([('a', current(1))]), at_rest);

    let clear = Step::Write(Write::ClearImmutable(version("7")));
    assert_eq!((to_issue, to_refresh), (clear.clone(), clear));
    assert_eq!(outcome(&nothing_due), Some(&Outcome::Delivered));
}

#[test]
fn lost_ownership_of_the_fields_issues_nothing() {
    let mut untracked = showing('a', &user());
    untracked.ours = ManagedFields::default();

    let step = step(user(), record([('a', current(1))]), untracked);

    assert_eq!(outcome(&step), Some(&Outcome::Delivered));
}

#[test]
fn nothing_is_delivered_into_an_immutable_secret() {
    let immutable = |it| ObservedSecret { mutability: Mutability::Immutable, ..it };

    let shown = step(user(), record([]), immutable(showing('a', &user())));
    let empty = step(user(), record([]), immutable(placeholder()));

    assert_eq!(outcome(&shown), Some(&Outcome::SecretImmutable));
    assert_eq!(empty, Step::Write(Write::Discard(version("7"))));
}

#[test]
fn an_immutable_secret_with_the_current_client_secret_is_fine_even_when_it_drifted() {
    let mut delivered = showing('a', &user());
    delivered.mutability = Mutability::Immutable;
    delivered.content_digest = None;

    let step = step(user(), record([('a', current(1))]), delivered);

    assert_eq!(outcome(&step), Some(&Outcome::Delivered));
}
