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
#[path = "../simulation/clock.rs"]
mod clock;
mod disturbance;
#[path = "../simulation/faults.rs"]
mod faults;
#[path = "../simulation/figures.rs"]
mod figures;
mod flow;
mod goal;
mod key_pairs;
#[path = "../simulation/leases.rs"]
mod leases;
mod logs;
mod mutant;
mod oracle;
#[path = "../simulation/pairs.rs"]
mod pairs;
#[path = "../simulation/proxy.rs"]
mod proxy;
mod run;
mod servers;
mod stored;
mod two_leaders;
mod verifiers;
mod world;
mod year;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::{Case, Trouble};
use crate::figures::{
    Baseline, Figures, Part, SEED, baselines, number, say, setting, singles, story,
};
use crate::mutant::Mutant;
use crate::run::play;

#[test]
fn a_rotation_writes_every_jwks_twice_and_rest_writes_nothing() {
    let untroubled = |name: &str| {
        let flow = flow::named(name).unwrap();
        let case = Case { flow: name.to_owned(), conditions: Vec::new() };
        let outcome = play(&flow, &case, SEED, None);
        assert!(outcome.is_clean(), "{}", story(&case, &outcome, None));
        let mut writes = BTreeMap::new();
        for namespace in outcome.map_writes {
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
    let started = Instant::now();
    let figures = Figures::default();
    let baselines = baselines(&figures);
    let mut cases = singles(&baselines);
    if let Some(wanted) = setting("SIMULATE_FLOW") {
        cases.retain(|(_, case)| case.flow == wanted);
    }
    if let Some(wanted) = setting("SIMULATE_TROUBLE") {
        cases.retain(|(_, case)| case.to_string().contains(&wanted));
    }
    // Without a proof asked for, as much as a check may take, spread over the whole.
    let is_check = setting("PROVE").is_none() && setting("SIMULATE_SECONDS").is_none();
    let all = cases.len();
    let until = setting("PROVE")
        .is_none()
        .then(|| started + Duration::from_secs(number("SIMULATE_SECONDS", 45)));
    let most = if is_check { all.min(CHECKED) } else { all };
    let spread = |index: usize| cases[index * STRIDE % all].clone();
    let played = figures.play(&baselines, spread, Part { range: 0..most, until });
    say(&format!("key-simulation: singles={played} of={all}"));
    figures.conclude("key-simulation", &baselines, started);
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
    let baselines = baselines(&Figures::default());
    let mut cases = singles(&baselines);
    cases.retain(|(_, case)| case.conditions.iter().all(|(_, condition)| condition.is_telling()));
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let alone = baselines.iter().enumerate().map(|(story, baseline)| {
            let flow = baseline.flow.name.to_owned();
            (story, Case { flow, conditions: Vec::new() })
        });
        let killer = alone.chain(cases.iter().cloned()).find_map(|(story, case)| {
            let outcome = play(&baselines[story].flow, &case, SEED, Some(mutant));
            (!outcome.is_clean()).then_some((case, outcome))
        });
        match killer {
            Some((case, outcome)) => {
                let what = outcome.violations.first().or(outcome.stuck.as_ref());
                say(&format!("mutant {mutant:?} killed in {case}: {}", what.unwrap()));
            }
            None => survivors.push(mutant),
        }
    }
    let (killed, all) = (Mutant::ALL.len() - survivors.len(), Mutant::ALL.len());
    say(&format!("key-simulation: mutants_killed={killed}/{all}"));
    support::figures::keep(
        "key-simulation-mutants",
        &serde_json::json!({"killed": killed, "of": all}),
    );
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

#[test]
fn replay() {
    let Some(text) = setting("SIMULATE") else { return };
    let case: Case = text.parse().unwrap();
    let flow = flow::named(&case.flow).unwrap();
    let outcome = play(&flow, &case, SEED, None);
    say(&story(&case, &outcome, None));
    say(&format!("{}={} points={:?}", run::COUNTED, outcome.made, outcome.points));
    assert!(outcome.is_clean());
}

/// One in so many of what happens to the world is the first of pairs.
const FIRSTS: usize = 29;

/// A check plays the same cases on a slow machine and on a fast one.
const CHECKED: usize = 150;

/// A prime: it has no factor in common with the number of cases, so each is played once.
const STRIDE: usize = 1_000_003;
