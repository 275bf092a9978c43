//! What the status says.

use super::given::*;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::technical_user::{CredentialState, TechnicalUserStatus};
use crate::domain::conditions::blocked_reason::{BlockedReason, Operation};
use crate::domain::conditions::status::{invalid_spec, is_same};
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::object::Belongs;
use crate::domain::policy::Policy;
use crate::domain::schedule::Now;
use crate::domain::technical_user::delivered_secret::ObservedSecret;
use crate::domain::technical_user::status::{
    self, ReferredKey, SigningKeyState, StatusInputs, works,
};
use crate::domain::technical_user::verifier_record::Unreadable;
use crate::domain::technical_user::{
    ClientIdReservation, InvalidField, Observed, Outcome, Step, User, decide,
};

use ConditionStatus::{False, True};

fn delivered() -> Observed {
    observed(user(), record([('a', current(1))]), showing('a', &user()))
}

fn event(seen: &Observed, outcome: &Outcome) -> TechnicalUserStatus {
    status(seen, outcome, None, now()).unwrap()
}

/// The status while the `SigningKey` signs.
fn status(
    seen: &Observed,
    outcome: &Outcome,
    former: Option<&TechnicalUserStatus>,
    now: Now,
) -> Option<TechnicalUserStatus> {
    with_key(SigningKeyState::Signs, outcome, now, |situation| {
        status::status(seen, situation, former)
    })
}

fn with_key<T>(
    ability: SigningKeyState,
    outcome: &Outcome,
    now: Now,
    act: impl FnOnce(&StatusInputs<'_>) -> T,
) -> T {
    let signing_key = ReferredKey { name: "gateway".to_owned(), ability };
    act(&StatusInputs { outcome, signing_key: &signing_key, operator_namespace: "home", now })
}

fn invalid() -> InvalidField {
    InvalidField { path: "spec.rotation.overlap", value: "soon".to_owned() }
}

fn condition<'a>(status: &'a TechnicalUserStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// `Ready`, and which of `Reconciling` and `Stalled` is there.
fn summary(status: &TechnicalUserStatus) -> (ConditionStatus, bool, bool) {
    let is = |type_| condition(status, type_).is_some();
    (condition(status, "Ready").unwrap().status, is("Reconciling"), is("Stalled"))
}

#[test]
fn each_verdict_has_its_conditions() {
    let operation = || Operation::on("patch", "secrets", "payments", "billing-credentials");
    let (policy, reason) = ("no-plain-secrets".to_owned(), "Forbidden".to_owned());
    let forbidden = BlockedReason::Forbidden { operation: operation(), account: None };
    let refused = BlockedReason::Refused { operation: operation(), reason };
    let denied = BlockedReason::Denied { operation: operation(), policy };
    let quota = BlockedReason::QuotaExceeded { operation: operation(), quota: None };
    let terminating = BlockedReason::NamespaceTerminating { namespace: "payments".to_owned() };
    let table = [
        (Outcome::Delivered, "Issued", (True, false, false)),
        (Outcome::ReadOnce, "DeliveredOnce", (True, false, false)),
        (Outcome::DeletionIgnored, "DeletionIgnored", (True, false, false)),
        (Outcome::AlterationIgnored, "AlterationIgnored", (True, false, false)),
        (Outcome::Suspended, "Suspended", (True, false, false)),
        (Outcome::ClientIdTaken, "ClientIDTaken", (False, false, true)),
        (Outcome::Unreadable(Unreadable::Malformed), "RecordUnreadable", (False, false, true)),
        (Outcome::AwaitingGarbageCollection, "AwaitingGarbageCollection", (True, true, false)),
        (Outcome::SecretConflict, "SecretConflict", (False, false, true)),
        (Outcome::SecretTerminating, "SecretTerminating", (True, true, false)),
        (Outcome::SecretImmutable, "SecretImmutable", (False, false, true)),
        (Outcome::TooManyCredentials, "TooManyCredentials", (True, true, false)),
        (
            Outcome::LossesPaced { replaced: 3, resumes_at: at(5) },
            "SecretLostRepeatedly",
            (False, true, false),
        ),
        (Outcome::InvalidSpec(invalid()), "InvalidSpec", (False, false, true)),
        (Outcome::Blocked(forbidden), "Forbidden", (True, false, true)),
        (Outcome::Blocked(quota), "QuotaExceeded", (True, false, true)),
        (Outcome::Blocked(terminating), "NamespaceTerminating", (True, true, false)),
        (Outcome::Blocked(denied), "AdmissionDenied", (True, false, true)),
        (Outcome::Blocked(refused), "AdmissionDenied", (True, false, true)),
        (
            Outcome::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503))),
            "ApiServerUnavailable",
            (True, true, false),
        ),
        (
            Outcome::Blocked(BlockedReason::WriteConflict { object: None }),
            "WriteConflict",
            (True, true, false),
        ),
    ];
    for (outcome, reason, expected) in table {
        let status = event(&delivered(), &outcome);

        assert_eq!(summary(&status), expected, "{outcome:?}");
        let ready = condition(&status, "Ready").unwrap();
        assert_eq!((ready.reason.as_str(), ready.observed_generation), (reason, 3));
        let is_sentence = ready.message.ends_with('.') && !ready.message.contains("  ");
        assert!(is_sentence, "{outcome:?}: {}", ready.message);
    }
}

#[test]
fn waiting_with_nothing_that_works_is_not_ready() {
    let seen = observed(user(), record([]), placeholder());

    let status = event(&seen, &Outcome::SecretTerminating);

    assert_eq!(summary(&status), (False, true, false));
}

#[test]
fn a_client_secret_works_when_the_secret_shows_the_current_one_or_is_gone() {
    let record = || record([('a', current(1)), ('b', old(1))]);

    assert!(works(&observed(user(), record(), showing('a', &user()))));
    assert!(works(&observed(user(), record(), None)));
    assert!(!works(&observed(user(), record(), showing('b', &user()))));
    assert!(!works(&observed(user(), record(), altered('a', &user()))));
    assert!(!works(&observed(user(), record(), placeholder())));
    assert!(!works(&Observed { record: ClientIdReservation::Free, ..delivered() }));
}

#[test]
fn a_return_from_trouble_is_news_and_a_first_client_secret_is_none() {
    let reasons = |outcome: &Outcome, former: Option<&TechnicalUserStatus>| -> Vec<_> {
        let present = status(&delivered(), outcome, former, now()).unwrap();
        let events = with_key(SigningKeyState::Signs, outcome, now(), |situation| {
            status::events(&delivered(), situation, former, &present)
        });
        events.into_iter().map(|it| it.reason).collect()
    };
    let calm = event(&delivered(), &Outcome::Delivered);
    let blocked = event(&delivered(), &Outcome::SecretTerminating);
    let unissued = event(&observed(user(), record([]), None), &Outcome::SecretConflict);

    assert!(reasons(&Outcome::Delivered, None).is_empty());
    assert!(reasons(&Outcome::Delivered, Some(&calm)).is_empty());
    assert!(reasons(&Outcome::Delivered, Some(&unissued)).is_empty());
    assert_eq!(reasons(&Outcome::Delivered, Some(&blocked)), ["Issued"]);
    assert_eq!(reasons(&Outcome::SecretTerminating, Some(&calm)), ["SecretTerminating"]);
}

#[test]
fn a_user_that_is_gone_has_no_status() {
    let gone = Observed { user: None, ..delivered() };

    assert_eq!(status(&gone, &Outcome::Gone, None, now()), None);
}

#[test]
fn credentials_are_listed_newest_first_and_without_verifiers() {
    let record = record([('a', old(5)), ('b', current(2)), ('c', pending("6", 3))]);

    let status = event(&observed(user(), record, showing('b', &user())), &Outcome::Delivered);

    let listed: Vec<_> = status.credentials.iter().map(|it| (it.id.clone(), it.state)).collect();
    let expected = [
        (id('c').to_string(), CredentialState::Pending),
        (id('b').to_string(), CredentialState::Current),
        (id('a').to_string(), CredentialState::Old),
    ];
    assert_eq!(listed, expected);
    assert_eq!(status.credentials[2].expires_at.as_ref().unwrap().0, at(5));
    assert_eq!(status.credentials[1].expires_at, None);
    assert!(!format!("{:?}", serde_json::to_string(&status)).contains("$2b$"));
}

#[test]
fn the_binding_names_the_secret_once_it_carries_a_client_secret_of_ours() {
    let foreign = ObservedSecret { belongs: Belongs::Foreign, ..showing('a', &user()) };
    let secrets = [
        (Some(showing('a', &user())), Some("billing-credentials")),
        (Some(placeholder()), None),
        (Some(foreign), None),
        (None, None),
    ];
    for (delivered, expected) in secrets {
        let seen = observed(user(), record([('a', current(1))]), delivered);

        let binding = event(&seen, &Outcome::Delivered).binding;

        assert_eq!(binding.as_ref().map(|it| it.name.as_str()), expected);
    }
}

#[test]
fn rotation_times_and_the_serial_come_from_the_record() {
    let scheduled = User { period: Some(hours(48)), ..user() };
    let seen = observed(scheduled.clone(), record([('a', current(4))]), showing('a', &scheduled));

    let event = event(&seen, &Outcome::Delivered);

    assert_eq!(event.serial, Some(4));
    assert_eq!(event.last_rotation_time.unwrap().0, at(-1));
    let next = event.next_rotation_time.unwrap().0;
    assert!(next > at(46) && next <= at(47), "{next}");
}

#[test]
fn a_suspended_user_has_no_next_rotation() {
    let suspended = User { period: Some(hours(48)), is_suspended: true, ..user() };
    let seen = observed(suspended.clone(), record([('a', current(1))]), showing('a', &suspended));

    assert_eq!(event(&seen, &Outcome::Suspended).next_rotation_time, None);
}

#[test]
fn an_answered_request_is_shown_and_an_open_one_is_not() {
    let mut record = record([('a', current(1))]);
    record.rotated = record.rotated.with("one");
    let asking = User {
        rotate_request: Some("two".to_owned()),
        revoke_request: Some("three".to_owned()),
        ..user()
    };

    let status = event(&observed(asking, record, showing('a', &user())), &Outcome::Delivered);

    assert_eq!(status.last_handled_rotate_at.as_deref(), Some("one"));
    assert_eq!(status.last_handled_revoke_at, None);
}

#[test]
fn a_rotation_is_not_reported_as_handled_before_its_client_secret_is_delivered() {
    let mut begun = record([('a', current(1)), ('b', pending("6", 2))]);
    begun.rotated = begun.rotated.with("one");
    let asking = User { rotate_request: Some("one".to_owned()), ..user() };
    let seen = observed(asking, begun, showing('a', &user()));
    let former = TechnicalUserStatus {
        last_handled_rotate_at: Some("zero".to_owned()),
        ..TechnicalUserStatus::default()
    };
    let blocked = Outcome::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503)));

    let without_former = event(&seen, &blocked);
    let present = status(&seen, &blocked, Some(&former), now()).unwrap();

    assert_eq!(without_former.last_handled_rotate_at, None);
    assert_eq!(present.last_handled_rotate_at.as_deref(), Some("zero"));
}

#[test]
fn an_ignored_request_is_a_condition_and_an_event() {
    let blank = User { ignored_requests: vec!["iam.cyoda.com/rotate-requested-at"], ..user() };
    let seen = observed(blank, record([('a', current(1))]), showing('a', &user()));
    let former = event(&delivered(), &Outcome::Delivered);

    let present = status(&seen, &Outcome::Delivered, Some(&former), now()).unwrap();
    let outcome = &Outcome::Delivered;
    let events = with_key(SigningKeyState::Signs, outcome, now(), |situation| {
        status::events(&seen, situation, Some(&former), &present)
    });

    let ignored = condition(&present, "RequestIgnored").unwrap();
    assert!(
        ignored.message.contains("rotate-requested-at of TechnicalUser payments/billing is empty"),
        "{}",
        ignored.message
    );
    assert_eq!(events.iter().map(|it| it.reason).collect::<Vec<_>>(), ["RequestIgnored"]);
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let first = status(&delivered(), &Outcome::Delivered, None, Now::at(at(0))).unwrap();

    let later = status(&delivered(), &Outcome::ReadOnce, Some(&first), Now::at(at(1))).unwrap();
    let broken =
        status(&delivered(), &Outcome::SecretConflict, Some(&later), Now::at(at(2))).unwrap();

    assert_eq!(condition(&later, "Ready").unwrap().last_transition_time.0, at(0));
    assert_eq!(condition(&broken, "Ready").unwrap().last_transition_time.0, at(2));
    assert_eq!(condition(&broken, "Stalled").unwrap().last_transition_time.0, at(2));
}

#[test]
fn the_same_state_later_gives_the_same_status() {
    let first = status(&delivered(), &Outcome::Delivered, None, Now::at(at(0))).unwrap();

    let mut later =
        status(&delivered(), &Outcome::Delivered, Some(&first), Now::at(at(500))).unwrap();
    assert_eq!(first, later);
    later.conditions.reverse();
    later.credentials.reverse();

    assert!(is_same(&first, &later));
}

#[test]
fn a_lost_status_is_written_again_from_the_record() {
    let seen = delivered();
    let before = event(&seen, &Outcome::Delivered);

    let after = status(&seen, &Outcome::Delivered, Some(&TechnicalUserStatus::default()), now());

    assert_eq!(after, Some(before));
}

#[test]
fn an_unreadable_spec_keeps_what_was_known_and_names_the_field_and_its_value() {
    let former = event(&delivered(), &Outcome::Delivered);
    let read = |former: Option<&TechnicalUserStatus>, generation, now| {
        invalid_spec(status::invalid_spec(&user().owner, invalid()), generation, former, now)
    };

    let (status, events) = read(Some(&former), 4, Now::at(at(1)));
    let (again, silence) = read(Some(&status), 4, Now::at(at(9)));

    assert_eq!(summary(&status), (False, false, true));
    assert_eq!(status.observed_generation, 4);
    assert_eq!((status.serial, &status.binding), (former.serial, &former.binding));
    let message = &condition(&status, "Ready").unwrap().message;
    for part in ["spec.rotation.overlap", "payments/billing", "\"soon\""] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(events.unwrap().reason, "InvalidSpec");
    assert!(is_same(&status, &again));
    assert_eq!(silence, None);
}

#[test]
fn a_record_that_cannot_be_read_leaves_no_old_numbers() {
    let unreadable = ClientIdReservation::Unreadable(Unreadable::FormatVersion);
    let seen = Observed { record: unreadable, ..delivered() };

    let status = event(&seen, &Outcome::Unreadable(Unreadable::FormatVersion));

    assert_eq!(status.serial, None);
    assert!(status.credentials.is_empty());
}

#[test]
fn what_the_installation_does_not_allow_makes_a_delivered_user_unready_and_is_named() {
    let texts = |values: &[&str]| values.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    let excess_of = |roles: &[&str], audiences: &[&str]| {
        Policy::default().excess(&texts(roles), &texts(audiences))
    };
    let cases = [
        (excess_of(&["ROLE_M2M", "ROLE_ADMIN"], &[]), "RolesNotAllowed", "ROLE_ADMIN"),
        (excess_of(&["ROLE_M2M"], &["cyoda"]), "AudiencesNotAllowed", "cyoda"),
    ];
    for (excess, reason, value) in cases {
        let observed = Observed { user: Some(User { excess, ..user() }), ..delivered() };

        let Step::Done(rest) = decide(&observed, now()) else {
            panic!("there is nothing to write")
        };
        let status = event(&observed, &rest.outcome);

        let ready = condition(&status, "Ready").unwrap();
        assert_eq!(ready.reason, reason);
        assert!(ready.message.contains("payments/billing") && ready.message.contains(value));
        assert_eq!(summary(&status), (False, false, true));
        assert!(status.binding.is_some(), "the client secret is delivered all the same");
    }
}

#[test]
fn a_request_that_waits_for_a_full_record_is_shown() {
    let requesting = User { rotate_request: Some("new".to_owned()), ..user() };
    let record = record([('a', current(1)), ('b', old(3)), ('c', old(5))]);
    let waiting = observed(requesting.clone(), record.clone(), showing('a', &requesting));
    let mut answered = record;
    answered.rotated = answered.rotated.with("new");
    let answered = observed(requesting, answered, showing('a', &user()));

    let shown = event(&waiting, &Outcome::TooManyCredentials);
    let settled = event(&answered, &Outcome::TooManyCredentials);

    let pending = condition(&shown, "RequestPending").unwrap();
    assert!(pending.message.contains("2026-11-24T09:00:00Z"), "{}", pending.message);
    assert!(condition(&settled, "RequestPending").is_none());
}
