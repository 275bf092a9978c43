//! What of a change of the status is worth an Event.

use std::collections::BTreeSet;

use super::Verdict;
use crate::api::condition::Condition;
use crate::api::signing_key::{KeyState, KeyStatus, SigningKeyStatus};
use crate::domain::key_pair::{Algorithm, Kid, PublicKey};
use crate::domain::news::{News, troubles, was_in_trouble};
use crate::domain::readiness::Progress;
use crate::domain::signing_key::{Ledger, Observed, Series};

/// What is worth an Event once `present` has taken the place of `former`.
pub fn news(
    verdict: &Verdict,
    former: Option<&SigningKeyStatus>,
    present: &SigningKeyStatus,
) -> Vec<News> {
    let conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let known = |kid: &str| former.and_then(|former| former.keys.iter().find(|it| it.kid == kid));
    let keys = present.keys.iter().rev().filter_map(|key| turn(known(&key.kid), key));
    let is_told = match verdict {
        // A key that begins is told as such; one that signs again ends the trouble that was told.
        Verdict::Signing(kid) => {
            let is_former = known(kid.as_str()).is_some_and(|it| it.state == KeyState::Active);
            is_former && (was_in_trouble(conditions) || was_suspended(conditions))
        }
        Verdict::Gone
        | Verdict::Suspended
        | Verdict::NoActiveKey(_)
        | Verdict::KeyLost(..)
        | Verdict::KeyUnreadable { .. }
        | Verdict::TooManyKeys
        | Verdict::LedgerUnreadable { .. }
        | Verdict::JwksConflict(_)
        | Verdict::InvalidSpec
        | Verdict::Blocked { .. } => true,
    };
    let ready = is_told.then(|| News::of(verdict.readiness(), conditions)).flatten();
    keys.chain(ready).chain(troubles(conditions, &present.conditions)).collect()
}

fn was_suspended(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Suspended")
}

/// A change of the state of a key.
fn turn(known: Option<&KeyStatus>, key: &KeyStatus) -> Option<News> {
    let has_time = |it: &KeyStatus| it.activation_time.is_some();
    if known.is_some_and(|known| known.state == key.state && has_time(known) == has_time(key)) {
        return None;
    }
    let kid = &key.kid;
    // One that waits for its time is told once it has it.
    let at = key.activation_time.as_ref()?.0;
    let (reason, message) = match key.state {
        KeyState::Published => {
            ("KeyPublished", format!("Key {kid} is in the JWKS and takes over at {at}."))
        }
        KeyState::Active => ("KeyActivated", format!("Key {kid} signs since {at}.")),
        KeyState::Grace => (
            "KeyInGrace",
            format!("Key {kid} has a successor; its tokens verify until they expire."),
        ),
        KeyState::Retired => {
            ("KeyRetired", format!("Key {kid} left the JWKS: its last token has expired."))
        }
        // Told when it was done, a revocation loudly.
        KeyState::Staged | KeyState::Revoked => return None,
    };
    Some(News { reason, message, progress: Progress::Done })
}

/// What a revocation comes to, as the ledger that it left behind says.
pub fn revoked(kid: &str, observed: &Observed, ledger: &Ledger) -> String {
    if ledger.live().next().is_none() && next(observed, ledger).is_none() {
        return format!(
            "Key {kid} was revoked on request and signs no more. It is the only one: it leaves the \
             JWKS when another one takes its place there, since an empty JWKS is never written. \
             Every token of it verifies until then, and until a verifier has noticed."
        );
    }
    format!(
        "Key {kid} was revoked on request: it leaves the JWKS now, and every token of it fails as \
         soon as a verifier has noticed. Istio and Trino need up to 20 minutes; kube-apiserver \
         forgets it only when it meets another unknown kid."
    )
}

/// What the revocation of every key comes to.
pub fn all_revoked(former: &Ledger, ledger: &Ledger) -> String {
    let added = ledger.entries.len().saturating_sub(former.entries.len());
    let count = former.live().count().saturating_add(added);
    format!(
        "All keys of this series were revoked on request, {count} in all. No token of them is valid \
         any more. A new key signs as soon as it is in the JWKS, without prePublish. Verifiers refuse \
         its tokens until they fetch the JWKS again: Istio and Trino need up to 20 minutes."
    )
}

/// What is worth an Event when a ledger is made where there was none: that one was lost, unless there
/// is nothing that it can have been about.
pub fn ledger_made(observed: &Observed, ledger: &Ledger) -> Option<String> {
    let home = &observed.series.as_ref()?.home;
    let none = BTreeSet::new();
    let published = observed.published_at(home).unwrap_or(&none);
    if observed.key_pairs.is_empty() && published.is_empty() {
        return None;
    }
    let live = ledger.live().map(|(_, entry)| entry.key.kid()).chain(next(observed, ledger));
    let live: BTreeSet<&Kid> = live.collect();
    let leaving: Vec<&str> =
        published.iter().filter(|kid| !live.contains(kid)).map(Kid::as_str).collect();
    let lost = "The ledger of this series was lost and was made anew from its key pairs.";
    Some(if leaving.is_empty() {
        format!("{lost} What is published stays published.")
    } else {
        format!(
            "{lost} These keys have no pair any more and leave the JWKS, as if they had been \
             revoked: {}.",
            leaving.join(", ")
        )
    })
}

/// The warning that the keys of a new series have an algorithm that none of `others` has, each a name
/// and its algorithm.
pub fn another_algorithm(series: &Series, others: &[(String, Algorithm)]) -> Option<String> {
    let differs = |(_, algorithm): &&(String, Algorithm)| *algorithm != series.algorithm;
    let (name, algorithm) = others.iter().find(differs)?;
    let is_known = others.iter().any(|(_, algorithm)| *algorithm == series.algorithm);
    (!is_known).then(|| {
        format!(
            "SigningKey {} adds the algorithm {} to the JWKS; SigningKey {name} has {}. \
             Verifiers that read the algorithms once, at their start, refuse the new tokens until \
             they are restarted. Restart them before a TechnicalUser refers to this SigningKey. \
             See \"Another algorithm\" in docs/signing-keys.md.",
            series.name,
            series.algorithm.name(),
            algorithm.name()
        )
    })
}

/// The same of the next key of a series, when its algorithm is not that of the former one.
pub fn algorithm_changes(series: &Series, former: &Ledger, present: &Ledger) -> Option<String> {
    let algorithm = |ledger: &Ledger| Some(ledger.newest()?.1.key.algorithm().name());
    let (former, next) = (algorithm(former)?, algorithm(present)?);
    (former != next).then(|| {
        format!(
            "The next key of SigningKey {} has the algorithm {next}, the former one has {former}. \
             Verifiers that read the algorithms once, at their start, refuse the new tokens until \
             they are restarted. See \"Another algorithm\" in docs/signing-keys.md.",
            series.name
        )
    })
}

fn next<'a>(observed: &'a Observed, ledger: &Ledger) -> Option<&'a Kid> {
    let next = observed.key_pairs.get(&ledger.next_index())?;
    next.public.as_ref().map(PublicKey::kid)
}
