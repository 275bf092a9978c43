//! Requests by annotation to revoke one key, or every key.
//!
//! They depend on the ledger and the key pairs alone, so that nothing that users of other namespaces
//! write can hold them up.

use super::fallback::promote_previous;
use super::ledger::{Entry, Withdrawal};
use super::{Change, Context, Ledger, Step};

/// Withdraws every key that exists. The next one signs without `prePublish`: no key that verifiers know
/// may sign any more (K3).
pub(super) fn revocation_of_all_requested(view: &Context<'_>) -> Option<Step> {
    let value = view.series.revoke_all_request.as_deref()?;
    if view.ledger.revoked_all.includes(value) {
        return None;
    }
    let mut ledger = with_next(view, |_| true);
    for entry in ledger.entries.values_mut().filter(|entry| entry.withdrawal.is_none()) {
        entry.revoke(view.now.latest());
    }
    ledger.revoked_all = ledger.revoked_all.with(value);
    Some(view.put(ledger, Change::RevokeAll))
}

/// Withdraws one key. A key that was published before, or the one that waits, signs in its place.
pub(super) fn revocation_requested(view: &Context<'_>) -> Option<Step> {
    let kid = view.series.revoke_request.as_deref()?;
    if view.ledger.revoked.includes(kid) {
        return None;
    }
    let mut ledger = with_next(view, |next| next == kid);
    let found = ledger.entries.values_mut().find(|entry| entry.key.kid().as_str() == kid)?;
    match found.withdrawal {
        None => {
            found.revoke(view.now.latest());
            promote_previous(&mut ledger, view.observed, view.now);
        }
        // It signs no more: no other key has to take its place.
        Some(Withdrawal::Drained | Withdrawal::Revoked) => {
            found.withdrawal = Some(Withdrawal::Revoked);
        }
    }
    ledger.revoked = ledger.revoked.with(kid);
    Some(view.put(ledger, Change::Revoke))
}

/// The ledger, with the next key pair for an entry if `is_meant` says so of its kid.
fn with_next(view: &Context<'_>, is_meant: impl Fn(&str) -> bool) -> Ledger {
    let mut ledger = view.ledger.clone();
    if let Some((index, key)) = view.next().filter(|(_, key)| is_meant(key.kid().as_str())) {
        let entry = Entry::never_used(key.clone(), view.now.latest());
        ledger.entries.insert(index, view.observed.paired(index, entry));
    }
    ledger
}
