//! The choice of the signing key without a plan in the ledger: after a revocation, and after a loss of it.

use jiff::Timestamp;

use super::ledger::{Entry, Withdrawal};
use super::{ConfigMapState, FIRST, HANDOVER, Ledger, Observed};
use crate::domain::crypto::public_key::PublicKey;
use crate::domain::schedule::{Now, saturating_add};

/// Finds a key to sign in place of one that was revoked: rather one that signed before, which every
/// verifier knows; else the one that waits for its time, since nothing else could sign till then.
pub(super) fn promote_previous(ledger: &mut Ledger, observed: &Observed, now: Now) {
    let Some((newest, waits_until)) = ledger.newest().map(|(index, it)| (index, it.activate_at))
    else {
        return;
    };
    let signs = ledger.active(now.likely()).is_some();
    match known(ledger, observed, now) {
        Some(heir) if heir == newest || !signs => {
            let until = (heir != newest).then(|| saturating_add(waits_until, HANDOVER));
            if let Some(entry) = ledger.entries.get_mut(&heir) {
                entry.ends(until);
            }
        }
        Some(_) => {}
        None => {
            if let Some(entry) = ledger.entries.get_mut(&newest) {
                entry.activate_at = entry.activate_at.min(now.earliest());
            }
        }
    }
}

/// Lets a former key sign until then, if the private half of the newest is gone.
pub(super) fn extend_previous(
    ledger: &mut Ledger,
    observed: &Observed,
    now: Now,
    until: Timestamp,
) {
    let newest = ledger.newest();
    if newest.is_none_or(|(index, newest)| observed.has_pair(index, newest)) {
        return;
    }
    let former = known(ledger, observed, now);
    let former = former.and_then(|former| ledger.entries.get_mut(&former));
    if let Some(former) = former.filter(|it| it.until.is_some_and(|ends_at| ends_at < until)) {
        former.ends(Some(until));
    }
}

/// The newest key that has signed, is published, and is at hand.
fn known(ledger: &Ledger, observed: &Observed, now: Now) -> Option<u32> {
    let mut signed = ledger.live().rev().filter(|(_, entry)| entry.activate_at <= now.likely());
    signed.find(|(index, entry)| observed.has_pair(*index, entry)).map(|(index, _)| index)
}

/// The ledger as the key pairs tell it, if there are some that an empty ledger does not explain.
///
/// A key pair exists until its key is in no JWKS any more, so what exists and is published must stay
/// so. The newest may not have been published long enough to sign; the one before it has, since a
/// rotation begins only when the newest key signs.
pub(super) fn recovered(ledger: &Ledger, observed: &Observed, now: Now) -> Option<Ledger> {
    if !ledger.entries.is_empty() {
        return None;
    }
    let pairs = observed.key_pairs.iter();
    let mut found: Vec<(u32, &PublicKey)> =
        pairs.filter_map(|(index, it)| Some((*index, it.public.as_ref()?))).collect();
    if found.iter().all(|(index, _)| *index == FIRST) {
        return None;
    }
    let newest = found.last().map(|(index, _)| *index)?;
    let published: Vec<u32> = found
        .iter()
        .filter(|(_, key)| is_everywhere(key, observed))
        .map(|(index, _)| *index)
        .collect();
    let signer = match published.as_slice() {
        // The newest waits for its turn: it gets its time as usual.
        [.., second, last] if *last == newest => Some(*second),
        published => published.last().copied(),
    };
    let mut recovered = ledger.clone();
    if signer != Some(newest) && found.len() > 1 {
        found.pop();
        // Indices before it may be missing: the newest is next all the same.
        recovered.next_from = newest;
    }
    for (index, key) in found {
        let mut entry = observed.paired(index, Entry::scheduled(key.clone(), now.earliest()));
        if Some(index) != signer {
            entry.until = Some(now.latest());
        }
        if is_unpublished(key, observed) {
            entry.withdrawal = Some(Withdrawal::Drained);
        }
        recovered.entries.insert(index, entry);
    }
    Some(recovered)
}

/// Whether the operator's own JWKS has it, and no other lacks it.
fn is_everywhere(key: &PublicKey, observed: &Observed) -> bool {
    let has = |target: &ConfigMapState| match target {
        ConfigMapState::Owned(published) => Some(published.kids.contains(key.kid())),
        ConfigMapState::Absent
        | ConfigMapState::Orphaned(_)
        | ConfigMapState::Conflict
        | ConfigMapState::Unwritable(..) => None,
    };
    at_home(observed).and_then(has) == Some(true)
        && observed.targets.values().all(|target| has(target) != Some(false))
}

/// Whether it had left the JWKS before the ledger was lost.
fn is_unpublished(key: &PublicKey, observed: &Observed) -> bool {
    let operator_namespace = at_home(observed);
    matches!(operator_namespace, Some(ConfigMapState::Owned(published)) if !published.kids.contains(key.kid()))
}

fn at_home(observed: &Observed) -> Option<&ConfigMapState> {
    observed.targets.get(&observed.series.as_ref()?.operator_namespace)
}
