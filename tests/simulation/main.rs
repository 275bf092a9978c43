//! Rung 4: the whole operator in virtual time, against an API server in memory, with one thing going
//! wrong at every request of every story that users can live through.
//!
//! The controller is the one that ships. Invariants are checked after every change of what is
//! stored, and every run has to end at its goal and at rest. A run that fails prints the command
//! that plays it again. Without `PROVE=1`, single troubles are played for `SIMULATE_SECONDS`, spread
//! over all of them; with it every one is, and pairs of troubles for `PROVE_SECONDS`, from number
//! `PROVE_FROM` of a fixed order on, so that a long run can be cut and gone on with.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: a panic is a failed test, and a wrong operator spoils one request of many"
)]

mod clock;
mod crowd;
mod disturbance;
mod environment;
mod events;
mod faults;
mod figures;
mod flow;
mod following;
mod goal;
mod installations;
mod leases;
mod mutant;
mod oracle;
mod pairs;
mod proxy;
mod run;
mod tenants;
mod world;

use std::time::Duration;

use tokio::time::Instant;

use crate::faults::Case;
use crate::figures::{Figures, Part, SEED, baselines, number, say, setting, singles, story};
use crate::mutant::Mutant;
use crate::run::play;

#[test]
fn every_single_trouble_at_every_request_is_survived() {
    let started = Instant::now();
    let figures = Figures::default();
    let baselines = baselines(&figures);
    let mut cases = singles(&baselines);
    if let Some(wanted) = setting("SIMULATE_FLOW") {
        cases.retain(|(_, case)| case.flow == wanted);
    }
    let all = cases.len();
    // Without a proof asked for, as much as a check may take, spread over the whole.
    let until = setting("PROVE")
        .is_none()
        .then(|| started + Duration::from_secs(number("SIMULATE_SECONDS", 120)));
    let spread = |index: usize| cases[index * STRIDE % all].clone();
    let played = figures.play(&baselines, spread, Part { range: 0..all, until });
    say(&format!("simulation: singles={played} of={all}"));
    figures.conclude("simulation", &baselines, started);
}

#[test]
fn pairs_of_troubles_are_survived() {
    if setting("PROVE").is_none() {
        return;
    }
    pairs::prove("simulation-pairs", singles);
}

#[test]
fn faults_that_pairs_leave_out_go_the_way_of_others() {
    pairs::compare("simulation");
}

#[test]
fn every_wrong_operator_is_caught() {
    let baselines = baselines(&Figures::default());
    let mut cases = singles(&baselines);
    cases.retain(|(_, case)| case.conditions.iter().all(|(_, condition)| condition.is_telling()));
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let alone = baselines.iter().enumerate();
        let alone = alone.map(|(story, baseline)| {
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
    say(&format!("simulation: mutants_killed={killed}/{all}"));
    support::figures::keep("simulation-mutants", &serde_json::json!({"killed": killed, "of": all}));
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

/// A prime: it has no factor in common with the number of cases, so each is played once.
const STRIDE: usize = 1_000_003;
