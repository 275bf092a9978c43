//! Every message names the `TechnicalUser`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::given::{at, current, hours, now, observed, old, record, showing, user};
use crate::api::condition::Condition;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::invalid_field::InvalidField;
use crate::domain::policy::Policy;
use crate::domain::schedule::ClockMonitor;
use crate::domain::technical_user::status::{self, ReferredKey, SigningKeyState, StatusInputs};
use crate::domain::technical_user::verifier_record::Unreadable;
use crate::domain::technical_user::{Cause, Observed, Outcome, User};
use crate::domain::wording::{assert_worded, every_blocked_reason};

const OBJECT: &str = "TechnicalUser payments/billing";

#[test]
fn every_verdict_names_the_technical_user_whatever_its_signing_key_does() {
    let all = std::iter::successors(verdict_after(None), |it| verdict_after(Some(it)));
    let blocked = every_blocked_reason().into_iter().map(Outcome::Blocked);
    let seen = observed(user(), record([('a', current(1))]), showing('a', &user()));

    for outcome in all.chain(blocked) {
        for ability in SigningKeyState::SEEN {
            let signing_key = ReferredKey { name: "gateway".to_owned(), ability };
            let situation = StatusInputs {
                outcome: &outcome,
                signing_key: &signing_key,
                operator_namespace: "home",
                now: now(),
            };
            let status = status::status(&seen, &situation, None).unwrap();
            for Condition { message, .. } in &status.conditions {
                assert_worded(message, OBJECT);
            }
            for Event { message, .. } in status::events(&seen, &situation, None, &status) {
                assert_worded(&message, OBJECT);
            }
        }
    }
}

/// A new variant does not compile until it stands in this chain.
fn verdict_after(former: Option<&Outcome>) -> Option<Outcome> {
    let not_allowed = || {
        let texts = |value: &str| vec![value.to_owned()];
        let excess = Policy::default().excess(&texts("ROLE_ADMIN"), &texts("cyoda")).unwrap();
        Outcome::NotAllowed { user: Box::new(user().owner), excess: Box::new(excess) }
    };
    let field = || InvalidField { path: "spec.rotation.overlap", value: "soon".to_owned() };
    Some(match former {
        None => Outcome::Gone,
        Some(Outcome::Gone) => Outcome::Delivered,
        Some(Outcome::Delivered) => Outcome::Uncollected(at(1)),
        Some(Outcome::Uncollected(_)) => Outcome::ReadOnce,
        Some(Outcome::ReadOnce) => Outcome::NotCollected(hours(4)),
        Some(Outcome::NotCollected(_)) => Outcome::DeletionIgnored,
        Some(Outcome::DeletionIgnored) => Outcome::AlterationIgnored,
        Some(Outcome::AlterationIgnored) => Outcome::Suspended,
        Some(Outcome::Suspended) => not_allowed(),
        Some(Outcome::NotAllowed { .. }) => Outcome::ClientIdTaken,
        Some(Outcome::ClientIdTaken) => Outcome::Unreadable(Unreadable::Malformed),
        Some(Outcome::Unreadable(_)) => Outcome::AwaitingGarbageCollection,
        Some(Outcome::AwaitingGarbageCollection) => Outcome::SecretConflict,
        Some(Outcome::SecretConflict) => Outcome::SecretTerminating,
        Some(Outcome::SecretTerminating) => Outcome::SecretImmutable,
        Some(Outcome::SecretImmutable) => Outcome::TooManyCredentials,
        Some(Outcome::TooManyCredentials) => {
            Outcome::LossesPaced { replaced: 3, resumes_at: at(5) }
        }
        Some(Outcome::LossesPaced { .. }) => Outcome::InvalidSpec(field()),
        Some(Outcome::InvalidSpec(_)) => {
            Outcome::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503)))
        }
        Some(Outcome::Blocked(_)) => return None,
    })
}

#[test]
fn every_condition_and_its_end_name_the_technical_user() {
    let mut troubled = User {
        is_suspended: true,
        rotate_request: Some("now, please".to_owned()),
        ignored_requests: vec!["iam.cyoda.com/revoke-requested-at"],
        ..user()
    };
    troubled.content.secret_fields.insert("CLIENT_SECRET".to_owned());
    let seen =
        observed(troubled, record([('a', current(2)), ('b', old(2))]), showing('a', &user()));
    let calm = observed(user(), record([('a', current(2))]), showing('a', &user()));
    let apart = ClockMonitor::default().sample(at(0), Some(at(1)), Duration::ZERO);
    let signing_key = ReferredKey { name: "gateway".to_owned(), ability: SigningKeyState::Signs };
    let situation = |outcome, now| StatusInputs {
        outcome,
        signing_key: &signing_key,
        operator_namespace: "home",
        now,
    };
    let (full, delivered) = (Outcome::TooManyCredentials, Outcome::Delivered);
    let status = |seen: &Observed, situation: &StatusInputs<'_>| {
        status::status(seen, situation, None).unwrap()
    };

    let begun = status(&seen, &situation(&full, apart));
    let ended = status(&calm, &situation(&delivered, now()));
    let events = status::events(&seen, &situation(&full, apart), Some(&ended), &begun);
    let relief = status::events(&calm, &situation(&delivered, now()), Some(&begun), &ended);

    let types: BTreeSet<&str> = begun.conditions.iter().map(|it| it.type_.as_str()).collect();
    let expected = [
        "AliasesPending",
        "ClockSkew",
        "OverlapActive",
        "Ready",
        "Reconciling",
        "RequestIgnored",
        "RequestPending",
        "Suspended",
    ];
    assert_eq!(types.into_iter().collect::<Vec<_>>(), expected);
    let pending = begun.conditions.iter().find(|it| it.type_ == "RequestPending").unwrap();
    assert!(pending.message.contains("\"now, please\""), "{}", pending.message);
    let reasons: Vec<&str> = relief.iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["Issued", "ClockSkewResolved", "RequestNoLongerEmpty"]);
    let messages = begun.conditions.iter().map(|it| &it.message);
    for message in messages.chain(events.iter().chain(&relief).map(|it| &it.message)) {
        assert_worded(message, OBJECT);
    }
}

#[test]
fn every_event_names_the_technical_user() {
    let causes = [
        Cause::Unissued,
        Cause::Due,
        Cause::Requested,
        Cause::Deleted,
        Cause::Altered,
        Cause::Unknown,
    ];
    let user = user();
    let issued = causes.map(|cause| status::issued(&user, 2, cause));
    let others = [
        status::found_issued(&user, 1, true),
        status::found_issued(&user, 2, false),
        status::revoked(&user),
        status::refreshed(&user),
        status::collected(&user),
        status::withdrawn(&user),
    ];

    let mut reasons = BTreeSet::new();
    for Event { reason, message, .. } in issued.into_iter().chain(others) {
        assert_worded(&message, OBJECT);
        reasons.insert(reason);
    }
    let expected = [
        "CredentialIssued",
        "CredentialRotated",
        "CredentialsRevoked",
        "LeftoverDeleted",
        "SecretUpdated",
        "SecretWithdrawn",
    ];
    assert_eq!(reasons.into_iter().collect::<Vec<_>>(), expected);
}
