//! A delaying work queue with a backoff for each key.
//!
//! Pure and deterministic: instants come in as arguments, and keys that are due together come out
//! in order. One key never has two reconciles at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;

use self::barriers::{Barriers, Probe, RELEASE_INTERVAL};
use crate::controller::Retry;

pub(crate) use self::barriers::Barrier;

mod barriers;

/// The due keys.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    due: BTreeSet<(Instant, K)>,
    tasks: BTreeMap<K, Task>,
    barriers: Barriers<K>,
    /// Failing objects whose recovery no watch event will show.
    troubled: BTreeSet<K>,
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            due: BTreeSet::new(),
            tasks: BTreeMap::new(),
            barriers: Barriers::default(),
            troubled: BTreeSet::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Task {
    reconcile_at: Option<Instant>,
    check_at: Option<Instant>,
    is_running: bool,
    failures: u32,
    failed_with: Option<Discriminant<Retry>>,
    barrier: Option<Barrier>,
    /// The hash of its spec and requests when the last reconcile started.
    observed_spec: Option<u32>,
    repairs: u32,
    /// Successful reconciles since the watches last showed it converged.
    unconverged: u32,
    backoff_until: Option<Instant>,
}

/// The outcome of a reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Action {
    /// When to reconcile again.
    pub(crate) requeue_after: Option<Duration>,
    /// Whether it had to undo a change of another program to labels, annotations, URLs, a JWKS or the
    /// status.
    pub(crate) has_repaired: bool,
    /// Whether its cause is one whose end only another reconcile can see.
    pub(crate) is_blocked: bool,
}

/// The trigger of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A check of the cache, and a live reconcile only if the cache has not converged.
    CacheCheck,
    /// At the API server.
    LiveReconcile,
}

impl<K: Clone + Display + Ord> WorkQueue<K> {
    /// Schedules `key` at `at`, or earlier if it is scheduled earlier already.
    pub(crate) fn add(&mut self, key: &K, need: Trigger, at: Instant) {
        let task = self.tasks.entry(key.clone()).or_default();
        let former = task.due_at();
        let earliest = |present: Option<Instant>, at| Some(present.map_or(at, |it| it.min(at)));
        match need {
            Trigger::LiveReconcile => task.reconcile_at = earliest(task.reconcile_at, at),
            Trigger::CacheCheck => {
                let at = task.backoff_until.map_or(at, |quiet_until| at.max(quiet_until));
                task.check_at = earliest(task.check_at, at);
            }
        }
        let due_at = task.due_at();
        self.enter(key, former, due_at);
    }

    /// Takes the next key that is due and not running.
    pub(crate) fn get(&mut self, now: Instant) -> Option<(K, Trigger)> {
        let (at, key) = self.due.first()?.clone();
        if at > now {
            return None;
        }
        self.due.remove(&(at, key.clone()));
        let task = self.tasks.get_mut(&key)?;
        let need = match task.reconcile_at {
            Some(look_at) if look_at <= now => Trigger::LiveReconcile,
            Some(_) | None => Trigger::CacheCheck,
        };
        task.check_at = None;
        if need == Trigger::LiveReconcile {
            task.reconcile_at = None;
        }
        let due_at = task.due_at();
        self.enter(&key, None, due_at);
        Some((key, need))
    }

    /// When the next key is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A reconcile of `key` starts: no other one starts for it until [`WorkQueue::done`].
    pub(crate) fn start(&mut self, key: &K, demand: Option<u32>) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let former = task.due_at();
        task.is_running = true;
        task.observed_spec = demand;
        task.reconcile_at = None;
        self.enter(key, former, None);
    }

    /// Whether a reconcile of `key` is running.
    pub(crate) fn is_running(&self, key: &K) -> bool {
        self.tasks.get(key).is_some_and(|task| task.is_running)
    }

    /// Whether `key` waits behind a barrier and its spec has not changed. Then watch events come from the
    /// operator's own writes, and another reconcile would be refused as well.
    pub(crate) fn holds(&self, key: &K, demand: Option<u32>) -> bool {
        let task = self.tasks.get(key);
        task.is_some_and(|it| {
            it.barrier.is_some() && demand.is_some() && it.observed_spec == demand
        })
    }

    /// The watches show that `key` has converged.
    pub(crate) fn reset_backoff(&mut self, key: &K) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.unconverged = 0;
        }
    }

    /// Checks `key` once the watches have caught up with a reconcile. If they do not, the checks become
    /// rarer, because a watch may stand still or may never deliver the object that blocks.
    pub(crate) fn schedule_cache_check(&mut self, key: &K, now: Instant) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let wait = doubled(BASE_DELAY, task.unconverged, MAX_DELAY);
        task.unconverged = task.unconverged.saturating_add(1);
        self.add(key, Trigger::CacheCheck, now + wait);
    }

    /// How long a failing object waits for its next reconcile, if that is longer than `wait`: the
    /// reconciles of all of them have a bounded rate.
    pub(crate) fn paced(&self, key: &K, wait: Duration) -> Duration {
        if self.troubled.contains(key) { wait.max(self.pace()) } else { wait }
    }

    fn pace(&self) -> Duration {
        RELEASE_INTERVAL.saturating_mul(u32::try_from(self.troubled.len()).unwrap_or(u32::MAX))
    }

    /// A reconcile of `key` ended. Events that arrived meanwhile are checked once the watches have caught up.
    pub(crate) fn done(&mut self, key: &K, outcome: &Result<Action, Retry>, now: Instant) {
        if outcome.as_ref().is_ok_and(|settled| settled.is_blocked) {
            self.troubled.insert(key.clone());
        } else {
            self.troubled.remove(key);
        }
        let pace = self.pace();
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        task.is_running = false;
        let former = task.barrier.take();
        if let Err(Retry::Blocked(barrier)) = outcome {
            task.barrier = Some(barrier.clone());
        }
        let next = match outcome {
            Ok(settled) => {
                task.failures = 0;
                task.failed_with = None;
                task.repairs =
                    if settled.has_repaired { task.repairs.saturating_add(1) } else { 0 };
                let is_in_trouble = settled.is_blocked;
                settled.requeue_after.map(|wait| if is_in_trouble { wait.max(pace) } else { wait })
            }
            Err(retry) => {
                // A right that is missing after an outage of the API server was not missing all the
                // while: it refuses every client until it has read its own roles.
                let kind = discriminant(retry);
                let is_same = task.failed_with.replace(kind) == Some(kind);
                task.failures = if is_same { task.failures.saturating_add(1) } else { 1 };
                // Events that arrived while it failed are mostly those of its own writes.
                task.check_at = None;
                delay(retry, task.failures, key)
            }
        };
        let mut quiet = min_interval(task.failures.max(task.repairs.saturating_sub(FREE_REPAIRS)));
        if let Err(Retry::After(wait)) = outcome {
            // The server named the time; no event makes it earlier.
            quiet = quiet.max((*wait).min(MAX_DELAY));
        }
        task.backoff_until = now.checked_add(quiet);
        let next = next.and_then(|next| now.checked_add(next));
        task.reconcile_at = [task.reconcile_at, next].into_iter().flatten().min();
        task.check_at = task.check_at.map(|at| at.max(now + quiet));
        let due_at = task.due_at();
        self.enter(key, None, due_at);
        self.pass(key, former.as_ref(), outcome, now);
    }

    /// The objects behind each barrier, and the one that tries next.
    fn pass(
        &mut self,
        key: &K,
        former: Option<&Barrier>,
        outcome: &Result<Action, Retry>,
        now: Instant,
    ) {
        let present = match outcome {
            Err(Retry::Blocked(barrier)) => Some(barrier),
            Ok(_) | Err(Retry::Backoff | Retry::After(_) | Retry::OnChange) => None,
        };
        if let Some(barrier) = present {
            self.barriers.join(barrier, key);
        }
        if let Some(former) = former.filter(|former| present != Some(*former)) {
            self.barriers.leave(former, key);
            if outcome.is_ok() {
                self.release(former, now);
            }
            self.elect(former, now);
        }
        if let Some(barrier) = present {
            self.elect(barrier, now);
        }
    }

    fn release(&mut self, barrier: &Barrier, now: Instant) {
        for key in self.barriers.release(barrier) {
            if self.tasks.get(&key).is_some_and(|task| !task.is_running) {
                self.add(&key, Trigger::LiveReconcile, now + jitter(&key, BASE_DELAY));
            }
        }
    }

    fn elect(&mut self, barrier: &Barrier, now: Instant) {
        if let Some(Probe { key, wait }) = self.barriers.next_probe(barrier) {
            // A little later for some, so that a thousand namespaces do not try at once.
            self.add(&key, Trigger::LiveReconcile, now + wait + jitter(&key, wait / 10));
        }
    }

    /// The API server is back: objects that waited for it alone need not wait longer. They are
    /// spread over `within`. Behind a barrier one object tries for all.
    pub(crate) fn retry_failed_within(&mut self, now: Instant, within: Duration) {
        let is_held = |key: &K, task: &Task| {
            task.barrier.as_ref().is_some_and(|barrier| self.barriers.holds(barrier, key))
        };
        let failed: Vec<K> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.failures > 0 && !task.is_running)
            .filter(|(key, task)| !is_held(key, task))
            .map(|(key, _)| key.clone())
            .collect();
        for key in failed {
            self.add(&key, Trigger::LiveReconcile, now + jitter(&key, within));
        }
    }

    /// Forgets a key that is gone.
    pub(crate) fn forget(&mut self, key: &K, now: Instant) {
        if self.tasks.get(key).is_none_or(|task| task.is_running) {
            return;
        }
        let Some(task) = self.tasks.remove(key) else { return };
        self.troubled.remove(key);
        self.enter(key, task.due_at(), None);
        if let Some(barrier) = &task.barrier {
            self.barriers.leave(barrier, key);
            self.elect(barrier, now);
        }
    }

    /// How many keys are due by now.
    pub(crate) fn depth(&self, now: Instant) -> usize {
        self.due.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// Drops everything that is not running: another replica leads.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.barriers.clear();
        self.troubled.clear();
        self.tasks.retain(|_, task| task.is_running);
        for task in self.tasks.values_mut() {
            task.reconcile_at = None;
            task.check_at = None;
            task.barrier = None;
        }
    }

    fn enter(&mut self, key: &K, former: Option<Instant>, due_at: Option<Instant>) {
        if let Some(former) = former {
            self.due.remove(&(former, key.clone()));
        }
        if let Some(due_at) = due_at {
            self.due.insert((due_at, key.clone()));
        }
    }
}

impl Task {
    /// When it is due; never while it runs.
    fn due_at(&self) -> Option<Instant> {
        let at = [self.reconcile_at, self.check_at].into_iter().flatten().min();
        at.filter(|_| !self.is_running)
    }
}

fn delay(retry: &Retry, failures: u32, key: &impl Display) -> Option<Duration> {
    let spaced = |first: Duration, most: Duration| {
        let full = doubled(first, failures.saturating_sub(1), most);
        // Between three quarters and all of it, so that many objects do not come back at once.
        full.saturating_sub(jitter(key, full / 4))
    };
    match retry {
        Retry::Backoff => Some(spaced(Duration::from_secs(1), MAX_DELAY)),
        Retry::After(wait) => {
            let wait = (*wait).min(MAX_DELAY);
            Some(wait + jitter(key, wait / 4 + Duration::from_secs(1)))
        }
        // The barrier decides which object tries, and when, if another one stands behind it.
        Retry::Blocked(_) => Some(RETRY_BLOCKED + jitter(key, RETRY_BLOCKED / 5)),
        Retry::OnChange => None,
    }
}

/// A part of `within` that is always the same for the same key.
pub(crate) fn jitter(key: &impl Display, within: Duration) -> Duration {
    let hash = crc32fast::hash(key.to_string().as_bytes());
    let thousandths = hash % 1000;
    within / 1000 * thousandths
}

/// An object that failed, or is repaired over and over, does not react to every event.
fn min_interval(times: u32) -> Duration {
    doubled(BASE_DELAY, times, Duration::from_secs(10))
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.min(20))).min(most)
}

/// How long the watches may take to deliver a write.
const BASE_DELAY: Duration = Duration::from_millis(250);

/// How long the waits grow to.
const MAX_DELAY: Duration = Duration::from_mins(5);

/// How often an object that is blocked tries by itself, also if the probes of others fail: its own reason may
/// be its own. As often as a converged object is reconciled.
const RETRY_BLOCKED: Duration = Duration::from_hours(10);

/// Repairs in a row that are nothing unusual.
const FREE_REPAIRS: u32 = 3;

#[cfg(test)]
mod tests;
