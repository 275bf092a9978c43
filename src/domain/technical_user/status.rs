//! The status: one sentence for each outcome of a decision, and the fields around it.
//!
//! Status is never an input of a decision. A lost part of it is written again.

use jiff::Timestamp;

use super::verifier_record::{EntryState, Owner, Record};
use super::{ClientIdReservation, Observed, User};
use crate::api::technical_user::{Binding, CredentialState, CredentialStatus, TechnicalUserStatus};
use crate::domain::conditions::readiness::{Conditions, Readiness, clock_condition, seconds, time};
use crate::domain::conditions::status::is_same;
use crate::domain::invalid_field::quoted;
use crate::domain::object::Belongs;
use crate::domain::request::ignored_message;
use crate::domain::schedule::due_at;

pub use self::events::{collected, events, found_issued, issued, refreshed, revoked, withdrawn};
pub use self::inputs::StatusInputs;
use self::outcome::Names;
pub use self::outcome::Outcome;
pub use self::referred_key::{ReferredKey, SigningKeyState};
pub use crate::domain::invalid_field::InvalidField;

mod events;
mod inputs;
mod outcome;
mod referred_key;

/// The status to write for what was observed, with the times of `former` where nothing changed.
pub fn status(
    observed: &Observed,
    situation: &StatusInputs<'_>,
    former: Option<&TechnicalUserStatus>,
) -> Option<TechnicalUserStatus> {
    let user = observed.user.as_ref()?;
    let record = match &observed.record {
        ClientIdReservation::Held(_, record) => Some(record.as_ref()),
        ClientIdReservation::Free
        | ClientIdReservation::Taken(..)
        | ClientIdReservation::Unreadable(_) => None,
    };
    let is_shown = observed.delivered.as_ref().is_some_and(|delivered| {
        delivered.belongs == Belongs::Ours && delivered.credential_id.is_some()
    });
    let current = record.and_then(Record::current).map(|(_, entry)| entry);
    let former_conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let next = current.and_then(|current| {
        Some(due_at(current.issued_at, user.period?, user.overlap, &user.owner.uid))
    });
    Some(TechnicalUserStatus {
        observed_generation: user.generation,
        client_id: Some(user.client_id.to_string()),
        binding: is_shown.then(|| Binding { name: user.secret_name.clone() }),
        installation: former.and_then(|former| former.installation.clone()),
        serial: record.map(|record| record.serial),
        credentials: record.map(credentials).unwrap_or_default(),
        last_rotation_time: current.map(|current| time(current.issued_at)),
        next_rotation_time: next.filter(|_| !user.is_suspended).map(time),
        last_handled_rotate_at: handled_rotation(record, former),
        last_handled_revoke_at: record.and_then(|record| record.revoked.shown()),
        conditions: conditions(observed, situation, former)?
            .with_transition_times(former_conditions),
    })
}

/// The value of the last request to rotate whose client secret was delivered. The record has the value
/// from the moment when the client secret is begun, which is too early to report success.
fn handled_rotation(
    record: Option<&Record>,
    former: Option<&TechnicalUserStatus>,
) -> Option<String> {
    let record = record?;
    let is_delivered = record.current().is_some_and(|(_, it)| it.serial >= record.serial);
    if is_delivered {
        record.rotated.shown()
    } else {
        former.and_then(|former| former.last_handled_rotate_at.clone())
    }
}

/// `Ready` of a `TechnicalUser` whose spec cannot be read.
pub fn invalid_spec(owner: &Owner, field: InvalidField) -> Readiness {
    let names = Names { user: owner, client_id: "", secret: "", record: "", first_end: None };
    Outcome::InvalidSpec(field).readiness(&names, false)
}

/// Whether `present` is what would be written if the `SigningKey` were in another state: then the
/// status only has to follow that key.
pub fn follows_key(
    observed: &Observed,
    situation: &StatusInputs<'_>,
    present: &TechnicalUserStatus,
) -> bool {
    SigningKeyState::SEEN.into_iter().any(|ability| {
        let signing_key = ReferredKey { ability, ..situation.signing_key.clone() };
        let situation = StatusInputs { signing_key: &signing_key, ..*situation };
        let wanted = status(observed, &situation, Some(present));
        wanted.is_some_and(|wanted| is_same(&wanted, present))
    })
}

/// Whether a client secret that was delivered works now, for tokens that say what the spec asks for.
pub fn works(observed: &Observed) -> bool {
    if observed.user.as_ref().is_some_and(|user| user.excess.is_some()) {
        return false;
    }
    let ClientIdReservation::Held(_, record) = &observed.record else {
        return false;
    };
    let Some((id, _)) = record.current() else {
        return false;
    };
    match &observed.delivered {
        None => true,
        Some(delivered) => delivered.unaltered_id() == Some(id),
    }
}

fn credentials(record: &Record) -> Vec<CredentialStatus> {
    let entries = record.entries.iter();
    let mut credentials: Vec<_> = entries
        .map(|(id, entry)| {
            let (state, expires_at) = match &entry.state {
                EntryState::Pending(_) => (CredentialState::Pending, None),
                EntryState::Current => (CredentialState::Current, None),
                EntryState::Old(not_after) => (CredentialState::Old, Some(time(*not_after))),
            };
            let issued_at = time(entry.issued_at);
            CredentialStatus {
                id: id.to_string(),
                serial: entry.serial,
                state,
                issued_at,
                expires_at,
            }
        })
        .collect();
    credentials
        .sort_by(|a, b| (b.serial, &b.issued_at.0, &b.id).cmp(&(a.serial, &a.issued_at.0, &a.id)));
    credentials
}

fn conditions(
    observed: &Observed,
    situation: &StatusInputs<'_>,
    former: Option<&TechnicalUserStatus>,
) -> Option<Conditions> {
    let user = observed.user.as_ref()?;
    let readiness = situation.readiness(observed, former)?;
    let mut conditions = Conditions::of(readiness, user.generation, situation.now);
    if user.is_suspended {
        let message = Outcome::Suspended.sentence(&user.owner);
        conditions.set_true("Suspended", "Suspended", message);
    }
    let object = user.owner.object();
    if let Some(ends_at) = overlap_end(observed) {
        let message =
            format!("The previous client secret of {object} is valid until {}.", seconds(ends_at));
        conditions.set_true("OverlapActive", "PreviousSecretValid", message);
    }
    if let Some(message) = waiting_request(observed, user, situation.outcome) {
        conditions.set_true("RequestPending", situation.outcome.reason(), message);
    }
    let aliases = observed.delivered.as_ref().map(|it| user.content.pending_aliases(it));
    if let Some(aliases) = aliases.filter(|aliases| !aliases.is_empty()) {
        let message = format!(
            "The field {} of {} appears with the next client secret of {object}: the operator does not hold the \
             present one any more. To have it now, set the annotation \
             iam.cyoda.com/rotate-requested-at to a new value.",
            aliases.join(", "),
            secret_of(user)
        );
        conditions.set_true("AliasesPending", "NextRotation", message);
    }
    if let Some(message) = ignored_message(&object, &user.ignored_requests) {
        conditions.set_true("RequestIgnored", "EmptyValue", message);
    }
    if let Some((reason, why)) = clock_condition(situation.now.clock_state()) {
        let message = format!(
            "{why} Until then nothing that is due by the clock happens for {object}; rotation on \
             request does."
        );
        conditions.set_true("ClockSkew", reason, message);
    }
    Some(conditions)
}

/// The message about a rotation request that waits, if one waits.
fn waiting_request(observed: &Observed, user: &User, outcome: &Outcome) -> Option<String> {
    let ClientIdReservation::Held(_, record) = &observed.record else {
        return None;
    };
    let token = user.rotate_request.as_deref()?;
    if *outcome != Outcome::TooManyCredentials || record.rotated.includes(token) {
        return None;
    }
    let ends_at = record.ends().min()?;
    Some(format!(
        "The request in the annotation iam.cyoda.com/rotate-requested-at of {} (value {}) waits: \
         {} client secrets still work, which is the maximum. It is carried out at {}, when the \
         first of them ends.",
        user.owner.object(),
        quoted(token),
        Record::CAPACITY,
        seconds(ends_at)
    ))
}

fn overlap_end(observed: &Observed) -> Option<Timestamp> {
    let ClientIdReservation::Held(_, record) = &observed.record else {
        return None;
    };
    record.current()?;
    ends(observed).max()
}

/// When the client secrets that were replaced end.
fn ends(observed: &Observed) -> impl Iterator<Item = Timestamp> {
    let record = match &observed.record {
        ClientIdReservation::Held(_, record) => Some(record),
        ClientIdReservation::Free
        | ClientIdReservation::Taken(..)
        | ClientIdReservation::Unreadable(_) => None,
    };
    record.into_iter().flat_map(|record| record.ends())
}

/// The delivered Secret of that user, as messages name it.
fn secret_of(user: &User) -> String {
    format!("Secret {}/{}", user.owner.namespace, user.secret_name)
}
