//! A key from its making to its end, when nothing goes wrong.

use super::given::{HOUR, key, kid, nothing, rotated, signing};
use std::collections::BTreeSet;

use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::crypto::public_key::{Algorithm, KeyType, PublicKey};
use crate::domain::signing_key::*;

#[test]
fn the_first_key_signs_as_soon_as_every_jwks_has_it() {
    let mut given = nothing();

    let steps = given.settle();

    assert_eq!(steps, ["create ledger", "stage 1", "publish 2", "schedule"]);
    assert_eq!(given.active(), Some(kid(1)));
    assert_eq!(given.outcome(), Outcome::Signing(kid(1)));
}

#[test]
fn a_key_is_not_scheduled_before_every_jwks_has_it() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.apply(Write::Stage(2));

    let Step::Write(Write::Publish(jwks, mut publications)) = given.decide() else {
        panic!("not published");
    };
    publications.pop();
    given.apply(Write::Publish(jwks, publications));

    assert!(matches!(given.decide(), Step::Write(Write::Publish(_, rest)) if rest.len() == 1));
}

#[test]
fn the_next_key_is_published_for_the_whole_time_before_it_signs() {
    let mut given = signing();
    given.later(HOUR * 719);

    let steps = given.settle();
    let scheduled = given.ledger().entries[&2].clone();

    assert_eq!(steps, ["stage 2", "publish 2", "schedule", "drain"]);
    assert_eq!(scheduled.activate_at, given.now + HOUR + SKEW * 2);
    assert_eq!(given.ledger().entries[&1].until, Some(scheduled.activate_at + HANDOVER));
    assert_eq!(given.active(), Some(kid(1)));
    assert_eq!(
        given.published("shop"),
        [kid(1), kid(2)].into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
}

#[test]
fn the_next_key_is_made_in_time_to_take_over_when_the_period_is_over() {
    let given = signing();
    let Step::Done(rest) = given.decide() else { panic!("not at rest") };

    let wake_at = rest.requeue_at.unwrap();
    let takeover = wake_at + HOUR + SKEW * 2;

    let period = takeover.duration_since(given.now);
    assert!(period <= HOUR * 720 && period >= HOUR * 719, "{period:?}");
}

#[test]
fn a_key_leaves_after_its_last_token_has_expired_and_takes_two_writes_of_each_jwks() {
    let mut given = signing();
    given.later(HOUR * 719);
    let before = given.jwks_writes;
    given.settle();
    let removal = given.ledger().entries[&1].removal_at(given.series.retention).unwrap();

    given.now = removal;
    let at_the_end = given.settle();
    given.later(SignedDuration::from_secs(1));
    let after_the_end = given.settle();

    assert!(at_the_end.is_empty(), "{at_the_end:?}");
    assert_eq!(after_the_end, ["remove", "publish 2", "delete 1"]);
    assert_eq!(given.published("home"), [kid(2)]);
    assert_eq!(given.jwks_writes - before, 4);
    let last_signature = given.ledger().entries[&1].until.unwrap();
    assert!(removal.duration_since(last_signature) >= HOUR * 25);
}

#[test]
fn nothing_happens_to_a_series_at_rest() {
    let mut given = rotated();

    for _ in 0..20 {
        given.later(HOUR);
        assert_eq!(given.settle(), Vec::<String>::new());
    }
    assert_eq!(given.outcome(), Outcome::Signing(kid(2)));
}

#[test]
fn no_index_is_used_twice_and_old_keys_are_forgotten() {
    let mut given = signing();

    for turn in 2..40_u32 {
        given.series.rotate_request = Some(turn.to_string());
        given.settle();
        given.later(HOUR * 48);
        given.settle();
        assert_eq!(given.ledger().next_index(), turn + 1);
    }

    assert!(given.ledger().entries.len() <= Ledger::REMEMBERED + 3);
    assert_eq!(given.active(), Some(key(39).kid().clone()));
    assert_eq!(given.key_pairs.len(), 1);
}

#[test]
fn a_suspended_series_makes_nothing_and_stays_published() {
    let mut given = signing();
    given.series.is_suspended = true;
    given.series.rotate_request = Some("a".to_owned());
    given.later(HOUR * 10_000);

    assert_eq!(given.settle(), Vec::<String>::new());
    assert_eq!(given.outcome(), Outcome::Suspended);
    assert_eq!(given.published("shop"), [kid(1)]);
}

#[test]
fn the_status_tells_the_state_of_every_key() {
    use crate::api::signing_key::KeyState::{Active, Grace, Published, Retired};
    let states = |given: &super::given::Given| {
        let rest = given.outcome();
        let status = status::status(&given.observed(), &rest, None, Now::at(given.now)).unwrap();
        status.keys.iter().map(|key| key.state).collect::<Vec<_>>()
    };
    let mut given = signing();

    let first = states(&given);
    given.later(HOUR * 719);
    given.settle();
    let published = states(&given);
    given.later(HOUR * 2);
    given.settle();
    let in_grace = states(&given);
    given.later(HOUR * 48);
    given.settle();
    let retired = states(&given);

    assert_eq!(first, [Active]);
    assert_eq!(published, [Published, Active]);
    assert_eq!(in_grace, [Active, Grace]);
    assert_eq!(retired, [Active, Retired]);
}

#[test]
fn a_declared_algorithm_is_a_rotation_whose_next_key_has_it_and_then_the_mark_goes() {
    let mut given = signing();
    given.series.origin = Origin::Bootstrapped;
    given.settle();
    assert_eq!(given.status(None).bootstrapped, Some(true));

    given.series.origin = Origin::Claimed;
    given.series.algorithm = Algorithm::RS256;
    given.series.shape = KeyType::Rsa(2048);
    let Step::Write(write) = given.decide() else { panic!("nothing made") };

    assert_eq!(write, Write::Stage(2));
    assert_eq!(given.status_at_rest(&Outcome::Signing(kid(1))).bootstrapped, Some(true));
}

#[test]
fn a_declared_size_alone_is_a_rotation_as_well() {
    let mut given = nothing();
    (given.series.algorithm, given.series.shape) = (Algorithm::RS256, KeyType::Rsa(2048));
    given.series.origin = Origin::Claimed;
    let of_2048_bits = PublicKey::rsa(Algorithm::RS256, &[0xff; 256], &[1, 0, 1]).unwrap();

    assert!(given.series.fits(&of_2048_bits));
    given.series.shape = KeyType::Rsa(3072);
    assert!(!given.series.fits(&of_2048_bits));
    given.series.origin = Origin::Declared;
    assert!(given.series.fits(&of_2048_bits), "its next key has the new size, when it is due");
}

#[test]
fn a_first_look_that_fails_does_not_lose_the_mark() {
    let mut given = signing();
    given.series.origin = Origin::Bootstrapped;
    given.ledger = LedgerState::Unread;

    let failed = Outcome::Blocked {
        blocked_reason: BlockedReason::ApiServerUnavailable(Unavailable::Server(503)),
        signs: false,
    };

    assert_eq!(given.status_at_rest(&failed).bootstrapped, Some(true));
}

#[test]
fn a_declaration_of_what_is_there_already_takes_the_mark_away_without_a_rotation() {
    let mut given = signing();
    given.series.origin = Origin::Claimed;

    assert_eq!(given.settle(), Vec::<String>::new());
    assert_eq!(given.status(None).bootstrapped, None);
}

#[test]
fn other_settings_of_the_operator_are_written_where_token_servers_find_them() {
    let mut given = signing();
    given.series.agreement.view_age_seconds = 7200;

    assert_eq!(given.settle(), ["agree"]);
    assert_eq!(given.ledger().agreement, Some(given.series.agreement.clone()));
}
