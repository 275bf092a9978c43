//! Runs the controllers: watches name objects, the work queue says when, tasks reconcile.
//!
//! One task owns the caches and the queue, so nothing is locked. In steady state it does nothing: a change
//! that leaves an object as it should be costs a comparison in memory, and no request.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use self::cache::CacheState;
use self::metrics::Stats;
use self::workqueue::{Trigger, WorkQueue, jitter};
use super::installation::{self, REFRESH_INTERVAL};
use super::{Context, Retry};
use crate::domain::schedule::Now;

use self::follower_limiter::FollowerLimiter;
use self::periodic_tasks::PeriodicTasks;
use self::reconcile::reconcile;
use self::reconciler::Reconciler;
pub(super) use self::workqueue::Action;

pub(crate) mod cache;
pub mod events;
mod follower_limiter;
pub mod leader_election;
pub mod metrics;
mod periodic_tasks;
mod reconcile;
pub(crate) mod reconciler;
pub(crate) mod stats;
mod status_writer;
pub(crate) mod workqueue;

/// Whether a controller knows what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced(pub bool);

/// Runs one controller until `stop` resolves, then lets running reconciles end.
///
/// # Guarantees
///
/// Dropping the future is a crash: safe at any instant.
pub(super) async fn run<C: Reconciler>(
    client: Client,
    context: Arc<Context>,
    synced: sync::watch::Sender<Synced>,
    stop: impl Future<Output = ()>,
) {
    let (controller, watches) = C::start_watches(&client, &context);
    let runtime = ControllerRuntime {
        leadership: context.leadership.clone(),
        context,
        controller,
        queue: WorkQueue::default(),
        running: JoinSet::new(),
        keys: BTreeMap::new(),
        synced,
        was_leading: false,
        periodic_tasks: PeriodicTasks::default(),
        follower_limiter: FollowerLimiter::default(),
    };
    tokio::pin!(stop);
    // Before anything is compared: every converged object would look like one of another installation.
    tokio::select! {
        () = &mut stop => return,
        () = installation::refresh(&runtime.context) => {}
    }
    runtime.run(watches, stop).await;
}

struct ControllerRuntime<C: Reconciler> {
    context: Arc<Context>,
    leadership: leader_election::Leadership,
    controller: C,
    queue: WorkQueue<C::Key>,
    running: JoinSet<Reconciled<C>>,
    keys: BTreeMap<Id, C::Key>,
    synced: sync::watch::Sender<Synced>,
    was_leading: bool,
    periodic_tasks: PeriodicTasks,
    follower_limiter: FollowerLimiter<C::Key>,
}

/// The outcome of a reconcile.
struct Reconciled<C: Reconciler>(C::Key, Result<(Action, C::Memory), Retry>);

// === impl Engine ===

impl<C: Reconciler> ControllerRuntime<C> {
    async fn run(
        mut self,
        mut watches: SelectAll<BoxStream<'static, C::Event>>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        loop {
            self.on_leadership_change();
            self.start_due();
            let next = self.next_at();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = self.running.join_next_with_id() => self.on_reconciled(ended),
                Some(ended) = self.periodic_tasks.ended() => {
                    if ended.is_err() {
                        tracing::error!(controller = C::NAME, "a periodic task panicked");
                    }
                }
                Some(update) = watches.next() => self.on_event(update),
                () = self.leadership.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        drop(watches);
        let rest = async {
            while self.running.join_next().await.is_some() {}
            while self.periodic_tasks.ended().await.is_some() {}
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, rest).await.is_err() {
            tracing::warn!("some reconciliations did not end in time and were dropped");
        }
    }

    /// Starts when the lease is won, and drops what waits when it is lost.
    fn on_leadership_change(&mut self) {
        let leads = self.context.is_leader() && self.controller.is_synced();
        if leads == self.was_leading {
            return;
        }
        self.was_leading = leads;
        if leads {
            let now = Instant::now();
            for key in self.controller.resources().keys() {
                self.queue.add(&key, Trigger::CacheCheck, now);
            }
            self.periodic_tasks.resume(now);
        } else {
            self.queue.clear();
            self.follower_limiter.clear();
            self.periodic_tasks.suspend();
        }
    }

    fn next_at(&self) -> Instant {
        let now = Instant::now();
        let idle = now + IDLE;
        if !self.was_leading {
            // A Lease that expires sends no event: check when it does.
            return self.leadership.until().map_or(idle, |until| until.max(now + TICK)).min(idle);
        }
        let is_full = self.running.len() >= MAX_CONCURRENT_RECONCILES;
        let due = self.queue.next_at().filter(|_| !is_full);
        let follows = self.follower_limiter.next_at().filter(|_| !is_full);
        let lease = self.leadership.until();
        [due, follows, self.periodic_tasks.next_at(), lease]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    fn start_due(&mut self) {
        if self.was_leading {
            self.start_reconciles();
            self.start_followers();
            let tasks = || self.controller.periodic_tasks(Arc::clone(&self.context));
            self.periodic_tasks.start(Instant::now(), tasks);
        }
        let now = Instant::now();
        let load = Stats {
            active: self.running.len(),
            depth: self.queue.depth(now),
            objects: self.controller.resources().len(),
            totals: self.controller.resources().totals(),
        };
        self.context.metrics.set_stats(C::NAME, load);
        self.context.metrics.leading(self.context.is_leader());
        self.context.metrics.skipped(C::NAME, self.context.installations.skipped(C::NAME));
    }

    fn start_reconciles(&mut self) {
        while self.running.len() < MAX_CONCURRENT_RECONCILES {
            let Some((key, need)) = self.queue.get(Instant::now()) else {
                return;
            };
            let demand = self.controller.spec_hash(&key);
            if need == Trigger::CacheCheck
                && (self.queue.holds(&key, demand) || self.is_up_to_date(&key))
            {
                continue;
            }
            self.start_reconcile(key);
        }
    }

    fn start_reconcile(&mut self, key: C::Key) {
        self.queue.start(&key, self.controller.spec_hash(&key));
        let memory = self.controller.memory(&key);
        let running = reconcile::<C>(key.clone(), memory, Arc::clone(&self.context));
        let named = key.clone();
        let task = self.running.spawn(async move { Reconciled(named, running.await) });
        self.keys.insert(task.id(), key);
    }

    /// Compares in memory; a converged object costs only a timer.
    fn is_up_to_date(&mut self, key: &C::Key) -> bool {
        let now = self.context.cluster.now();
        match cache::check(&self.controller, key, &self.context, now) {
            CacheState::Stale => false,
            CacheState::HeldByOther => {
                self.queue.reset_backoff(key);
                self.queue.add(key, Trigger::CacheCheck, Instant::now() + REFRESH_INTERVAL);
                true
            }
            CacheState::StatusStale(leader) => {
                self.follower_limiter.add(&leader, key);
                true
            }
            CacheState::NotFound => {
                self.queue.forget(key, Instant::now());
                true
            }
            CacheState::UpToDate(wake_at) => {
                self.queue.reset_backoff(key);
                let resync = RESYNC_INTERVAL + jitter(key, RESYNC_INTERVAL / 5);
                let wait = wake_at.map_or(resync, |at| requeue_at(at, now));
                let wait = self.queue.paced(key, wait).min(resync);
                let began = Instant::now();
                self.queue.add(key, Trigger::LiveReconcile, began + wait);
                // After a clock is corrected, a scheduled time may be nearer than before.
                self.queue.add(key, Trigger::CacheCheck, began + CACHE_CHECK_INTERVAL);
                true
            }
        }
    }

    fn on_reconciled(&mut self, ended: Result<(Id, Reconciled<C>), JoinError>) {
        let now = Instant::now();
        match ended {
            Ok((id, Reconciled(key, outcome))) => {
                self.keys.remove(&id);
                let settled = outcome.map(|(settled, memory)| {
                    self.controller.keep(&key, memory);
                    settled
                });
                let resync = RESYNC_INTERVAL + jitter(&key, RESYNC_INTERVAL / 5);
                let settled = settled.map(|settled| Action {
                    requeue_after: Some(settled.requeue_after.unwrap_or(resync).min(resync)),
                    ..settled
                });
                self.queue.done(&key, &settled, now);
                if settled.is_ok() {
                    self.queue.schedule_cache_check(&key, now);
                }
            }
            Err(error) => {
                tracing::error!(controller = C::NAME, "a reconciliation panicked");
                if let Some(key) = self.keys.remove(&error.id()) {
                    self.queue.done(&key, &Err(Retry::Backoff), now);
                }
            }
        }
    }

    fn on_event(&mut self, update: C::Event) {
        let was_synced = self.controller.is_synced();
        let touched = self.controller.on_event(update);
        let is_synced = self.controller.is_synced();
        if is_synced != was_synced {
            self.synced.send_replace(Synced(is_synced));
            tracing::info!(controller = C::NAME, "watches synced");
        }
        if !self.was_leading {
            return;
        }
        let now = Instant::now();
        if touched.needs_periodic_tasks {
            self.periodic_tasks.request(now);
        }
        for key in touched.keys {
            self.queue.add(&key, Trigger::CacheCheck, now);
        }
        if touched.is_relisted {
            self.queue.retry_failed_within(now, RETRY_WINDOW);
        }
    }
}

/// How long to wait for an instant: at least a second, so that a clock which stands still costs
/// little.
pub(super) fn requeue_at(at: Timestamp, now: Now) -> Duration {
    let wait = at.duration_since(now.earliest()).max(MIN_REQUEUE);
    Duration::try_from(wait).unwrap_or_default()
}

/// So many reconciles at once: more would only queue at the API server.
const MAX_CONCURRENT_RECONCILES: usize = 32;

/// How long running reconciles may take to end at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a Lease that expires is checked.
const TICK: Duration = Duration::from_millis(100);

/// How long the runtime sleeps when nothing at all is due.
const IDLE: Duration = Duration::from_hours(1);

/// How long a converged object is left alone: 10 to 12 hours, with jitter by its name.
const RESYNC_INTERVAL: Duration = Duration::from_hours(10);

/// How often converged objects are compared in memory: the clocks may have been put right.
const CACHE_CHECK_INTERVAL: Duration = Duration::from_hours(1);

/// Over how long those that failed come back once the API server does.
const RETRY_WINDOW: Duration = Duration::from_secs(5);

const MIN_REQUEUE: SignedDuration = SignedDuration::from_secs(1);
