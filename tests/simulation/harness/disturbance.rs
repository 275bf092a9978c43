//! What happens to the cluster of a run, right before a request.

use std::fmt;

use jiff::SignedDuration;

use crate::disturbance::Own;

/// What happens to the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// A second replica believes that it leads, too.
    SecondReplica,
    /// The watches stand still for five minutes.
    FrozenWatches,
    /// Every watch ends.
    ClosedWatches,
    /// The history is forgotten, so that watches have to list again.
    Compaction,
    /// The clock of the operator's machine is set.
    LocalClock(SignedDuration),
    /// Every clock is set alike: that of the operator's machine, of the API server, of token servers and verifiers.
    BothClocks(SignedDuration),
    /// The operator dies, the cluster is restored from a backup, the operator comes back.
    Restore,
    /// The operator dies and comes back a month later.
    MonthOff,
    /// A user removes the status.
    StatusWiped,
    /// The API server is away for five minutes.
    Away,
    /// One of those that only this kind has.
    Own(Own),
}

impl Disturbance {
    /// What happens to every kind, and then to this one.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let common = [
            Self::SecondReplica,
            Self::FrozenWatches,
            Self::ClosedWatches,
            Self::Compaction,
            Self::LocalClock(HOUR),
            Self::LocalClock(-HOUR),
            Self::LocalClock(YEAR),
            Self::LocalClock(-YEAR),
            Self::LocalClock(SECONDS),
            Self::BothClocks(HOUR),
            Self::BothClocks(-HOUR),
            Self::BothClocks(YEAR),
            Self::BothClocks(-YEAR),
            Self::Restore,
            Self::MonthOff,
            Self::StatusWiped,
            Self::Away,
        ];
        common.into_iter().chain(Own::ALL.map(Self::Own))
    }

    /// Whether the operator dies of it.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Restore | Self::MonthOff)
    }
}

impl fmt::Debug for Disturbance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondReplica => formatter.write_str("SecondReplica"),
            Self::FrozenWatches => formatter.write_str("FrozenWatches"),
            Self::ClosedWatches => formatter.write_str("ClosedWatches"),
            Self::Compaction => formatter.write_str("Compaction"),
            Self::LocalClock(by) => write!(formatter, "local-clock{:+}s", by.as_secs()),
            Self::BothClocks(by) => write!(formatter, "both-clocks{:+}s", by.as_secs()),
            Self::Restore => formatter.write_str("Restore"),
            Self::MonthOff => formatter.write_str("MonthOff"),
            Self::StatusWiped => formatter.write_str("StatusWiped"),
            Self::Away => formatter.write_str("Away"),
            Self::Own(own) => own.fmt(formatter),
        }
    }
}

const SECONDS: SignedDuration = SignedDuration::from_secs(4);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
pub(crate) const YEAR: SignedDuration = SignedDuration::from_hours(8760);
