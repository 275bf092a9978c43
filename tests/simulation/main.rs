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
mod disturbance;
mod environment;
mod figures;
mod flow;
mod gate;
mod goal;
mod leases;
mod mutant;
mod oracle;
mod pairs;
mod run;
mod trouble;
mod world;

use std::time::Duration;

use support::faults::Fault;
use tokio::time::Instant;

use crate::figures::{Baseline, Figures, Part, SEED, baselines, say, setting, singles, story};
use crate::mutant::Mutant;
use crate::pairs::Pairs;
use crate::run::play;
use crate::trouble::{Case, Trouble};

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
    let until = setting("PROVE").is_none().then(|| started + seconds("SIMULATE_SECONDS", 120));
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
    let started = Instant::now();
    let figures = Figures::default();
    let baselines = baselines(&figures);
    let pairs = Pairs::of(&figures, &baselines, &singles(&baselines));
    let all = pairs.len();
    say(&format!("simulation-pairs: of={all}"));
    let from = setting("PROVE_FROM").and_then(|it| it.parse().ok()).unwrap_or(0);
    let draw = |index: usize| pairs.case(index * STRIDE % all);
    let until = started + seconds("PROVE_SECONDS", 600);
    let played = figures.play(&baselines, draw, Part { range: from..all, until: Some(until) });
    say(&format!("simulation-pairs: pairs={played} of={all} PROVE_FROM={} goes on", from + played));
    figures.conclude("simulation-pairs", &baselines, started);
}

#[test]
fn what_would_have_been_applied_makes_no_difference_to_a_read() {
    let alike = [
        (Fault::DieBefore, Fault::DieAfter),
        (Fault::DropRequest, Fault::DropResponse),
        (Fault::DropRequest, Fault::Late { after: 1 }),
        (Fault::Answer(500), Fault::AppliedThen(500)),
        (Fault::Answer(504), Fault::AppliedThen(504)),
        (Fault::Hang, Fault::HangApplied),
    ];
    let baselines = baselines(&Figures::default());
    let is_proof = setting("PROVE").is_some();
    let mut compared = 0;
    for (story, Baseline { flow, .. }) in baselines.iter().enumerate() {
        let with =
            |troubles| play(flow, &Case { flow: flow.name.to_owned(), troubles }, SEED, None);
        let calm = with(Vec::new());
        let reads = calm.points.clone().filter(|index| calm.reads[*index]);
        for (number, index) in reads.enumerate() {
            for (kind, (one, other)) in alike.into_iter().enumerate() {
                // Without a proof asked for, one of each kind in some story.
                if is_proof || (number == kind && kind == story % alike.len()) {
                    let with = |fault| with(vec![(index, Trouble::Fault(fault))]);
                    let (one, other) = (with(one), with(other));
                    assert_eq!(one.trace, other.trace, "{} at {index}", flow.name);
                    assert_eq!(one.is_clean(), other.is_clean());
                    compared += 1;
                }
            }
        }
    }
    say(&format!("simulation: reads compared={compared}"));
    assert!(compared >= alike.len(), "{compared}");
}

#[test]
fn every_wrong_operator_is_caught() {
    let baselines = baselines(&Figures::default());
    let mut cases = singles(&baselines);
    cases.retain(|(_, case)| case.troubles.iter().all(|(_, trouble)| trouble.is_telling()));
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        let alone = baselines.iter().enumerate();
        let alone = alone.map(|(story, baseline)| {
            let flow = baseline.flow.name.to_owned();
            (story, Case { flow, troubles: Vec::new() })
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
    figures::write("simulation-mutants", &serde_json::json!({"killed": killed, "of": all}));
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

fn seconds(name: &str, otherwise: u64) -> Duration {
    Duration::from_secs(setting(name).and_then(|it| it.parse().ok()).unwrap_or(otherwise))
}

/// A prime: it has no factor in common with the number of cases, so each is played once.
const STRIDE: usize = 1_000_003;
