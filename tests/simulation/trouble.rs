//! What goes wrong in a run, and where. Its text is enough to run it again.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use support::faults::Fault;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// With one request.
    Fault(Fault),
    /// With the world, right before a request.
    Disturbance(Disturbance),
}

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
}

impl Trouble {
    /// Every single trouble.
    pub(crate) fn all() -> Vec<Self> {
        let faults = Fault::ALL.into_iter().chain([LATEST]).map(Self::Fault);
        faults.chain(Disturbance::ALL.map(Self::Disturbance)).collect()
    }
}

impl Trouble {
    /// Whether wrong operators are tried with it: those that survive calm fall over these.
    pub(crate) fn is_telling(self) -> bool {
        match self {
            Self::Fault(fault) => {
                fault == LATEST || fault == Fault::DieAfter || fault == Fault::Late { after: 4 }
            }
            Self::Disturbance(it) => {
                matches!(it, Disturbance::SecondReplica | Disturbance::SecretDeleted)
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(formatter, "{fault}"),
            Self::Disturbance(Disturbance::LocalClock(by)) => {
                write!(formatter, "local-clock{:+}s", by.as_secs())
            }
            Self::Disturbance(Disturbance::BothClocks(by)) => {
                write!(formatter, "both-clocks{:+}s", by.as_secs())
            }
            Self::Disturbance(disturbance) => write!(formatter, "{disturbance:?}"),
        }
    }
}

/// A flow, and what goes wrong in it at which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) flow: String,
    pub(crate) troubles: Vec<(usize, Trouble)>,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.flow)?;
        for (index, trouble) in &self.troubles {
            write!(formatter, "/{index}:{trouble}")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let flow = parts.next().unwrap_or_default().to_owned();
        let troubles = parts.map(|part| {
            let (index, name) = part.split_once(':')?;
            let all = Trouble::all().into_iter();
            let trouble = all.into_iter().find(|trouble| trouble.to_string() == name)?;
            Some((index.parse().ok()?, trouble))
        });
        let troubles = troubles.collect::<Option<_>>();
        Ok(Self { flow, troubles: troubles.ok_or_else(|| format!("{text} is no case"))? })
    }
}

/// A request that arrives when everything is long over.
const LATEST: Fault = Fault::Late { after: 1_000_000 };

const SECONDS: SignedDuration = SignedDuration::from_secs(4);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const HOUR_BACK: SignedDuration = SignedDuration::from_hours(-1);
const YEAR: SignedDuration = SignedDuration::from_hours(8760);
const YEAR_BACK: SignedDuration = SignedDuration::from_hours(-8760);
