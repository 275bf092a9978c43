//! A run of a story of technical users: what a case excuses, and the bounds.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use support::faults::Passed;
use support::in_virtual_time;
use tokio::time::sleep;

use crate::disturbance::{Disturbance, Own};
use crate::flow::Flow;
use crate::goal::Goal;
use crate::harness::checks::Check;
use crate::harness::faults::{Case, Trouble};
use crate::harness::run::{FEW_MINUTES, Outcome, Run};
use crate::mutant::Mutant;
use crate::world::{LEASE, NAMESPACE, World};

/// The request by which the last client secret was revealed.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) reveal: Option<usize>,
}

/// Plays a case in virtual time, from nothing.
pub(crate) fn play(flow: &Flow, case: &Case, seed: u64, mutant: Option<Mutant>) -> Outcome {
    in_virtual_time(async {
        let world = World::new(seed, mutant);
        world.oracle().trusts_ends = !case.hides_a_jump();
        world.oracle().dates_ends = !case.leaps();
        if case.disturbances().any(Disturbance::prolongs) {
            world.keep_leftovers();
        }
        world.arm(case);
        world.start(LEASE);
        Run::new(world, case).play(flow).await
    })
}

/// Leaves the goal to one fresh operator, which is the one that comes to rest (I5), where two lead
/// forever, as only here, and one of them saw the clocks jump: they say otherwise for as long.
pub(crate) async fn before_rest(run: &mut Run<'_>, goal: &Goal) -> bool {
    if run.case.hides_a_jump() && run.case.count(Disturbance::SecondReplica) > 0 {
        run.world.restart(Duration::ZERO);
        sleep(SECOND).await;
        return run.reach(goal).await;
    }
    true
}

impl Run<'_> {
    /// Whether the goal is reached, as far as the case lets it be.
    pub(crate) fn check(&self, goal: &Goal) -> Result<(), String> {
        goal.check(&self.world).or_else(|missing| {
            // A backup, or the deletion of the Secret, brings more client secrets than the story.
            if self.case.undoes() {
                match goal {
                    Goal::Kept(serial) | Goal::Unless(_, serial) => {
                        return Goal::delivered(*serial).check(&self.world);
                    }
                    _ => {}
                }
            }
            // Who reads once, or lets the time of a reading pass, finds no Secret any more; nor does
            // who wants nothing done about its deletion.
            let is_over = self.case.flow.starts_with("one-time") && self.case.ends_reading()
                || self.case.flow == "ignored"
                    && self.case.count(Disturbance::Own(Own::SecretDeleted)) > 0;
            if is_over { Goal::ReadOnce.check(&self.world) } else { Err(missing) }
        })
    }
}

impl Case {
    fn undoes(&self) -> bool {
        self.disturbances().any(Disturbance::undoes)
    }

    /// Whether a Secret that is read once may be gone, read or past its time.
    fn ends_reading(&self) -> bool {
        self.disturbances().any(|it| match it {
            // Clocks that went back together are set right later: its time passes with that leap.
            Disturbance::Own(Own::SecretDeleted)
            | Disturbance::MonthOff
            | Disturbance::BothClocks(_) => true,
            _ => false,
        })
    }

    /// Whether every clock leaps ahead, perhaps between a decision and the write that carries its
    /// end: no observer can distinguish the two instants.
    fn leaps(&self) -> bool {
        self.disturbances().any(|it| matches!(it, Disturbance::BothClocks(by) if by.is_positive()))
    }

    /// Whether an operator starts after all clocks jumped together, which no process can notice then.
    fn hides_a_jump(&self) -> bool {
        let starts = |condition: &Trouble| match condition {
            Trouble::Fault(fault) => fault.kills(),
            Trouble::Disturbance(it) => it.kills() || *it == Disturbance::SecondReplica,
        };
        self.leaps() && self.conditions.iter().any(|(_, it)| starts(it))
    }

    /// Whether exactly as many secrets are right as without trouble.
    pub(crate) fn keeps_count(&self, flow: &Flow) -> bool {
        self.disturbances().all(|it| {
            let sets_clocks = matches!(it, Disturbance::LocalClock(_) | Disturbance::BothClocks(_));
            !it.undoes() && (!flow.is_timed || !sets_clocks)
        })
    }
}

pub(crate) fn extra(world: &World, _logged: usize) -> Extra {
    let delivered = format!("/namespaces/{NAMESPACE}/secrets");
    let reveals = |it: &&Passed| match it.verb {
        Method::PATCH => it.path.contains("/secrets/"),
        Method::POST => it.path.ends_with(&delivered),
        _ => false,
    };
    Extra { reveal: world.plan.passed().iter().rfind(reveals).map(|it| it.index) }
}

/// Of no Secret is the data shown.
pub(crate) fn hides_data(_object: &Value) -> bool {
    true
}

/// What is searched for client secrets.
pub(crate) const PLURALS: &[&str] = &["technicalusers", "events", "secrets"];

/// What every story makes exactly as many of as it needs.
pub(crate) const COUNTED: &str = "secrets";

/// The test target that plays a case again.
pub(crate) const TARGET: &str = "simulation";

/// The invariant that a run which is stuck violates.
pub(crate) const LIVENESS: &str = "I5";

pub(crate) const CHECK: Check = Check { seconds: 120, cases: None };

const SECOND: Duration = Duration::from_secs(1);

/// Longer than the operator leaves any object alone: after clocks went wrong, only its next check of
/// all of them may show what is due.
pub(crate) const PATIENCE: Duration = Duration::from_hours(4);

/// How long nothing is asked for once a run is at rest.
pub(crate) const QUIET: Duration = FEW_MINUTES;

/// Ten times what any story takes: an operator that asks for more never rests.
pub(crate) const MOST_REQUESTS: usize = 3_000;

/// As many as five minutes of the quickest wait take, that for the garbage collector: three
/// requests every two seconds, and a few for what has to be done.
pub(crate) const MOST_AT_REST: usize = 600;
