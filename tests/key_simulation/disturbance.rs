//! What happens to this kind alone, and what follows from each disturbance.

use crate::harness::disturbance::YEAR;

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

impl Own {
    pub(crate) const ALL: [Self; 4] =
        [Self::JwksDeleted, Self::JwksEdited, Self::LedgerDeleted, Self::KeyPairDeleted];
}

impl Disturbance {
    /// Whether more or fewer keys are right than without it: a user undid what the operator had
    /// done, or so much time passed that the next key is due. A first key is dated by the clock that
    /// is behind, so that it signs at once: a year behind, the next one is due when that is mended. Where
    /// every clock is set, another key than before may be the one that has begun.
    pub(crate) fn adds(self) -> bool {
        let undoes =
            matches!(self, Self::Restore | Self::Own(Own::LedgerDeleted | Own::KeyPairDeleted));
        let leaps = matches!(self, Self::BothClocks(_));
        undoes || leaps || self == Self::LocalClock(-YEAR)
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
