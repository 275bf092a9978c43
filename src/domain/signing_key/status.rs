//! The status: the state and the times of every key, and one sentence for the outcome.
//!
//! Status is never an input of a decision. A lost part of it is written again.

use super::ledger::{Entry, Withdrawal};
use super::{ConfigMapState, Ledger, LedgerState, Observed, Origin, Scope, Series, StaleCopy};
use crate::api::signing_key::{JwksStatus, KeyState, KeyStatus, SigningKeyStatus};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::readiness::{Conditions, Readiness, clock_condition, seconds, time};
use crate::domain::crypto::public_key::Kid;
use crate::domain::invalid_field::InvalidField;
use crate::domain::request::ignored_message;
use crate::domain::schedule::Now;

pub use self::events::{
    algorithm_changes, all_revoked, another_algorithm, events, ledger_made, revoked, staged,
};
pub(super) use self::outcome::outcome;
pub use self::outcome::{Outcome, signs};

mod events;
mod outcome;

/// The status to write for what was observed, with the times of `former` where nothing changed.
pub fn status(
    observed: &Observed,
    outcome: &Outcome,
    former: Option<&SigningKeyStatus>,
    now: Now,
) -> Option<SigningKeyStatus> {
    let series = observed.series.as_ref()?;
    let former_conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let mut conditions = conditions(observed, series, outcome, now);
    for type_ in unseen(observed, series) {
        conditions.retain(type_, former_conditions);
    }
    let conditions = conditions.with_transition_times(former_conditions);
    let blank = SigningKeyStatus {
        observed_generation: series.generation,
        jwks: Some(jwks(observed, series, former)),
        conditions,
        installation: former.and_then(|former| former.installation.clone()),
        ..SigningKeyStatus::default()
    };
    let LedgerState::Ledger(_, ledger) = &observed.ledger else {
        // The status of the keys stays: nothing shows that it is wrong.
        let former = former.cloned().unwrap_or_default();
        let SigningKeyStatus { observed_generation, jwks, conditions, .. } = blank;
        let jwks = former.jwks.clone().or(jwks);
        // The mark is read from an object that no status was written for: the first one must have it.
        let bootstrapped = (series.origin != Origin::Declared).then_some(true);
        return Some(SigningKeyStatus {
            observed_generation,
            jwks,
            bootstrapped,
            conditions,
            ..former
        });
    };
    let active = ledger.active(now.likely()).map(|(_, entry)| entry);
    let signer = active.filter(|_| signs(series, observed, now));
    let next = scheduled(ledger, now).map(|entry| entry.activate_at);
    let planned = ledger.newest().map(|(_, newest)| series.promoted_at(newest.activate_at));
    Some(SigningKeyStatus {
        active_kid: signer.map(|signer| signer.key.kid().to_string()),
        bootstrapped: is_bootstrapped(series, ledger).then_some(true),
        keys: keys(observed, series, ledger, now),
        last_rotation_time: active.map(|active| time(active.activate_at)),
        next_rotation_time: next.or(planned).filter(|_| !series.is_suspended).map(time),
        last_handled_rotate_at: ledger.rotated.shown(),
        last_handled_revoke_at: ledger.revoked.shown(),
        last_handled_revoke_all_at: ledger.revoked_all.shown(),
        ..blank
    })
}

/// Whether the operator made the series, and its algorithm may still be declared. That ends once the
/// newest key is as it was declared.
fn is_bootstrapped(series: &Series, ledger: &Ledger) -> bool {
    match series.origin {
        Origin::Declared => false,
        Origin::Bootstrapped => true,
        Origin::Claimed => !ledger.newest().is_some_and(|(_, newest)| series.fits(&newest.key)),
    }
}

/// Where the JWKS is. An observation of the operator's namespace alone does not count the namespaces again.
fn jwks(observed: &Observed, series: &Series, former: Option<&SigningKeyStatus>) -> JwksStatus {
    let published =
        observed.targets.values().filter(|it| matches!(it, ConfigMapState::Owned(_))).count();
    let counted = i64::try_from(published).unwrap_or(i64::MAX);
    let former = former.and_then(|former| former.jwks.as_ref());
    let kept = former
        .filter(|_| observed.sight == Scope::OperatorNamespace)
        .map(|former| former.namespaces);
    JwksStatus {
        config_map_name: series.config_map_name.clone(),
        namespaces: kept.unwrap_or(counted),
    }
}

/// `Ready` of the `SigningKey` of that name, whose spec cannot be read.
pub fn invalid_spec(name: &str, field: InvalidField) -> Readiness {
    Outcome::InvalidSpec(field).readiness(name)
}

/// The key that is published and waits for its time.
pub(super) fn scheduled(ledger: &Ledger, now: Now) -> Option<&Entry> {
    let (_, newest) = ledger.newest()?;
    (newest.activate_at > now.likely()).then_some(newest)
}

fn keys(observed: &Observed, series: &Series, ledger: &Ledger, now: Now) -> Vec<KeyStatus> {
    let next = ledger.next_index();
    let staged = observed.key_pairs.get(&next).and_then(|key_pair| key_pair.public.as_ref());
    let state_of_next = |kid: &Kid| {
        let is_published =
            observed.published_at(&series.operator_namespace).is_some_and(|it| it.contains(kid));
        if is_published { KeyState::Published } else { KeyState::Staged }
    };
    let staged = staged.map(|key| KeyStatus {
        kid: key.kid().to_string(),
        index: i64::from(next),
        state: state_of_next(key.kid()),
        activation_time: None,
        end_time: None,
        revocation_time: None,
        removal_time: None,
    });
    let active = ledger.active(now.likely()).map(|(index, _)| index);
    let known = ledger.entries.iter().rev().map(|(index, entry)| {
        let removal_at = entry.removal_at(series.retention);
        KeyStatus {
            kid: entry.key.kid().to_string(),
            index: i64::from(*index),
            state: state(entry, Some(*index) == active, now),
            activation_time: entry.has_signed().then(|| time(entry.activate_at)),
            end_time: entry.until.map(time),
            revocation_time: entry.revoked_at.map(time),
            removal_time: removal_at.filter(|_| entry.withdrawal.is_none()).map(time),
        }
    });
    staged.into_iter().chain(known).collect()
}

fn state(entry: &Entry, is_active: bool, now: Now) -> KeyState {
    match entry.withdrawal {
        Some(Withdrawal::Revoked) => KeyState::Revoked,
        Some(Withdrawal::Drained) => KeyState::Retired,
        None if is_active => KeyState::Active,
        None if entry.activate_at > now.likely() => KeyState::Published,
        None => KeyState::Grace,
    }
}

// === conditions ===

fn conditions(observed: &Observed, series: &Series, outcome: &Outcome, now: Now) -> Conditions {
    let refused = refused(observed, series);
    let mut readiness = outcome.readiness(&series.name);
    if let (Some(message), Outcome::Signing(_)) = (&refused, outcome) {
        // A request to revoke is urgent: the first thing that a user sees is that it did nothing.
        readiness.reason = REFUSED;
        readiness.message = format!("{message} {}", readiness.message);
    }
    let mut conditions = Conditions::of(readiness, series.generation, now);
    if let Some(message) = rotation(observed, series, now) {
        conditions.set_true("RotationInProgress", "KeyPublished", message);
    }
    if let Some((reason, message)) = incomplete(observed, series) {
        conditions.set_true("JWKSIncomplete", reason, message);
    }
    if let Some((reason, message)) = orphaned(observed, series) {
        conditions.set_true("JWKSOrphaned", reason, message);
    }
    if let Some(message) = revoked_but_published(observed, series) {
        conditions.set_true("RevokedKeyPublished", "JWKSNotWritten", message);
    }
    if let Some(message) = refused {
        conditions.set_true(REFUSED, "UnknownKeyID", message);
    }
    if let Some(message) = ignored_message(&series.object(), &series.ignored_requests) {
        conditions.set_true("RequestIgnored", "EmptyValue", message);
    }
    if series.is_suspended {
        let message = Outcome::Suspended.readiness(&series.name).message;
        conditions.set_true("Suspended", "Suspended", message);
    }
    if let Some((reason, why)) = clock_condition(now.clock_state()) {
        let message = format!(
            "{why} Until then no key of {} is scheduled and none leaves the JWKS; the key that \
             signs goes on.",
            series.object()
        );
        conditions.set_true("ClockSkew", reason, message);
    }
    conditions
}

/// The conditions that this observation cannot judge, since it was cut short: those stay.
fn unseen<'a>(observed: &Observed, series: &Series) -> impl Iterator<Item = &'a str> + use<'a> {
    // There is always one target, in the operator's namespace.
    let is_cut_short = observed.targets.is_empty() || observed.sight == Scope::OperatorNamespace;
    let targets = is_cut_short.then_some(["JWKSIncomplete", "JWKSOrphaned"]);
    let is_asked = series.revoke_request.is_some();
    let requests = match observed.ledger {
        LedgerState::Absent | LedgerState::Unreadable(_) | LedgerState::Unread => {
            let refused = is_asked.then_some("RevocationRequestInvalid");
            [Some("RevokedKeyPublished"), refused]
        }
        LedgerState::Ledger(..) => [None, None],
    };
    targets.into_iter().flatten().chain(requests.into_iter().flatten())
}

fn rotation(observed: &Observed, series: &Series, now: Now) -> Option<String> {
    let LedgerState::Ledger(_, ledger) = &observed.ledger else {
        return None;
    };
    let next = scheduled(ledger, now)?;
    let (kid, at) = (next.key.kid(), seconds(next.activate_at));
    let object = series.object();
    Some(format!("Key {kid} of {object} is in the JWKS and takes over at {at}."))
}

/// The namespaces that lack the JWKS, and what is to be done about the first of them.
fn incomplete(observed: &Observed, series: &Series) -> Option<(&'static str, String)> {
    let object = series.object();
    let hindrance = |namespace: &str, target: &ConfigMapState| {
        let map = series.place_in(namespace).config_map();
        match target {
            ConfigMapState::Absent | ConfigMapState::Owned(_) => None,
            ConfigMapState::Conflict => {
                let foreign = format!(
                    "{map} exists and is not owned by {object}. It was not changed. Delete it, or \
                     set spec.jwks.configMapName of {object} to another name."
                );
                Some(("ConfigMapConflict", foreign))
            }
            ConfigMapState::Unwritable(blocked_reason, _) => {
                Some((blocked_reason.reason(), blocked_reason.message()))
            }
            ConfigMapState::Orphaned(_) => {
                let blocked_reason = BlockedReason::AwaitingGarbageCollection { object: map };
                Some((blocked_reason.reason(), blocked_reason.message()))
            }
        }
    };
    let missing = observed.targets.iter().filter_map(|(namespace, target)| {
        Some((namespace.as_str(), hindrance(namespace, target)?))
    });
    listed(&format!("The JWKS of {object} is not up to date in these namespaces"), missing)
}

/// The namespaces that still have the JWKS though none is wanted there.
fn orphaned(observed: &Observed, series: &Series) -> Option<(&'static str, String)> {
    let left = observed.surplus.iter().filter_map(|(place, surplus)| match surplus {
        StaleCopy::Deletable(_) => None,
        StaleCopy::Blocked(blocked_reason) => {
            Some((place.namespace.as_str(), (blocked_reason.reason(), blocked_reason.message())))
        }
    });
    let object = series.object();
    listed(&format!("These namespaces have a JWKS of {object} that is not wanted there"), left)
}

/// The reason and the message about some namespaces, with the cause in the first of them.
fn listed<'a>(
    matter: &str,
    hindered: impl Iterator<Item = (&'a str, (&'static str, String))>,
) -> Option<(&'static str, String)> {
    let hindered: Vec<_> = hindered.collect();
    let (_, (reason, remedy)) = hindered.first()?;
    let names = named(hindered.iter().map(|(name, _)| *name).collect());
    Some((reason, format!("{matter}: {names}. In the first of them: {remedy}")))
}

/// The first of those names, and how many more there are: a message has an end.
fn named(names: Vec<&str>) -> String {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let shown: Vec<&str> = names.into_iter().take(MAX_SHOWN).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    shown.join(", ") + &more
}

/// The revoked keys that verifiers still find in the operator's namespace. Other namespaces have a
/// condition of
/// their own.
fn revoked_but_published(observed: &Observed, series: &Series) -> Option<String> {
    let LedgerState::Ledger(_, ledger) = &observed.ledger else {
        return None;
    };
    let published = observed.published_at(&series.operator_namespace)?;
    let revoked = ledger.entries.values().filter(|it| it.withdrawal == Some(Withdrawal::Revoked));
    let exposed = revoked.map(|it| it.key.kid()).filter(|kid| published.contains(*kid));
    let exposed: Vec<&str> = exposed.map(Kid::as_str).collect();
    if exposed.is_empty() {
        return None;
    }
    let (object, map) = (series.object(), series.place_in(&series.operator_namespace).config_map());
    Some(format!(
        "These revoked keys of {object} are still in {map}: {}. Verifiers still accept their tokens. \
         The operator removes the keys once it can write {map} with another key. The condition \
         Ready names what prevents this: resolve it, or delete {object} together with its JWKS.",
        named(exposed)
    ))
}

fn refused(observed: &Observed, series: &Series) -> Option<String> {
    let LedgerState::Ledger(_, ledger) = &observed.ledger else {
        return None;
    };
    let wanted = series.revoke_request.as_deref()?;
    if ledger.revoked.includes(wanted) {
        return None;
    }
    // A value that cannot be a kid may be anything, so the message does not repeat it.
    let is_kid = wanted.parse::<Kid>().is_ok();
    let value =
        if is_kid { format!("is \"{wanted}\", which") } else { "has a value that".to_owned() };
    Some(format!(
        "Nothing was revoked: the annotation iam.cyoda.com/revoke-requested-at of SigningKey {} \
         {value} is no kid of this series. status.keys lists the kids. To revoke every key, use \
         iam.cyoda.com/revoke-all-requested-at with any new value.",
        series.name
    ))
}

const REFUSED: &str = "RevocationRequestInvalid";

/// So many namespaces or keys are named in a message.
const MAX_SHOWN: usize = 10;
