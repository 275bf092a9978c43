//! What happens to the world of a run, right before a request.

use jiff::SignedDuration;

/// What happens to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// A second replica believes that it leads, too.
    SecondReplica,
    /// What the watches tell stands still for five minutes.
    FrozenWatches,
    /// Every watch ends.
    ClosedWatches,
    /// The history is forgotten, so that watches have to list again.
    Compaction,
    /// The clock of the operator's machine is set.
    LocalClock(SignedDuration),
    /// That clock and that of the API server are set alike.
    BothClocks(SignedDuration),
    /// The operator dies, the cluster is restored from a backup, the operator comes back.
    Restore,
    /// The operator dies and comes back a month later.
    MonthOff,
    /// Somebody removes the status.
    StatusWiped,
    /// The API server is away for five minutes.
    Away,
    /// Somebody deletes the delivered Secret.
    SecretDeleted,
}

impl Disturbance {
    pub(crate) const ALL: [Self; 18] = [
        Self::SecondReplica,
        Self::FrozenWatches,
        Self::ClosedWatches,
        Self::Compaction,
        Self::LocalClock(HOUR),
        Self::LocalClock(HOUR_BACK),
        Self::LocalClock(YEAR),
        Self::LocalClock(YEAR_BACK),
        Self::BothClocks(HOUR),
        Self::BothClocks(HOUR_BACK),
        Self::BothClocks(YEAR),
        Self::BothClocks(YEAR_BACK),
        Self::Restore,
        Self::MonthOff,
        Self::StatusWiped,
        Self::Away,
        Self::SecretDeleted,
        Self::LocalClock(SECONDS),
    ];

    /// Whether the operator dies of it.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Restore | Self::MonthOff)
    }

    /// Whether ends that are set meanwhile lie a year ahead: they are counted from the later clock.
    pub(crate) fn prolongs(self) -> bool {
        self == Self::LocalClock(YEAR)
    }

    /// Whether somebody undid what the operator had done, so that more secrets are right.
    pub(crate) fn undoes(self) -> bool {
        matches!(self, Self::Restore | Self::SecretDeleted)
    }

    /// Whether wrong operators are tried with it.
    pub(crate) fn is_telling(self) -> bool {
        matches!(self, Self::SecondReplica | Self::SecretDeleted)
    }
}

const SECONDS: SignedDuration = SignedDuration::from_secs(4);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const HOUR_BACK: SignedDuration = SignedDuration::from_hours(-1);
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const YEAR_BACK: SignedDuration = SignedDuration::from_hours(-8760);
