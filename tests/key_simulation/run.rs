//! One run: a story, what goes wrong in it, and what the oracle says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use support::fake_api_server::Verb;
use support::in_virtual_time;
use tokio::time::{Instant, sleep};

use crate::disturbance::Disturbance;
use crate::faults::{Case, Trouble};
use crate::flow::{Flow, Step};
use crate::goal::Goal;
use crate::logs::Logs;
use crate::mutant::Mutant;
use crate::world::{LEASE, Setting, World, limits};

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) stuck: Option<String>,
    /// How many keys came into ledgers.
    pub(crate) made: usize,
    /// The requests among which something can go wrong.
    pub(crate) points: std::ops::Range<usize>,
    /// Of every request, whether it reads.
    pub(crate) reads: Vec<bool>,
    pub(crate) trace: Vec<String>,
    pub(crate) secrets: BTreeSet<String>,
    /// Everything that is stored or logged and not meant to be secret.
    pub(crate) public: Vec<String>,
    /// The namespaces of all writes to `ConfigMap`s while things could go wrong.
    pub(crate) map_writes: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_none()
    }
}

/// Plays a case in virtual time, from nothing.
pub(crate) fn play(flow: &Flow, case: &Case, seed: u64, mutant: Option<Mutant>) -> Outcome {
    let logs = case.is_heard().then(Logs::default);
    let _heard = logs.as_ref().map(Logs::listen);
    let mut outcome = in_virtual_time(async {
        let bootstrap = flow.bootstrap;
        let world = World::new(Setting { seed, mutant, bootstrap, limits: limits() });
        world.arm(case);
        world.start(LEASE);
        let mut run = Run { world, case, points: 0..0, map_writes: Vec::new(), stuck: None };
        run.play(flow).await;
        run.conclude()
    });
    outcome.public.extend(logs.map(|logs| logs.text()));
    outcome
}

struct Run<'a> {
    world: Arc<World>,
    case: &'a Case,
    points: std::ops::Range<usize>,
    map_writes: Vec<String>,
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
        let before = self.world.server.request_log().len();
        for step in &flow.steps {
            if !self.step(step).await {
                return;
            }
        }
        self.points.end = self.world.plan.requests();
        if let Some(last) = flow.steps.last() {
            self.world.plan.flush_late().await;
            self.world.proxy.note("=== late requests delivered");
            if self.reach(&last.goal).await {
                self.rest(&last.goal).await;
            }
        }
        let log = self.world.server.request_log();
        let writes = log.iter().skip(before).filter(|it| it.verb.writes());
        let writes = writes.filter(|it| it.plural == "configmaps" && it.verb != Verb::Watch);
        self.map_writes = writes.map(|it| it.namespace.clone()).collect();
    }

    async fn step(&mut self, step: &Step) -> bool {
        for act in &step.acts {
            act.perform(&self.world);
        }
        self.world.back_up();
        self.reach(&step.goal).await
    }

    fn asked(&self) -> usize {
        self.world.server.reads() + self.world.server.writes()
    }

    /// Waits for the goal, for as long as anybody would.
    async fn reach(&mut self, goal: &Goal) -> bool {
        let started = Instant::now();
        let before = self.asked();
        let takes_a_month = self.case.has(Disturbance::MonthOff);
        let patience = if takes_a_month { PATIENCE + MONTH } else { PATIENCE };
        loop {
            if !self.world.oracle().violations.is_empty() {
                return false;
            }
            let Err(missing) = self.check(goal) else { return true };
            let asked = self.asked() - before;
            if started.elapsed() > patience || asked > MOST_REQUESTS {
                self.stuck = Some(format!("K5: {goal:?} not reached: {missing}"));
                return false;
            }
            let is_off = takes_a_month && !self.world.is_running();
            let pause = if started.elapsed() > FEW_MINUTES { TICK } else { SECOND };
            sleep(if is_off { HOUR } else { pause }).await;
            self.world.tick();
        }
    }

    /// Whether the goal is reached, as far as the case lets it be.
    fn check(&self, goal: &Goal) -> Result<(), String> {
        goal.check(&self.world).or_else(|missing| match goal {
            // A ledger that is made anew takes a request for answered: one rotation too few is
            // better than one that nobody asked for.
            Goal::Settled { namespaces, .. } if self.world.has_lost_ledger() => {
                Goal::Settled { index: 1, namespaces }.check(&self.world)
            }
            _ => Err(missing),
        })
    }

    /// Waits until the operator asks for nothing any more.
    async fn rest(&mut self, goal: &Goal) {
        let window = self.case.window();
        for _ in 0..MOST_WINDOWS {
            let before = self.asked();
            let until = Instant::now() + window;
            while Instant::now() < until {
                sleep(TICK).await;
                self.world.tick();
            }
            if !self.world.oracle().violations.is_empty() {
                return;
            }
            let is_reached = self.check(goal);
            if before == self.asked() && is_reached.is_ok() {
                return;
            }
            if let Err(missing) = is_reached {
                self.world.proxy.note(&format!("=== lost again: {missing}"));
                if !self.reach(goal).await {
                    return;
                }
            }
        }
        self.stuck = Some("K5: it does not come to rest".to_owned());
    }

    fn conclude(self) -> Outcome {
        let world = self.world;
        let (violations, made) = {
            let oracle = world.oracle();
            (oracle.violations.clone(), oracle.made())
        };
        Outcome {
            violations,
            stuck: self.stuck,
            made,
            points: self.points,
            reads: world.plan.passed().iter().map(|it| it.write.is_none()).collect(),
            trace: world.proxy.trace(),
            secrets: world.key_pairs.private(),
            public: public(&world),
            map_writes: self.map_writes,
        }
    }
}

impl Case {
    pub(crate) fn has(&self, disturbance: Disturbance) -> bool {
        self.conditions.iter().any(|(_, it)| *it == Trouble::Disturbance(disturbance))
    }

    /// One case in thirty-two, and every one without trouble, is looked at more closely.
    fn is_chosen(&self) -> bool {
        let number = crc32fast::hash(self.to_string().as_bytes());
        self.conditions.is_empty() || number.is_multiple_of(32)
    }

    /// How long nothing may be asked for at the end: an hour in some runs, in most just longer than
    /// the waits after one failure.
    fn window(&self) -> Duration {
        if self.is_chosen() { HOUR } else { RETRIES }
    }

    /// Whether what the operator logs is searched.
    fn is_heard(&self) -> bool {
        self.is_chosen()
    }

    /// Whether exactly as many keys are right as without trouble.
    pub(crate) fn keeps_count(&self, flow: &Flow) -> bool {
        self.conditions.iter().all(|(_, condition)| match condition {
            Trouble::Fault(_) => true,
            Trouble::Disturbance(it) => !it.adds() && (!flow.is_timed || !it.sets_clocks()),
        })
    }
}

/// Everything that is stored, but for the data of key pairs.
fn public(world: &World) -> Vec<String> {
    let plurals = ["signingkeys", "events", "secrets", "configmaps"];
    let objects = plurals.map(|plural| world.server.list(plural)).into_iter().flatten();
    objects
        .map(|mut object| {
            let is_pair = object["type"] == "iam.cyoda.com/signing-key-pair";
            if let Some(fields) = object.as_object_mut().filter(|_| is_pair) {
                fields.remove("data");
            }
            object.to_string()
        })
        .collect()
}

/// What every story makes exactly as many of as it needs.
pub(crate) const COUNTED: &str = "keys";

/// The test target that plays a case again.
pub(crate) const TARGET: &str = "key_simulation";

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);
const MONTH: Duration = Duration::from_hours(31 * 24);

/// Longer than the operator leaves anybody alone: after clocks went wrong, only its next look at
/// everybody may tell what is due.
const PATIENCE: Duration = Duration::from_hours(6);

const FEW_MINUTES: Duration = Duration::from_secs(150);

/// Longer than a namespace that could not be written is left alone.
const RETRIES: Duration = Duration::from_secs(330);

/// Ten times what any story takes: who asks for more never rests.
const MOST_REQUESTS: usize = 1_500;

const MOST_WINDOWS: usize = 24;
