//! One run: a story, what goes wrong in it, and what the oracle says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::flow::Flow;
use crate::goal::Goal;
use crate::harness::disturbance::Disturbance;
use crate::harness::faults::Case;
use crate::harness::flow::Step;

use crate::run::{
    Extra, LIVENESS, MOST_AT_REST, MOST_REQUESTS, PATIENCE, PLURALS, QUIET, before_rest, extra,
    hides_data,
};
use crate::world::World;

pub(crate) use crate::run::play;

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) stuck: Option<String>,
    /// How many of [`crate::run::COUNTED`] were made.
    pub(crate) made: usize,
    /// The requests among which something can go wrong.
    pub(crate) points: std::ops::Range<usize>,
    /// Of every request, whether it reads.
    pub(crate) reads: Vec<bool>,
    pub(crate) trace: Vec<String>,
    pub(crate) secrets: BTreeSet<String>,
    /// Everything that is stored or logged and not meant to be secret.
    pub(crate) public: Vec<String>,
    pub(crate) extra: Extra,
}

impl Outcome {
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.stuck.is_none()
    }
}

/// A run of a case in a world.
pub(crate) struct Run<'a> {
    pub(crate) world: Arc<World>,
    pub(crate) case: &'a Case,
    points: std::ops::Range<usize>,
    /// The number of requests before the steps in which something can go wrong.
    logged: usize,
    pub(crate) stuck: Option<String>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(world: Arc<World>, case: &'a Case) -> Self {
        Self { world, case, points: 0..0, logged: 0, stuck: None }
    }

    pub(crate) async fn play(mut self, flow: &Flow) -> Outcome {
        self.steps(flow).await;
        self.conclude()
    }

    async fn steps(&mut self, flow: &Flow) {
        for step in &flow.before {
            if !self.step(step).await {
                return;
            }
        }
        self.points.start = self.world.plan.requests();
        self.logged = self.world.server.request_log().len();
        for step in &flow.steps {
            if !self.step(step).await {
                return;
            }
        }
        self.points.end = self.world.plan.requests();
        if let Some(last) = flow.steps.last() {
            self.world.plan.flush_late().await;
            self.world.proxy.note("=== late requests delivered");
            if self.reach(&last.goal).await && before_rest(self, &last.goal).await {
                self.rest(&last.goal).await;
            }
        }
    }

    async fn step(&mut self, step: &Step) -> bool {
        for act in &step.acts {
            act.perform(&self.world);
        }
        self.world.back_up();
        self.reach(&step.goal).await
    }

    /// Waits for the goal, for as long as any user would.
    pub(crate) async fn reach(&mut self, goal: &Goal) -> bool {
        let started = Instant::now();
        let before = self.world.asked();
        let months = self.case.count(Disturbance::MonthOff);
        let patience = PATIENCE + MONTH * months;
        loop {
            if !self.world.oracle().violations.is_empty() {
                return false;
            }
            let Err(missing) = self.check(goal) else { return true };
            let asked = self.world.asked() - before;
            if started.elapsed() > patience || asked > MOST_REQUESTS {
                self.stuck = Some(format!("{LIVENESS}: {goal:?} not reached: {missing}"));
                return false;
            }
            let is_off = months > 0 && !self.world.is_running();
            let pause = if started.elapsed() > FEW_MINUTES { TICK } else { SECOND };
            sleep(if is_off { HOUR } else { pause }).await;
            self.world.tick();
        }
    }

    /// Waits until the operator asks for nothing any more.
    async fn rest(&mut self, goal: &Goal) {
        let window = self.case.window();
        let arrived = self.world.asked();
        for _ in 0..MOST_WINDOWS {
            let before = self.world.asked();
            let until = Instant::now() + window;
            while Instant::now() < until {
                sleep(TICK).await;
                self.world.tick();
            }
            if !self.world.oracle().violations.is_empty() {
                return;
            }
            let after = self.world.asked();
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
        self.stuck = Some(format!("{LIVENESS}: it does not come to rest"));
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
            secrets: world.secrets(),
            public: public(&world),
            extra: extra(&world, self.logged),
        }
    }
}

impl Case {
    /// How often the disturbance is part of it.
    pub(crate) fn count(&self, disturbance: Disturbance) -> u32 {
        self.disturbances().map(|it| u32::from(it == disturbance)).sum()
    }

    /// One case in thirty-two, and every one without trouble, is looked at more closely.
    pub(crate) fn is_chosen(&self) -> bool {
        let number = crc32fast::hash(self.to_string().as_bytes());
        self.conditions.is_empty() || number.is_multiple_of(32)
    }

    /// How long nothing may be asked for at the end: an hour in some runs, in most just longer than
    /// the waits after one failure.
    fn window(&self) -> Duration {
        if self.is_chosen() { HOUR } else { QUIET }
    }
}

/// Everything that is stored, but for what is meant to be secret.
fn public(world: &World) -> Vec<String> {
    let objects = PLURALS.iter().flat_map(|plural| world.server.list(plural));
    let shown = objects.map(|mut object| {
        let is_secret = hides_data(&object);
        if let Some(fields) = object.as_object_mut().filter(|_| is_secret) {
            fields.remove("data");
        }
        object.to_string()
    });
    shown.collect()
}

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);
const MONTH: Duration = Duration::from_hours(31 * 24);

/// Longer than the waits after one failure.
pub(crate) const FEW_MINUTES: Duration = Duration::from_secs(150);

const MOST_WINDOWS: usize = 24;
