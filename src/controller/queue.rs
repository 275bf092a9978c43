//! When to look at whom.
//!
//! Pure and deterministic: instants come in as arguments, and keys that are due together come out
//! in order. One key is never looked at twice at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use tokio::time::Instant;

use self::barriers::{Barriers, EACH, Try};
use super::Retry;

pub(super) use self::barriers::Barrier;

mod barriers;

/// What is due.
#[derive(Debug)]
pub(super) struct Queue<K> {
    due: BTreeSet<(Instant, K)>,
    tasks: BTreeMap<K, Task>,
    barriers: Barriers<K>,
    /// Objects in trouble that no watch will tell the end of.
    troubled: BTreeSet<K>,
}

impl<K> Default for Queue<K> {
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
    look_at: Option<Instant>,
    check_at: Option<Instant>,
    is_running: bool,
    failures: u32,
    failed_with: Option<Discriminant<Retry>>,
    barrier: Option<Barrier>,
    /// What its users asked when the last look began.
    demand: Option<u32>,
    repairs: u32,
    /// Looks that succeeded since the watches last showed it at rest.
    unconfirmed: u32,
    quiet_until: Option<Instant>,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// When to look again.
    pub(super) wake_in: Option<Duration>,
    /// Whether it had to undo what somebody else did to labels, annotations, URLs, a JWKS or the
    /// status.
    pub(super) has_repaired: bool,
    /// Whether something is in the way that the operator can only look at again.
    pub(super) is_in_trouble: bool,
}

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// At what the watches know, and only if that is not at rest at the API server.
    Check,
    /// At the API server.
    Look,
}

impl<K: Clone + Display + Ord> Queue<K> {
    /// Looks at `key` at `at`, or earlier if that was asked for already.
    pub(super) fn wake(&mut self, key: &K, need: Need, at: Instant) {
        let task = self.tasks.entry(key.clone()).or_default();
        let former = task.due_at();
        let earliest = |present: Option<Instant>, at| Some(present.map_or(at, |it| it.min(at)));
        match need {
            Need::Look => task.look_at = earliest(task.look_at, at),
            Need::Check => {
                let at = task.quiet_until.map_or(at, |quiet_until| at.max(quiet_until));
                task.check_at = earliest(task.check_at, at);
            }
        }
        let due_at = task.due_at();
        self.enter(key, former, due_at);
    }

    /// Takes the next key that is due and not running.
    pub(super) fn next(&mut self, now: Instant) -> Option<(K, Need)> {
        let (at, key) = self.due.first()?.clone();
        if at > now {
            return None;
        }
        self.due.remove(&(at, key.clone()));
        let task = self.tasks.get_mut(&key)?;
        let need = match task.look_at {
            Some(look_at) if look_at <= now => Need::Look,
            Some(_) | None => Need::Check,
        };
        task.check_at = None;
        if need == Need::Look {
            task.look_at = None;
        }
        let due_at = task.due_at();
        self.enter(&key, None, due_at);
        Some((key, need))
    }

    /// When the next key is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A look at `key` begins: nothing else is begun for it until [`Queue::finish`].
    pub(super) fn begin(&mut self, key: &K, demand: Option<u32>) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let former = task.due_at();
        task.is_running = true;
        task.demand = demand;
        task.look_at = None;
        self.enter(key, former, None);
    }

    /// Whether a look at `key` is running.
    pub(super) fn is_running(&self, key: &K) -> bool {
        self.tasks.get(key).is_some_and(|task| task.is_running)
    }

    /// Whether `key` waits behind a barrier and its users ask what they asked before: then events tell of
    /// what the operator wrote itself, and another look would be refused as well.
    pub(super) fn holds(&self, key: &K, demand: Option<u32>) -> bool {
        let task = self.tasks.get(key);
        task.is_some_and(|it| it.barrier.is_some() && demand.is_some() && it.demand == demand)
    }

    /// The watches show `key` at rest.
    pub(super) fn confirm(&mut self, key: &K) {
        if let Some(task) = self.tasks.get_mut(key) {
            task.unconfirmed = 0;
        }
    }

    /// Checks `key` once the watches have caught up with a look: ever more rarely where they do
    /// not, since they may stand still, or never tell of what is in the way.
    pub(super) fn compare(&mut self, key: &K, now: Instant) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let wait = doubled(SETTLE, task.unconfirmed, MOST);
        task.unconfirmed = task.unconfirmed.saturating_add(1);
        self.wake(key, Need::Check, now + wait);
    }

    /// How long an object in trouble waits for its next look, if that is longer than `wait`: the looks at
    /// all of them take a bounded rate.
    pub(super) fn paced(&self, key: &K, wait: Duration) -> Duration {
        if self.troubled.contains(key) { wait.max(self.pace()) } else { wait }
    }

    fn pace(&self) -> Duration {
        EACH.saturating_mul(u32::try_from(self.troubled.len()).unwrap_or(u32::MAX))
    }

    /// A look at `key` ended. What the watches told meanwhile is checked once they have caught up.
    pub(super) fn finish(&mut self, key: &K, outcome: &Result<Settled, Retry>, now: Instant) {
        if outcome.as_ref().is_ok_and(|settled| settled.is_in_trouble) {
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
                let is_in_trouble = settled.is_in_trouble;
                settled.wake_in.map(|wait| if is_in_trouble { wait.max(pace) } else { wait })
            }
            Err(retry) => {
                // A right that is missing after an outage of the API server was not missing all the
                // while: it refuses everybody until it has read its own roles.
                let kind = discriminant(retry);
                let is_same = task.failed_with.replace(kind) == Some(kind);
                task.failures = if is_same { task.failures.saturating_add(1) } else { 1 };
                // What was told while it failed is mostly what it wrote itself.
                task.check_at = None;
                delay(retry, task.failures, key)
            }
        };
        let mut quiet = calm(task.failures.max(task.repairs.saturating_sub(FEW)));
        if let Err(Retry::After(wait)) = outcome {
            // The server said when; no event makes it earlier.
            quiet = quiet.max((*wait).min(MOST));
        }
        task.quiet_until = now.checked_add(quiet);
        let next = next.and_then(|next| now.checked_add(next));
        task.look_at = [task.look_at, next].into_iter().flatten().min();
        task.check_at = task.check_at.map(|at| at.max(now + quiet));
        let due_at = task.due_at();
        self.enter(key, None, due_at);
        self.pass(key, former.as_ref(), outcome, now);
    }

    /// Keeps account of who waits behind which barrier, and who tries next.
    fn pass(
        &mut self,
        key: &K,
        former: Option<&Barrier>,
        outcome: &Result<Settled, Retry>,
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
                self.wake(&key, Need::Look, now + spread(&key, SETTLE));
            }
        }
    }

    fn elect(&mut self, barrier: &Barrier, now: Instant) {
        if let Some(Try { key, wait }) = self.barriers.elect(barrier) {
            // A little later for some, so that a thousand namespaces do not try as one.
            self.wake(&key, Need::Look, now + wait + spread(&key, wait / 10));
        }
    }

    /// The API server is back: who waits only because it was away need not wait longer. They are
    /// spread over `within`. Behind a barrier one object tries for all.
    pub(super) fn hasten(&mut self, now: Instant, within: Duration) {
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
            self.wake(&key, Need::Look, now + spread(&key, within));
        }
    }

    /// Forgets a key that is gone.
    pub(super) fn forget(&mut self, key: &K, now: Instant) {
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
    pub(super) fn depth(&self, now: Instant) -> usize {
        self.due.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// Drops everything that is not running: another replica leads.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.barriers.clear();
        self.troubled.clear();
        self.tasks.retain(|_, task| task.is_running);
        for task in self.tasks.values_mut() {
            task.look_at = None;
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
        let at = [self.look_at, self.check_at].into_iter().flatten().min();
        at.filter(|_| !self.is_running)
    }
}

fn delay(retry: &Retry, failures: u32, key: &impl Display) -> Option<Duration> {
    let spaced = |first: Duration, most: Duration| {
        let full = doubled(first, failures.saturating_sub(1), most);
        // Between three quarters and all of it, so that a crowd does not come back as one.
        full.saturating_sub(spread(key, full / 4))
    };
    match retry {
        Retry::Backoff => Some(spaced(Duration::from_secs(1), MOST)),
        Retry::After(wait) => {
            let wait = (*wait).min(MOST);
            Some(wait + spread(key, wait / 4 + Duration::from_secs(1)))
        }
        // The barrier says who tries when. Only if another stands behind it is this one alone.
        Retry::Blocked(_) => Some(SELDOM + spread(key, SELDOM / 5)),
        Retry::OnChange => None,
    }
}

/// A part of `within` that is always the same for the same key.
pub(super) fn spread(key: &impl Display, within: Duration) -> Duration {
    let hash = crc32fast::hash(key.to_string().as_bytes());
    let thousandths = hash % 1000;
    within / 1000 * thousandths
}

/// Who failed, or repairs the same object over and over, does not jump at every event.
fn calm(times: u32) -> Duration {
    doubled(SETTLE, times, Duration::from_secs(10))
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.min(20))).min(most)
}

/// How long the watches may take to tell of what was just written.
const SETTLE: Duration = Duration::from_millis(250);

/// How long the waits grow to.
const MOST: Duration = Duration::from_mins(5);

/// How often an object that is blocked tries by itself, whoever tries for it meanwhile: what stops it may
/// be its own. As often as an object at rest is looked at.
const SELDOM: Duration = Duration::from_hours(10);

/// Repairs in a row that are nothing unusual.
const FEW: u32 = 3;

#[cfg(test)]
mod tests;
