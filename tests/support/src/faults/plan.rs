//! Which requests go wrong, and which have passed.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::BoxFuture;
use http::{Method, request::Parts};

use super::Fault;

/// Where a fault strikes. Both counts start at 0 and leave watches out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The request of this index, reads among them.
    Request(usize),
    /// The write of this index.
    Write(usize),
}

/// One request that passed the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Position among all requests.
    pub index: usize,
    /// Position among the writes, if it is one.
    pub write: Option<usize>,
    /// HTTP method.
    pub verb: Method,
    /// Path without the query.
    pub path: String,
    /// What was done to it.
    pub fault: Option<Fault>,
}

/// Kills the process under test.
pub type Kill = Arc<dyn Fn() + Send + Sync>;

/// Whether a late request still arrives, by its method, path and body.
pub type Screen = Arc<dyn Fn(&Method, &str, &[u8]) -> bool + Send + Sync>;

/// Which requests go wrong, and what has passed so far. Clones share one plan.
#[derive(Clone, Default)]
pub struct FaultPlan {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    armed: Vec<(Point, Fault)>,
    passed: Vec<Passed>,
    writes: usize,
    late: Vec<Parked>,
    kill: Option<Kill>,
    screen: Option<Screen>,
}

/// Sends a request that was held back.
pub(super) type SendLate = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A request on its way.
pub(super) struct Parked {
    overtaken_by: usize,
    pub(super) send: SendLate,
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.locked();
        formatter
            .debug_struct("FaultPlan")
            .field("armed", &inner.armed)
            .field("requests", &inner.passed.len())
            .field("late", &inner.late.len())
            .finish_non_exhaustive()
    }
}

impl FaultPlan {
    /// A plan that lets everything pass.
    pub fn transparent() -> Self {
        Self::default()
    }

    /// A plan with one fault.
    pub fn with(point: Point, fault: Fault) -> Self {
        let plan = Self::default();
        plan.arm(point, fault);
        plan
    }

    /// Adds a fault; it strikes once. Two calls make a pair.
    pub fn arm(&self, point: Point, fault: Fault) {
        self.locked().armed.push((point, fault));
    }

    /// Takes back what has not struck yet.
    pub fn disarm(&self) {
        self.locked().armed.clear();
    }

    /// Sets what kills the process under test.
    pub fn on_kill(&self, kill: Kill) {
        self.locked().kill = Some(kill);
    }

    /// Sets which late requests still arrive; without it, all do.
    pub fn on_late(&self, screen: Screen) {
        self.locked().screen = Some(screen);
    }

    pub(super) fn admits(&self, parts: &Parts, body: &[u8]) -> bool {
        let screen = self.locked().screen.clone();
        screen.is_none_or(|screen| screen(&parts.method, parts.uri.path(), body))
    }

    /// Every request so far, in order, watches left out.
    pub fn passed(&self) -> Vec<Passed> {
        self.locked().passed.clone()
    }

    /// Number of requests so far, watches left out.
    pub fn requests(&self) -> usize {
        self.locked().passed.len()
    }

    /// Number of writes so far.
    pub fn writes(&self) -> usize {
        self.locked().writes
    }

    /// The faults that have struck.
    pub fn struck(&self) -> Vec<Passed> {
        let inner = self.locked();
        inner.passed.iter().filter(|passed| passed.fault.is_some()).cloned().collect()
    }

    /// Delivers the late requests now.
    pub async fn flush_late(&self) {
        let late = std::mem::take(&mut self.locked().late);
        for parked in late {
            (parked.send)().await;
        }
    }

    /// Loses the late requests for good, as a restarted server does.
    pub fn lose_late(&self) {
        self.locked().late.clear();
    }

    /// Number of late requests that have not been delivered.
    pub fn late(&self) -> usize {
        self.locked().late.len()
    }

    pub(super) fn park(&self, overtaken_by: usize, send: SendLate) {
        self.locked().late.push(Parked { overtaken_by, send });
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; returns what to do to it and which late requests come ahead of it.
    pub(super) fn meet(&self, parts: &Parts) -> (Option<Fault>, Vec<Parked>) {
        let mut inner = self.locked();
        let index = inner.passed.len();
        let write = (parts.method != Method::GET).then_some(inner.writes);
        inner.writes += usize::from(write.is_some());
        let strikes = |point: &Point| match point {
            Point::Request(wanted) => *wanted == index,
            Point::Write(wanted) => Some(*wanted) == write,
        };
        let armed = inner.armed.iter().position(|(point, _)| strikes(point));
        let fault = armed.map(|position| inner.armed.remove(position).1);
        inner.passed.push(Passed {
            index,
            write,
            verb: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            fault,
        });
        let (due, mut waiting): (Vec<Parked>, Vec<Parked>) =
            std::mem::take(&mut inner.late).into_iter().partition(|it| it.overtaken_by == 0);
        for parked in &mut waiting {
            parked.overtaken_by -= 1;
        }
        inner.late = waiting;
        (fault, due)
    }

    pub(super) fn kill(&self) {
        let kill = self.locked().kill.clone();
        if let Some(kill) = kill {
            kill();
        }
    }
}
