//! What happens to this kind alone, and what follows from each disturbance.

use crate::harness::disturbance::YEAR;

pub(crate) use crate::harness::disturbance::Disturbance;

/// What happens to the objects of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// A user deletes the delivered Secret.
    SecretDeleted,
}

impl Own {
    pub(crate) const ALL: [Self; 1] = [Self::SecretDeleted];
}

impl Disturbance {
    /// Whether ends that are set meanwhile lie a year ahead: they are counted from the later clock.
    pub(crate) fn prolongs(self) -> bool {
        self == Self::LocalClock(YEAR)
    }

    /// Whether a user undid what the operator had done, so that more secrets are right.
    pub(crate) fn undoes(self) -> bool {
        matches!(self, Self::Restore | Self::Own(Own::SecretDeleted))
    }

    /// Whether wrong operators are tried with it.
    pub(crate) fn is_telling(self) -> bool {
        matches!(self, Self::SecondReplica | Self::Own(Own::SecretDeleted))
    }
}
