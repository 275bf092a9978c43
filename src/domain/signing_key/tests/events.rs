//! What is worth an Event.

use std::collections::{BTreeMap, BTreeSet};

use super::given::{HOUR, key, kid, rotated, signing};
use crate::api::signing_key::KeyState;
use crate::domain::conditions::blocked_reason::{BlockedReason, Operation};
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::schedule::ClockMonitor;
use crate::domain::signing_key::*;

#[test]
fn a_namespace_that_cannot_be_written_is_told_when_it_begins_and_when_it_ends() {
    let mut given = signing();
    let calm = given.status(None);
    let ours = given.targets["shop"].clone();
    let blocked = ConfigMapState::Unwritable(
        BlockedReason::ApiServerUnavailable(Unavailable::Server(503)),
        BTreeSet::new(),
    );

    given.targets.insert("shop".to_owned(), blocked);
    let event = given.events(Some(&calm));
    let incomplete = given.status(Some(&calm));
    let cut_short = Observed { targets: BTreeMap::new(), ..given.observed() };
    let failed = Outcome::Blocked {
        blocked_reason: BlockedReason::ApiServerUnavailable(Unavailable::Server(503)),
        signs: true,
    };
    let unseen = status::status(&cut_short, &failed, Some(&incomplete), Now::at(given.now));
    given.targets.insert("shop".to_owned(), ours);
    let ended = given.events(Some(&incomplete));

    assert_eq!(event, ["JWKSIncomplete"]);
    assert!(unseen.unwrap().conditions.iter().any(|it| it.type_ == "JWKSIncomplete"));
    assert_eq!(ended, ["JWKSComplete"]);
}

#[test]
fn a_key_that_signs_again_is_told_and_one_that_begins_only_once() {
    let mut given = signing();
    let first = given.events(None);
    let calm = given.status(None);

    given.series.is_suspended = true;
    let suspended = given.events(Some(&calm));
    let former = given.status(Some(&calm));
    given.series.is_suspended = false;
    let resumed = given.events(Some(&former));

    assert_eq!(first, ["KeyActivated"]);
    assert_eq!(suspended, ["Suspended"]);
    assert_eq!(resumed, ["KeyActive"]);
}

#[test]
fn a_refused_request_is_told_and_so_is_its_end() {
    let mut given = signing();
    let calm = given.status(None);
    given.series.revoke_request = Some("somebody-elses".to_owned());

    let refused = given.status(Some(&calm));
    let event = given.events(Some(&calm));
    let again = given.events(Some(&refused));
    given.series.revoke_request = None;
    let resolved = given.events(Some(&refused));

    assert_eq!(event, ["RevocationRequestInvalid"]);
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(resolved, ["RevocationRequestResolved"]);
}

#[test]
fn a_revoked_key_is_said_to_leave_only_if_it_does() {
    let note = |mut given: super::given::Given, index: u32| {
        given.series.revoke_request = Some(kid(index).to_string());
        let Step::Write(Write::PutLedger(_, ledger, Change::Revoke)) = given.decide() else {
            panic!("not revoked")
        };
        status::revoked(&given.series, kid(index).as_str(), &given.observed(), &ledger).message
    };

    assert!(note(rotated(), 2).contains("it leaves the JWKS now"));
    assert!(note(signing(), 1).contains("when another one takes its place"));
}

#[test]
fn a_ledger_made_anew_names_the_keys_that_leave_with_their_pairs() {
    let note = |given: &super::given::Given| {
        let Step::Write(Write::CreateLedger(ledger)) = given.decide() else {
            panic!("it is there")
        };
        status::ledger_made(&given.observed(), &ledger).map(|it| it.message)
    };
    let mut given = rotated();
    for (index, key_pair) in &mut given.key_pairs {
        key_pair.public = Some(key(*index));
    }
    given.ledger = LedgerState::Absent;

    let whole = note(&given).unwrap();
    given.key_pairs.remove(&1);
    let partial = note(&given).unwrap();

    assert!(whole.contains("stays published"), "{whole}");
    assert!(partial.contains(kid(1).as_str()), "{partial}");
    assert!(!partial.contains(kid(2).as_str()), "{partial}");
    assert_eq!(note(&super::given::nothing()), None);
}

#[test]
fn a_key_in_the_jwks_that_waits_for_its_time_is_published_and_told_once_it_has_it() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    for _ in 0..2 {
        let Step::Write(write) = given.decide() else { panic!("at rest") };
        given.apply(write);
    }
    let local = given.now - HOUR;
    let doubtful =
        ClockMonitor::default().sample(local, Some(given.now), std::time::Duration::ZERO);
    let Step::Done(rest) = decide(&given.observed(), doubtful) else { panic!("not at rest") };

    let waiting = status::status(&given.observed(), &rest.outcome, None, doubtful).unwrap();
    given.settle();
    let event = given.events(Some(&waiting));

    assert_eq!(waiting.keys[0].state, KeyState::Published);
    assert_eq!(waiting.keys[0].activation_time, None);
    assert!(event.contains(&"KeyPublished"), "{event:?}");
}

#[test]
fn no_key_is_called_active_while_nothing_signs() {
    let mut given = signing();
    let active = given.status(None).active_kid;
    given.series.is_suspended = true;
    let suspended = given.status(None).active_kid;

    assert_eq!(active, Some(kid(1).to_string()));
    assert_eq!(suspended, None);
}

#[test]
fn a_revoked_key_that_stays_in_the_jwks_has_a_condition_until_it_leaves() {
    let mut given = signing();
    let calm = given.status(None);
    given.series.revoke_request = Some(kid(1).to_string());
    let Step::Write(revoke) = given.decide() else { panic!("at rest") };
    given.apply(revoke);
    assert!(matches!(given.decide(), Step::Write(Write::Stage(2))));
    let operation = Operation::on("create", "secrets", "home", "sk-series-uid-2");
    let quota = BlockedReason::QuotaExceeded { operation, quota: None };
    let failed = Outcome::Blocked { blocked_reason: quota, signs: false };
    let now = Now::at(given.now);

    let stuck = status::status(&given.observed(), &failed, Some(&calm), now).unwrap();
    let event = status::events("default", &failed, Some(&calm), &stuck);
    given.settle();
    let ended = given.events(Some(&stuck));

    let condition = stuck.conditions.iter().find(|it| it.type_ == "RevokedKeyPublished").unwrap();
    assert!(condition.message.contains(kid(1).as_str()), "{}", condition.message);
    let reasons: Vec<_> = event.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["QuotaExceeded", "RevokedKeyPublished"]);
    assert!(ended.contains(&"RevokedKeyRemoved"), "{ended:?}");
}
