//! Tells the user: the status, and an Event for every change of state.

use super::{Look, observation};
use crate::api::technical_user::TechnicalUser;
use crate::controller::cluster::{Kind, Place};
use crate::controller::engine::{Settled, wait_until};
use crate::controller::event::{self, Happening, Severity, Subject};
use crate::controller::{Context, Error};
use crate::domain::credential::record::Record;
use crate::domain::technical_user::{Cause, Change, Rest, User, Verdict, report};
use crate::stored::version_of;

/// Brings the status up to date; the repair that it returns is one of the status.
pub(super) async fn publish(look: &Look, rest: &Rest, context: &Context) -> Result<Settled, Error> {
    let now = context.cluster.now();
    let has_repaired = write_status(look, &rest.verdict, context).await?;
    let wake_in = rest.wake_at.map(|at| wait_until(at, now));
    Ok(Settled { wake_in, has_repaired })
}

/// Says what is wrong, if the API server lets it be said.
pub(super) async fn report_failure(look: &Look, error: &Error, context: &Context) {
    let Some(obstacle) = error.obstacle() else {
        return;
    };
    let verdict = Verdict::Blocked(obstacle);
    if let Err(failure) = write_status(look, &verdict, context).await {
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
    let status = report::invalid_spec(generation, object.status.as_ref(), context.cluster.now());
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let at = Place { namespace: &owner.namespace, name: &owner.name };
    let Some(version) = version_of(&object.metadata) else { return Ok(()) };
    Ok(context.cluster.apply_status(at, &version, &status).await?)
}

/// Returns whether the status was written.
async fn write_status(look: &Look, verdict: &Verdict, context: &Context) -> Result<bool, Error> {
    let Some(object) = &look.object else {
        return Ok(false);
    };
    let Some(user) = &look.observed.user else {
        return Ok(false);
    };
    let former = object.status.as_ref();
    let now = context.cluster.now();
    let Some(status) = report::status(&look.observed, verdict, former, now) else {
        return Ok(false);
    };
    if former.is_some_and(|former| report::is_same(former, &status)) {
        return Ok(false);
    }
    if !context.leads() {
        return Err(Error::NotLeading);
    }
    let at = Place { namespace: &user.owner.namespace, name: &user.owner.name };
    let Some(version) = version_of(&object.metadata) else { return Ok(false) };
    match context.cluster.apply_status(at, &version, &status).await {
        Ok(()) => {}
        // The user went, or came anew, in the meantime: the watch will tell.
        Err(failure) if matches!(failure.kind, Kind::NotFound | Kind::Outdated) => {
            return Ok(false);
        }
        Err(failure) => return Err(failure.into()),
    }
    announce(object, user, verdict, context).await;
    Ok(true)
}

/// A change of the condition `Ready` is worth an Event; the same words again are not.
async fn announce(object: &TechnicalUser, user: &User, verdict: &Verdict, context: &Context) {
    let former = object.status.as_ref().map(|status| status.conditions.as_slice());
    let readiness = verdict.readiness(false);
    if readiness.is_news(former.unwrap_or_default()) && *verdict != Verdict::Delivered {
        let severity = Severity::of(readiness.progress);
        tell(user, severity, readiness.reason, readiness.message, context).await;
    }
}

pub(super) async fn record_changed(
    change: Change,
    user: &User,
    record: &Record,
    context: &Context,
) {
    match change {
        Change::Promote | Change::Tidy => {}
        Change::Revoke => {
            tracing::info!(
                namespace = user.owner.namespace,
                name = user.owner.name,
                serial = record.serial,
                "client secrets revoked"
            );
            let note = "Every client secret of this TechnicalUser ended now, on request.";
            tell(user, Severity::Warning, "CredentialsRevoked", note.to_owned(), context).await;
        }
    }
}

pub(super) async fn tell(
    user: &User,
    severity: Severity,
    reason: &'static str,
    note: String,
    context: &Context,
) {
    let happening = Happening { severity, reason, note };
    let subject = Subject::from(&user.owner);
    event::publish(&context.cluster, subject, &happening, &context.settings.identity).await;
}

pub(super) fn issued(cause: Cause, serial: i64) -> (&'static str, String) {
    let (reason, why) = match cause {
        Cause::Unissued => ("CredentialIssued", ""),
        Cause::Due => ("CredentialRotated", ", since the rotation period is over"),
        Cause::Requested => ("CredentialRotated", ", on request"),
        Cause::Deleted => ("CredentialRotated", ", since the delivered Secret was deleted"),
        Cause::Altered => ("CredentialRotated", ", since the delivered Secret was altered"),
        Cause::Unknown => (
            "CredentialRotated",
            ", since the delivered Secret carried another one than the current",
        ),
    };
    (reason, format!("Client secret number {serial} was issued{why}."))
}

pub(super) fn severity(cause: Cause) -> Severity {
    match cause {
        Cause::Unissued | Cause::Due | Cause::Requested => Severity::Normal,
        Cause::Deleted | Cause::Altered | Cause::Unknown => Severity::Warning,
    }
}
