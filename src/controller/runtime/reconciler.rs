//! The parts of a controller that differ between kinds. Everything else is in the runtime, once.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;
use kube::core::object::HasStatus;

use super::cache::Resources;
use crate::api::kind::Kind;
use crate::controller::{Context, Error, Settings};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::Readiness;
use crate::domain::schedule::Now;
use crate::domain::step::Step;
use crate::kubernetes::client::ObjectRef;

/// The status of the resources of a reconciler.
pub(in crate::controller) type StatusOf<R> = <<R as Reconciler>::Resource as HasStatus>::Status;

/// One kind of resource: watches, live reads, the decision, writes, and the status.
///
/// The value itself is the cache that the watches fill.
pub(in crate::controller) trait Reconciler:
    Send + Sync + Sized + 'static
{
    /// The resource.
    type Resource: Kind;
    /// Its key in the work queue.
    type Key: Clone + Debug + Display + Ord + Send + Sync + 'static;
    /// An event of one of the watches.
    type Event: Send + 'static;
    /// The data that one round of a reconcile leaves to the next, and a reconcile to the cache checks after it.
    type Memory: Send + 'static;
    /// The spec, parsed.
    type Spec: Send;
    /// The input of the decision.
    type Observed: Send + Sync + 'static;
    /// What else the status depends on.
    type Facts: Send + Sync + 'static;
    /// A write of the protocol.
    type Write: Send;
    /// The outcome of a decision that writes nothing.
    type Outcome: Send + Sync;

    /// The name of the controller in metrics and logs.
    const NAME: &'static str;
    /// More rounds than any way to convergence takes, with a few conflicts.
    const MAX_ROUNDS: usize;

    // === watches ===

    /// Opens the watches.
    fn start_watches(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Self::Event>>);

    /// Whether every watch is synced.
    fn is_synced(&self) -> bool;

    /// The resources that the watches showed.
    fn resources(&self) -> &Resources<Self::Key, Self::Resource>;

    /// Applies an event of a watch.
    fn on_event(&mut self, event: Self::Event) -> Affected<Self::Key>;

    /// A hash of the spec and the requests: it differs after a change by a user. Without it every
    /// event of the resource counts, those of the operator's own writes too.
    fn spec_hash(&self, _key: &Self::Key) -> Option<u32> {
        None
    }

    /// The periodic tasks, at start and every 10 minutes.
    fn periodic_tasks(&self, context: Arc<Context>) -> Option<BoxFuture<'static, ()>>;

    // === one reconcile ===

    /// The place of the resource.
    fn object_ref(key: &Self::Key) -> ObjectRef<'_>;

    /// Whether this controller serves the resource.
    fn is_served(_object: &Self::Resource, _settings: &Settings) -> bool {
        true
    }

    /// Parses the spec; nothing when it cannot be read although it passed admission.
    fn spec(object: &Self::Resource, settings: &Settings) -> Option<Self::Spec>;

    /// The memory that a reconcile begins with.
    fn memory(&self, key: &Self::Key) -> Self::Memory;

    /// Keeps the memory of a successful reconcile.
    fn keep(&mut self, _key: &Self::Key, _memory: Self::Memory) {}

    /// Observes by the caches alone; nothing when the API server has to be asked.
    fn observe_cached(
        &self,
        object: &Self::Resource,
        spec: Self::Spec,
    ) -> Option<(Self::Observed, Self::Facts)>;

    /// Observes by live reads: first the objects that may be replaced, then those that the write depends on.
    ///
    /// `last` gets the observation as soon as a failure can be reported in the status of its object.
    ///
    /// # Errors
    ///
    /// A read failed.
    fn observe(
        object: Self::Resource,
        spec: Self::Spec,
        memory: &mut Self::Memory,
        last: &mut Option<Observation<Self>>,
        context: &Context,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Decides the next step.
    fn decide(observed: &Self::Observed, now: Now) -> Step<Self::Write, Self::Outcome>;

    /// The effect of a write on the pace of later reconciles.
    fn effect(write: &Self::Write) -> Effect;

    /// Writes.
    ///
    /// # Errors
    ///
    /// The API server refused the write, or its answer was lost.
    fn apply(
        write: Self::Write,
        observation: &Observation<Self>,
        memory: &mut Self::Memory,
        context: &Context,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    // === the status ===

    /// Called once nothing is left to write. An error takes the place of the outcome.
    ///
    /// # Errors
    ///
    /// The observation was incomplete.
    fn conclude(
        _observation: &mut Observation<Self>,
        _memory: &mut Self::Memory,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Reads what the status says beyond the observation.
    ///
    /// # Errors
    ///
    /// A read failed.
    fn read_facts(
        _observation: &mut Observation<Self>,
        _context: &Context,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// The outcome of a reconcile that failed for that reason.
    fn blocked(
        observation: &Observation<Self>,
        blocked_reason: BlockedReason,
        now: Now,
    ) -> Self::Outcome;

    /// Whether an outcome is blocked by something that only another reconcile can see end.
    fn is_blocked(_outcome: &Self::Outcome) -> bool {
        false
    }

    /// `Ready` of a resource whose spec cannot be read; it names the field.
    fn invalid_spec(object: &Self::Resource) -> Readiness;

    /// The status to write; nothing for a resource that is gone.
    fn status(report: &Report<'_, Self>) -> Option<StatusOf<Self>>;

    /// The Events of a change of the status to `present`.
    fn events(report: &Report<'_, Self>, present: &StatusOf<Self>) -> Vec<Event>;

    /// The name of the object that the status has to follow, if `present` differs in nothing else.
    fn follows(_report: &Report<'_, Self>, _present: &StatusOf<Self>) -> Option<String> {
        None
    }
}

/// The observed state, and the object whose status is written.
#[derive(Debug)]
pub(in crate::controller) struct Observation<R: Reconciler> {
    pub(in crate::controller) object: R::Resource,
    pub(in crate::controller) observed: R::Observed,
    pub(in crate::controller) facts: R::Facts,
}

/// The input of a status.
pub(in crate::controller) struct Report<'a, R: Reconciler> {
    pub(in crate::controller) object: &'a R::Resource,
    pub(in crate::controller) observed: &'a R::Observed,
    pub(in crate::controller) facts: &'a R::Facts,
    pub(in crate::controller) outcome: &'a R::Outcome,
    pub(in crate::controller) settings: &'a Settings,
    pub(in crate::controller) now: Now,
}

/// The effect of a write on the pace of later reconciles: a program that undoes the writes of the operator in a
/// loop is followed ever more slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Effect {
    /// It is a step of the protocol.
    Progress,
    /// It undoes a change of another program.
    Repair,
    /// It undoes a change of another program, unless a step of the protocol came before it in the same reconcile.
    Correction,
    /// It is neither.
    Neutral,
}

/// The keys that an event affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Affected<K> {
    /// The resources to check.
    pub(in crate::controller) keys: Vec<K>,
    /// Whether a watch has just relisted: the API server answers.
    pub(in crate::controller) is_relisted: bool,
    /// Whether a periodic task is due soon.
    pub(in crate::controller) needs_periodic_tasks: bool,
}
