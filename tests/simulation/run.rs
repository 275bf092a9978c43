//! One run: a story, what goes wrong in it, and what the oracle says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use support::faults::Passed;
use support::in_virtual_time;
use tokio::time::{Instant, sleep};

use crate::disturbance::Disturbance;
use crate::faults::{Case, Trouble};
use crate::flow::{Flow, Step};
use crate::goal::Goal;
use crate::mutant::Mutant;
use crate::world::{LEASE, NAMESPACE, World};

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) stuck: Option<String>,
    /// How many client secrets were revealed.
    pub(crate) made: usize,
    /// The requests among which something can go wrong.
    pub(crate) points: std::ops::Range<usize>,
    /// Of every request, whether it reads.
    pub(crate) reads: Vec<bool>,
    /// The request by which the last client secret was revealed.
    pub(crate) reveal: Option<usize>,
    pub(crate) trace: Vec<String>,
    pub(crate) secrets: BTreeSet<String>,
    /// Everything that is stored and not meant to be secret.
    pub(crate) public: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_none()
    }
}

/// Plays a case in virtual time, from nothing.
pub(crate) fn play(flow: &Flow, case: &Case, seed: u64, mutant: Option<Mutant>) -> Outcome {
    in_virtual_time(async {
        let world = World::new(seed, mutant);
        world.oracle().trusts_ends = !case.hides_a_jump();
        world.oracle().dates_ends = !case.leaps();
        world.arm(case);
        world.start(LEASE);
        let mut run = Run { world, case, points: 0..0, stuck: None };
        run.play(flow).await;
        run.conclude()
    })
}

struct Run<'a> {
    world: Arc<World>,
    case: &'a Case,
    points: std::ops::Range<usize>,
    stuck: Option<String>,
}

impl Run<'_> {
    async fn play(&mut self, flow: &Flow) {
        for step in &flow.before {
            if !self.step(step).await {
                return;
            }
        }
        self.points.start = self.world.plan.requests();
        for step in &flow.steps {
            if !self.step(step).await {
                return;
            }
        }
        self.points.end = self.world.plan.requests();
        if let Some(last) = flow.steps.last() {
            self.world.plan.flush_late().await;
            self.world.proxy.note("=== late requests delivered");
            if self.reach(&last.goal).await && self.left_to_one(&last.goal).await {
                self.rest(&last.goal).await;
            }
        }
    }

    /// Leaves the goal to one fresh operator, which is the one that comes to rest (I5), where two lead
    /// for ever, as only here, and one of them saw the clocks jump: they say otherwise for as long.
    async fn left_to_one(&mut self, goal: &Goal) -> bool {
        if self.case.hides_a_jump() && self.case.count(Disturbance::SecondReplica) > 0 {
            self.world.restart(Duration::ZERO);
            sleep(SECOND).await;
            return self.reach(goal).await;
        }
        true
    }

    async fn step(&mut self, step: &Step) -> bool {
        for act in &step.acts {
            act.perform(&self.world);
        }
        self.world.back_up();
        self.reach(&step.goal).await
    }

    /// Waits for the goal, for as long as anybody would.
    async fn reach(&mut self, goal: &Goal) -> bool {
        let started = Instant::now();
        let before = self.world.server.reads() + self.world.server.writes();
        let months = self.case.count(Disturbance::MonthOff);
        let patience = PATIENCE + MONTH * months;
        loop {
            if !self.world.oracle().violations.is_empty() {
                return false;
            }
            let Err(missing) = self.check(goal) else { return true };
            let asked = self.world.server.reads() + self.world.server.writes() - before;
            if started.elapsed() > patience || asked > MOST_REQUESTS {
                self.stuck = Some(format!("I5: {goal:?} not reached: {missing}"));
                return false;
            }
            let is_off = months > 0 && !self.world.is_running();
            let pause = if started.elapsed() > FEW_MINUTES { TICK } else { SECOND };
            sleep(if is_off { HOUR } else { pause }).await;
            self.world.tick();
        }
    }

    /// Whether the goal is reached, as far as the case lets it be.
    fn check(&self, goal: &Goal) -> Result<(), String> {
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
                || self.case.flow == "ignored" && self.case.count(Disturbance::SecretDeleted) > 0;
            if is_over { Goal::ReadOnce.check(&self.world) } else { Err(missing) }
        })
    }

    /// Waits until the operator asks for nothing any more.
    async fn rest(&mut self, goal: &Goal) {
        let window = self.case.window();
        let arrived = self.world.server.reads() + self.world.server.writes();
        for _ in 0..MOST_WINDOWS {
            let before = self.world.server.reads() + self.world.server.writes();
            let until = Instant::now() + window;
            while Instant::now() < until {
                sleep(TICK).await;
                self.world.tick();
            }
            if !self.world.oracle().violations.is_empty() {
                return;
            }
            let after = self.world.server.reads() + self.world.server.writes();
            if after - arrived > MOST_AT_REST {
                break;
            }
            let is_reached = self.check(goal);
            if before == after && is_reached.is_ok() {
                return;
            }
            if let Err(missing) = is_reached {
                self.world.proxy.note(&format!("=== lost again: {missing}"));
                if !self.reach(goal).await {
                    return;
                }
            }
        }
        self.stuck = Some("I5: it does not come to rest".to_owned());
    }

    fn conclude(self) -> Outcome {
        let world = self.world;
        let (violations, made) = {
            let oracle = world.oracle();
            (oracle.violations.clone(), oracle.revealed())
        };
        let passed = world.plan.passed();
        let delivered = format!("/namespaces/{NAMESPACE}/secrets");
        let reveals = |it: &&Passed| match it.verb {
            Method::PATCH => it.path.contains("/secrets/"),
            Method::POST => it.path.ends_with(&delivered),
            _ => false,
        };
        Outcome {
            violations,
            stuck: self.stuck,
            made,
            points: self.points,
            reads: passed.iter().map(|it| it.write.is_none()).collect(),
            reveal: passed.iter().rfind(reveals).map(|it| it.index),
            trace: world.proxy.trace(),
            secrets: world.entropy.secrets(),
            public: public(&world),
        }
    }
}

impl Case {
    fn count(&self, disturbance: Disturbance) -> u32 {
        let times = self.conditions.iter().map(|(_, it)| *it == Trouble::Disturbance(disturbance));
        times.map(u32::from).sum()
    }

    fn undoes(&self) -> bool {
        let undoes =
            |condition: &Trouble| matches!(condition, Trouble::Disturbance(it) if it.undoes());
        self.conditions.iter().any(|(_, condition)| undoes(condition))
    }

    /// Whether a Secret that is read once may be gone, read or past its time.
    fn ends_reading(&self) -> bool {
        let ends = |it: &Disturbance| match it {
            // Clocks that went back together are set right later: its time passes with that leap.
            Disturbance::SecretDeleted | Disturbance::MonthOff | Disturbance::BothClocks(_) => true,
            _ => false,
        };
        self.conditions.iter().any(|(_, it)| matches!(it, Trouble::Disturbance(it) if ends(it)))
    }

    /// How long nothing may be asked for at the end: an hour in some runs, in most just longer than
    /// the waits after one failure.
    fn window(&self) -> Duration {
        let number = crc32fast::hash(self.to_string().as_bytes());
        if self.conditions.is_empty() || number.is_multiple_of(32) { HOUR } else { FEW_MINUTES }
    }

    /// Whether every clock leaps ahead, perhaps between a decision and the write that carries its
    /// end: nobody can tell the two instants apart.
    fn leaps(&self) -> bool {
        let leaps = |condition: &Trouble| matches!(condition, Trouble::Disturbance(Disturbance::BothClocks(by)) if by.is_positive());
        self.conditions.iter().any(|(_, condition)| leaps(condition))
    }

    /// Whether an operator starts after all clocks jumped together, which nobody can notice then.
    fn hides_a_jump(&self) -> bool {
        let jumps = |condition: &Trouble| matches!(condition, Trouble::Disturbance(Disturbance::BothClocks(by)) if by.is_positive());
        let starts = |condition: &Trouble| match condition {
            Trouble::Fault(fault) => fault.kills(),
            Trouble::Disturbance(it) => matches!(
                it,
                Disturbance::Restore | Disturbance::MonthOff | Disturbance::SecondReplica
            ),
        };
        let mut conditions = self.conditions.iter();
        conditions.clone().any(|(_, it)| jumps(it)) && conditions.any(|(_, it)| starts(it))
    }

    /// Whether exactly as many secrets are right as without trouble.
    pub(crate) fn keeps_count(&self, flow: &Flow) -> bool {
        self.conditions.iter().all(|(_, condition)| match condition {
            Trouble::Fault(_) => true,
            Trouble::Disturbance(it) => {
                let sets_clocks =
                    matches!(it, Disturbance::LocalClock(_) | Disturbance::BothClocks(_));
                !it.undoes() && (!flow.is_timed || !sets_clocks)
            }
        })
    }
}

/// Everything that is stored, but for the data of Secrets.
fn public(world: &World) -> Vec<String> {
    let objects = ["technicalusers", "events", "secrets"].map(|plural| world.server.list(plural));
    let objects = objects.into_iter().flatten();
    objects
        .map(|mut object: Value| {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("data");
            }
            object.to_string()
        })
        .collect()
}

/// What every story makes exactly as many of as it needs.
pub(crate) const COUNTED: &str = "secrets";

/// The test target that plays a case again.
pub(crate) const TARGET: &str = "simulation";

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);
const MONTH: Duration = Duration::from_hours(31 * 24);

/// Longer than the operator leaves anybody alone: after clocks went wrong, only its next look at
/// everybody may tell what is due.
const PATIENCE: Duration = Duration::from_hours(4);

const FEW_MINUTES: Duration = Duration::from_secs(150);

/// Ten times what any story takes: who asks for more never rests.
const MOST_REQUESTS: usize = 3_000;

/// As many as five minutes of the quickest wait take, that for the garbage collector: three
/// requests every two seconds, and a few for what has to be done.
const MOST_AT_REST: usize = 600;

const MOST_WINDOWS: usize = 24;
