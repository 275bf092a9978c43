//! The Events of every change, also if the operator that made it crashed.

use serde_json::{Value, json};
use support::faults::Fault;

use crate::disturbance::Disturbance;
use crate::flow::{Act, Flow, USER};
use crate::goal::Goal;
use crate::harness::faults::{Case, Trouble};
use crate::harness::figures::SEED;
use crate::harness::flow::{named, step};
use crate::harness::run::{Outcome, play};

#[test]
fn a_client_secret_whose_reveal_had_no_answer_is_told_of_once() {
    for name in ["issue", "rotate"] {
        let flow = named(name).unwrap();
        let calm = played(&flow, &[]);
        let reveal = calm.extra.reveal.unwrap();
        for fault in [Fault::DieAfter, Fault::DropResponse, Fault::AppliedThen(504)] {
            let outcome = played(&flow, &[(reveal, Trouble::Fault(fault))]);

            assert_eq!(issued(&outcome), issued(&calm), "{name}, {fault}");
        }
    }
}

#[test]
fn wrong_clocks_are_told_of_and_so_is_their_end() {
    let flow = named("rotate").unwrap();
    let at = played(&flow, &[]).points.start;
    let skew = Trouble::Disturbance(Disturbance::LocalClock(jiff::SignedDuration::from_hours(1)));

    let reasons = reasons(&played(&flow, &[(at, skew)]));

    for reason in ["ClockSkew", "ClockSkewResolved"] {
        assert!(reasons.iter().any(|it| it == reason), "{reason} is not among {reasons:?}");
    }
}

#[test]
fn a_return_from_trouble_is_told_of_and_a_first_client_secret_once() {
    let suspended = reasons(&played(&named("suspend").unwrap(), &[]));
    let conflict = reasons(&played(&named("conflict").unwrap(), &[]));

    let expected = ["CredentialIssued", "CredentialRotated", "Issued", "Suspended"];
    assert_eq!(suspended, expected);
    assert_eq!(conflict, ["CredentialIssued", "SecretConflict"]);
}

#[test]
fn a_signing_key_that_goes_and_comes_is_told_of_once_each() {
    let outcome = played(&named("signing-key").unwrap(), &[]);

    let expected = ["CredentialIssued", "CredentialRotated", "Issued", "SigningKeyNotFound"];
    assert_eq!(reasons(&outcome), expected);
}

#[test]
fn a_deletion_that_is_ignored_is_told_and_waits_for_the_next_rotation() {
    let ignored = played(&named("ignored").unwrap(), &[]);

    let expected = ["CredentialIssued", "CredentialRotated", "DeletionIgnored"];
    assert_eq!(reasons(&ignored), expected);
    assert_eq!(ignored.made, 2);
}

#[test]
fn a_spec_that_cannot_be_read_is_told_of_once() {
    let create = Act::Create(USER, json!({"rotation": {"overlap": "soon"}}));
    let step = step(vec![create], Goal::Said("InvalidSpec"));
    let flow = Flow { name: "invalid", before: vec![], steps: vec![step], is_timed: false };

    assert_eq!(reasons(&played(&flow, &[])), ["InvalidSpec"]);
}

fn played(flow: &Flow, conditions: &[(usize, Trouble)]) -> Outcome {
    let case = Case { flow: flow.name.to_owned(), conditions: conditions.to_vec() };
    let outcome = play(flow, &case, SEED, None);
    assert!(outcome.is_clean(), "{case}: {:?} {:?}", outcome.violations, outcome.stuck);
    outcome
}

/// The reasons of all Events, in the order of the alphabet.
fn reasons(outcome: &Outcome) -> Vec<String> {
    let objects = outcome.public.iter().map(|it| serde_json::from_str::<Value>(it).unwrap());
    let events = objects.filter(|it| it["kind"] == "Event");
    let mut reasons: Vec<String> =
        events.map(|it| it["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort();
    reasons
}

/// Those of client secrets that were issued.
fn issued(outcome: &Outcome) -> Vec<String> {
    let mut reasons = reasons(outcome);
    reasons.retain(|reason| reason.starts_with("Credential"));
    reasons
}
