//! What happens to this kind alone, and what follows from each disturbance.

use crate::harness::disturbance::{HOUR, HOUR_BACK, SECONDS, YEAR, YEAR_BACK};

pub(crate) use crate::harness::disturbance::Disturbance;

/// What happens to the objects of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// A user deletes the JWKS that the token service serves.
    JwksDeleted,
    /// A user edits the JWKS of another namespace.
    JwksEdited,
    /// A user deletes the ledger.
    LedgerDeleted,
    /// A user deletes the newest key pair.
    KeyPairDeleted,
}

impl Disturbance {
    pub(crate) const ALL: [Self; 21] = [
        Self::SecondReplica,
        Self::FrozenWatches,
        Self::ClosedWatches,
        Self::Compaction,
        Self::LocalClock(HOUR),
        Self::LocalClock(HOUR_BACK),
        Self::LocalClock(YEAR),
        Self::LocalClock(YEAR_BACK),
        Self::LocalClock(SECONDS),
        Self::BothClocks(HOUR),
        Self::BothClocks(HOUR_BACK),
        Self::BothClocks(YEAR),
        Self::BothClocks(YEAR_BACK),
        Self::Restore,
        Self::MonthOff,
        Self::StatusWiped,
        Self::Away,
        Self::Own(Own::JwksDeleted),
        Self::Own(Own::JwksEdited),
        Self::Own(Own::LedgerDeleted),
        Self::Own(Own::KeyPairDeleted),
    ];

    /// Whether more or fewer keys are right than without it: somebody undid what the operator had
    /// done, or so much time passed that the next key is due. A first key is dated by the clock that
    /// is behind, so that it signs at once: a year behind, the next one is due when that is mended. Where
    /// every clock is set, another key than before may be the one that has begun.
    pub(crate) fn adds(self) -> bool {
        let undoes =
            matches!(self, Self::Restore | Self::Own(Own::LedgerDeleted | Own::KeyPairDeleted));
        let leaps = matches!(self, Self::BothClocks(_));
        undoes || leaps || self == Self::LocalClock(YEAR_BACK)
    }

    /// Whether it sets a clock far enough for a key to be due early or late.
    pub(crate) fn sets_clocks(self) -> bool {
        matches!(self, Self::LocalClock(_) | Self::BothClocks(_) | Self::MonthOff)
    }

    /// Whether wrong operators are tried with it.
    pub(crate) fn is_telling(self) -> bool {
        matches!(self, Self::SecondReplica | Self::Own(Own::JwksEdited | Own::JwksDeleted))
    }
}
