//! Requests by annotation: a token acts unless it is the last one that was handled.

use super::given::{
    at, current, id, issued, outcome, pending, placeholder, put, record, showing, step, user,
};
use crate::domain::technical_user::verifier_record::Record;
use crate::domain::technical_user::{Cause, Change, Outcome, User};

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
fn the_last_answered_token_does_not_act_again() {
    let step = step(rotating("one"), answered(&["one"]), showing('a', &user()));

    assert_eq!(outcome(&step), Some(&Outcome::Delivered));
}

#[test]
fn an_earlier_token_that_comes_back_acts_once_more() {
    let rotation = step(rotating("one"), answered(&["one", "two"]), showing('a', &user()));
    let revocation = step(revoking("one"), answered(&["one", "two"]), showing('a', &user()));

    let (rotated, cause) = issued(&rotation).unwrap();
    assert_eq!(cause, Cause::Requested);
    assert!(rotated.rotated.includes("one") && !rotated.rotated.includes("two"));
    let (revoked, change) = put(&revocation).unwrap();
    assert_eq!(change, Change::Revoke);
    assert!(revoked.revoked.includes("one") && !revoked.revoked.includes("two"));
}

#[test]
fn a_revocation_records_its_instant_and_a_later_clock_never_moves_it_back() {
    let first = step(revoking("one"), answered(&[]), showing('a', &user()));
    let (revoked, _) = put(&first).unwrap();
    let ahead = Record { revoked_at: Some(at(5)), ..answered(&[]) };
    let second = step(revoking("one"), ahead, showing('a', &user()));

    assert_eq!(revoked.revoked_at, Some(at(0)));
    assert_eq!(put(&second).unwrap().0.revoked_at, Some(at(5)));
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
