//! Runs the controllers: watches tell where to look, the queue says when, tasks look.
//!
//! One task owns the views and the queue, so nothing is locked. At rest it does nothing: a change
//! that leaves an object as it should be costs a comparison in memory, and no request.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use jiff::SignedDuration;
use kube::Client;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::queue::{Need, Queue, Settled, spread};
use super::technical_user::{self, Key};
use super::views::{Check, Views};
use super::{Context, Retry, sweep};
use crate::domain::schedule::Trust;

use self::watches::{News, watch_trouble, watches};

mod watches;

/// Whether the controllers know what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced(pub bool);

/// Runs until `stop` resolves, then lets running reconciles end.
///
/// # Guarantees
///
/// Dropping the future is a crash: safe at any instant.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    synced: watch::Sender<Synced>,
    stop: impl Future<Output = ()>,
) {
    let mut views = Views::default();
    let watches = watches(&client, &context, &mut views);
    let engine = Engine {
        leadership: context.leadership.clone(),
        context,
        views,
        queue: Queue::default(),
        running: JoinSet::new(),
        keys: std::collections::BTreeMap::new(),
        synced,
        was_leading: false,
        sweep_at: None,
    };
    engine.run(watches, stop).await;
}

struct Engine {
    context: Arc<Context>,
    leadership: super::lease::Leadership,
    views: Views,
    queue: Queue,
    running: JoinSet<Finished>,
    keys: std::collections::BTreeMap<Id, Key>,
    synced: watch::Sender<Synced>,
    was_leading: bool,
    sweep_at: Option<Instant>,
}

/// A task that ended.
enum Finished {
    Reconcile(Key, Result<Settled, Retry>),
    Sweep,
}

// === impl Engine ===

impl Engine {
    async fn run(
        mut self,
        mut watches: SelectAll<BoxStream<'static, News>>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        loop {
            self.lead();
            self.begin();
            let next = self.next_at();
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                Some(news) = watches.next() => self.learn(news),
                () = self.leadership.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
        drop(watches);
        let rest = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            tracing::warn!("some reconciliations did not end in time and were dropped");
        }
    }

    /// Starts when the lease is won, and drops what waits when it is lost.
    fn lead(&mut self) {
        let leads = self.context.leads() && self.views.are_synced();
        if leads == self.was_leading {
            return;
        }
        self.was_leading = leads;
        if leads {
            let now = Instant::now();
            let keys: Vec<Key> = self.views.users.iter().map(|(key, _)| key.clone()).collect();
            for key in keys {
                self.queue.wake(&key, Need::Check, now);
            }
            self.sweep_at = Some(now);
        } else {
            self.queue.clear();
            self.sweep_at = None;
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
        let lease = self.leadership.until();
        [due, self.sweep_at, lease].into_iter().flatten().fold(idle, Instant::min)
    }

    fn begin(&mut self) {
        if self.was_leading {
            self.begin_looks();
            self.begin_sweep();
        }
        let now = Instant::now();
        let (active, depth) = (self.running.len(), self.queue.depth(now));
        let objects = self.views.users.len();
        self.context.metrics.gauge(active, depth, objects, self.was_leading);
    }

    fn begin_looks(&mut self) {
        while self.running.len() < MOST_RUNNING {
            let Some((key, need)) = self.queue.next(Instant::now()) else {
                return;
            };
            if need == Need::Check && self.is_at_rest(&key) {
                continue;
            }
            self.queue.begin(&key);
            let context = Arc::clone(&self.context);
            let task_key = key.clone();
            let task = self.running.spawn(async move {
                let outcome = look(&key, &context).await;
                Finished::Reconcile(key, outcome)
            });
            self.keys.insert(task.id(), task_key);
        }
    }

    /// Compares in memory; what is at rest costs nothing but a timer.
    fn is_at_rest(&mut self, key: &Key) -> bool {
        let now = self.context.cluster.now();
        match self.views.check(key, &self.context.settings.endpoints, now) {
            Check::Unsettled => false,
            Check::Absent => {
                self.queue.forget(key);
                true
            }
            Check::AtRest(wake_at) => {
                let wait = wake_at.map(|at| at.duration_since(now.earliest()).max(SOONEST));
                let wait = wait.and_then(|wait| Duration::try_from(wait).ok());
                let resync = RESYNC + spread(key, RESYNC / 5);
                let wait = wait.unwrap_or(resync).min(resync);
                let began = Instant::now();
                self.queue.wake(key, Need::Look, began + wait);
                // A wrong clock that was put right may bring nearer what seemed far.
                self.queue.wake(key, Need::Check, began + COMPARE);
                true
            }
        }
    }

    fn begin_sweep(&mut self) {
        let now = Instant::now();
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        self.sweep_at = Some(now + SWEEP);
        let ownerless: Vec<String> = self
            .views
            .ownerless()
            .into_iter()
            .filter(|(_, owner)| self.serves(&owner.namespace))
            .map(|(name, _)| name)
            .collect();
        if ownerless.is_empty() {
            return;
        }
        let context = Arc::clone(&self.context);
        self.running.spawn(async move {
            for name in ownerless {
                if let Err(error) = sweep::sweep(&name, &context).await {
                    tracing::warn!(record = name, %error, "verifier record not swept");
                }
            }
            Finished::Sweep
        });
    }

    fn serves(&self, namespace: &str) -> bool {
        let served = &self.context.settings.watch_namespaces;
        served.is_empty() || served.iter().any(|it| it == namespace)
    }

    fn end(&mut self, ended: Result<(Id, Finished), JoinError>) {
        let now = Instant::now();
        match ended {
            Ok((id, Finished::Reconcile(key, outcome))) => {
                self.keys.remove(&id);
                let resync = RESYNC + spread(&key, RESYNC / 5);
                let settled = outcome.map(|settled| Settled {
                    wake_in: Some(settled.wake_in.unwrap_or(resync).min(resync)),
                    ..settled
                });
                self.queue.finish(&key, settled, now);
                // What the watches told before or while it ran: compare once more when they caught up.
                if outcome.is_ok() {
                    self.queue.wake(&key, Need::Check, now);
                }
            }
            Ok((_, Finished::Sweep)) => {}
            Err(error) => {
                tracing::error!("a reconciliation panicked");
                if let Some(key) = self.keys.remove(&error.id()) {
                    self.queue.finish(&key, Err(Retry::Backoff), now);
                }
            }
        }
    }

    fn learn(&mut self, news: News) {
        let was_synced = self.views.are_synced();
        let is_list = news.ends_a_list();
        let touched = self.take(news);
        let is_synced = self.views.are_synced();
        if is_synced != was_synced {
            self.synced.send_replace(Synced(is_synced));
            tracing::info!("watches synced");
        }
        if !self.was_leading {
            return;
        }
        let now = Instant::now();
        for key in touched {
            self.queue.wake(&key, Need::Check, now);
        }
        if is_list {
            self.queue.hasten(now, RETURN);
        }
    }

    /// Takes in the news and returns whom to check.
    fn take(&mut self, news: News) -> Vec<Key> {
        let views = &mut self.views;
        match news {
            News::User(watch, Some(told)) => {
                let keys = views.users.take(watch, told);
                if keys.iter().any(|key| views.users.get(key).is_none()) {
                    self.sweep_at = self.sweep_at.map(|at| at.min(Instant::now() + TICK));
                }
                keys
            }
            News::Record(watch, Some(told)) => {
                let former = told.key().and_then(|name| owner_of(views, name));
                let names = views.records.take(watch, told);
                let owners = names.iter().filter_map(|name| owner_of(views, name));
                let keys: Vec<Key> = owners.chain(former).collect();
                let is_lost = names.iter().any(|name| views.records.get(name).is_none());
                // A record that vanished with a list names nobody any more: look at everybody.
                if is_lost && keys.is_empty() { views.everybody() } else { keys }
            }
            News::Secret(watch, Some(told)) => {
                let former = told.key().and_then(|place| views.secrets.get(place)?.user());
                let places = views.secrets.take(watch, told);
                let is_lost = places.iter().any(|place| views.secrets.get(place).is_none());
                let users = places.iter().filter_map(|place| views.secrets.get(place)?.user());
                let keys: Vec<Key> = users.chain(former).collect();
                if is_lost && keys.is_empty() { views.everybody() } else { keys }
            }
            News::Failed(kind, error) => {
                tracing::warn!(kind, error = watch_trouble(&error), "watch failed, trying again");
                Vec::new()
            }
            News::User(_, None) | News::Record(_, None) | News::Secret(_, None) => Vec::new(),
        }
    }
}

fn owner_of(views: &Views, record: &str) -> Option<Key> {
    let (_, record) = views.records.get(&record.to_owned())?.as_ref().ok()?;
    let owner = &record.owner;
    Some(Key { namespace: owner.namespace.clone(), name: owner.name.clone() })
}

/// One look with its deadline; a look that hangs is dropped as in a crash.
async fn look(key: &Key, context: &Context) -> Result<Settled, Retry> {
    let began = Instant::now();
    let looking = technical_user::reconcile(key, context);
    let outcome = tokio::time::timeout(RECONCILE, looking).await;
    let trust = context.cluster.now().trust();
    context.metrics.clock_skew(skew_seconds(trust));
    let Ok(outcome) = outcome else {
        tracing::warn!(namespace = key.namespace, name = key.name, "reconciliation hung");
        return Err(Retry::Backoff);
    };
    context.metrics.reconciled(outcome.as_ref().err(), began.elapsed());
    outcome.map_err(|error| {
        tracing::warn!(namespace = key.namespace, name = key.name, %error, "will be tried again");
        error.retry()
    })
}

fn skew_seconds(trust: Trust) -> f64 {
    match trust {
        Trust::Apart(apart) => apart.as_secs_f64(),
        Trust::Trusted | Trust::Jumped => 0.0,
    }
}

/// As many looks at once: more would only queue at the API server.
const MOST_RUNNING: usize = 32;

/// How long a look may take in all.
const RECONCILE: Duration = Duration::from_mins(1);

/// How long running looks may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// How often records without a user are looked for.
const SWEEP: Duration = Duration::from_mins(10);

/// How soon after the deletion of a user its record is swept.
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
