//! Rotation and revocation on request.

use super::given::{HOUR, kid, rotated, signing};
use crate::domain::signing_key::*;

#[test]
fn a_request_rotates_once_and_an_earlier_value_that_comes_back_once_more() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());

    let first = given.settle();
    given.later(HOUR * 2);
    let again = given.settle();
    given.series.rotate_request = None;
    given.settle();
    given.series.rotate_request = Some("a".to_owned());
    let back = given.settle();
    given.series.rotate_request = Some("b".to_owned());
    let other = given.settle();
    given.later(HOUR * 2);
    given.settle();
    given.series.rotate_request = Some("a".to_owned());
    let earlier = given.settle();

    assert_eq!(first, ["stage 2", "publish 2", "schedule", "drain"]);
    assert!(again.is_empty() && back.is_empty(), "{again:?} {back:?}");
    assert_eq!(other[0], "stage 3");
    assert_eq!(earlier[0], "stage 4");
    assert_eq!(given.status(None).last_handled_rotate_at.as_deref(), Some("a"));
}

#[test]
fn a_request_waits_until_the_newest_key_signs() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.settle();

    given.series.rotate_request = Some("b".to_owned());
    let at_once = given.settle();
    given.later(HOUR + SKEW * 2);
    let in_time = given.settle();

    assert!(at_once.is_empty(), "{at_once:?}");
    assert_eq!(in_time.first().map(String::as_str), Some("stage 3"));
}

#[test]
fn a_revoked_key_leaves_every_jwks_at_once_and_its_predecessor_takes_over() {
    let mut given = rotated();
    given.series.revoke_request = Some(kid(2).to_string());

    let steps = given.settle();

    assert_eq!(steps, ["revoke", "publish 2", "delete 2"]);
    assert_eq!(given.published("shop"), [kid(1)]);
    assert_eq!(given.active(), Some(kid(1)));
    assert_eq!(given.ledger().entries[&1].until, None);
}

#[test]
fn the_only_key_is_replaced_at_once_when_it_is_revoked() {
    let mut given = signing();
    given.series.revoke_request = Some(kid(1).to_string());

    let steps = given.settle();

    assert_eq!(steps, ["revoke", "stage 2", "publish 2", "schedule", "delete 1"]);
    assert_eq!(given.active(), Some(kid(2)));
    assert_eq!(given.published("home"), [kid(2)]);
}

#[test]
fn the_only_key_of_a_suspended_series_leaves_the_jwks_as_well() {
    let mut given = signing();
    given.series.is_suspended = true;
    given.series.revoke_request = Some(kid(1).to_string());

    given.settle();

    assert_eq!(given.published("home"), [kid(2)]);
    assert_eq!(given.outcome(), Outcome::Suspended);
}

#[test]
fn the_key_that_waits_for_its_time_signs_at_once_when_the_active_one_is_revoked() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.settle();
    given.series.revoke_request = Some(kid(1).to_string());

    given.settle();

    assert_eq!(given.published("shop"), [kid(2)]);
    assert_eq!(given.active(), Some(kid(2)));
}

#[test]
fn a_key_in_grace_fills_the_gap_until_the_next_one_has_been_published_long_enough() {
    let mut given = rotated();
    given.series.rotate_request = Some("b".to_owned());
    given.settle();
    let waits_until = given.ledger().entries[&3].activate_at;
    given.series.revoke_request = Some(kid(2).to_string());

    given.settle();

    assert_eq!(given.active(), Some(kid(1)));
    assert_eq!(given.ledger().entries[&1].until, Some(waits_until + HANDOVER));
    assert_eq!(given.ledger().entries[&3].activate_at, waits_until);
}

#[test]
fn a_key_can_be_revoked_before_it_signs() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.settle();
    given.series.revoke_request = Some(kid(2).to_string());

    given.settle();

    assert_eq!(given.published("home"), [kid(1)]);
    assert_eq!(given.active(), Some(kid(1)));
    given.later(HOUR * 100);
    given.settle();
    assert_eq!(given.active(), Some(kid(1)), "it has no end any more");
}

#[test]
fn a_key_can_be_revoked_before_it_is_in_the_ledger() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.apply(Write::Stage(2));
    given.series.revoke_request = Some(kid(2).to_string());

    let steps = given.settle();

    assert_eq!(
        steps,
        ["revoke", "delete 2", "stage 3", "publish 2", "schedule", "drain"].map(str::to_owned),
        "the rotation that was asked for goes on with another key"
    );
    assert!(!given.published("home").contains(&kid(2)));
}

#[test]
fn a_revoked_key_leaves_although_no_other_can_be_made() {
    let mut given = rotated();
    given.later(HOUR * 24);
    given.settle();
    given.later(HOUR * 2000);
    given.series.revoke_request = Some(kid(2).to_string());

    let mut steps = Vec::new();
    while let Step::Write(write) = given.decide() {
        let is_stage = matches!(write, Write::Stage(_));
        steps.push(is_stage);
        if is_stage {
            break;
        }
        given.apply(write);
    }

    assert!(!given.published("home").contains(&kid(2)), "before anything is made");
    assert_eq!(steps.iter().filter(|it| **it).count(), 1);
}

#[test]
fn a_kid_that_is_none_of_the_series_is_refused_in_words() {
    let mut given = signing();
    given.series.revoke_request = Some("somebody-elses".to_owned());

    let steps = given.settle();
    let outcome = given.outcome();
    let now = Now::at(given.now);
    let status = status::status(&given.observed(), &outcome, None, now).unwrap();

    assert!(steps.is_empty());
    let refused =
        status.conditions.iter().find(|it| it.type_ == "RevocationRequestInvalid").unwrap();
    assert!(refused.message.contains("status.keys"), "{}", refused.message);
    assert!(refused.message.contains("\"somebody-elses\""), "{}", refused.message);

    given.series.revoke_request = Some("not a kid".to_owned());
    let status = given.status(None);
    let event = status.conditions.iter().any(|it| it.message.contains("not a kid"));
    assert!(!event, "what cannot be a kid may be anything");
}

#[test]
fn a_retired_key_can_be_revoked_without_any_harm() {
    let mut given = rotated();
    given.later(HOUR * 48);
    given.settle();
    given.series.revoke_request = Some(kid(1).to_string());

    let steps = given.settle();

    assert_eq!(steps, ["revoke"]);
    assert_eq!(given.active(), Some(kid(2)));
}

#[test]
fn every_key_that_exists_is_withdrawn_when_all_are_revoked_and_a_new_one_signs_at_once() {
    let mut given = rotated();
    given.series.rotate_request = Some("b".to_owned());
    let Step::Write(write) = given.decide() else { panic!("nothing made") };
    given.apply(write);
    assert!(given.key_pairs.contains_key(&3), "the third is made and not in the ledger yet");

    given.series.revoke_all_request = Some("1".to_owned());
    let steps = given.settle();

    assert_eq!(steps[0], "revokeall");
    assert_eq!(given.active(), Some(kid(4)));
    assert_eq!(given.published("home"), [kid(4)]);
    assert_eq!(given.key_pairs.keys().collect::<Vec<_>>(), [&4]);
    let status = given.status(None);
    assert_eq!(status.last_handled_revoke_all_at.as_deref(), Some("1"));
    assert_eq!(given.settle(), Vec::<String>::new());
}

#[test]
fn a_request_to_revoke_all_acts_once_for_each_new_value() {
    let mut given = signing();
    for (value, expected) in [("1", 2), ("1", 2), ("2", 3), ("1", 4)] {
        given.series.revoke_all_request = Some(value.to_owned());

        given.settle();

        assert_eq!(given.active(), Some(kid(expected)), "{value}");
    }
}

#[test]
fn a_revoked_key_says_when_it_was_revoked_and_stops_then() {
    let mut given = rotated();
    given.later(HOUR);
    given.series.revoke_request = Some(kid(2).to_string());
    given.settle();

    let status = given.status(None);
    let revoked = status.keys.iter().find(|it| it.kid == kid(2).to_string()).unwrap();

    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(given.now);
    assert_eq!(revoked.revocation_time.as_ref(), Some(&now));
    assert_eq!(revoked.end_time.as_ref(), Some(&now));
}

#[test]
fn a_kid_that_was_revoked_before_is_handled_again_without_any_change_of_who_signs() {
    let mut given = rotated();
    given.later(HOUR);
    for kid in [kid(2), kid(1), kid(2)] {
        given.series.revoke_request = Some(kid.to_string());
        given.settle();
    }

    assert_eq!(given.active(), Some(kid(3)));
    let handled = given.status(None).last_handled_revoke_at;
    assert_eq!(handled, Some(kid(2).to_string()));
}

#[test]
fn a_refused_request_is_the_first_thing_that_is_seen() {
    let mut given = signing();
    given.series.revoke_request = Some("leaked".to_owned());
    given.settle();

    let status = given.status(None);
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();

    assert_eq!(ready.reason, "RevocationRequestInvalid");
    assert_eq!(ready.status, crate::api::condition::ConditionStatus::True);
    assert!(ready.message.starts_with("Nothing was revoked"), "{}", ready.message);
    assert!(ready.message.contains("\"leaked\""), "{}", ready.message);
}

#[test]
fn an_empty_request_is_named_and_asks_for_nothing() {
    let mut given = signing();
    given.series.ignored_requests = vec!["iam.cyoda.com/revoke-all-requested-at"];

    assert_eq!(given.settle(), Vec::<String>::new());
    let status = given.status(None);
    assert!(status.conditions.iter().any(|it| it.type_ == "RequestIgnored"));
}
