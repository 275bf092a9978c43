//! Every message names the `SigningKey`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::given::{Given, HOUR, key, kid, rotated, signing};
use crate::api::condition::Condition;
use crate::api::signing_key::SigningKeyStatus;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::status::{invalid_spec, is_same};
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::crypto::public_key::Algorithm;
use crate::domain::invalid_field::InvalidField;
use crate::domain::schedule::ClockMonitor;
use crate::domain::signing_key::ledger::Unreadable;
use crate::domain::signing_key::*;
use crate::domain::wording::{assert_worded, every_blocked_reason};

const OBJECT: &str = "SigningKey default";

#[test]
fn every_verdict_names_the_signing_key() {
    let all = std::iter::successors(verdict_after(None), |it| verdict_after(Some(it)));
    let blocked = every_blocked_reason().into_iter();
    let blocked = blocked.map(|blocked_reason| Outcome::Blocked { blocked_reason, signs: false });

    for outcome in all.chain(blocked) {
        assert_worded(&outcome.readiness("default").message, OBJECT);
    }
}

/// A new variant does not compile until it stands in this chain.
fn verdict_after(former: Option<&Outcome>) -> Option<Outcome> {
    let at = || "2026-11-24T09:00:00Z".parse().unwrap();
    let secret = || "home/sk-u".to_owned();
    let place = || ConfigMapRef { namespace: "home".to_owned(), name: "default-jwks".to_owned() };
    let field = || InvalidField { path: "spec.rotation.grace", value: "soon".to_owned() };
    Some(match former {
        None => Outcome::Gone,
        Some(Outcome::Gone) => Outcome::Signing(kid(1)),
        Some(Outcome::Signing(_)) => Outcome::Suspended,
        Some(Outcome::Suspended) => Outcome::NoActiveKey(None),
        Some(Outcome::NoActiveKey(None)) => Outcome::NoActiveKey(Some(at())),
        Some(Outcome::NoActiveKey(Some(_))) => Outcome::KeyLost(kid(1), None),
        Some(Outcome::KeyLost(_, None)) => Outcome::KeyLost(kid(1), Some(at())),
        Some(Outcome::KeyLost(_, Some(_))) => {
            Outcome::KeyUnreadable { secret: secret(), signs: true }
        }
        Some(Outcome::KeyUnreadable { .. }) => Outcome::TooManyKeys,
        Some(Outcome::TooManyKeys) => {
            Outcome::LedgerUnreadable { secret: secret(), reason: Unreadable::Malformed }
        }
        Some(Outcome::LedgerUnreadable { .. }) => Outcome::JwksConflict(place()),
        Some(Outcome::JwksConflict(_)) => Outcome::InvalidSpec(field()),
        Some(Outcome::InvalidSpec(_)) => Outcome::Blocked {
            blocked_reason: BlockedReason::ApiServerUnavailable(Unavailable::Server(503)),
            signs: true,
        },
        Some(Outcome::Blocked { .. }) => return None,
    })
}

#[test]
fn a_lost_key_without_a_successor_promises_none() {
    let message = Outcome::KeyLost(kid(1), None).readiness("default").message;

    assert!(!message.contains("yet"), "{message}");
    assert!(message.contains("kubectl describe signingkey default"), "{message}");
}

#[test]
fn a_spec_that_cannot_be_read_is_reported_with_its_field_and_value() {
    let field = || InvalidField { path: "spec.rotation.grace", value: "soon".to_owned() };
    let now = Now::at("2026-11-24T09:00:00Z".parse().unwrap());
    let former = signing().status(None);

    let readiness = || status::invalid_spec("default", field());
    let (status, events) = invalid_spec(readiness(), 7, Some(&former), now);
    let (again, silence) = invalid_spec(readiness(), 7, Some(&status), now);

    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert!(ready.message.starts_with("spec.rotation.grace of SigningKey default is not valid"));
    assert!(ready.message.contains("\"soon\""), "{}", ready.message);
    assert_eq!(events.unwrap().reason, "InvalidSpec");
    assert_eq!((status.observed_generation, &status.keys), (7, &former.keys));
    assert!(is_same(&status, &again));
    assert_eq!(silence, None);
}

#[test]
fn every_condition_and_its_event_and_its_end_name_the_signing_key() {
    let calm = signing().status(None);
    let mut types = BTreeSet::new();
    let mut reasons = BTreeSet::new();

    for (given, now) in troubled() {
        let outcome = match decide(&given.observed(), now) {
            Step::Done(rest) => rest.outcome,
            Step::Write(_) => Outcome::NoActiveKey(None),
        };
        let status = status::status(&given.observed(), &outcome, Some(&calm), now).unwrap();
        for condition in &status.conditions {
            let Condition { type_, message, .. } = condition;
            assert_worded(message, OBJECT);
            types.insert(type_.clone());
        }
        let begun = status::events("default", &outcome, Some(&calm), &status);
        let ended = status::events("default", &outcome, Some(&status), &calm);
        for events in begun.into_iter().chain(ended) {
            assert_worded(&events.message, OBJECT);
            reasons.insert(events.reason);
        }
    }

    for type_ in [
        "ClockSkew",
        "JWKSIncomplete",
        "JWKSOrphaned",
        "RequestIgnored",
        "RevocationRequestInvalid",
        "RevokedKeyPublished",
        "RotationInProgress",
        "Suspended",
    ] {
        assert!(types.contains(type_), "{type_} not in {types:?}");
    }
    for reason in [
        "ClockSkewResolved",
        "JWKSComplete",
        "JWKSOrphanDeleted",
        "RequestNoLongerEmpty",
        "RevocationRequestResolved",
        "RevokedKeyRemoved",
    ] {
        assert!(reasons.contains(reason), "{reason} not in {reasons:?}");
    }
}

/// A `SigningKey` with each fault that has a condition of its own.
fn troubled() -> Vec<(Given, Now)> {
    let mut all = Vec::new();
    let mut add = |change: fn(&mut Given)| {
        let mut given = signing();
        change(&mut given);
        let now = Now::at(given.now);
        all.push((given, now));
    };
    add(|given| given.series.is_suspended = true);
    add(|given| given.series.revoke_request = Some("leaked".to_owned()));
    add(|given| {
        given.series.ignored_requests =
            vec!["iam.cyoda.com/rotate-requested-at", "iam.cyoda.com/revoke-requested-at"];
    });
    add(|given| {
        given.series.rotate_request = Some("a".to_owned());
        given.settle();
    });
    add(|given| {
        given.series.revoke_request = Some(kid(1).to_string());
        let Step::Write(revoke) = given.decide() else { panic!("at rest") };
        given.apply(revoke);
    });
    add(|given| {
        given.targets.insert("shop".to_owned(), ConfigMapState::Conflict);
        let place = ConfigMapRef { namespace: "old".to_owned(), name: "default-jwks".to_owned() };
        given.surplus.insert(
            place,
            StaleCopy::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503))),
        );
    });
    for blocked_reason in every_blocked_reason() {
        let mut given = signing();
        given
            .targets
            .insert("shop".to_owned(), ConfigMapState::Unwritable(blocked_reason, BTreeSet::new()));
        let now = Now::at(given.now);
        all.push((given, now));
    }
    let given = signing();
    let apart = ClockMonitor::default().sample(given.now - HOUR, Some(given.now), Duration::ZERO);
    all.push((given, apart));
    all
}

#[test]
fn every_event_in_the_life_of_a_key_names_it_and_the_signing_key() {
    let mut given = signing();
    let mut former: Option<SigningKeyStatus> = None;
    let mut reasons = BTreeSet::new();
    given.series.rotate_request = Some("a".to_owned());

    for _ in 0..4 {
        given.settle();
        let status = given.status(former.as_ref());
        for Event { reason, message, .. } in
            status::events("default", &given.outcome(), former.as_ref(), &status)
        {
            assert_worded(&message, OBJECT);
            let names_key = [1, 2].iter().any(|index| message.contains(kid(*index).as_str()));
            assert!(names_key, "{message}");
            reasons.insert(reason);
        }
        former = Some(status);
        given.later(HOUR * 20);
    }

    let expected = ["KeyActivated", "KeyInGrace", "KeyPublished", "KeyRetired"];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_other_event_names_the_signing_key() {
    let (one, two) = (signing(), rotated());
    let (former, present) = (one.ledger(), two.ledger());
    let first = kid(1).to_string();
    let mut lost = rotated();
    for (index, key_pair) in &mut lost.key_pairs {
        key_pair.public = Some(key(*index));
    }
    lost.ledger = LedgerState::Absent;
    let Step::Write(Write::CreateLedger(whole)) = lost.decide() else { panic!("it is there") };
    let others = [("other".to_owned(), Algorithm::RS256)];
    let mut revoked = present.clone();
    revoked.entries.clear();
    let bare = Observed { key_pairs: std::collections::BTreeMap::new(), ..two.observed() };

    let all = [
        Some(status::staged(&one.series, 2)),
        Some(status::revoked(&two.series, &first, &two.observed(), present)),
        Some(status::revoked(&two.series, &first, &bare, &revoked)),
        Some(status::all_revoked(&two.series, former, present)),
        status::ledger_made(&lost.observed(), &whole),
        status::ledger_made(&bare, &revoked),
        status::another_algorithm(&one.series, &others),
    ];

    let mut reasons = BTreeSet::new();
    for events in all {
        let Event { reason, message, .. } = events.unwrap();
        assert_worded(&message, OBJECT);
        reasons.insert(reason);
    }
    let expected =
        ["AlgorithmAdded", "AllKeysRevoked", "KeyRevoked", "KeyStaged", "LedgerRecovered"];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), expected);
}
