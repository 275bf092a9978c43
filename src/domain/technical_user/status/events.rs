//! The Events of a `TechnicalUser`.

use super::{Outcome, StatusInputs, secret_of};
use crate::api::technical_user::{CredentialState, TechnicalUserStatus};
use crate::domain::conditions::events::{Event, condition_events, was_not_ready};
use crate::domain::conditions::readiness::{Progress, Readiness};
use crate::domain::technical_user::{Cause, Observed, User};

/// The Events for the change from the status `former` to `present`.
pub fn events(
    observed: &Observed,
    situation: &StatusInputs<'_>,
    former: Option<&TechnicalUserStatus>,
    present: &TechnicalUserStatus,
) -> Vec<Event> {
    let Some(user) = &observed.user else { return Vec::new() };
    let conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let readiness = situation.readiness(observed, former);
    // A first client secret has its Event when it is issued; afterwards, only the end of a fault has one.
    let is_told = |readiness: &Readiness| {
        let is_first =
            readiness.progress == Progress::Done && *situation.outcome == Outcome::Delivered;
        !is_first || was_not_ready(conditions) && former.is_some_and(has_current)
    };
    let ready = readiness.filter(is_told).and_then(|it| Event::of(it, conditions));
    let others = condition_events(&user.owner.object(), conditions, &present.conditions);
    ready.into_iter().chain(others).collect()
}

fn has_current(status: &TechnicalUserStatus) -> bool {
    status.credentials.iter().any(|it| it.state == CredentialState::Current)
}

/// A client secret was issued.
pub fn issued(user: &User, serial: i64, cause: Cause) -> Event {
    let why = match cause {
        Cause::Unissued => "",
        Cause::Due => ", since the rotation period is over",
        Cause::Requested => ", on request",
        Cause::Deleted => ", since the delivered Secret was deleted",
        Cause::Altered => ", since the delivered Secret was altered",
        Cause::Unknown => ", since the delivered Secret carried another one than the current",
    };
    let message = format!("{}{why}.", issue(user, serial));
    match cause {
        Cause::Unissued => Event::done(FIRST, message),
        Cause::Due | Cause::Requested => Event::done(NEXT, message),
        Cause::Deleted | Cause::Altered | Cause::Unknown => Event::warning(NEXT, message),
    }
}

/// A client secret was issued, and its cause is not known any more.
pub fn found_issued(user: &User, serial: i64, is_first: bool) -> Event {
    let message = format!("{}, as a later look found.", issue(user, serial));
    Event::done(if is_first { FIRST } else { NEXT }, message)
}

fn issue(user: &User, serial: i64) -> String {
    let (object, secret) = (user.owner.object(), secret_of(user));
    format!("Client secret number {serial} of {object} was issued in {secret}")
}

/// Every client secret ended.
pub fn revoked(user: &User) -> Event {
    let message = format!("Every client secret of {} ended now, on request.", user.owner.object());
    Event::warning("CredentialsRevoked", message)
}

/// A delivered Secret was brought up to date, for example with another issuer.
pub fn refreshed(user: &User) -> Event {
    let message = format!(
        "{} of {} was updated: its fields follow spec.secretTemplate and the issuer of the operator \
         again. The client secret is the same.",
        secret_of(user),
        user.owner.object()
    );
    Event::done("SecretUpdated", message)
}

/// The Secret of a predecessor was deleted.
pub fn collected(user: &User) -> Event {
    let message = format!(
        "{} was deleted: a deleted TechnicalUser of the same name as {} had left it.",
        secret_of(user),
        user.owner.object()
    );
    Event::done("LeftoverDeleted", message)
}

/// A Secret that was to be read once was deleted, since its time is over.
pub fn withdrawn(user: &User) -> Event {
    let message = format!(
        "{} of {} was deleted: spec.delivery.ttl is over, and no reader deleted it before. For a \
         new client secret, set the annotation iam.cyoda.com/rotate-requested-at to a new value.",
        secret_of(user),
        user.owner.object()
    );
    Event::warning("SecretWithdrawn", message)
}

const FIRST: &str = "CredentialIssued";
const NEXT: &str = "CredentialRotated";
