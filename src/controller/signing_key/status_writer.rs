//! The report of a reconcile: the status, and an Event for every change of state.

use super::observation::{self, Observation};
use crate::api::condition::ConditionStatus;
use crate::api::signing_key::{SigningKey, SigningKeyStatus};
use crate::controller::runtime::events::{self, Regarding};
use crate::controller::runtime::{Action, requeue_at};
use crate::controller::{Context, Error};
use crate::domain::conditions::events::Event;
use crate::domain::signing_key::{Change, Done, Ledger, LedgerState, Outcome, Series, status};
use crate::kubernetes::client::ApiErrorKind;
use crate::kubernetes::codec::version_of;

/// Brings the status up to date; the repair that it returns is one of the status.
pub(super) async fn report(
    observation: &Observation,
    done: &Done,
    context: &Context,
) -> Result<Action, Error> {
    let now = context.cluster.now();
    let has_repaired = write_status(observation, &done.outcome, context).await?;
    let requeue_after = done.requeue_at.map(|at| requeue_at(at, now));
    Ok(Action { requeue_after, has_repaired, is_blocked: false })
}

/// Says what is wrong, if the API server lets it be said.
pub(super) async fn report_failure(observation: &Observation, error: &Error, context: &Context) {
    let Some(blocked_reason) = error.blocked_reason() else {
        return;
    };
    let signs = match &observation.observed.ledger {
        // Nothing says that the key which signs has stopped.
        LedgerState::Unread => was_ready(observation.object.status.as_ref()),
        LedgerState::Absent | LedgerState::Ledger(..) | LedgerState::Unreadable(_) => {
            status::signs(&observation.series, &observation.observed, context.cluster.now())
        }
    };
    let outcome = Outcome::Blocked { blocked_reason, signs };
    if let Err(failure) = write_status(observation, &outcome, context).await {
        tracing::debug!(%failure, "status not written");
    }
}

fn was_ready(status: Option<&SigningKeyStatus>) -> bool {
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions.any(|it| it.type_ == "Ready" && it.status == ConditionStatus::True)
}

/// A spec that only a weakened CRD lets through is a mistake, not an error.
pub(super) async fn report_invalid_spec(
    object: &SigningKey,
    context: &Context,
) -> Result<(), Error> {
    let generation = object.metadata.generation.unwrap_or_default();
    let former = object.status.as_ref();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let field = observation::invalid_field(object);
    let now = context.cluster.now();
    let (status, events) = status::invalid_spec((name, generation), field, former, now);
    if former == Some(&status) {
        return Ok(());
    }
    let Some(version) = version_of(&object.metadata) else { return Ok(()) };
    context.cluster.apply_signing_key_status(name, &version, &status).await?;
    events::record_all(&subject(name, &version.uid), events, context).await;
    Ok(())
}

/// Returns whether the status was written.
async fn write_status(
    observation: &Observation,
    outcome: &Outcome,
    context: &Context,
) -> Result<bool, Error> {
    let (object, series) = (&observation.object, &observation.series);
    let former = object.status.as_ref();
    let now = context.cluster.now();
    let Some(status) = status::status(&observation.observed, outcome, former, now) else {
        return Ok(false);
    };
    if former.is_some_and(|former| status::is_same(former, &status)) {
        return Ok(false);
    }
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let Some(version) = version_of(&object.metadata) else { return Ok(false) };
    match context.cluster.apply_signing_key_status(&series.name, &version, &status).await {
        Ok(()) => {}
        // The SigningKey was deleted or made again meanwhile: an event of the watch will follow.
        Err(failure) if matches!(failure.kind, ApiErrorKind::NotFound | ApiErrorKind::Conflict) => {
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    }
    let events = status::events(&series.name, outcome, former, &status);
    events::record_all(&subject(&series.name, &series.uid), events, context).await;
    Ok(true)
}

pub(super) async fn ledger_made(observation: &Observation, ledger: &Ledger, context: &Context) {
    let series = &observation.series;
    if let Some(events) = status::ledger_made(&observation.observed, ledger) {
        tracing::warn!(name = series.name, "ledger recovered from the key pairs");
        record_event(series, events, context).await;
        return;
    }
    // The list is for this warning alone: without it, nothing else is missing.
    let Ok(all) = context.cluster.signing_keys().await else { return };
    let controller_name = &context.settings.controller_name;
    let others = all
        .into_iter()
        .filter(|it| it.metadata.uid.as_ref() != Some(&series.uid))
        .filter(|it| it.spec.controller_name == *controller_name);
    let others: Vec<_> =
        others.filter_map(|it| Some((it.metadata.name?, it.spec.algorithm))).collect();
    if let Some(events) = status::another_algorithm(series, &others) {
        record_event(series, events, context).await;
    }
}

pub(super) async fn ledger_changed(
    change: Change,
    observation: &Observation,
    ledger: &Ledger,
    context: &Context,
) {
    let series = &observation.series;
    match change {
        Change::Schedule => {
            tracing::info!(name = series.name, "next key scheduled");
            let LedgerState::Ledger(_, former) = &observation.observed.ledger else { return };
            context.metrics.key_scheduled(former.rotated != ledger.rotated);
            if let Some(events) = status::algorithm_changes(series, former, ledger) {
                record_event(series, events, context).await;
            }
        }
        Change::Drain | Change::Remove | Change::Fence | Change::Agree => {}
        Change::Revoke => {
            let kid = series.revoke_request.as_deref().unwrap_or_default();
            tracing::warn!(name = series.name, kid, "key revoked");
            context.metrics.key_revoked();
            let events = status::revoked(series, kid, &observation.observed, ledger);
            record_event(series, events, context).await;
        }
        Change::RevokeAll => {
            tracing::warn!(name = series.name, "all keys revoked");
            context.metrics.key_revoked();
            if let LedgerState::Ledger(_, former) = &observation.observed.ledger {
                let events = status::all_revoked(series, former, ledger);
                record_event(series, events, context).await;
            }
        }
        Change::Recover => ledger_made(observation, ledger, context).await,
    }
}

pub(super) async fn record_event(series: &Series, events: Event, context: &Context) {
    events::record_all(&subject(&series.name, &series.uid), [events], context).await;
}

fn subject<'a>(name: &'a str, uid: &'a str) -> Regarding<'a> {
    Regarding { kind: "SigningKey", namespace: None, name, uid }
}
