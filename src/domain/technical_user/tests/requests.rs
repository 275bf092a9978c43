//! Requests by annotation: each token acts once.

use super::given::{
    cause, current, id, issued, pending, placeholder, put, record, showing, step, user, verdict,
};
use crate::domain::credential::record::{Handled, Record};
use crate::domain::technical_user::{Cause, Change, User, Verdict};

fn rotating(token: &str) -> User {
    User { rotate_request: Some(token.to_owned()), ..user() }
}

fn revoking(token: &str) -> User {
    User { revoke_request: Some(token.to_owned()), ..user() }
}

/// A record whose current entry answered those tokens.
fn answered(tokens: &[&str]) -> Record {
    let mut record = record([('a', current(1))]);
    for token in tokens {
        record.rotated = record.rotated.with(token);
        record.revoked = record.revoked.with(token);
    }
    record
}

#[test]
fn a_new_token_asks_for_a_new_client_secret_and_is_recorded_with_it() {
    let step = step(rotating("one"), answered(&[]), showing('a', &user()));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Requested));
    assert!(record.rotated.includes("one"));
    assert!(record.entries.contains_key(&id('a')), "the former stays");
}

#[test]
fn an_answered_token_never_acts_again() {
    let step = step(rotating("one"), answered(&["one"]), showing('a', &user()));

    assert_eq!(verdict(&step), Some(&Verdict::Delivered));
}

#[test]
fn an_earlier_token_that_comes_back_does_not_act() {
    for token in ["one", "two"] {
        let rotation = step(rotating(token), answered(&["one", "two"]), showing('a', &user()));
        let revocation = step(revoking(token), answered(&["one", "two"]), showing('a', &user()));

        assert_eq!(verdict(&rotation), Some(&Verdict::Delivered), "{token}");
        assert_eq!(verdict(&revocation), Some(&Verdict::Delivered), "{token}");
    }
}

#[test]
fn an_empty_token_is_a_token() {
    let first = step(rotating(""), answered(&[]), showing('a', &user()));
    let again = step(rotating(""), answered(&[""]), showing('a', &user()));

    assert_eq!(cause(&first), Some(Cause::Requested));
    assert_eq!(verdict(&again), Some(&Verdict::Delivered));
}

#[test]
fn a_crash_before_the_reveal_does_not_lose_the_request() {
    let mut begun = record([('a', current(1)), ('b', pending("6", 2))]);
    begun.rotated = begun.rotated.with("one");

    let step = step(rotating("one"), begun, showing('a', &user()));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Unissued));
}

#[test]
fn a_token_that_came_before_the_first_client_secret_does_not_ask_for_a_second() {
    let first = step(rotating("one"), record([]), placeholder());

    let (record, _) = issued(&first).unwrap();
    assert!(record.rotated.includes("one"));
}

#[test]
fn a_revocation_ends_everything_and_one_issue_answers_a_rotation_too() {
    let both = User { rotate_request: Some("one".to_owned()), ..revoking("two") };

    let revocation = step(both.clone(), answered(&[]), showing('a', &user()));
    let (revoked, change) = put(&revocation).unwrap();
    let next = step(both, revoked.clone(), showing('a', &user()));

    assert_eq!(change, Change::Revoke);
    assert!(revoked.entries.is_empty());
    let (record, cause) = issued(&next).unwrap();
    assert_eq!(cause, Cause::Unissued);
    assert!(record.rotated.includes("one") && record.revoked.includes("two"));
}

#[test]
fn a_rotation_and_a_revocation_with_the_same_token_are_two_requests() {
    let rotated = answered(&[]);
    let rotated = Record { rotated: rotated.rotated.with("one"), ..rotated };

    let step = step(revoking("one"), rotated, showing('a', &user()));

    assert_eq!(put(&step).unwrap().1, Change::Revoke);
}

#[test]
fn the_last_32_tokens_are_remembered() {
    let handled = (0..40).fold(Handled::default(), |it, number| it.with(&number.to_string()));

    let remembered = (0..40).filter(|number| handled.includes(&number.to_string()));

    assert_eq!(remembered.collect::<Vec<_>>(), (8..40).collect::<Vec<_>>());
}

#[test]
fn a_token_that_is_answered_again_counts_as_the_newest() {
    let handled = Handled::default().with("one").with("two").with("one");

    assert_eq!(handled.shown(None).as_deref(), Some("one"));
    assert_eq!(handled.shown(Some("two")).as_deref(), Some("two"));
    assert_eq!(handled.shown(Some("three")).as_deref(), Some("one"));
    assert_eq!(Handled::default().shown(Some("one")), None);
}

#[test]
fn long_tokens_are_told_apart_beyond_what_a_status_shows() {
    let (one, two) = ("x".repeat(300) + "1", "x".repeat(300) + "2");
    let handled = Handled::default().with(&one);

    assert!(handled.includes(&one) && !handled.includes(&two));
    assert_eq!(handled.shown(Some(&one)).unwrap().len(), 253);
}
