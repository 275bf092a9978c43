//! When to look at whom.
//!
//! Pure and deterministic: instants come in as arguments, and keys that are due together come out
//! in order. One key is never looked at twice at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::mem::discriminant;
use std::time::Duration;

use tokio::time::Instant;

use super::Retry;

/// What is due.
#[derive(Debug)]
pub(super) struct Queue<K> {
    due: BTreeSet<(Instant, K)>,
    tasks: BTreeMap<K, Task>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), tasks: BTreeMap::new() }
    }
}

#[derive(Debug, Default)]
struct Task {
    look_at: Option<Instant>,
    check_at: Option<Instant>,
    is_running: bool,
    failures: u32,
    failed_with: Option<Retry>,
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
    pub(super) fn begin(&mut self, key: &K) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let former = task.due_at();
        task.is_running = true;
        task.look_at = None;
        self.enter(key, former, None);
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

    /// A look at `key` ended. What the watches told meanwhile is checked once they have caught up.
    pub(super) fn finish(&mut self, key: &K, outcome: Result<Settled, Retry>, now: Instant) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        task.is_running = false;
        let next = match outcome {
            Ok(settled) => {
                task.failures = 0;
                task.failed_with = None;
                task.repairs =
                    if settled.has_repaired { task.repairs.saturating_add(1) } else { 0 };
                settled.wake_in
            }
            Err(retry) => {
                // A right that is missing after an outage of the API server was not missing all the
                // while: it refuses everybody until it has read its own roles.
                let is_same = task
                    .failed_with
                    .replace(retry)
                    .is_some_and(|former| discriminant(&former) == discriminant(&retry));
                task.failures = if is_same { task.failures.saturating_add(1) } else { 1 };
                // What was told while it failed is mostly what it wrote itself.
                task.check_at = None;
                delay(retry, task.failures, key)
            }
        };
        let mut quiet = calm(task.failures.max(task.repairs.saturating_sub(FEW)));
        if let Err(Retry::After(wait)) = outcome {
            // The server said when; no event makes it earlier.
            quiet = quiet.max(wait);
        }
        task.quiet_until = now.checked_add(quiet);
        let next = next.and_then(|next| now.checked_add(next));
        task.look_at = [task.look_at, next].into_iter().flatten().min();
        task.check_at = task.check_at.map(|at| at.max(now + quiet));
        let due_at = task.due_at();
        self.enter(key, None, due_at);
    }

    /// The API server is back: who waits only because it was away need not wait longer. They are
    /// spread over `within`.
    pub(super) fn hasten(&mut self, now: Instant, within: Duration) {
        let failed: Vec<K> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.failures > 0 && !task.is_running)
            .map(|(key, _)| key.clone())
            .collect();
        for key in failed {
            self.wake(&key, Need::Look, now + spread(&key, within));
        }
    }

    /// Forgets a key that is gone.
    pub(super) fn forget(&mut self, key: &K) {
        if self.tasks.get(key).is_none_or(|task| task.is_running) {
            return;
        }
        let former = self.tasks.remove(key).and_then(|task| task.due_at());
        self.enter(key, former, None);
    }

    /// How many keys are due by now.
    pub(super) fn depth(&self, now: Instant) -> usize {
        self.due.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// Drops everything that is not running: another replica leads.
    pub(super) fn clear(&mut self) {
        self.due.clear();
        self.tasks.retain(|_, task| task.is_running);
        for task in self.tasks.values_mut() {
            task.look_at = None;
            task.check_at = None;
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

fn delay(retry: Retry, failures: u32, key: &impl Display) -> Option<Duration> {
    let spaced = |first: Duration, most: Duration| {
        let full = doubled(first, failures.saturating_sub(1), most);
        // Between three quarters and all of it, so that a crowd does not come back as one.
        full.saturating_sub(spread(key, full / 4))
    };
    match retry {
        Retry::Backoff => Some(spaced(Duration::from_secs(1), MOST)),
        Retry::After(wait) => Some(wait + spread(key, wait / 4 + Duration::from_secs(1))),
        Retry::Slowly => Some(spaced(Duration::from_secs(15), Duration::from_hours(1))),
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

/// Repairs in a row that are nothing unusual.
const FEW: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> String {
        name.to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_out_when_they_are_due_and_in_order() {
        let now = Instant::now();
        let mut queue = Queue::default();

        queue.wake(&key("b"), Need::Check, now);
        queue.wake(&key("a"), Need::Look, now);
        queue.wake(&key("c"), Need::Look, now + Duration::from_secs(1));

        assert_eq!(queue.next(now), Some((key("a"), Need::Look)));
        assert_eq!(queue.next(now), Some((key("b"), Need::Check)));
        assert_eq!(queue.next(now), None);
        assert_eq!(queue.next_at(), Some(now + Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_key_is_not_given_out_again_before_it_finished() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.wake(&key("a"), Need::Look, now);
        queue.next(now).unwrap();
        queue.begin(&key("a"));

        queue.wake(&key("a"), Need::Check, now);
        let meanwhile = queue.next(now);
        queue.finish(&key("a"), Ok(Settled::default()), now);
        let after = queue.next(now + SETTLE);

        assert_eq!(meanwhile, None);
        assert_eq!(after, Some((key("a"), Need::Check)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_watches_never_show_at_rest_is_compared_ever_more_rarely() {
        let began = Instant::now();
        let mut queue = Queue::default();
        queue.wake(&key("a"), Need::Check, began);
        let mut looks = 0;

        while let Some(at) = queue.next_at().filter(|at| *at < began + Duration::from_hours(1)) {
            queue.next(at).unwrap();
            queue.begin(&key("a"));
            queue.finish(&key("a"), Ok(Settled::default()), at);
            queue.compare(&key("a"), at);
            looks += 1;
        }
        queue.confirm(&key("a"));
        let later = began + Duration::from_hours(1);
        queue.compare(&key("a"), later);

        assert!(looks < 25, "{looks} looks");
        assert_eq!(queue.next_at(), Some(later + SETTLE));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_ever_longer_up_to_five_minutes_and_success_forgets_them() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let mut waits = Vec::new();

        for _ in 0..12 {
            queue.wake(&key("a"), Need::Look, now);
            queue.next(now).unwrap();
            queue.begin(&key("a"));
            queue.finish(&key("a"), Err(Retry::Backoff), now);
            waits.push(queue.next_at().unwrap() - now);
        }
        queue.wake(&key("a"), Need::Look, now);
        queue.next(now).unwrap();
        queue.begin(&key("a"));
        queue.finish(&key("a"), Ok(Settled::default()), now);

        assert!(waits.is_sorted());
        assert!(waits[0] <= Duration::from_secs(1));
        assert!(waits[11] <= Duration::from_mins(5) && waits[11] >= Duration::from_secs(225));
        assert_eq!(queue.next_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_of_one_kind_do_not_lengthen_those_of_another() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let outage = [Retry::Backoff; 10];

        for retry in outage.into_iter().chain([Retry::Slowly]) {
            queue.wake(&key("a"), Need::Look, now);
            queue.next(now).unwrap();
            queue.begin(&key("a"));
            queue.finish(&key("a"), Err(retry), now);
        }

        assert!(queue.next_at().unwrap() - now <= Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn the_return_of_the_api_server_hastens_those_that_failed() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for name in ["a", "b"] {
            queue.wake(&key(name), Need::Look, now);
        }
        let later = Settled { wake_in: Some(SETTLE * 40), has_repaired: false };
        for _ in 0..2 {
            let (key, _) = queue.next(now).unwrap();
            queue.begin(&key);
            let outcome = if key == "a" { Err(Retry::Slowly) } else { Ok(later) };
            queue.finish(&key, outcome, now);
        }

        queue.hasten(now, Duration::from_secs(1));

        assert_eq!(queue.next(now + Duration::from_secs(1)), Some((key("a"), Need::Look)));
        assert_eq!(queue.next(now + Duration::from_secs(1)), None);
    }
}
