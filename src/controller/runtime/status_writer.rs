//! The report of a reconcile: the status, and an Event for every change of state.

use kube::Resource as _;
use kube::core::object::HasStatus as _;

use super::events::record;
use super::reconciler::{Observation, Reconciler, Report, StatusOf};
use super::{Action, requeue_at};
use crate::controller::{Context, Error};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::status::{invalid_spec, is_same};
use crate::domain::step::Done;
use crate::kubernetes::client::{ApiErrorKind, ObjectRef};
use crate::kubernetes::codec::version_of;

/// Brings the status up to date; the repair that it returns is one of the status.
///
/// # Errors
///
/// A read failed, or the status could not be written.
pub(super) async fn report<R: Reconciler>(
    observation: &mut Observation<R>,
    done: &Done<R::Outcome>,
    context: &Context,
) -> Result<Action, Error> {
    let now = context.cluster.now();
    R::read_facts(observation, context).await?;
    let has_repaired = write_outcome(observation, &done.outcome, context).await?;
    let requeue_after = done.requeue_at.map(|at| requeue_at(at, now));
    Ok(Action { requeue_after, has_repaired, is_blocked: R::is_blocked(&done.outcome) })
}

/// Reports a failure that the user can act on, if the API server accepts a status.
pub(super) async fn report_failure<R: Reconciler>(
    observation: &mut Observation<R>,
    error: &Error,
    context: &Context,
) {
    let Some(blocked_reason) = error.blocked_reason() else {
        return;
    };
    // An API server that does not answer is not asked again.
    if !matches!(blocked_reason, BlockedReason::ApiServerUnavailable(_))
        && let Err(failure) = R::read_facts(observation, context).await
    {
        tracing::debug!(%failure, "facts of the status not read");
    }
    let outcome = R::blocked(observation, blocked_reason, context.cluster.now());
    if let Err(failure) = write_outcome(observation, &outcome, context).await {
        tracing::debug!(%failure, "status not written");
    }
}

/// Reports a spec that only a weakened CRD lets through: a mistake of the user, not an error.
///
/// # Errors
///
/// The status could not be written.
pub(super) async fn report_invalid_spec<R: Reconciler>(
    object: &R::Resource,
    context: &Context,
) -> Result<(), Error> {
    let generation = object.meta().generation.unwrap_or_default();
    let (readiness, now) = (R::invalid_spec(object), context.cluster.now());
    let (status, event) = invalid_spec(readiness, generation, object.status(), now);
    if write::<R>(object, &status, context).await? {
        record(object, event, context).await;
    }
    Ok(())
}

async fn write_outcome<R: Reconciler>(
    observation: &Observation<R>,
    outcome: &R::Outcome,
    context: &Context,
) -> Result<bool, Error> {
    let Observation { object, observed, facts } = observation;
    let (settings, now) = (&context.settings, context.cluster.now());
    let report = Report { object, observed, facts, outcome, settings, now };
    let Some(status) = R::status(&report) else { return Ok(false) };
    let is_written = write::<R>(object, &status, context).await?;
    if is_written {
        record(object, R::events(&report, &status), context).await;
    }
    Ok(is_written)
}

/// Returns whether the status was written.
async fn write<R: Reconciler>(
    object: &R::Resource,
    status: &StatusOf<R>,
    context: &Context,
) -> Result<bool, Error> {
    if object.status().is_some_and(|former| is_same(former, status)) {
        return Ok(false);
    }
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let Some(version) = version_of(object.meta()) else { return Ok(false) };
    let at = ObjectRef::of(object);
    match context.cluster.apply_status::<R::Resource>(at, &version, status).await {
        Ok(()) => Ok(true),
        // The object was deleted or made again meanwhile: an event of the watch will follow.
        Err(failure) if matches!(failure.kind, ApiErrorKind::NotFound | ApiErrorKind::Conflict) => {
            Ok(false)
        }
        Err(failure) => Err(failure.into()),
    }
}
