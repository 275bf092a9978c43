//! Rung 4 for signing keys: the whole controller in virtual time, against an API server in memory,
//! with one thing going wrong at every request of every story that a series can live through.
//!
//! The controller is the one that ships, and so is what token servers sign by: one of them holds
//! every combination of views that the protocol allows. A run that fails prints the command that
//! plays it again. Without `PROVE=1`, single troubles are played for `SIMULATE_SECONDS`, in a fixed
//! order over all of them; with it every one is, and pairs of troubles for `PROVE_SECONDS`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: a panic is a failed test, and a wrong operator spoils one request of many"
)]

mod allowed_violations;
mod disturbance;
mod flow;
mod goal;
#[path = "../simulation/harness/mod.rs"]
mod harness;
mod key_pairs;
mod logs;
mod mutant;
mod oracle;
mod run;
mod servers;
mod stored;
mod two_leaders;
mod verifiers;
mod world;
mod year;

use std::collections::BTreeMap;

use crate::harness::faults::{Case, Trouble};
use crate::harness::figures::{Baseline, SEED, say, setting, singles, story};
use crate::harness::{checks, pairs};
use crate::run::play;

#[test]
fn a_rotation_writes_every_jwks_twice_and_rest_writes_nothing() {
    let untroubled = |name: &str| {
        let flow = harness::flow::named(name).unwrap();
        let case = Case { flow: name.to_owned(), conditions: Vec::new() };
        let outcome = play(&flow, &case, SEED, None);
        assert!(outcome.is_clean(), "{}", story(&case, &outcome, None));
        let mut writes = BTreeMap::new();
        for namespace in outcome.extra.map_writes {
            *writes.entry(namespace).or_insert(0) += 1;
        }
        writes
    };
    let each = |writes: usize| {
        let all = ["iam-system", "orders", "shop"].into_iter();
        all.map(|namespace| (namespace.to_owned(), writes)).collect::<BTreeMap<_, _>>()
    };

    assert_eq!(untroubled("first-key"), each(1));
    assert_eq!(untroubled("rotate"), each(2));
    assert_eq!(untroubled("rotate-due"), each(2));
    assert_eq!(untroubled("retire"), each(1));
    assert_eq!(untroubled("key-pair-deleted"), each(2));
}

#[test]
fn two_leaders_that_were_told_otherwise_do_not_fight_at_full_speed() {
    let writes = two_leaders::quarrel();

    say(&format!("key-simulation: writes of two that disagree={writes}"));
    assert!((10..400).contains(&writes), "{writes} writes in ten minutes");
}

#[test]
fn every_single_trouble_at_every_request_is_survived() {
    checks::single_troubles("key-simulation");
}

#[test]
fn pairs_of_troubles_are_survived() {
    if setting("PROVE").is_none() {
        return;
    }
    // All that goes wrong with requests; of what happens to the world, which is most, one in so many.
    let firsts = |baselines: &[Baseline]| {
        let numbered = singles(baselines).into_iter().enumerate();
        let is_first = |number: usize, case: &Case| {
            setting("PROVE_TROUBLES").is_some()
                || number.is_multiple_of(FIRSTS)
                || matches!(case.conditions[0].1, Trouble::Fault(_))
        };
        numbered.filter(|(number, (_, case))| is_first(*number, case)).map(|(_, it)| it).collect()
    };
    pairs::prove("key-simulation-pairs", firsts);
}

#[test]
fn faults_that_pairs_leave_out_go_the_way_of_others() {
    pairs::compare("key-simulation");
}

#[test]
fn in_a_year_of_weekly_rotations_every_verifier_accepts_every_token() {
    // Without a proof asked for, as much of it as a check may take.
    let days = if setting("PROVE").is_some() { 365 } else { 36 };
    let mut later = BTreeMap::new();
    for pre_publish in ["1h", "90m"] {
        let year = year::live(pre_publish, days);
        let unverifiable: usize = year.unverifiable.values().sum();
        let name = format!("key-year-{pre_publish}");
        say(&format!(
            "{name}: days={days} rotations={} tokens={} unsigned={} verifiers={} verifications={} \
             unverifiable={unverifiable} late_kafka_unverifiable={}",
            year.rotations,
            year.tokens,
            year.unsigned,
            year.verifiers,
            year.verifications,
            year.late_kafka
        ));
        support::figures::keep(
            &name,
            &serde_json::json!({
                "days": days, "rotations": year.rotations, "tokens": year.tokens, "verifiers": year.verifiers,
                "verifications": year.verifications, "unverifiable": unverifiable,
                "late_kafka_unverifiable": year.late_kafka,
            }),
        );
        assert_eq!(year.violations, Vec::<String>::new());
        assert_eq!(year.unverifiable, BTreeMap::new());
        assert_eq!(year.unsigned, 0);
        assert!(year.rotations >= usize::try_from(days / 7 - 1).unwrap(), "{year:?}");
        later.insert(pre_publish, year.late_kafka);
    }
    // Kafka fetches every 60 minutes and refuses the first token of a key that it does not know, so
    // an hour of prePublish serves it only if no fetch is more than 10 seconds late.
    say(&format!("key-year: Kafka with fetches a minute late refuses {later:?} tokens"));
    assert!(later["1h"] > 0 || days < 365, "the documentation can promise more");
    assert_eq!(later["90m"], 0);
}

#[test]
fn every_wrong_operator_is_caught() {
    // Some play thousands of cases until one shows them.
    if setting("PROVE").is_none() {
        return;
    }
    checks::wrong_operators("key-simulation");
}

#[test]
fn replay() {
    checks::replay_one();
}

/// One in so many of what happens to the world is the first of pairs.
const FIRSTS: usize = 29;
