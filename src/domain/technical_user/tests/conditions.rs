//! What the conditions say of the `SigningKey`, of a suspension and of a Secret that is read once.

use std::time::Duration;

use super::given::{at, current, hours, now, observed, old, record, showing, user};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUserStatus;
use crate::domain::conditions::blocked_reason::{BlockedReason, Operation};
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::schedule::{ClockMonitor, Now};
use crate::domain::technical_user::status::{self, ReferredKey, SigningKeyState, StatusInputs};
use crate::domain::technical_user::{Delivery, Observed, Outcome, User};

use ConditionStatus::{False, True};

struct Told {
    status: TechnicalUserStatus,
    events: Vec<&'static str>,
}

/// The status of a user whose key signs.
fn event(seen: &Observed, outcome: &Outcome) -> TechnicalUserStatus {
    tell(seen, (outcome, SigningKeyState::Signs), None, now()).status
}

/// The status and the Events at `now` after `former`.
fn tell(
    seen: &Observed,
    (outcome, ability): (&Outcome, SigningKeyState),
    former: Option<&TechnicalUserStatus>,
    now: Now,
) -> Told {
    let signing_key = ReferredKey { name: "gateway".to_owned(), ability };
    let situation =
        StatusInputs { outcome, signing_key: &signing_key, operator_namespace: "home", now };
    let status = status::status(seen, &situation, former).unwrap();
    let events = status::events(seen, &situation, former, &status);
    Told { status, events: events.into_iter().map(|it| it.reason).collect() }
}

fn delivered() -> Observed {
    observed(user(), record([('a', current(1))]), showing('a', &user()))
}

fn condition<'a>(status: &'a TechnicalUserStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// `Ready` with its reason, and which of `Reconciling` and `Stalled` is there.
fn summary(status: &TechnicalUserStatus) -> (ConditionStatus, &str, bool, bool) {
    let is = |type_| condition(status, type_).is_some();
    let ready = condition(status, "Ready").unwrap();
    (ready.status, &ready.reason, is("Reconciling"), is("Stalled"))
}

#[test]
fn a_signing_key_that_cannot_sign_makes_its_users_unready_and_never_stalled() {
    let table = [
        (SigningKeyState::Missing, "SigningKeyNotFound", "does not exist"),
        (SigningKeyState::Suspended, "SigningKeySuspended", "is suspended"),
        (SigningKeyState::NotReady, "SigningKeyNotReady", "no key that signs"),
    ];
    for (ability, reason, words) in table {
        let seen = delivered();

        let event = tell(&seen, (&Outcome::Delivered, ability), None, now());

        assert_eq!(summary(&event.status), (False, reason, true, false));
        assert_eq!(event.events, [reason]);
        let message = &condition(&event.status, "Ready").unwrap().message;
        for part in ["SigningKey gateway", "TechnicalUser payments/billing", words] {
            assert!(message.contains(part), "{message}");
        }
        // What was issued stays issued.
        assert_eq!(event.status.credentials.len(), 1);
        assert!(event.status.binding.is_some());
    }
}

#[test]
fn a_user_follows_its_signing_key_when_it_goes_and_when_it_comes() {
    let seen = delivered();
    let at_ability = |ability, former: Option<&Told>| {
        tell(&seen, (&Outcome::Delivered, ability), former.map(|it| &it.status), now())
    };

    let calm = at_ability(SigningKeyState::Signs, None);
    let gone = at_ability(SigningKeyState::Missing, Some(&calm));
    let unchanged = at_ability(SigningKeyState::Missing, Some(&gone));
    let back = at_ability(SigningKeyState::Signs, Some(&unchanged));

    assert_eq!(summary(&calm.status), (True, "Issued", false, false));
    assert_eq!(gone.events, ["SigningKeyNotFound"]);
    assert_eq!((unchanged.events.len(), &unchanged.status), (0, &gone.status));
    assert_eq!(summary(&back.status), (True, "Issued", false, false));
    assert_eq!(back.events, ["Issued"]);
}

#[test]
fn a_signing_key_that_nobody_looked_at_leaves_what_was_said_of_it() {
    let seen = delivered();
    let unavailable =
        Outcome::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503)));
    let calm = tell(&seen, (&Outcome::Delivered, SigningKeyState::Signs), None, now()).status;
    let gone = tell(&seen, (&Outcome::Delivered, SigningKeyState::Missing), None, now()).status;

    for former in [&calm, &gone] {
        let unseen = (&Outcome::Delivered, SigningKeyState::Unknown);
        assert_eq!(tell(&seen, unseen, Some(former), now()).status, *former);
    }
    let blocked = |former| {
        let event = tell(&seen, (&unavailable, SigningKeyState::Unknown), Some(former), now());
        condition(&event.status, "Ready").unwrap().status
    };
    assert_eq!((blocked(&calm), blocked(&gone)), (True, False));
}

#[test]
fn a_stalled_user_stays_stalled_for_its_own_reason_and_names_the_key_as_well() {
    let operation = Operation::on("patch", "secrets", "payments", "billing-credentials");
    let forbidden = Outcome::Blocked(BlockedReason::Forbidden { operation, account: None });

    let event = tell(&delivered(), (&forbidden, SigningKeyState::Missing), None, now());

    assert_eq!(summary(&event.status), (False, "Forbidden", false, true));
    let message = &condition(&event.status, "Ready").unwrap().message;
    assert!(message.contains("SigningKey gateway"), "{message}");
}

#[test]
fn a_status_follows_its_key_only_where_nothing_else_is_behind() {
    let seen = delivered();
    let calm = tell(&seen, (&Outcome::Delivered, SigningKeyState::Signs), None, now()).status;
    let follows = |seen: &Observed, present: &TechnicalUserStatus| {
        let signing_key =
            ReferredKey { name: "gateway".to_owned(), ability: SigningKeyState::Missing };
        let outcome = &Outcome::Delivered;
        let situation = StatusInputs {
            outcome,
            signing_key: &signing_key,
            operator_namespace: "home",
            now: now(),
        };
        status::follows_key(seen, &situation, present)
    };
    let rotated =
        observed(user(), record([('a', old(5)), ('b', current(2))]), showing('b', &user()));

    assert!(follows(&seen, &calm));
    assert!(!follows(&rotated, &calm));
    assert!(!follows(&seen, &TechnicalUserStatus::default()));
}

#[test]
fn a_signing_key_signs_by_its_own_status() {
    let key = |suspend: bool, status: serde_json::Value| -> SigningKey {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
            "metadata": {"name": "gateway"}, "spec": {"suspend": suspend}, "status": status,
        }))
        .unwrap()
    };
    let active = || serde_json::json!({"activeKid": "kid"});
    let pending = || serde_json::json!({"observedGeneration": -1});

    assert_eq!(SigningKeyState::of(None), SigningKeyState::Missing);
    assert_eq!(SigningKeyState::of(Some(&key(false, active()))), SigningKeyState::Signs);
    assert_eq!(SigningKeyState::of(Some(&key(false, pending()))), SigningKeyState::NotReady);
    assert_eq!(SigningKeyState::of(Some(&key(true, active()))), SigningKeyState::Suspended);
    let mut going = key(false, active());
    going.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert_eq!(SigningKeyState::of(Some(&going)), SigningKeyState::Missing);
}

#[test]
fn a_suspension_is_a_state_that_is_reached_and_its_end_is_told() {
    let suspended = User { is_suspended: true, ..user() };
    let seen = observed(suspended.clone(), record([('a', current(1))]), showing('a', &suspended));
    // The key does not matter to a client that gets no token anyway.
    let held = tell(&seen, (&Outcome::Suspended, SigningKeyState::Missing), None, now());
    let resumed = tell(
        &delivered(),
        (&Outcome::Delivered, SigningKeyState::Signs),
        Some(&held.status),
        now(),
    );

    assert_eq!(summary(&held.status), (True, "Suspended", false, false));
    let condition_of = |status| condition(status, "Suspended").map(|it| it.status);
    assert_eq!(condition_of(&held.status), Some(True));
    assert_eq!(held.events, ["Suspended"]);
    assert_eq!(condition_of(&resumed.status), None);
    assert_eq!(resumed.events, ["Issued"]);
}

#[test]
fn a_suspended_user_in_trouble_says_both() {
    let suspended = User { is_suspended: true, ..user() };
    let seen = observed(suspended, record([('a', current(1))]), None);

    let event = tell(&seen, (&Outcome::SecretConflict, SigningKeyState::Signs), None, now());

    assert_eq!(summary(&event.status), (False, "SecretConflict", false, true));
    assert!(condition(&event.status, "Suspended").is_some());
}

#[test]
fn a_secret_that_is_read_once_shows_its_deadline_and_whether_a_reader_was_seen() {
    let once = User { delivery: Delivery::OneTime(hours(4)), ..user() };
    let waiting = observed(once.clone(), record([('a', current(1))]), showing('a', &once));
    let gone = observed(once, record([('a', current(1))]), None);
    let key = SigningKeyState::Signs;
    let look = |former: Option<&TechnicalUserStatus>, hour| {
        tell(&gone, (&Outcome::ReadOnce, key), former, Now::at(at(hour))).status
    };

    let shown = tell(&waiting, (&Outcome::Delivered, key), None, now()).status;
    let read = look(Some(&shown), 2);
    let left = look(Some(&shown), 3);

    assert_eq!(summary(&shown), (True, "AwaitingReader", false, false));
    let message = &condition(&shown, "Ready").unwrap().message;
    assert!(message.contains("2026-11-24T09:00:00Z"), "{message}");
    assert_eq!(summary(&read).1, "DeliveredOnce");
    assert_eq!(summary(&left).1, "NotCollected");
    let message = &condition(&left, "Ready").unwrap().message;
    assert!(
        message.contains("payments/billing-credentials") && message.contains("(4h)"),
        "{message}"
    );
    // Neither changes with time, and a status that was lost claims nothing.
    assert_eq!(look(Some(&read), 9), read);
    assert_eq!(look(Some(&left), 9), left);
    assert_eq!(summary(&look(None, 9)).1, "DeliveredOnce");
}

#[test]
fn extra_conditions_are_absent_when_there_is_nothing_to_say() {
    let status = event(&delivered(), &Outcome::Delivered);

    let types: Vec<_> = status.conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Ready"]);
}

#[test]
fn an_overlap_is_said_and_its_last_end_named() {
    let record = record([('a', current(2)), ('b', old(2)), ('c', old(5))]);

    let status = event(&observed(user(), record, showing('a', &user())), &Outcome::Delivered);

    let condition = condition(&status, "OverlapActive").unwrap();
    assert_eq!(condition.status, True);
    assert!(condition.message.contains("2026-11-24T11:00:00Z"), "{}", condition.message);
}

#[test]
fn an_alias_that_waits_for_the_next_client_secret_is_named() {
    let mut wishing = user();
    wishing.content.secret_fields.insert("CLIENT_SECRET".to_owned());
    let seen = observed(wishing, record([('a', current(1))]), showing('a', &user()));

    let status = event(&seen, &Outcome::Delivered);

    let condition = condition(&status, "AliasesPending").unwrap();
    assert!(condition.message.contains("CLIENT_SECRET"), "{}", condition.message);
}

#[test]
fn clocks_in_doubt_are_told() {
    let apart = ClockMonitor::default().sample(at(0), Some(at(1)), Duration::ZERO);
    let mut watchman = ClockMonitor::default();
    watchman.sample(at(-9), Some(at(-9)), Duration::ZERO);
    let jumped = watchman.sample(at(0), Some(at(0)), Duration::from_secs(1));

    for (now, reason) in [(apart, "ClocksApart"), (jumped, "ClockJumped")] {
        let status =
            tell(&delivered(), (&Outcome::Delivered, SigningKeyState::Signs), None, now).status;

        assert_eq!(condition(&status, "ClockSkew").unwrap().reason, reason);
        assert_eq!(summary(&status), (True, "Issued", false, false));
    }
}

#[test]
fn a_status_survives_its_journey_through_json() {
    let status = event(&delivered(), &Outcome::Delivered);

    let json = serde_json::to_string(&status).unwrap();

    assert_eq!(serde_json::from_str::<TechnicalUserStatus>(&json).unwrap(), status);
}
