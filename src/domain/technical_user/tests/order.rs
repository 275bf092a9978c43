//! Which check answers when several could.

use super::given::{
    altered, at, cause, current, hours, id, issued, now, old, outcome, pending, placeholder, put,
    record, rests, showing, step, user, version,
};
use crate::domain::object::Belongs;
use crate::domain::technical_user::delivered_secret::{Mutability, ObservedSecret};
use crate::domain::technical_user::{Cause, Change, Delivery, Outcome, Step, User, Write};

fn revoking() -> User {
    User { revoke_request: Some("leaked".to_owned()), ..user() }
}

#[test]
fn revocation_comes_before_every_obstacle() {
    let blocked_reasons: [Option<ObservedSecret>; 5] = [
        None,
        Some(ObservedSecret { belongs: Belongs::Foreign, ..placeholder() }),
        Some(ObservedSecret { belongs: Belongs::Predecessor, ..placeholder() }),
        Some(ObservedSecret { is_terminating: true, ..placeholder() }),
        Some(ObservedSecret { mutability: Mutability::Immutable, ..showing('b', &user()) }),
    ];
    for delivered in blocked_reasons {
        let record = record([('a', current(1)), ('b', pending("7", 2)), ('c', old(4))]);

        let step = step(revoking(), record, delivered.clone());

        let (record, change) = put(&step).unwrap();
        assert_eq!(change, Change::Revoke, "{delivered:?}");
        assert!(record.entries.is_empty());
        assert_eq!(record.serial, 3);
        assert!(record.revoked.includes("leaked"));
    }
}

#[test]
fn revocation_comes_although_the_user_is_suspended() {
    let suspended = User { is_suspended: true, ..revoking() };

    let step = step(suspended.clone(), record([('a', current(1))]), showing('a', &suspended));

    assert_eq!(put(&step).unwrap().1, Change::Revoke);
}

#[test]
fn after_a_revocation_what_the_secret_still_shows_is_replaced() {
    let revoked = record([('a', current(1))]).revoke_all("leaked", now());

    let step = step(revoking(), revoked, showing('a', &user()));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Unissued));
    assert!(record.entries.is_empty());
}

#[test]
fn a_conflict_comes_before_tidying() {
    let foreign = ObservedSecret { belongs: Belongs::Foreign, ..placeholder() };

    let step = step(user(), record([('a', current(1)), ('b', old(-1))]), foreign);

    assert_eq!(outcome(&step), Some(&Outcome::SecretConflict));
}

#[test]
fn a_conflict_comes_before_a_finalizer() {
    let foreign =
        ObservedSecret { belongs: Belongs::Foreign, is_terminating: true, ..placeholder() };

    let step = step(user(), record([]), foreign);

    assert_eq!(outcome(&step), Some(&Outcome::SecretConflict));
}

#[test]
fn what_is_shown_is_promoted_before_a_request_is_answered() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let record = record([('a', current(1)), ('b', pending("6", 2))]);

    let step = step(requesting.clone(), record, showing('b', &requesting));

    assert_eq!(put(&step).unwrap().1, Change::Promote);
}

#[test]
fn what_is_shown_is_promoted_although_the_secret_is_immutable() {
    let immutable = ObservedSecret { mutability: Mutability::Immutable, ..showing('b', &user()) };
    let record = record([('a', current(1)), ('b', pending("6", 2))]);

    let step = step(user(), record, immutable);

    assert_eq!(put(&step).unwrap().1, Change::Promote);
}

#[test]
fn an_immutable_secret_is_not_fenced() {
    let immutable = ObservedSecret { mutability: Mutability::Immutable, ..altered('z', &user()) };

    let step = step(user(), record([('a', pending("7", 1))]), immutable);

    assert_eq!(outcome(&step), Some(&Outcome::SecretImmutable));
}

#[test]
fn the_fence_comes_before_the_full_record() {
    let mut record = record([('a', current(1)), ('b', pending("7", 2))]);
    for letter in ('c'..).take(6) {
        record.entries.insert(id(letter), old(9));
    }

    let step = step(user(), record, placeholder());

    assert_eq!(step, Step::Write(Write::Fence(version("7"), 5)));
}

#[test]
fn a_new_client_secret_comes_before_drift_and_before_tidying() {
    let mut delivered = altered('a', &user());
    delivered.labels.clear();
    let record = record([('a', current(1)), ('b', old(-1))]);

    let step = step(user(), record, delivered);

    let (record, cause) = issued(&step).unwrap();
    assert_eq!(cause, Cause::Altered);
    assert!(!record.entries.contains_key(&id('b')), "an issue tidies too");
}

#[test]
fn a_one_time_secret_whose_time_is_over_goes_before_its_drift_is_corrected() {
    let once = User { delivery: Delivery::OneTime(hours(1)), ..user() };
    let mut delivered = showing('a', &once);
    delivered.labels.clear();

    let step = step(once, record([('a', current(1)), ('b', old(-1))]), delivered);

    assert_eq!(step, Step::Write(Write::Withdraw(version("7"))));
}

#[test]
fn drift_comes_before_tidying() {
    let mut delivered = showing('a', &user());
    delivered.labels.clear();

    let step = step(user(), record([('a', current(1)), ('b', old(-1))]), delivered);

    assert!(matches!(step, Step::Write(Write::Refresh(..))));
}

#[test]
fn a_begun_serial_comes_before_a_request_which_it_answers() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let mut begun = record([('a', current(1))]);
    begun.serial = 2;

    let step = step(requesting.clone(), begun, showing('a', &requesting));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Unissued));
    assert!(record.rotated.includes("new"));
}

#[test]
fn a_request_comes_before_the_schedule_and_the_schedule_before_the_secret() {
    let mut aged = current(1);
    aged.issued_at = at(-100);
    let due = User { period: Some(hours(50)), ..user() };
    let requesting = User { rotate_request: Some("new".to_owned()), ..due.clone() };
    let record = record([('a', aged)]);

    let by_request = step(requesting, record.clone(), altered('a', &user()));
    let by_schedule = step(due, record, altered('a', &user()));

    assert_eq!(cause(&by_request), Some(Cause::Requested));
    assert_eq!(cause(&by_schedule), Some(Cause::Due));
}

#[test]
fn the_first_of_all_instants_wakes() {
    let once = User { delivery: Delivery::OneTime(hours(6)), period: Some(hours(48)), ..user() };

    let step = step(once.clone(), record([('a', current(1)), ('b', old(9))]), showing('a', &once));

    assert_eq!(rests(&step).unwrap().requeue_at, Some(at(5)));
}
