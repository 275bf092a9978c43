//! Each check alone.

use super::given::{
    OVERLAP, altered, at, cause, current, entry, hours, id, issued, now, observed, old, outcome,
    pending, placeholder, put, record, record_version, rests, showing, step, user, version,
};
use crate::domain::object::Belongs;
use crate::domain::schedule::saturating_add;
use crate::domain::technical_user::delivered_secret::{Mutability, ObservedSecret};
use crate::domain::technical_user::verifier_record::{EntryState, Record, Unreadable};
use crate::domain::technical_user::{
    Cause, Change, ClientIdReservation, Holder, Outcome, Step, User, Write, decide, needs_namespace,
};

#[test]
fn without_a_user_there_is_nothing_to_do() {
    let mut seen = observed(user(), record([]), None);
    seen.user = None;

    let step = decide(&seen, now());

    assert_eq!(outcome(&step), Some(&Outcome::Gone));
    assert_eq!(rests(&step).unwrap().requeue_at, None);
}

#[test]
fn a_free_client_id_is_claimed_with_an_empty_record() {
    let mut seen = observed(user(), record([]), None);
    seen.record = ClientIdReservation::Free;

    let step = decide(&seen, now());

    let empty = Record::empty(user().client_id, user().owner);
    assert_eq!(step, Step::Write(Write::CreateRecord(Box::new(empty))));
}

#[test]
fn the_record_of_a_user_that_is_gone_is_deleted_at_its_version() {
    let mut seen = observed(user(), record([]), None);
    seen.record = ClientIdReservation::Taken(record_version(), user().owner, Holder::Gone);

    assert_eq!(decide(&seen, now()), Step::Write(Write::DeleteRecord(record_version())));
}

#[test]
fn a_client_id_that_another_holds_is_left_to_it_and_looked_at_again() {
    let mut seen = observed(user(), record([]), placeholder());
    seen.record = ClientIdReservation::Taken(record_version(), user().owner, Holder::Exists);

    let step = decide(&seen, now());

    assert_eq!(outcome(&step), Some(&Outcome::ClientIdTaken));
    assert!(rests(&step).unwrap().requeue_at.is_some_and(|wake_at| wake_at > at(0)));
}

#[test]
fn a_record_that_cannot_be_read_is_never_written() {
    let reasons = [
        Unreadable::Missing,
        Unreadable::Malformed,
        Unreadable::FormatVersion,
        Unreadable::ClientId,
        Unreadable::Type,
    ];
    for reason in reasons {
        let mut seen = observed(user(), record([]), placeholder());
        seen.record = ClientIdReservation::Unreadable(reason);

        assert_eq!(outcome(&decide(&seen, now())), Some(&Outcome::Unreadable(reason)));
    }
}

#[test]
fn a_secret_of_somebody_else_is_left_alone() {
    let foreign = ObservedSecret { belongs: Belongs::Foreign, ..placeholder() };

    let step = step(user(), record([]), foreign);

    assert_eq!(outcome(&step), Some(&Outcome::SecretConflict));
    assert!(rests(&step).unwrap().requeue_at.is_some());
}

#[test]
fn the_secret_of_a_predecessor_is_left_to_the_garbage_collector_for_a_while() {
    let young = User { created_at: at(0), ..user() };
    let left = ObservedSecret { belongs: Belongs::Predecessor, ..showing('a', &young) };

    let step = step(young, record([]), left);

    assert_eq!(outcome(&step), Some(&Outcome::AwaitingGarbageCollection));
    assert!(rests(&step).unwrap().requeue_at.is_some_and(|wake_at| wake_at <= at(1)));
}

#[test]
fn the_secret_of_a_predecessor_that_nobody_collects_is_deleted_at_that_version() {
    let left = ObservedSecret { belongs: Belongs::Predecessor, ..showing('a', &user()) };
    let immutable = ObservedSecret { mutability: Mutability::Immutable, ..left.clone() };
    let suspended = User { is_suspended: true, ..user() };

    for (user, left) in [(user(), left.clone()), (user(), immutable), (suspended, left)] {
        let step = step(user, record([]), left);

        assert_eq!(step, Step::Write(Write::Collect(version("7"))));
    }
}

#[test]
fn the_secret_of_a_predecessor_that_is_being_deleted_is_waited_for() {
    let left = ObservedSecret { belongs: Belongs::Predecessor, ..showing('a', &user()) };

    let step = step(user(), record([]), ObservedSecret { is_terminating: true, ..left });

    assert_eq!(outcome(&step), Some(&Outcome::SecretTerminating));
}

#[test]
fn a_secret_that_is_being_deleted_is_waited_for() {
    let mut delivered = showing('a', &user());
    delivered.is_terminating = true;

    let step = step(user(), record([('a', current(1))]), delivered);

    assert_eq!(outcome(&step), Some(&Outcome::SecretTerminating));
}

#[test]
fn the_first_client_secret_has_serial_1_and_goes_to_the_placeholder() {
    let step = step(user(), record([]), placeholder());

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (1, Cause::Unissued));
    assert!(record.entries.is_empty());
}

#[test]
fn a_pending_client_secret_that_is_shown_becomes_current_and_ends_the_former() {
    let record = record([('a', current(1)), ('b', pending("6", 2))]);

    let step = step(user(), record, showing('b', &user()));

    let (record, change) = put(&step).unwrap();
    assert_eq!(change, Change::Promote);
    assert_eq!(record.entries[&id('b')].state, EntryState::Current);
    assert_eq!(record.entries[&id('b')].issued_at, at(0));
    assert_eq!(record.entries[&id('a')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
}

#[test]
fn a_promotion_tidies_too() {
    let record = record([('a', old(-1)), ('b', pending("6", 2)), ('c', pending("5", 1))]);

    let step = step(user(), record, showing('b', &user()));

    let (record, _) = put(&step).unwrap();
    assert!(!record.entries.contains_key(&id('a')));
    assert_eq!(record.entries[&id('c')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
}

#[test]
fn a_pending_client_secret_that_somebody_altered_is_replaced() {
    let record = record([('a', current(1)), ('b', pending("6", 2))]);

    let step = step(user(), record, altered('b', &user()));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Unissued));
    assert_eq!(record.entries[&id('b')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
    assert_eq!(record.entries[&id('a')].state, EntryState::Current);
}

#[test]
fn a_crash_after_the_verifier_is_registered_is_fenced_before_anything_else() {
    let record = record([('a', pending("7", 1))]);

    let step = step(user(), record, placeholder());

    assert_eq!(step, Step::Write(Write::Fence(version("7"), 5)));
}

#[test]
fn once_fenced_a_new_client_secret_of_the_same_serial_is_issued() {
    let mut fenced = placeholder();
    fenced.version = version("7");

    let step = step(user(), record([('a', pending("6", 1))]), fenced);

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (1, Cause::Unissued));
    assert_eq!(record.entries[&id('a')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
}

#[test]
fn a_version_of_another_secret_is_another_version() {
    let mut elsewhere = version("7");
    elsewhere.uid = "another-uid".to_owned();
    let record = record([('a', entry(EntryState::Pending(Some(elsewhere)), 1))]);

    let step = step(user(), record, placeholder());

    assert_eq!(cause(&step), Some(Cause::Unissued));
}

#[test]
fn a_delivered_client_secret_needs_nothing() {
    let step = step(user(), record([('a', current(1))]), showing('a', &user()));

    assert_eq!(outcome(&step), Some(&Outcome::Delivered));
    assert_eq!(rests(&step).unwrap().requeue_at, None);
}

#[test]
fn a_deleted_secret_is_created_again_with_a_new_client_secret() {
    for delivered in [None, Some(placeholder())] {
        let step = step(user(), record([('a', current(1))]), delivered);

        let (record, cause) = issued(&step).unwrap();
        assert_eq!((record.serial, cause), (2, Cause::Deleted));
    }
}

#[test]
fn an_altered_client_secret_is_replaced() {
    let step = step(user(), record([('a', current(1))]), altered('a', &user()));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Altered));
}

#[test]
fn an_old_or_unknown_client_secret_in_the_secret_is_replaced() {
    for shown in ['b', 'z'] {
        let record = record([('a', current(1)), ('b', old(5))]);

        let step = step(user(), record, showing(shown, &user()));

        assert_eq!(cause(&step), Some(Cause::Unknown), "{shown}");
    }
}

#[test]
fn a_full_record_waits_for_its_first_end() {
    let mut record = record([('a', current(1))]);
    for (letter, hours) in ('b'..).zip([9, 3, 4, 5, 6, 7, 8]) {
        record.entries.insert(id(letter), old(hours));
    }

    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let step = step(requesting, record, None);

    assert_eq!(outcome(&step), Some(&Outcome::TooManyCredentials));
    assert_eq!(rests(&step).unwrap().requeue_at, Some(at(3)));
}

#[test]
fn a_record_full_of_dead_entries_gives_them_an_end_first() {
    let mut record = record([('a', current(1))]);
    for letter in ('b'..).take(7) {
        record.entries.insert(id(letter), pending("6", 1));
    }

    let step = step(user(), record, placeholder());

    let (record, change) = put(&step).unwrap();
    assert_eq!(change, Change::Prune);
    assert_eq!(record.entries[&id('b')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
    assert_eq!(record.entries.len(), Record::CAPACITY);
}

#[test]
fn a_record_full_of_ended_entries_has_room() {
    let mut record = record([('a', current(1))]);
    for letter in ('b'..).take(7) {
        record.entries.insert(id(letter), old(-1));
    }

    let step = step(user(), record, placeholder());

    assert_eq!(issued(&step).unwrap().0.entries.len(), 1);
}

#[test]
fn what_has_ended_is_tidied_and_what_has_not_is_kept() {
    let record = record([('a', current(1)), ('b', old(0)), ('c', old(1))]);

    let step = step(user(), record, showing('a', &user()));

    let (record, change) = put(&step).unwrap();
    assert_eq!(change, Change::Prune);
    assert_eq!(record.entries.keys().collect::<Vec<_>>(), [&id('a'), &id('c')]);
}

#[test]
fn an_entry_that_still_works_is_woken_up_for_at_its_end() {
    let record = record([('a', current(1)), ('b', old(5)), ('c', old(3))]);

    let step = step(user(), record, showing('a', &user()));

    assert_eq!(rests(&step).unwrap().requeue_at, Some(at(3)));
}

#[test]
fn a_dead_entry_gets_its_overlap_since_somebody_may_have_seen_it() {
    let record = record([('a', current(1)), ('b', pending("6", 1))]);

    let step = step(user(), record, showing('a', &user()));

    let (record, _) = put(&step).unwrap();
    assert_eq!(record.entries[&id('b')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
}

#[test]
fn a_removed_label_is_written_again() {
    let mut delivered = showing('a', &user());
    delivered.labels.clear();

    let step = step(user(), record([('a', current(1))]), delivered);

    let Step::Write(Write::Refresh(at_version, refresh)) = step else {
        panic!("{step:?}");
    };
    assert_eq!(at_version, version("7"));
    assert_eq!(refresh.labels.len(), user().content.labels.len());
}

#[test]
fn a_period_that_is_over_brings_a_new_client_secret() {
    let mut scheduled = user();
    scheduled.period = Some(hours(30));
    let mut aged = current(1);
    aged.issued_at = at(-31);

    let step = step(scheduled.clone(), record([('a', aged)]), showing('a', &scheduled));

    let (record, cause) = issued(&step).unwrap();
    assert_eq!((record.serial, cause), (2, Cause::Due));
}

#[test]
fn a_period_that_is_not_over_is_woken_up_for() {
    let mut scheduled = user();
    scheduled.period = Some(hours(48));

    let step = step(scheduled.clone(), record([('a', current(1))]), showing('a', &scheduled));

    let wake_at = rests(&step).unwrap().requeue_at.unwrap();
    assert!(wake_at > at(46) && wake_at <= at(47), "{wake_at}");
}

#[test]
fn a_record_of_an_earlier_version_gets_the_uid_of_the_namespace_first() {
    let mut earlier = record([('a', current(1))]);
    earlier.owner.namespace_uid = None;
    let held = ClientIdReservation::Held(record_version(), Box::new(earlier.clone()));
    let revoking = User { revoke_request: Some("one".to_owned()), ..user() };

    let step = step(user(), earlier.clone(), showing('a', &user()));
    let (completed, change) = put(&step).unwrap();

    assert_eq!(change, Change::Complete);
    assert_eq!(completed.owner, user().owner);
    assert_eq!(completed.entries, earlier.entries);
    assert!(
        needs_namespace(&user(), &held) && needs_namespace(&user(), &ClientIdReservation::Free)
    );
    assert!(!needs_namespace(&revoking, &held), "a revocation does not wait");
    let complete = ClientIdReservation::Held(record_version(), Box::new(completed.clone()));
    assert!(!needs_namespace(&user(), &complete));
}
