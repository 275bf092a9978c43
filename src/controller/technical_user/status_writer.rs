//! The report of a reconcile: the status, and an Event for every change of state.

use super::{Observation, observation};
use crate::api::technical_user::TechnicalUser;
use crate::controller::runtime::events::{self, Regarding};
use crate::controller::runtime::{Action, requeue_at};
use crate::controller::{Context, Error};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::Progress;
use crate::domain::technical_user::delivered_secret::Refresh;
use crate::domain::technical_user::status::{SigningKeyState, StatusInputs};
use crate::domain::technical_user::verifier_record::{Owner, Record};
use crate::domain::technical_user::{
    Change, ClientIdReservation, Done, Observed, Outcome, User, status,
};
use crate::kubernetes::client::{ApiErrorKind, ObjectRef};
use crate::kubernetes::codec::version_of;

/// Brings the status up to date; the repair that it returns is one of the status.
pub(super) async fn report(
    observation: &Observation,
    done: &Done,
    context: &Context,
) -> Result<Action, Error> {
    let now = context.cluster.now();
    let ability = signing_key_state(observation, context).await?;
    let has_repaired = write_status(observation, &done.outcome, ability, context).await?;
    let requeue_after = done.requeue_at.map(|at| requeue_at(at, now));
    let is_blocked = done.outcome.progress() != Progress::Done;
    Ok(Action { requeue_after, has_repaired, is_blocked })
}

/// Says what is wrong, if the API server lets it be said.
pub(super) async fn report_failure(observation: &Observation, error: &Error, context: &Context) {
    let Some(blocked_reason) = error.blocked_reason() else {
        return;
    };
    // If the object cannot be read, its key cannot be read either.
    let ability = if blocked_reason == BlockedReason::ApiServerUnavailable {
        SigningKeyState::Unknown
    } else {
        signing_key_state(observation, context).await.unwrap_or(SigningKeyState::Unknown)
    };
    let outcome = Outcome::Blocked(blocked_reason);
    if let Err(failure) = write_status(observation, &outcome, ability, context).await {
        tracing::debug!(%failure, "status not written");
    }
}

/// A spec that only a weakened CRD lets through is a mistake, not an error.
pub(super) async fn report_invalid_spec(
    object: &TechnicalUser,
    context: &Context,
) -> Result<(), Error> {
    let Some(owner) = observation::owner(&object.metadata) else {
        return Ok(());
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let former = object.status.as_ref();
    let field = observation::invalid_field(object);
    let now = context.cluster.now();
    let (status, events) = status::invalid_spec((&owner, generation), field, former, now);
    if former == Some(&status) {
        return Ok(());
    }
    let at = ObjectRef { namespace: &owner.namespace, name: &owner.name };
    let Some(version) = version_of(&object.metadata) else { return Ok(()) };
    context.cluster.apply_status(at, &version, &status).await?;
    events::record_all(&Regarding::from(&owner), events, context).await;
    Ok(())
}

/// Whether the `SigningKey` that the user refers to can sign, by a live read.
async fn signing_key_state(
    observation: &Observation,
    context: &Context,
) -> Result<SigningKeyState, Error> {
    let Some(object) = &observation.object else {
        return Ok(SigningKeyState::Unknown);
    };
    let name = &object.spec.signing_key_ref.name;
    let key = context.cluster.signing_key(name).await?;
    let controller = &context.settings.controller_name;
    if key.as_ref().is_some_and(|key| !context.installations.serves(key, controller)) {
        return Ok(SigningKeyState::Elsewhere);
    }
    Ok(SigningKeyState::of(key.as_ref()))
}

/// Returns whether the status was written.
async fn write_status(
    observation: &Observation,
    outcome: &Outcome,
    ability: SigningKeyState,
    context: &Context,
) -> Result<bool, Error> {
    let Some(object) = &observation.object else {
        return Ok(false);
    };
    let Some(user) = &observation.observed.user else {
        return Ok(false);
    };
    let former = object.status.as_ref();
    let situation = StatusInputs {
        outcome,
        signing_key: &observation::referred_key(object, ability),
        operator_namespace: &context.settings.namespace,
        now: context.cluster.now(),
    };
    let Some(status) = status::status(&observation.observed, &situation, former) else {
        return Ok(false);
    };
    if former.is_some_and(|former| status::is_same(former, &status)) {
        return Ok(false);
    }
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let at = ObjectRef { namespace: &user.owner.namespace, name: &user.owner.name };
    let Some(version) = version_of(&object.metadata) else { return Ok(false) };
    match context.cluster.apply_status(at, &version, &status).await {
        Ok(()) => {}
        // The user was deleted or made again meanwhile: an event of the watch will follow.
        Err(failure) if matches!(failure.kind, ApiErrorKind::NotFound | ApiErrorKind::Conflict) => {
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    }
    let events = status::events(&observation.observed, &situation, former, &status);
    events::record_all(&Regarding::from(&user.owner), events, context).await;
    Ok(true)
}

/// Reports what the record says now and did not say when it was read.
pub(super) async fn record_changed(
    change: Change,
    observed: &Observed,
    record: &Record,
    context: &Context,
) {
    let Some(user) = &observed.user else { return };
    match change {
        Change::Prune | Change::Complete => {}
        Change::Promote => {
            let is_first = match &observed.record {
                ClientIdReservation::Held(_, former) => former.current().is_none(),
                ClientIdReservation::Free
                | ClientIdReservation::Taken(..)
                | ClientIdReservation::Unreadable(_) => true,
            };
            found_issued(is_first, user, record.serial, context).await;
        }
        Change::Revoke => {
            tracing::info!(
                namespace = user.owner.namespace,
                name = user.owner.name,
                serial = record.serial,
                "client secrets revoked"
            );
            record_event(user, status::revoked(user), context).await;
        }
    }
}

/// Tells that a delivered Secret was brought up to date, for example with another issuer.
pub(super) async fn refreshed(refresh: &Refresh, user: &User, context: &Context) {
    let Owner { namespace, name, .. } = &user.owner;
    let secret = &user.secret_name;
    let (fields, labels) = (refresh.fields.len(), refresh.labels.len());
    tracing::info!(namespace, name, secret, fields, labels, "delivered Secret updated");
    if fields == 0 {
        return;
    }
    record_event(user, status::refreshed(user), context).await;
}

/// The replica that delivered it crashed or lost the response; its cause is unknown.
async fn found_issued(is_first: bool, user: &User, serial: i64, context: &Context) {
    tracing::info!(
        namespace = user.owner.namespace,
        name = user.owner.name,
        serial,
        "client secret found issued"
    );
    context.metrics.found_issued();
    record_event(user, status::found_issued(user, serial, is_first), context).await;
}

pub(super) async fn record_event(user: &User, events: Event, context: &Context) {
    events::record_all(&Regarding::from(&user.owner), [events], context).await;
}
