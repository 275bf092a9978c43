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
    /// Every clock is set alike, those of the token servers and verifiers too.
    BothClocks(SignedDuration),
    /// The operator dies, the cluster is restored from a backup, the operator comes back.
    Restore,
    /// The operator dies and comes back a month later.
    MonthOff,
    /// Somebody removes the status.
    StatusWiped,
    /// The API server is away for five minutes.
    Away,
    /// Somebody deletes the JWKS that the token service serves.
    JwksDeleted,
    /// Somebody edits the JWKS of another namespace.
    JwksEdited,
    /// Somebody deletes the ledger.
    LedgerDeleted,
    /// Somebody deletes the newest key pair.
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
        Self::JwksDeleted,
        Self::JwksEdited,
        Self::LedgerDeleted,
        Self::KeyPairDeleted,
    ];

    /// Whether the operator dies of it.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Restore | Self::MonthOff)
    }

    /// Whether more or fewer keys are right than without it: somebody undid what the operator had
    /// done, or so much time passed that the next key is due. A first key is dated by the clock that
    /// is behind, so that it signs at once: a year behind, the next one is due when that is mended. Where
    /// every clock is set, another key than before may be the one that has begun.
    pub(crate) fn adds(self) -> bool {
        let undoes = matches!(self, Self::Restore | Self::LedgerDeleted | Self::KeyPairDeleted);
        let leaps = matches!(self, Self::BothClocks(_));
        undoes || leaps || self == Self::LocalClock(YEAR_BACK)
    }

    /// Whether it sets a clock far enough for a key to be due early or late.
    pub(crate) fn sets_clocks(self) -> bool {
        matches!(self, Self::LocalClock(_) | Self::BothClocks(_) | Self::MonthOff)
    }

    /// Whether wrong operators are tried with it.
    pub(crate) fn is_telling(self) -> bool {
        matches!(self, Self::SecondReplica | Self::JwksEdited | Self::JwksDeleted)
    }
}

const SECONDS: SignedDuration = SignedDuration::from_secs(4);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const HOUR_BACK: SignedDuration = SignedDuration::from_hours(-1);
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const YEAR_BACK: SignedDuration = SignedDuration::from_hours(-8760);
