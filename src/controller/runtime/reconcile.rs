//! One reconcile of one resource, of any kind: observe, decide in the domain, write, observe again.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use super::Action;
use super::reconciler::{Effect, Observation, Reconciler};
use super::status_writer::{report, report_failure, report_invalid_spec};
use crate::controller::installation::{ClaimOutcome, ensure_claimed};
use crate::controller::{Context, Error, Retry};
use crate::domain::schedule::ClockState;
use crate::domain::step::Step;
use crate::kubernetes::client::{ApiError, ApiErrorKind};
use crate::trace_context;

/// Brings one resource to its desired state, within a timeout and with a log line and metrics. A reconcile
/// that hangs is dropped as in a crash.
pub(super) async fn reconcile<R: Reconciler>(
    key: R::Key,
    memory: R::Memory,
    context: Arc<Context>,
) -> Result<(Action, R::Memory), Retry> {
    let span = tracing::info_span!(
        "reconcile",
        controller = R::NAME,
        object = %key,
        trace_id = field::Empty,
        otel.status_code = field::Empty,
    );
    trace_context::record_trace_id(&span);
    traced::<R>(key, memory, context).instrument(span).await
}

async fn traced<R: Reconciler>(
    key: R::Key,
    mut memory: R::Memory,
    context: Arc<Context>,
) -> Result<(Action, R::Memory), Retry> {
    let began = Instant::now();
    let outcome = converge_and_report::<R>(&key, &mut memory, &context);
    let outcome = tokio::time::timeout(RECONCILE_TIMEOUT, outcome).await;
    let trust = context.cluster.now().clock_state();
    context.metrics.clock_skew(skew_seconds(trust));
    let Ok(outcome) = outcome else {
        Span::current().record("otel.status_code", "ERROR");
        tracing::warn!("reconciliation hung");
        return Err(Retry::Backoff);
    };
    context.metrics.reconciled(R::NAME, outcome.as_ref().err(), began.elapsed());
    match outcome {
        Ok(action) => Ok((action, memory)),
        Err(error) => {
            if matches!(error, Error::NotLeading) {
                tracing::info!("left to another replica");
            } else {
                Span::current().record("otel.status_code", "ERROR");
                tracing::warn!(%error, "will be tried again");
            }
            Err(error.retry())
        }
    }
}

fn skew_seconds(trust: ClockState) -> f64 {
    match trust {
        ClockState::Apart(apart) => apart.as_secs_f64(),
        ClockState::Trusted | ClockState::Jumped => 0.0,
    }
}

/// Converges, and reports a failure in the status.
///
/// # Guarantees
///
/// Safe to repeat, and to interrupt at any await: the API server refuses every write when an object that it
/// depends on has changed.
///
/// # Errors
///
/// The resource did not converge. If its user can act on the reason, the status says so already.
async fn converge_and_report<R: Reconciler>(
    key: &R::Key,
    memory: &mut R::Memory,
    context: &Context,
) -> Result<Action, Error> {
    let mut last = None;
    let outcome = converge::<R>(key, memory, &mut last, context).await;
    if let (Err(error), Some(observation)) = (&outcome, &mut last) {
        report_failure(observation, error, context).await;
    }
    outcome
}

async fn converge<R: Reconciler>(
    key: &R::Key,
    memory: &mut R::Memory,
    last: &mut Option<Observation<R>>,
    context: &Context,
) -> Result<Action, Error> {
    let mut pace = Pace::default();
    let mut conflicts = 0;
    for _ in 0..R::MAX_ROUNDS {
        match round(key, memory, last, context).await {
            Ok(Round::Written(effect)) => pace.record(effect),
            Ok(Round::Claimed) => {}
            Ok(Round::Done(action)) => {
                // If the status alone was wrong, another program keeps writing it.
                let has_repaired = pace.has_repaired(action.has_repaired);
                return Ok(Action { has_repaired, ..action });
            }
            Err(Error::Api(failure)) if is_conflict(&failure, conflicts) => conflicts += 1,
            Err(error) => return Err(error),
        }
    }
    Err(Error::NotConverged)
}

/// The result of one observation and its decision.
enum Round {
    /// A write succeeded: observe again.
    Written(Effect),
    /// The resource was claimed just now: observe again.
    Claimed,
    /// Nothing is left to do.
    Done(Action),
}

async fn round<R: Reconciler>(
    key: &R::Key,
    memory: &mut R::Memory,
    last: &mut Option<Observation<R>>,
    context: &Context,
) -> Result<Round, Error> {
    let object = context.cluster.resource::<R::Resource>(R::object_ref(key)).await?;
    let object = object.filter(|it| it.meta().deletion_timestamp.is_none());
    let object = object.filter(|it| R::is_served(it, &context.settings));
    let Some(object) = object else { return Ok(Round::Done(Action::default())) };
    match ensure_claimed::<R>(&object, context).await? {
        ClaimOutcome::Ours => {}
        ClaimOutcome::Claimed => return Ok(Round::Claimed),
        ClaimOutcome::Left => return Ok(Round::Done(Action::default())),
    }
    let Some(spec) = R::spec(&object, &context.settings) else {
        report_invalid_spec::<R>(&object, context).await?;
        return Ok(Round::Done(Action::default()));
    };
    R::observe(object, spec, memory, last, context).await?;
    let Some(observation) = last else { return Ok(Round::Done(Action::default())) };
    let write = match R::decide(&observation.observed, context.cluster.now()) {
        Step::Done(done) => {
            R::conclude(observation, memory)?;
            return Ok(Round::Done(report(observation, &done, context).await?));
        }
        Step::Write(write) => write,
    };
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let effect = R::effect(&write);
    R::apply(write, observation, memory, context).await?;
    Ok(Round::Written(effect))
}

/// Whether an object merely changed meanwhile: then reconcile again at once, a bounded number of times.
fn is_conflict(failure: &ApiError, conflicts: usize) -> bool {
    match failure.kind {
        ApiErrorKind::Conflict | ApiErrorKind::NotFound => conflicts < MAX_CONFLICTS,
        // Another uid, or an object that will never be valid: one more observation shows which.
        ApiErrorKind::Invalid => conflicts < 1,
        ApiErrorKind::NoAnswer(_)
        | ApiErrorKind::InvalidResponse
        | ApiErrorKind::Oversized
        | ApiErrorKind::NamespaceGone
        | ApiErrorKind::NamespaceTerminating
        | ApiErrorKind::Forbidden
        | ApiErrorKind::AdmissionDenied(_)
        | ApiErrorKind::QuotaExceeded
        | ApiErrorKind::TooManyRequests(_)
        | ApiErrorKind::Server(..)
        | ApiErrorKind::Refused(..) => false,
    }
}

/// The effects of the writes of one reconcile.
#[derive(Default)]
struct Pace {
    has_progressed: bool,
    has_repaired: bool,
    has_corrected: bool,
}

impl Pace {
    fn record(&mut self, effect: Effect) {
        match effect {
            Effect::Progress => self.has_progressed = true,
            Effect::Repair => self.has_repaired = true,
            Effect::Correction => self.has_corrected = true,
            Effect::Neutral => {}
        }
    }

    fn has_repaired(&self, was_status_written: bool) -> bool {
        let has_corrected = self.has_corrected || was_status_written;
        self.has_repaired || has_corrected && !self.has_progressed
    }
}

/// How long a reconcile may take in all.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);

/// A writer that loses that often in a row has a rival.
const MAX_CONFLICTS: usize = 3;
