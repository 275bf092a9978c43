//! How the client secret reaches its user, and when nothing does.

use super::given::{
    altered, at, cause, created, current, hours, id, issued, now, observed, old, outcome, pending,
    placeholder, put, record, rests, showing, step, user, version,
};
use crate::domain::technical_user::delivered_secret::{ManagedFields, ObservedSecret};
use crate::domain::technical_user::{
    Cause, Change, ClientIdReservation, Delivery, Outcome, Step, User, Write, decide,
};

fn once() -> User {
    User { delivery: Delivery::OneTime(hours(6)), ..user() }
}

fn lenient() -> User {
    User { delivery: Delivery::Lenient, ..user() }
}

fn suspended() -> User {
    User { is_suspended: true, ..user() }
}

// === OneTime ===

#[test]
fn a_one_time_secret_stays_until_its_time_is_over() {
    let step = step(once(), record([('a', current(1))]), showing('a', &once()));

    assert_eq!(outcome(&step), Some(&Outcome::Delivered));
    assert_eq!(rests(&step).unwrap().requeue_at, Some(at(5)));
}

#[test]
fn a_one_time_secret_whose_time_is_over_is_deleted_at_its_version() {
    let mut aged = current(1);
    aged.issued_at = at(-6);

    let step = step(once(), record([('a', aged)]), showing('a', &once()));

    assert_eq!(step, Step::Write(Write::Withdraw(version("7"))));
}

#[test]
fn a_one_time_secret_that_its_reader_deleted_is_not_written_again() {
    let step = step(once(), record([('a', current(1))]), None);

    assert_eq!(outcome(&step), Some(&Outcome::ReadOnce));
    assert_eq!(rests(&step).unwrap().requeue_at, None);
}

#[test]
fn a_one_time_secret_is_created_again_for_a_rotation() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..once() };

    for delivered in [None, Some(placeholder())] {
        let step = step(requesting.clone(), record([('a', current(1))]), delivered);

        assert_eq!(cause(&step), Some(Cause::Requested));
    }
}

#[test]
fn a_secret_without_a_client_secret_does_not_stay_when_none_is_needed() {
    for user in [once(), lenient(), suspended()] {
        let step = step(user.clone(), record([('a', current(1))]), placeholder());

        assert_eq!(step, Step::Write(Write::Discard(version("7"))), "{:?}", user.delivery);
    }
}

#[test]
fn a_secret_that_may_have_data_is_not_discarded() {
    let mut unnamed = showing('a', &lenient());
    unnamed.credential_id = None;
    let untracked = ObservedSecret { ours: ManagedFields::default(), ..placeholder() };

    for delivered in [unnamed, untracked] {
        let delivered = ObservedSecret { content_digest: None, ..delivered };
        let step = step(lenient(), record([('a', current(1))]), delivered);

        assert!(!matches!(step, Step::Write(Write::Discard(_))), "{step:?}");
    }
}

#[test]
fn an_altered_one_time_secret_is_left_until_its_time_is_over() {
    let fresh = step(once(), record([('a', current(1))]), altered('a', &once()));
    let mut aged = current(1);
    aged.issued_at = at(-7);
    let late = step(once(), record([('a', aged)]), altered('a', &once()));

    assert_eq!(outcome(&fresh), Some(&Outcome::AlterationIgnored));
    assert_eq!(late, Step::Write(Write::Withdraw(version("7"))));
}

#[test]
fn a_one_time_client_secret_that_was_never_promoted_is_replaced() {
    // Its reader was quicker than the operator, which then died: it is unknown whether it was read.
    let step = step(once(), record([('a', pending("6", 1))]), placeholder());

    let (record, cause) = issued(&step).unwrap();
    assert_eq!(cause, Cause::Unissued);
    assert!(record.entries.contains_key(&id('a')), "whoever read it keeps it for the overlap");
}

// === Lenient ===

#[test]
fn a_deleted_secret_may_be_ignored_until_the_next_rotation() {
    let step = step(lenient(), record([('a', current(1))]), None);

    assert_eq!(outcome(&step), Some(&Outcome::DeletionIgnored));
}

#[test]
fn an_altered_secret_may_be_ignored_until_the_next_rotation() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..lenient() };
    let record = record([('a', current(1))]);

    let quiet = step(lenient(), record.clone(), altered('a', &lenient()));
    let asked = step(requesting, record, altered('a', &lenient()));

    assert_eq!(outcome(&quiet), Some(&Outcome::AlterationIgnored));
    assert_eq!(cause(&asked), Some(Cause::Requested));
}

#[test]
fn who_ignores_losses_still_gets_the_first_client_secret() {
    assert_eq!(cause(&step(lenient(), record([]), None)), Some(Cause::Unissued));
    assert_eq!(cause(&step(lenient(), record([]), placeholder())), Some(Cause::Unissued));
}

#[test]
fn a_client_secret_that_is_not_the_current_one_is_replaced_in_every_mode() {
    for user in [user(), lenient(), once()] {
        let step = step(user.clone(), record([('a', current(1))]), showing('z', &user));

        assert_eq!(cause(&step), Some(Cause::Unknown), "{:?}", user.delivery);
    }
}

// === suspended ===

#[test]
fn nothing_is_issued_rotated_or_withdrawn_while_suspended() {
    let mut aged = current(1);
    aged.issued_at = at(-1000);
    let wishes = User {
        delivery: Delivery::OneTime(hours(1)),
        period: Some(hours(48)),
        rotate_request: Some("new".to_owned()),
        ..suspended()
    };
    let secrets: [Option<ObservedSecret>; 3] =
        [None, Some(altered('a', &wishes)), Some(showing('a', &wishes))];
    for delivered in secrets {
        for record in [record([]), record([('a', aged.clone())])] {
            let step = step(wishes.clone(), record, delivered.clone());

            assert_eq!(outcome(&step), Some(&Outcome::Suspended), "{delivered:?}");
            assert_eq!(rests(&step).unwrap().requeue_at, None);
        }
    }
}

#[test]
fn what_was_revealed_becomes_current_although_suspended() {
    let record = record([('a', current(1)), ('b', pending("6", 2))]);

    let step = step(suspended(), record, showing('b', &user()));

    assert_eq!(put(&step).unwrap().1, Change::Promote);
}

#[test]
fn what_has_ended_is_tidied_although_suspended() {
    let record = record([('a', current(1)), ('b', old(-1))]);

    let step = step(suspended(), record, showing('a', &user()));

    assert_eq!(put(&step).unwrap().1, Change::Prune);
}

#[test]
fn a_delivery_that_suspension_overtook_keeps_its_entry() {
    let shown = step(suspended(), record([('a', pending("7", 1))]), placeholder());
    let created = step(suspended(), record([('a', created(1))]), None);

    assert_eq!(shown, Step::Write(Write::Discard(version("7"))));
    assert_eq!(outcome(&created), Some(&Outcome::Suspended));
}

#[test]
fn a_suspended_user_without_a_record_claims_its_client_id() {
    let mut seen = observed(suspended(), record([]), None);
    seen.record = ClientIdReservation::Free;

    let step = decide(&seen, now());

    assert!(matches!(step, Step::Write(Write::CreateRecord(_))));
}
