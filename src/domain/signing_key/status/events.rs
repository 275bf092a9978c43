//! The Events about changes of the status.

use std::collections::BTreeSet;

use super::{Outcome, named};
use crate::api::condition::Condition;
use crate::api::signing_key::{KeyState, KeyStatus, SigningKeyStatus};
use crate::domain::conditions::events::{Event, condition_events, was_not_ready};
use crate::domain::crypto::public_key::{Algorithm, Kid, PublicKey};
use crate::domain::signing_key::observed::object;
use crate::domain::signing_key::{Ledger, Observed, Series};

/// The Events for the change from the status `former` to `present`.
pub fn events(
    name: &str,
    outcome: &Outcome,
    former: Option<&SigningKeyStatus>,
    present: &SigningKeyStatus,
) -> Vec<Event> {
    let conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let known = |kid: &str| former.and_then(|former| former.keys.iter().find(|it| it.kid == kid));
    let keys = present.keys.iter().rev().filter_map(|key| turn(known(&key.kid), key, name));
    let is_told = match outcome {
        // A new key gets its own Event; a key that signs again ends the fault that was reported.
        Outcome::Signing(kid) => {
            let is_former = known(kid.as_str()).is_some_and(|it| it.state == KeyState::Active);
            is_former && (was_not_ready(conditions) || was_suspended(conditions))
        }
        Outcome::Gone
        | Outcome::Suspended
        | Outcome::NoActiveKey(_)
        | Outcome::KeyLost(..)
        | Outcome::KeyUnreadable { .. }
        | Outcome::TooManyKeys
        | Outcome::LedgerUnreadable { .. }
        | Outcome::JwksConflict(_)
        | Outcome::InvalidSpec(_)
        | Outcome::Blocked { .. } => true,
    };
    let ready = is_told.then(|| Event::of(outcome.readiness(name), conditions)).flatten();
    keys.chain(ready)
        .chain(condition_events(&object(name), conditions, &present.conditions))
        .collect()
}

fn was_suspended(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Suspended")
}

/// A change of the state of a key.
fn turn(known: Option<&KeyStatus>, key: &KeyStatus, name: &str) -> Option<Event> {
    let has_time = |it: &KeyStatus| it.activation_time.is_some();
    if known.is_some_and(|known| known.state == key.state && has_time(known) == has_time(key)) {
        return None;
    }
    let subject = format!("Key {} of {}", key.kid, object(name));
    // A key that waits for its time is reported once it has it.
    let at = key.activation_time.as_ref()?.0;
    let (reason, message) = match key.state {
        KeyState::Published => {
            ("KeyPublished", format!("{subject} is in the JWKS and takes over at {at}."))
        }
        KeyState::Active => ("KeyActivated", format!("{subject} signs since {at}.")),
        KeyState::Grace => (
            "KeyInGrace",
            format!("{subject} has a successor. Its tokens verify until they expire."),
        ),
        KeyState::Retired => {
            ("KeyRetired", format!("{subject} left the JWKS: its last token has expired."))
        }
        // Reported when it was done, a revocation as a warning.
        KeyState::Staged | KeyState::Revoked => return None,
    };
    Some(Event::done(reason, message))
}

/// A key pair was made.
pub fn staged(series: &Series, index: u32) -> Event {
    let (object, secret) = (series.object(), series.key_pair(index));
    let message = format!("Key pair number {index} of {object} was made, in Secret {secret}.");
    Event::done("KeyStaged", message)
}

/// The Event about a revocation, from the ledger after it.
pub fn revoked(series: &Series, kid: &str, observed: &Observed, ledger: &Ledger) -> Event {
    let subject = format!("Key {kid} of {} was revoked on request", series.object());
    if ledger.live().next().is_none() && next(observed, ledger).is_none() {
        let message = format!(
            "{subject} and signs no more. It is the only one: it leaves the JWKS when another one \
             takes its place there, since an empty JWKS is never written. Every token of it \
             verifies until then, and until a verifier has noticed."
        );
        return Event::warning("KeyRevoked", message);
    }
    let message = format!(
        "{subject}: it leaves the JWKS now, and every token of it fails as soon as a verifier has \
         noticed. Istio and Trino need up to 20 minutes; kube-apiserver forgets it only when it \
         meets another unknown kid."
    );
    Event::warning("KeyRevoked", message)
}

/// The Event about the revocation of every key.
pub fn all_revoked(series: &Series, former: &Ledger, ledger: &Ledger) -> Event {
    let added = ledger.entries.len().saturating_sub(former.entries.len());
    let count = former.live().count().saturating_add(added);
    let message = format!(
        "All keys of {} were revoked on request, {count} in all. No token of them is valid any \
         more. A new key signs as soon as it is in the JWKS, without prePublish. Verifiers refuse \
         its tokens until they fetch the JWKS again: Istio and Trino need up to 20 minutes.",
        series.object()
    );
    Event::warning("AllKeysRevoked", message)
}

/// The Event about a new ledger where none existed: the former one was lost, unless no object shows that there
/// ever was one.
pub fn ledger_made(observed: &Observed, ledger: &Ledger) -> Option<Event> {
    let series = observed.series.as_ref()?;
    let none = BTreeSet::new();
    let published = observed.published_at(&series.operator_namespace).unwrap_or(&none);
    if observed.key_pairs.is_empty() && published.is_empty() {
        return None;
    }
    let live = ledger.live().map(|(_, entry)| entry.key.kid()).chain(next(observed, ledger));
    let live: BTreeSet<&Kid> = live.collect();
    let leaving = published.iter().filter(|kid| !live.contains(kid)).map(Kid::as_str);
    let leaving = named(leaving.collect());
    let lost = format!(
        "Secret {}, the ledger of {}, was lost. The operator made it again from the key pairs.",
        series.ledger(),
        series.object()
    );
    let message = if leaving.is_empty() {
        format!("{lost} What is published stays published.")
    } else {
        format!(
            "{lost} These keys have no pair any more and leave the JWKS, as if they had been \
             revoked: {leaving}."
        )
    };
    Some(Event::warning("LedgerRecovered", message))
}

/// The warning that the keys of a new series have an algorithm that none of `others` has, each a name
/// and its algorithm.
pub fn another_algorithm(series: &Series, others: &[(String, Algorithm)]) -> Option<Event> {
    let differs = |(_, algorithm): &&(String, Algorithm)| *algorithm != series.algorithm;
    let (name, algorithm) = others.iter().find(differs)?;
    let is_known = others.iter().any(|(_, algorithm)| *algorithm == series.algorithm);
    if is_known {
        return None;
    }
    let message = format!(
        "SigningKey {} adds the algorithm {} to the JWKS; SigningKey {name} has {}. Verifiers that \
         read the algorithms once, at their start, refuse the new tokens until they are restarted. \
         Restart them before a TechnicalUser refers to this SigningKey. See \"Another algorithm\" \
         in docs/signing-keys.md.",
        series.name,
        series.algorithm.name(),
        algorithm.name()
    );
    Some(Event::warning("AlgorithmAdded", message))
}

/// The same of the next key of a series, when its algorithm is not that of the former one.
pub fn algorithm_changes(series: &Series, former: &Ledger, present: &Ledger) -> Option<Event> {
    let algorithm = |ledger: &Ledger| Some(ledger.newest()?.1.key.algorithm().name());
    let (former, next) = (algorithm(former)?, algorithm(present)?);
    if former == next {
        return None;
    }
    let message = format!(
        "The next key of SigningKey {} has the algorithm {next}, the former one has {former}. \
         Verifiers that read the algorithms once, at their start, refuse the new tokens until they \
         are restarted. See \"Another algorithm\" in docs/signing-keys.md.",
        series.name
    );
    Some(Event::warning("AlgorithmAdded", message))
}

fn next<'a>(observed: &'a Observed, ledger: &Ledger) -> Option<&'a Kid> {
    let next = observed.key_pairs.get(&ledger.next_index())?;
    next.public.as_ref().map(PublicKey::kid)
}
