//! What may go wrong where every clock is set at once, and where a backup is restored: no more than
//! SECURITY.md says.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use technical_user_operator::domain::crypto::public_key::Kid;
use technical_user_operator::domain::signing_key::ledger::Entry;

use crate::servers::{History, Ledgers, VIEW_AGE, token_life};

/// The keys that wrong clocks excuse.
#[derive(Debug, Default)]
pub(crate) struct Excuses {
    set_at: Option<(Duration, SignedDuration)>,
    ahead: SignedDuration,
    hurried: BTreeSet<Kid>,
}

impl Excuses {
    /// Every clock was set by so much.
    pub(crate) fn set(&mut self, elapsed: Duration, by: SignedDuration) {
        self.set_at = Some((elapsed, by));
        self.ahead += by;
    }

    /// How far every clock is ahead by now.
    pub(crate) fn ahead(&self) -> SignedDuration {
        self.ahead
    }

    /// A leap ahead makes a key sign early that has its time already. One that had left is signed
    /// with once more, when clocks go back, by a server that has not seen it leave: it counts as
    /// revoked. A write that was decided before may come a little later.
    pub(crate) fn see(
        &mut self,
        elapsed: Duration,
        ledgers: &History<Ledgers>,
        revoked: &mut BTreeSet<Kid>,
    ) {
        let Some((_, by)) = self.set_at.filter(|(at, _)| elapsed <= *at + CALL) else { return };
        let ledgers = ledgers.all().flat_map(|ledgers| ledgers.values());
        for entry in ledgers.flat_map(|ledger| ledger.entries.values()) {
            if by.is_positive() {
                self.hurried.insert(entry.key.kid().clone());
            } else if entry.withdrawal.is_some() {
                revoked.insert(entry.key.kid().clone());
            }
        }
    }

    /// Whether it may sign before it was published for the whole `prePublish`.
    pub(crate) fn is_hurried(&self, kid: &Kid) -> bool {
        self.hurried.contains(kid)
    }
}

/// When the last token of this key has expired: a server signs past its end for as long as its view
/// may be older than that end.
pub(crate) fn last_token_of(entry: &Entry) -> Option<Timestamp> {
    let signs_until = entry.until?.max(entry.end_seen_at?);
    Some(signs_until + SignedDuration::try_from(VIEW_AGE).unwrap() + token_life())
}

/// The deadline of a call of the operator.
const CALL: Duration = Duration::from_secs(10);
