//! The tests of every kind: single faults, wrong operators, and the replay of one case.

use std::time::Duration;

use support::figures::keep;
use tokio::time::Instant;

use crate::harness::faults::Case;
use crate::harness::figures::{
    Figures, Part, SEED, baselines, number, say, setting, singles, story,
};
use crate::harness::flow;
use crate::harness::run::play;
use crate::mutant::Mutant;
use crate::run::{CHECK, COUNTED};

/// How much of all single faults a check plays, without `PROVE=1`.
pub(crate) struct Check {
    pub(crate) seconds: u64,
    /// The same cases on a slow machine and on a fast one.
    pub(crate) cases: Option<usize>,
}

/// Plays every single trouble at every request of every story; as much as a check may take, spread over the
/// whole, unless a proof is asked for.
pub(crate) fn single_troubles(name: &str) {
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
    let is_check = setting("PROVE").is_none() && setting("SIMULATE_SECONDS").is_none();
    let all = cases.len();
    let until = setting("PROVE")
        .is_none()
        .then(|| started + Duration::from_secs(number("SIMULATE_SECONDS", CHECK.seconds)));
    let most = CHECK.cases.filter(|_| is_check).map_or(all, |most| all.min(most));
    let spread = |index: usize| cases[index * STRIDE % all].clone();
    let played = figures.play(&baselines, spread, Part { range: 0..most, until });
    say(&format!("{name}: singles={played} of={all}"));
    figures.conclude(name, &baselines, started);
}

/// Plays cases with every wrong operator, until one shows it.
pub(crate) fn wrong_operators(name: &str) {
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
    say(&format!("{name}: mutants_killed={killed}/{all}"));
    keep(&format!("{name}-mutants"), &serde_json::json!({"killed": killed, "of": all}));
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

/// Plays the case that `SIMULATE` names.
pub(crate) fn replay_one() {
    let Some(text) = setting("SIMULATE") else { return };
    let case: Case = text.parse().unwrap();
    let flow = flow::named(&case.flow).unwrap();
    let outcome = play(&flow, &case, SEED, None);
    say(&story(&case, &outcome, None));
    say(&format!("{COUNTED}={} points={:?}", outcome.made, outcome.points));
    assert!(outcome.is_clean());
}

/// A prime: it has no factor in common with the number of cases, so each is played once.
const STRIDE: usize = 1_000_003;
