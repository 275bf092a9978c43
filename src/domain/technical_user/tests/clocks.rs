//! A wrong clock makes a rotation late. It never ends a client secret early, and it never stops what
//! people ask for.

use std::time::Duration;

use super::given::{
    OVERLAP, altered, at, current, hours, id, issued, observed, old, outcome, pending, placeholder,
    put, record, rests, showing, user,
};
use crate::domain::schedule::{ClockMonitor, Now, saturating_add};
use crate::domain::technical_user::verifier_record::EntryState;
use crate::domain::technical_user::{Cause, Change, Delivery, Outcome, Step, User, Write, decide};

const YEAR: i64 = 365 * 24;

/// The clock of the API server is so many hours ahead.
fn apart(ahead: i64) -> Now {
    ClockMonitor::default().sample(at(0), Some(at(ahead)), Duration::ZERO)
}

/// Both clocks moved by so many hours a minute ago.
fn jumped(by: i64) -> Now {
    let mut watchman = ClockMonitor::default();
    watchman.sample(at(-by), Some(at(-by)), Duration::ZERO);
    watchman.sample(at(0), Some(at(0)), Duration::from_mins(1))
}

fn doubtful() -> [Now; 6] {
    [apart(1), apart(-1), apart(YEAR), apart(-YEAR), jumped(YEAR), jumped(-YEAR)]
}

#[test]
fn nothing_is_due_by_a_clock_in_doubt() {
    let scheduled = User { period: Some(hours(48)), ..user() };
    let mut aged = current(1);
    aged.issued_at = at(-3 * YEAR);
    let seen = observed(scheduled.clone(), record([('a', aged)]), showing('a', &scheduled));

    for now in doubtful() {
        let step = decide(&seen, now);

        assert_eq!(outcome(&step), Some(&Outcome::Delivered), "{now:?}");
        let wake_at = rests(&step).unwrap().requeue_at.unwrap();
        assert_eq!(wake_at, saturating_add(now.earliest(), jiff::SignedDuration::from_secs(30)));
    }
}

#[test]
fn nothing_ends_by_a_clock_in_doubt() {
    let once = User { delivery: Delivery::OneTime(hours(1)), ..user() };
    let mut aged = current(1);
    aged.issued_at = at(-3 * YEAR);
    let record = record([('a', aged), ('b', old(-3 * YEAR))]);
    let seen = observed(once.clone(), record, showing('a', &once));

    for now in doubtful() {
        assert_eq!(outcome(&decide(&seen, now)), Some(&Outcome::Delivered), "{now:?}");
    }
}

#[test]
fn a_request_and_a_loss_are_answered_all_the_same() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let record = record([('a', current(1))]);
    let requested = observed(requesting.clone(), record.clone(), showing('a', &requesting));
    let lost = observed(user(), record, altered('a', &user()));

    for now in doubtful() {
        assert_eq!(issued(&decide(&requested, now)).unwrap().1, Cause::Requested, "{now:?}");
        assert_eq!(issued(&decide(&lost, now)).unwrap().1, Cause::Altered, "{now:?}");
    }
}

#[test]
fn a_revocation_is_answered_all_the_same() {
    let revoking = User { revoke_request: Some("leaked".to_owned()), ..user() };
    let seen = observed(revoking.clone(), record([('a', current(1))]), showing('a', &revoking));

    for now in doubtful() {
        assert_eq!(put(&decide(&seen, now)).unwrap().1, Change::Revoke, "{now:?}");
    }
}

#[test]
fn an_end_counts_from_the_later_clock_and_an_age_from_that_of_the_api_server() {
    let record = record([('a', current(1)), ('b', pending("6", 2))]);
    let seen = observed(user(), record, showing('b', &user()));

    for (now, served, latest) in [(apart(2), at(2), at(2)), (apart(-2), at(-2), at(0))] {
        let step = decide(&seen, now);

        let (record, _) = put(&step).unwrap();
        assert_eq!(
            record.entries[&id('a')].state,
            EntryState::Old(saturating_add(latest, OVERLAP))
        );
        assert_eq!(record.entries[&id('b')].issued_at, served);
    }
}

#[test]
fn a_clock_that_goes_a_year_back_keeps_what_had_ended() {
    let record = record([('a', current(1)), ('b', old(1))]);
    let seen = observed(user(), record, showing('a', &user()));

    let step = decide(&seen, Now::at(at(-YEAR)));

    assert_eq!(rests(&step).unwrap().requeue_at, Some(at(1)));
}

#[test]
fn a_clock_that_goes_a_year_forward_and_holds_still_is_believed() {
    let mut watchman = ClockMonitor::default();
    watchman.sample(at(0), Some(at(0)), Duration::ZERO);
    watchman.sample(at(YEAR), Some(at(YEAR)), Duration::from_secs(1));
    let settled = saturating_add(at(YEAR), jiff::SignedDuration::from_mins(11));
    let now = watchman.sample(settled, Some(settled), Duration::from_secs(661));
    let record = record([('a', current(1)), ('b', old(1))]);

    let step = decide(&observed(user(), record, showing('a', &user())), now);

    assert_eq!(put(&step).unwrap().1, Change::Prune);
}

#[test]
fn a_crash_in_doubt_is_fenced_and_its_entry_keeps_a_whole_overlap() {
    let fenced = observed(user(), record([('a', pending("6", 1))]), placeholder());
    let in_flight = observed(user(), record([('a', pending("7", 1))]), placeholder());

    for now in doubtful() {
        let step = decide(&fenced, now);
        let (record, _) = issued(&step).unwrap();
        let EntryState::Old(not_after) = record.entries[&id('a')].state else {
            panic!("{record:?}");
        };
        assert!(not_after >= saturating_add(at(0), OVERLAP), "{now:?}");
        assert!(matches!(decide(&in_flight, now), Step::Write(Write::Fence(..))), "{now:?}");
    }
}

#[test]
fn an_entry_works_until_its_end_and_not_at_it() {
    let entry = old(1);

    assert!(entry.is_accepted(at(0)));
    assert!(!entry.is_accepted(at(1)));
    assert!(entry.has_ended(Now::at(at(1))));
}
