//! What goes wrong in a run, and where. Its text is enough to run it again.

use std::fmt;
use std::str::FromStr;

use support::faults::Fault;

use crate::harness::disturbance::Disturbance;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// With one request.
    Fault(Fault),
    /// With the world, right before a request.
    Disturbance(Disturbance),
}

impl Trouble {
    /// Every single trouble.
    pub(crate) fn all() -> Vec<Self> {
        let faults = Fault::ALL.into_iter().chain([LATEST]).map(Self::Fault);
        faults.chain(Disturbance::all().map(Self::Disturbance)).collect()
    }

    /// The one that prints as that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|condition| condition.to_string() == name)
    }
}

impl Trouble {
    /// Whether it goes another way than every other one, with a request that reads or that writes.
    pub(crate) fn is_own(self, reads: bool) -> bool {
        match self {
            Self::Fault(fault) => fault.like(reads).is_none(),
            Self::Disturbance(_) => true,
        }
    }

    /// Whether wrong operators are tried with it: those that survive calm fall over these.
    pub(crate) fn is_telling(self) -> bool {
        match self {
            Self::Fault(fault) => {
                fault == LATEST || fault == Fault::DieAfter || fault == Fault::Late { after: 4 }
            }
            Self::Disturbance(it) => it.is_telling(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(formatter, "{fault}"),
            Self::Disturbance(disturbance) => write!(formatter, "{disturbance:?}"),
        }
    }
}

/// A flow, and what goes wrong in it at which requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) flow: String,
    pub(crate) conditions: Vec<(usize, Trouble)>,
}

impl Case {
    /// What happens to the world in it.
    pub(crate) fn disturbances(&self) -> impl Iterator<Item = Disturbance> {
        self.conditions.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::Fault(_) => None,
            Trouble::Disturbance(disturbance) => Some(*disturbance),
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.flow)?;
        for (index, condition) in &self.conditions {
            write!(formatter, "/{index}:{condition}")?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let flow = parts.next().unwrap_or_default().to_owned();
        let conditions = parts.map(|part| {
            let (index, name) = part.split_once(':')?;
            Some((index.parse().ok()?, Trouble::named(name)?))
        });
        let conditions = conditions.collect::<Option<_>>();
        Ok(Self { flow, conditions: conditions.ok_or_else(|| format!("{text} is no case"))? })
    }
}

/// A request that arrives when everything is long over.
const LATEST: Fault = Fault::Late { after: 1_000_000 };
