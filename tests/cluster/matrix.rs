//! Many runs, each with one fault, beside one another in lanes.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::faults::{Fault, FaultPlan};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::figures::is_thorough;

/// One run: this fault at this write after the act of the flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<F> {
    pub(crate) flow: F,
    pub(crate) strike: Option<(usize, Fault)>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) writes: usize,
    pub(crate) has_struck: bool,
    pub(crate) violation: Option<String>,
}

/// What all runs came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    pub(crate) struck: usize,
    pub(crate) violations: Vec<String>,
}

impl<F: fmt::Debug> fmt::Display for Case<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.strike {
            Some((write, fault)) => write!(formatter, "{:?} write {write} {fault}", self.flow),
            None => write!(formatter, "{:?}", self.flow),
        }
    }
}

impl Tally {
    fn count(&mut self, case: &impl fmt::Display, outcome: Outcome) {
        self.runs += 1;
        self.struck += usize::from(outcome.has_struck);
        self.violations.extend(outcome.violation.map(|violation| format!("{case}: {violation}")));
    }
}

/// Every fault at each of so many writes.
pub(crate) fn every_fault<F: Copy>(flow: F, writes: usize) -> impl Iterator<Item = Case<F>> {
    let strikes = (0..writes).flat_map(|write| Fault::ALL.map(|fault| Some((write, fault))));
    strikes.map(move |strike| Case { flow, strike })
}

/// In an order in which any beginning has something of everything.
pub(crate) fn spread<C: Copy>(cases: &[C]) -> Vec<C> {
    let mut ordered: Vec<_> = cases.iter().enumerate().collect();
    ordered.sort_by_key(|(number, _)| crc32fast::hash(&number.to_be_bytes()));
    ordered.into_iter().map(|(_, case)| *case).collect()
}

/// Runs the cases, those of one lane one after the other, until the budget is used up; with PROVE=1
/// all of them.
pub(crate) async fn drive<L, F, R>(
    lanes: Vec<L>,
    cases: &[Case<F>],
    budget: Duration,
    run: fn(L, usize, Case<F>) -> R,
) -> Tally
where
    L: Clone + Send + 'static,
    F: Copy + fmt::Debug + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    let started = Instant::now();
    let tally = Arc::new(Mutex::new(Tally::default()));
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for lane in lanes {
        let (tally, next, cases) = (Arc::clone(&tally), Arc::clone(&next), cases.to_vec());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let is_over = !is_thorough() && started.elapsed() > budget;
                let Some(case) = cases.get(number).filter(|_| !is_over) else { return };
                let outcome = run(lane.clone(), number, *case).await;
                tally.lock().unwrap().count(case, outcome);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    std::mem::take(&mut *tally.lock().unwrap())
}

/// Returns once nothing was written for a while.
pub(crate) async fn at_rest(plan: &FaultPlan) {
    let mut writes = plan.writes();
    for _ in 0..20 {
        tokio::time::sleep(REST).await;
        if plan.writes() == writes {
            return;
        }
        writes = plan.writes();
    }
}

/// So long nothing is written by an operator that has nothing to do.
pub(crate) const REST: Duration = Duration::from_millis(300);
