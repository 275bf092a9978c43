//! Faults that users, administrators and clocks cause.

use super::given::{HOUR, kid, nothing, rotated, signing};
use crate::domain::schedule::ClockMonitor;
use crate::domain::signing_key::retention::APART;
use std::collections::BTreeSet;

use crate::domain::conditions::blocked_reason::{BlockedReason, Operation};
use crate::domain::signing_key::ledger::Unreadable;
use crate::domain::signing_key::*;

#[test]
fn an_edited_or_deleted_jwks_is_put_right() {
    let mut given = signing();
    given.targets.insert("shop".to_owned(), ConfigMapState::Absent);
    if let Some(ConfigMapState::Owned(published)) = given.targets.get_mut("home") {
        published.digest = None;
        published.surplus_fields = BTreeSet::from(["rogue".to_owned()]);
    }

    let Step::Write(Write::Publish(_, publications)) = given.decide() else {
        panic!("not put right");
    };

    assert!(matches!(&publications[0], Publication::Replace(namespace, _, surplus)
        if namespace == "home" && surplus.contains("rogue")));
    assert_eq!(publications[1], Publication::Create("shop".to_owned()));
}

#[test]
fn a_namespace_that_cannot_be_written_does_not_hold_up_the_others() {
    let mut given = nothing();
    let blocked_reason = BlockedReason::NamespaceTerminating { namespace: "shop".to_owned() };
    given
        .targets
        .insert("shop".to_owned(), ConfigMapState::Unwritable(blocked_reason, BTreeSet::new()));
    given.targets.insert("toys".to_owned(), ConfigMapState::Conflict);

    given.settle();
    let outcome = given.outcome();
    let now = Now::at(given.now);
    let status = status::status(&given.observed(), &outcome, None, now).unwrap();

    assert_eq!(outcome, Outcome::Signing(kid(1)));
    let incomplete = status.conditions.iter().find(|it| it.type_ == "JWKSIncomplete").unwrap();
    assert!(incomplete.message.contains("shop, toys"), "{}", incomplete.message);
    assert_eq!(status.jwks.unwrap().namespaces, 1);
}

#[test]
fn without_its_own_jwks_the_operator_schedules_nothing() {
    let mut given = nothing();
    given.targets.insert("home".to_owned(), ConfigMapState::Conflict);

    let steps = given.settle();

    assert_eq!(steps, ["create ledger", "stage 1", "publish 1"]);
    let place = ConfigMapRef { namespace: "home".to_owned(), name: "default-jwks".to_owned() };
    assert_eq!(given.outcome(), Outcome::JwksConflict(place));
    assert_eq!(given.active(), None);
}

#[test]
fn a_jwks_that_is_not_wanted_any_more_is_deleted() {
    let mut given = signing();
    let place = ConfigMapRef { namespace: "old".to_owned(), name: "default-jwks".to_owned() };
    let version = given.version();
    given.surplus.insert(place, StaleCopy::Deletable(version));

    assert_eq!(given.settle(), ["publish 1"]);
}

#[test]
fn a_jwks_that_cannot_be_deleted_is_told_and_tried_again() {
    let mut given = signing();
    let place = ConfigMapRef { namespace: "old".to_owned(), name: "default-jwks".to_owned() };
    let refused = BlockedReason::Refused {
        operation: Operation::on("delete", "configmaps", "old", "default-jwks"),
        reason: "Invalid".to_owned(),
    };
    given.surplus.insert(place, StaleCopy::Blocked(refused));

    let Step::Done(rest) = given.decide() else { panic!("not at rest") };
    let now = Now::at(given.now);
    let status = status::status(&given.observed(), &rest.outcome, None, now).unwrap();

    assert_eq!(rest.outcome, Outcome::Signing(kid(1)));
    assert!(rest.requeue_at.unwrap() <= given.now + SignedDuration::from_mins(1));
    let surplus = status.conditions.iter().find(|it| it.type_ == "JWKSOrphaned").unwrap();
    assert!(surplus.message.contains(": old. "), "{}", surplus.message);
    assert!(surplus.message.contains("delete configmaps"), "{}", surplus.message);
}

#[test]
fn a_jwks_of_a_predecessor_goes_once_the_collector_had_its_time() {
    for namespace in ["home", "shop"] {
        let mut given = nothing();
        let version = given.version();
        given.series.created_at = given.now;
        given.targets.insert(namespace.to_owned(), ConfigMapState::Orphaned(version));

        given.settle();
        let waiting = given.targets[namespace].clone();
        given.later(SignedDuration::from_secs(10));
        let steps = given.settle();

        assert!(matches!(waiting, ConfigMapState::Orphaned(_)), "{namespace}");
        assert_eq!(steps[..2], ["publish 1", "publish 1"], "{namespace}");
        assert_eq!(given.published(namespace), [kid(1)]);
        assert_eq!(given.active(), Some(kid(1)));
    }
}

#[test]
fn while_a_jwks_of_a_predecessor_is_at_home_nothing_signs_and_the_next_look_is_soon() {
    let mut given = nothing();
    let version = given.version();
    given.series.created_at = given.now;
    given.targets.insert("home".to_owned(), ConfigMapState::Orphaned(version));
    given.settle();

    let Step::Done(rest) = given.decide() else { panic!("not at rest") };

    let object = "ConfigMap home/default-jwks".to_owned();
    let blocked_reason = BlockedReason::AwaitingGarbageCollection { object };
    assert_eq!(rest.outcome, Outcome::Blocked { blocked_reason, signs: false });
    assert!(rest.requeue_at.unwrap() <= given.now + SignedDuration::from_mins(1));
    assert_eq!(given.active(), None);
}

#[test]
fn a_jwks_at_home_that_cannot_be_written_is_no_obstacle_to_the_key_that_it_has() {
    let blocked_reason = BlockedReason::QuotaExceeded {
        operation: Operation::on("create", "configmaps", "payments", "default-jwks"),
        quota: None,
    };
    let blocked = |kids| ConfigMapState::Unwritable(blocked_reason.clone(), kids);
    let mut given = signing();

    given.targets.insert("home".to_owned(), blocked(BTreeSet::from([kid(1)])));
    assert_eq!(
        given.outcome(),
        Outcome::Blocked { blocked_reason: blocked_reason.clone(), signs: true }
    );

    // Without the key no token server signs with it.
    given.targets.insert("home".to_owned(), blocked(BTreeSet::new()));
    assert_eq!(
        given.outcome(),
        Outcome::Blocked { blocked_reason: blocked_reason.clone(), signs: false }
    );

    given.targets.insert("home".to_owned(), blocked(BTreeSet::from([kid(1)])));
    given.series.is_suspended = true;
    assert_eq!(
        given.outcome(),
        Outcome::Blocked { blocked_reason: blocked_reason.clone(), signs: false }
    );
}

#[test]
fn a_renamed_jwks_is_there_before_the_former_one_goes() {
    let mut given = signing();
    let former = ConfigMapRef { namespace: "shop".to_owned(), name: "former-jwks".to_owned() };
    let version = given.version();
    given.surplus.insert(former, StaleCopy::Deletable(version));
    given.targets.insert("shop".to_owned(), ConfigMapState::Absent);

    let first = given.decide();
    let steps = given.settle();
    given.targets.insert("shop".to_owned(), ConfigMapState::Conflict);
    let place = ConfigMapRef { namespace: "shop".to_owned(), name: "former-jwks".to_owned() };
    let version = given.version();
    given.surplus.insert(place, StaleCopy::Deletable(version));

    assert!(matches!(first, Step::Write(Write::Publish(_, writes)) if writes.len() == 1));
    assert_eq!(steps, ["publish 1", "publish 1"]);
    assert!(given.settle().is_empty(), "where the new one cannot be, the former stays");
}

#[test]
fn what_was_promised_to_tokens_holds_when_settings_change() {
    let mut given = rotated();
    let promised = given.ledger().entries[&1].removal_at(given.series.retention);

    given.series.retention = SignedDuration::from_secs(1);

    assert_eq!(given.ledger().entries[&1].removal_at(given.series.retention), promised);
    given.later(HOUR * 3);
    assert!(given.settle().is_empty());
}

#[test]
fn another_key_pair_in_the_place_of_one_is_not_that_one() {
    let mut given = signing();
    let version = Version { uid: "restored".to_owned(), resource_version: "1".to_owned() };
    given.key_pairs.insert(1, KeyPair { version, public: None });

    assert_eq!(given.settle().first().map(String::as_str), Some("stage 2"));
    assert!(matches!(given.outcome(), Outcome::KeyLost(lost, _) if lost == kid(1)));
}

#[test]
fn a_key_that_waits_and_is_lost_leaves_no_gap() {
    let mut given = rotated();
    given.series.rotate_request = Some("b".to_owned());
    given.settle();
    given.later(SignedDuration::from_mins(50));
    given.key_pairs.remove(&3);

    given.settle();

    let (second, fourth) = (&given.ledger().entries[&2], &given.ledger().entries[&4]);
    assert_eq!(second.until, Some(fourth.activate_at + HANDOVER));
}

#[test]
fn a_key_that_vanished_leaves_the_jwks_after_nothing_can_give_it_its_time_any_more() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    for _ in 0..2 {
        let Step::Write(write) = given.decide() else { panic!("not published") };
        given.apply(write);
    }
    let Step::Write(Write::PutLedger(late, _, Change::Schedule)) = given.decide() else {
        panic!("not about to be scheduled")
    };
    given.key_pairs.remove(&2);

    let Step::Write(write) = given.decide() else { panic!("at rest") };

    assert!(matches!(&write, Write::PutLedger(version, _, Change::Fence) if *version == late));
    given.apply(write);
    let Step::Write(write) = given.decide() else { panic!("at rest") };
    given.apply(write);
    assert_eq!(given.published("home"), [kid(1)]);
    assert_eq!(given.settle(), ["stage 2", "publish 2", "schedule", "drain"]);
}

#[test]
fn however_many_keys_somebody_adds_to_the_jwks_it_is_put_right() {
    let mut given = signing();
    if let Some(ConfigMapState::Owned(published)) = given.targets.get_mut("home") {
        published.digest = None;
        published.kids.extend((10..100).map(kid));
    }

    assert_eq!(given.settle(), ["fence", "publish 1"]);
    assert_eq!(given.published("home"), [kid(1)]);
}

#[test]
fn a_key_pair_that_cannot_be_read_does_not_pass_for_a_lost_ledger() {
    let mut given = nothing();
    let version = given.version();
    given.key_pairs.insert(7, KeyPair { version, public: None });

    given.settle();

    assert_eq!(given.active(), Some(kid(1)));
}

#[test]
fn a_lost_key_pair_is_replaced_without_surprising_a_verifier() {
    let mut given = signing();
    given.key_pairs.remove(&1);

    let steps = given.settle();

    assert_eq!(steps, ["stage 2", "publish 2", "schedule", "drain"]);
    assert!(matches!(given.outcome(), Outcome::KeyLost(lost, Some(_)) if lost == kid(1)));
    assert!(given.published("home").contains(&kid(1)), "its tokens verify");
    assert!(given.ledger().entries[&2].activate_at > given.now + HOUR);
}

#[test]
fn a_key_pair_that_cannot_be_read_is_named_and_holds_up_only_the_next_rotation() {
    let mut given = signing();
    let version = given.version();
    given.key_pairs.insert(2, KeyPair { version, public: None });
    given.later(HOUR * 800);

    assert!(given.settle().is_empty());
    assert_eq!(
        given.outcome(),
        Outcome::KeyUnreadable { secret: "home/sk-u-2".to_owned(), signs: true }
    );
}

#[test]
fn a_ledger_that_cannot_be_read_is_left_alone() {
    let mut given = signing();
    given.ledger = LedgerState::Unreadable(Unreadable::Malformed);
    given.series.revoke_request = Some(kid(1).to_string());

    assert!(given.settle().is_empty());
    let secret = "home/sk-u".to_owned();
    let outcome = Outcome::LedgerUnreadable { secret, reason: Unreadable::Malformed };
    assert_eq!(given.outcome(), outcome);
}

#[test]
fn a_key_pair_that_comes_late_for_a_key_that_is_gone_is_deleted_again() {
    let mut given = rotated();
    given.later(HOUR * 48);
    given.settle();
    let version = given.version();
    given.key_pairs.insert(1, KeyPair { version, public: None });

    assert_eq!(given.settle(), ["delete 1"]);
}

#[test]
fn while_the_clocks_are_in_doubt_no_key_is_scheduled_and_none_leaves() {
    let mut given = rotated();
    given.later(HOUR * 10_000);
    let local = given.now - HOUR;
    let doubtful =
        ClockMonitor::default().sample(local, Some(given.now), std::time::Duration::ZERO);

    let step = decide(&given.observed(), doubtful);

    assert!(matches!(step, Step::Done(_)), "{step:?}");
}

#[test]
fn after_a_jump_of_all_clocks_no_key_leaves_before_the_last_token_of_a_server_out_of_touch() {
    let given = rotated();
    let drain = given.series.retention;
    let mut watchman = ClockMonitor::default();
    watchman.sample(given.now, Some(given.now), std::time::Duration::ZERO);
    let mut after = |hours: u64| {
        let elapsed = std::time::Duration::from_hours(hours);
        let now = given.now + HOUR * 10_000 + HOUR * i32::try_from(hours).unwrap();
        decide(&given.observed(), watchman.sample(now, Some(now), elapsed))
    };
    let removes = |step: &Step| matches!(step, Step::Write(Write::PutLedger(_, _, Change::Remove)));

    after(0);
    let steps = [1, 2, 25, 26].map(|hours| (hours, after(hours)));

    assert_eq!(drain, HOUR * 25 + APART);
    for (hours, step) in steps {
        assert_eq!(removes(&step), hours == 26, "after {hours} hours: {step:?}");
    }
}

#[test]
fn the_first_key_does_not_wait_for_the_clocks() {
    let mut given = nothing();
    for _ in 0..3 {
        let Step::Write(write) = given.decide() else { panic!("at rest") };
        given.apply(write);
    }
    let ahead = given.now + HOUR * 10_000;
    let doubtful =
        ClockMonitor::default().sample(ahead, Some(given.now), std::time::Duration::ZERO);

    let Step::Write(write) = decide(&given.observed(), doubtful) else { panic!("at rest") };
    given.apply(write);

    assert_eq!(given.active(), Some(kid(1)), "it signs by the clock that is behind, too");
}

#[test]
fn no_more_keys_are_published_than_a_verifier_can_take() {
    let mut given = signing();
    given.series.pre_publish = SignedDuration::ZERO;
    given.series.period = SignedDuration::from_secs(10);
    for _ in 0..100 {
        given.later(SignedDuration::from_secs(30));
        given.settle();
    }

    assert_eq!(given.published("home").len(), Ledger::CAPACITY);
    assert_eq!(given.outcome(), Outcome::TooManyKeys);
}
