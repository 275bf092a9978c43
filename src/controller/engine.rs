//! Runs the controllers: watches tell where to look, the queue says when, tasks look.
//!
//! One task owns the views and the queue, so nothing is locked. At rest it does nothing: a change
//! that leaves an object as it should be costs a comparison in memory, and no request.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use tokio::sync;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::installation::{self, ASKED_EVERY};
use super::metrics::Load;
use super::queue::{Need, Queue, spread};
use super::tally::Sum;
use super::views::Check;
use super::{Context, Error, Retry};
use crate::domain::schedule::Now;

use self::chores::Chores;
use self::look::look;
use self::pace::Pace;
pub(super) use super::queue::Settled;

mod chores;
mod look;
mod pace;

/// One kind of resource, as the engine drives it.
pub(super) trait Controller: Send + Sized + 'static {
    /// What names a resource.
    type Key: Clone + Debug + Display + Ord + Send + Sync + 'static;
    /// What a watch tells.
    type News: Send + 'static;
    /// What a look leaves behind for the checks that follow it.
    type Memory: Send + 'static;

    /// The word for metrics and logs.
    const NAME: &'static str;

    /// Opens the watches.
    fn open(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Self::News>>);

    /// Whether every watch has told everything once.
    fn is_synced(&self) -> bool;

    /// The keys of all resources.
    fn everybody(&self) -> Vec<Self::Key>;

    /// What users ask of the resource: it differs when they have changed something. Without it every
    /// event of the resource counts, those of the operator's own writes too.
    fn demand(&self, _key: &Self::Key) -> Option<u32> {
        None
    }

    /// How many resources there are.
    fn count(&self) -> usize;

    /// How they stand, by their statuses.
    fn sum(&self) -> Sum;

    /// Takes in what a watch told.
    fn take(&mut self, news: Self::News) -> Touched<Self::Key>;

    /// Compares in memory: whether the resource is at rest as far as the watches know.
    fn check(&self, key: &Self::Key, now: Now) -> Check;

    /// Looks at the API server, writes and looks again until the resource is at rest.
    fn reconcile(
        &self,
        key: Self::Key,
        context: Arc<Context>,
    ) -> BoxFuture<'static, Result<(Settled, Self::Memory), Error>>;

    /// Keeps what a look left behind.
    fn remember(&mut self, key: &Self::Key, memory: Self::Memory);

    /// What is to be done beside the resources, at start and every 10 minutes.
    fn chores(&self, context: Arc<Context>) -> Option<BoxFuture<'static, ()>>;
}

/// What news touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Touched<K> {
    /// Whom to check.
    pub(super) keys: Vec<K>,
    /// Whether a watch has just told everything once more: the API server is there.
    pub(super) is_whole_list: bool,
    /// Whether there is a chore to be done soon.
    pub(super) is_chore: bool,
}

/// Whether a controller knows what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced(pub bool);

/// Runs one controller until `stop` resolves, then lets running reconciles end.
///
/// # Guarantees
///
/// Dropping the future is a crash: safe at any instant.
pub(super) async fn run<C: Controller>(
    client: Client,
    context: Arc<Context>,
    synced: sync::watch::Sender<Synced>,
    stop: impl Future<Output = ()>,
) {
    let (controller, watches) = C::open(&client, &context);
    let engine = Engine {
        leadership: context.leadership.clone(),
        context,
        controller,
        queue: Queue::default(),
        running: JoinSet::new(),
        keys: BTreeMap::new(),
        synced,
        was_leading: false,
        chores: Chores::default(),
        pace: Pace::default(),
    };
    tokio::pin!(stop);
    // Before anything is compared: every object at rest would look like one of somebody else.
    tokio::select! {
        () = &mut stop => return,
        () = installation::resolve(&engine.context) => {}
    }
    engine.run(watches, stop).await;
}

struct Engine<C: Controller> {
    context: Arc<Context>,
    leadership: super::lease::Leadership,
    controller: C,
    queue: Queue<C::Key>,
    running: JoinSet<Looked<C>>,
    keys: BTreeMap<Id, C::Key>,
    synced: sync::watch::Sender<Synced>,
    was_leading: bool,
    chores: Chores,
    pace: Pace<C::Key>,
}

/// What a look at a key came to.
struct Looked<C: Controller>(C::Key, Result<(Settled, C::Memory), Retry>);

// === impl Engine ===

impl<C: Controller> Engine<C> {
    async fn run(
        mut self,
        mut watches: SelectAll<BoxStream<'static, C::News>>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        loop {
            self.lead();
            self.begin();
            let next = self.next_at();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                Some(ended) = self.chores.end() => {
                    if ended.is_err() {
                        tracing::error!(controller = C::NAME, "the chores panicked");
                    }
                }
                Some(news) = watches.next() => self.learn(news),
                () = self.leadership.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        drop(watches);
        let rest = async {
            while self.running.join_next().await.is_some() {}
            while self.chores.end().await.is_some() {}
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            tracing::warn!("some reconciliations did not end in time and were dropped");
        }
    }

    /// Starts when the lease is won, and drops what waits when it is lost.
    fn lead(&mut self) {
        let leads = self.context.leads() && self.controller.is_synced();
        if leads == self.was_leading {
            return;
        }
        self.was_leading = leads;
        if leads {
            let now = Instant::now();
            for key in self.controller.everybody() {
                self.queue.wake(&key, Need::Check, now);
            }
            self.chores.resume(now);
        } else {
            self.queue.clear();
            self.pace.clear();
            self.chores.suspend();
        }
    }

    fn next_at(&self) -> Instant {
        let now = Instant::now();
        let idle = now + IDLE;
        if !self.was_leading {
            // A lease that runs out says nothing: look when it does.
            return self.leadership.until().map_or(idle, |until| until.max(now + TICK)).min(idle);
        }
        let is_full = self.running.len() >= MOST_RUNNING;
        let due = self.queue.next_at().filter(|_| !is_full);
        let follows = self.pace.next_at().filter(|_| !is_full);
        let lease = self.leadership.until();
        [due, follows, self.chores.next_at(), lease].into_iter().flatten().fold(idle, Instant::min)
    }

    fn begin(&mut self) {
        if self.was_leading {
            self.begin_looks();
            self.begin_followers();
            let chores = || self.controller.chores(Arc::clone(&self.context));
            self.chores.begin(Instant::now(), chores);
        }
        let now = Instant::now();
        let load = Load {
            active: self.running.len(),
            depth: self.queue.depth(now),
            objects: self.controller.count(),
            sum: self.controller.sum(),
        };
        self.context.metrics.gauge(C::NAME, load);
        self.context.metrics.leading(self.context.leads());
        self.context.metrics.left(C::NAME, self.context.installations.left(C::NAME));
    }

    fn begin_looks(&mut self) {
        while self.running.len() < MOST_RUNNING {
            let Some((key, need)) = self.queue.next(Instant::now()) else {
                return;
            };
            let demand = self.controller.demand(&key);
            if need == Need::Check && (self.queue.holds(&key, demand) || self.is_at_rest(&key)) {
                continue;
            }
            self.begin_look(key);
        }
    }

    fn begin_look(&mut self, key: C::Key) {
        self.queue.begin(&key, self.controller.demand(&key));
        let looking = self.controller.reconcile(key.clone(), Arc::clone(&self.context));
        let looking = look::<C>(key.clone(), looking, Arc::clone(&self.context));
        let named = key.clone();
        let task = self.running.spawn(async move { Looked(named, looking.await) });
        self.keys.insert(task.id(), key);
    }

    /// Compares in memory; what is at rest costs nothing but a timer.
    fn is_at_rest(&mut self, key: &C::Key) -> bool {
        let now = self.context.cluster.now();
        match self.controller.check(key, now) {
            Check::Unsettled => false,
            Check::Left => {
                self.queue.confirm(key);
                self.queue.wake(key, Need::Check, Instant::now() + ASKED_EVERY);
                true
            }
            Check::Follows(leader) => {
                self.pace.wait(&leader, key);
                true
            }
            Check::Absent => {
                self.queue.forget(key, Instant::now());
                true
            }
            Check::AtRest(wake_at) => {
                self.queue.confirm(key);
                let resync = RESYNC + spread(key, RESYNC / 5);
                let wait = wake_at.map_or(resync, |at| wait_until(at, now));
                let wait = self.queue.paced(key, wait).min(resync);
                let began = Instant::now();
                self.queue.wake(key, Need::Look, began + wait);
                // A wrong clock that was put right may bring nearer what seemed far.
                self.queue.wake(key, Need::Check, began + COMPARE);
                true
            }
        }
    }

    fn end(&mut self, ended: Result<(Id, Looked<C>), JoinError>) {
        let now = Instant::now();
        match ended {
            Ok((id, Looked(key, outcome))) => {
                self.keys.remove(&id);
                let settled = outcome.map(|(settled, memory)| {
                    self.controller.remember(&key, memory);
                    settled
                });
                let resync = RESYNC + spread(&key, RESYNC / 5);
                let settled = settled.map(|settled| Settled {
                    wake_in: Some(settled.wake_in.unwrap_or(resync).min(resync)),
                    ..settled
                });
                self.queue.finish(&key, &settled, now);
                if settled.is_ok() {
                    self.queue.compare(&key, now);
                }
            }
            Err(error) => {
                tracing::error!(controller = C::NAME, "a reconciliation panicked");
                if let Some(key) = self.keys.remove(&error.id()) {
                    self.queue.finish(&key, &Err(Retry::Backoff), now);
                }
            }
        }
    }

    fn learn(&mut self, news: C::News) {
        let was_synced = self.controller.is_synced();
        let touched = self.controller.take(news);
        let is_synced = self.controller.is_synced();
        if is_synced != was_synced {
            self.synced.send_replace(Synced(is_synced));
            tracing::info!(controller = C::NAME, "watches synced");
        }
        if !self.was_leading {
            return;
        }
        let now = Instant::now();
        if touched.is_chore {
            self.chores.ask(now);
        }
        for key in touched.keys {
            self.queue.wake(&key, Need::Check, now);
        }
        if touched.is_whole_list {
            self.queue.hasten(now, RETURN);
        }
    }
}

/// How long to wait for an instant: at least a second, so that a clock which stands still costs
/// little.
pub(super) fn wait_until(at: Timestamp, now: Now) -> Duration {
    let wait = at.duration_since(now.earliest()).max(SOONEST);
    Duration::try_from(wait).unwrap_or_default()
}

/// As many looks at once: more would only queue at the API server.
const MOST_RUNNING: usize = 32;

/// How long running looks may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// How soon a lease that runs out is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long the engine sleeps when nothing at all is due.
const IDLE: Duration = Duration::from_hours(1);

/// How long an object at rest is left alone: 10 to 12 hours, spread by its name.
const RESYNC: Duration = Duration::from_hours(10);

/// How often what is at rest is compared in memory: the clocks may have been put right.
const COMPARE: Duration = Duration::from_hours(1);

/// Over how long those that failed come back once the API server does.
const RETURN: Duration = Duration::from_secs(5);

const SOONEST: SignedDuration = SignedDuration::from_secs(1);
