//! Who signs when the ledger does not say: after a revocation, and after its loss.

use super::ledger::Entry;
use super::{FIRST, HANDOVER, Ledger, Observed, Target};
use crate::domain::key_pair::PublicKey;
use crate::domain::schedule::{Now, later};

/// Finds a key to sign in place of one that was revoked: rather one that signed before, which every
/// verifier knows; else the one that waits for its time, since nothing else could sign till then.
pub(super) fn inherit(ledger: &mut Ledger, observed: &Observed, now: Now) {
    let (earliest, now) = (now.earliest(), now.latest());
    let Some((newest, waits_until)) = ledger.newest().map(|(index, it)| (index, it.activate_at))
    else {
        return;
    };
    let is_at_hand = |index: &u32| observed.key_pairs.contains_key(index);
    let known = ledger.live().rev().filter(|(_, entry)| entry.activate_at <= now);
    let heir = known.map(|(index, _)| index).find(is_at_hand);
    let signs = ledger.active(now).is_some();
    match heir {
        Some(heir) if heir == newest || !signs => {
            let until = (heir != newest).then(|| later(waits_until, HANDOVER));
            if let Some(entry) = ledger.entries.get_mut(&heir) {
                (entry.until, entry.end_seen_at) = (until, None);
            }
        }
        Some(_) => {}
        None => {
            if let Some(entry) = ledger.entries.get_mut(&newest) {
                entry.activate_at = entry.activate_at.min(earliest);
            }
        }
    }
}

/// The ledger as the key pairs tell it, if there are some that an empty ledger does not explain.
///
/// A key pair exists until its key is in no JWKS any more, so what exists is what must stay
/// published. The newest may not have been published long enough to sign; the one before it has.
pub(super) fn recovered(ledger: &Ledger, observed: &Observed, now: Now) -> Option<Ledger> {
    let explained = observed.key_pairs.keys().all(|index| *index == FIRST);
    if !ledger.entries.is_empty() || explained {
        return None;
    }
    let series = observed.series.as_ref()?;
    let mut known: Vec<(u32, &PublicKey)> = observed
        .key_pairs
        .iter()
        .filter_map(|(index, key_pair)| Some((*index, key_pair.public.as_ref()?)))
        .collect();
    let is_everywhere = |key: &PublicKey| {
        let kid = key.kid();
        observed.targets.values().all(|target| match target {
            Target::Ours(published) => published.kids.contains(kid),
            Target::Absent => false,
            Target::Foreign | Target::Blocked(_) => true,
        })
    };
    let is_second_safe = known.iter().rev().nth(1).is_some_and(|(_, key)| is_everywhere(key));
    if is_second_safe {
        known.pop();
    }
    let signer = known.last().filter(|(_, key)| is_everywhere(key)).map(|(index, _)| *index);
    let mut recovered = ledger.clone();
    for (index, key) in known {
        let mut entry = Entry::scheduled(key.clone(), now.earliest());
        if Some(index) != signer {
            entry.until = Some(now.latest());
        }
        recovered.entries.insert(index, entry);
    }
    // Answered or not, nobody knows: a rotation that nobody asked for is worse than one asked twice.
    if let Some(token) = series.rotate_request.as_deref() {
        recovered.rotated = recovered.rotated.with(token);
    }
    Some(recovered)
}
