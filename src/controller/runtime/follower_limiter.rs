//! The followers of one object: an event of it concerns thousands of them, and they start a few at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{CacheState, check};
use super::workqueue::Trigger;
use super::{ControllerRuntime, MAX_CONCURRENT_RECONCILES, Reconciler};

/// The keys that wait to follow an object.
#[derive(Debug)]
pub(super) struct FollowerLimiter<K> {
    leaders: BTreeMap<String, Followers<K>>,
}

#[derive(Debug)]
struct Followers<K> {
    line: VecDeque<K>,
    waiting: BTreeSet<K>,
    /// When the next of them may go.
    free_at: Instant,
}

// === impl Pace ===

impl<K> Default for FollowerLimiter<K> {
    fn default() -> Self {
        Self { leaders: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> FollowerLimiter<K> {
    /// Puts `key` at the end of the line, unless it stands there already.
    pub(super) fn add(&mut self, leader: &str, key: &K) {
        let followers = self.leaders.entry(leader.to_owned()).or_insert_with(Followers::none);
        if followers.waiting.insert(key.clone()) {
            followers.line.push_back(key.clone());
        }
    }

    /// When the next key may go.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let waiting = self.leaders.values().filter(|it| !it.line.is_empty());
        waiting.map(|it| it.free_at).min()
    }

    /// The first in line that may go now, with the object that it follows.
    fn next(&mut self, now: Instant) -> Option<(String, K)> {
        // Once no key waits and the interval is over, nothing has to be remembered.
        self.leaders.retain(|_, it| !it.line.is_empty() || it.free_at > now);
        let (leader, followers) =
            self.leaders.iter_mut().find(|(_, it)| it.free_at <= now && !it.line.is_empty())?;
        let key = followers.line.pop_front()?;
        followers.waiting.remove(&key);
        Some((leader.clone(), key))
    }

    /// One that follows `leader` goes now.
    fn spend(&mut self, leader: &str, now: Instant) {
        if let Some(followers) = self.leaders.get_mut(leader) {
            followers.free_at = now + INTERVAL;
        }
    }

    /// Forgets everybody: another replica leads.
    pub(super) fn clear(&mut self) {
        self.leaders.clear();
    }
}

impl<K> Followers<K> {
    fn none() -> Self {
        Self { line: VecDeque::new(), waiting: BTreeSet::new(), free_at: Instant::now() }
    }
}

// === impl Engine ===

impl<C: Reconciler> ControllerRuntime<C> {
    /// Starts the followers of an object, as fast as the limiter allows. A key that has nothing to follow any
    /// more costs a comparison in memory.
    pub(super) fn start_followers(&mut self) {
        let now = Instant::now();
        while self.running.len() < MAX_CONCURRENT_RECONCILES {
            let Some((leader, key)) = self.follower_limiter.next(now) else {
                return;
            };
            // A running reconcile is compared once it ends.
            if self.queue.is_running(&key) {
                continue;
            }
            let state = check(&self.controller, &key, &self.context, self.context.cluster.now());
            match state {
                CacheState::StatusStale(_) => self.follower_limiter.spend(&leader, now),
                CacheState::Stale => {}
                CacheState::HeldByOther => {
                    self.queue.add(&key, Trigger::CacheCheck, now);
                    continue;
                }
                CacheState::UpToDate(_) | CacheState::NotFound => continue,
            }
            self.queue.add(&key, Trigger::LiveReconcile, now);
            self.start_reconcile(key);
        }
    }
}

/// 20 a second: 10,000 statuses that follow one object take eight minutes, and the API server hardly
/// notices.
const INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn twenty_a_second_follow_one_object_and_nobody_stands_in_line_twice() {
        let mut limiter = FollowerLimiter::default();
        for round in 0..3 {
            for number in 0..100 {
                limiter.add("default", &number);
            }
            assert_eq!(limiter.leaders["default"].line.len(), 100, "round {round}");
        }
        let began = Instant::now();
        let mut gone = Vec::new();

        while let Some(at) = limiter.next_at() {
            tokio::time::sleep_until(at).await;
            let (leader, number) = limiter.next(Instant::now()).unwrap();
            limiter.spend(&leader, Instant::now());
            gone.push((began.elapsed(), number));
        }

        assert!(gone.iter().map(|(_, number)| *number).eq(0..100));
        for window in gone.windows(21) {
            let took = window[20].0.saturating_sub(window[0].0);
            assert!(took >= Duration::from_secs(1), "{window:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_one_object_do_not_wait_for_those_of_another() {
        let mut limiter = FollowerLimiter::default();
        limiter.add("default", &1);
        limiter.add("default", &2);
        limiter.add("gateway", &3);
        let now = Instant::now();

        let first = limiter.next(now).unwrap();
        limiter.spend(&first.0, now);

        assert_eq!(first, ("default".to_owned(), 1));
        assert_eq!(limiter.next(now), Some(("gateway".to_owned(), 3)));
        assert_eq!(limiter.next(now), None);
        assert_eq!(limiter.next(now + INTERVAL), Some(("default".to_owned(), 2)));
    }
}
