//! What the API server holds, in small numbers.

use crate::kids::{Kid, Kids, NOBODY};

/// An instant, or a span, in steps of 5 seconds; now is 0.
pub(crate) type Time = i16;

/// One tick of the model: an hour. The constants of the operator, 10 minutes and 5 seconds, are
/// shorter than it and still distinguished.
pub(crate) const TICK: Time = 720;

/// As many indices as a series can come to, the last two for healing alone.
pub(crate) const INDICES: usize = 6;

/// Where the JWKS of the series can be: at home, and in one more namespace.
pub(crate) const HOME: usize = 0;

/// What users ask for on the `SigningKey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Requests {
    /// The number of the request to rotate.
    pub(crate) rotate: u8,
    /// The kid that is to be revoked.
    pub(crate) revoke: Kid,
    /// The number of the request to revoke every key.
    pub(crate) revoke_all: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    Live,
    Drained,
    Revoked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) index: u8,
    pub(crate) kid: Kid,
    pub(crate) activate_at: Time,
    pub(crate) until: Option<Time>,
    pub(crate) end_seen_at: Option<Time>,
    pub(crate) life: Life,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    /// The requests to rotate that were answered, as bits.
    pub(crate) rotated: u8,
    /// The kids whose revocation was answered.
    pub(crate) revoked: Kids,
    /// The request to revoke every key that was handled last.
    pub(crate) revoked_all: u8,
    /// The kids that leave the JWKS without having had their time.
    pub(crate) vanished: Kids,
    /// The next key has no lower index.
    pub(crate) next_from: u8,
}

/// A JWKS as it is stored in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Map {
    pub(crate) kids: Kids,
    /// Whether it is as the operator wrote it.
    pub(crate) is_exact: bool,
}

/// The key pair of each index, by its kid. Their Secrets are immutable, so that the kid tells the
/// version as well.
pub(crate) type Pairs = [Kid; INDICES];

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cluster {
    pub(crate) requests: Requests,
    pub(crate) maps: [Option<Map>; 2],
    pub(crate) ledger: Option<Ledger>,
    pub(crate) pairs: Pairs,
}

/// A write on its way. One that carries a version lives only as long as that version is current:
/// then it becomes [`Request::Outdated`], which is refused whenever it arrives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    Outdated,
    CreateLedger(Ledger),
    PutLedger(Ledger, Why),
    CreatePair(usize, Kid),
    DeletePair(usize, Kid),
    CreateMap(usize, Kids),
    PutMap(usize, Kids),
}

/// Why a ledger is replaced, where that decides what must hold afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Why {
    Schedule,
    Recover,
    Other,
}

impl Ledger {
    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.life == Life::Live)
    }

    pub(crate) fn entry(&self, index: u8) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index == index)
    }

    /// What servers make of it.
    pub(crate) fn as_served(&self) -> Self {
        let live = self.live().map(|entry| Entry { end_seen_at: None, ..*entry });
        Self {
            entries: live.collect(),
            rotated: 0,
            revoked: Kids::default(),
            revoked_all: 0,
            vanished: Kids::default(),
            next_from: 0,
        }
    }

    /// The same an instant later. What is long past is past, and who is gone has no times.
    pub(crate) fn shift(&mut self, by: Time, horizon: Time) {
        for entry in &mut self.entries {
            if entry.life != Life::Live {
                (entry.activate_at, entry.until, entry.end_seen_at) = (-horizon, None, None);
                continue;
            }
            let ends = [&mut entry.until, &mut entry.end_seen_at].into_iter().flatten();
            for time in ends.chain([&mut entry.activate_at]) {
                *time = (*time - by).max(-horizon);
            }
        }
    }
}

impl Cluster {
    /// The key pairs that exist.
    pub(crate) fn private(&self) -> Kids {
        self.pairs.iter().copied().filter(|kid| *kid != NOBODY).collect()
    }

    pub(crate) fn published(&self, namespace: usize) -> Kids {
        self.maps[namespace].map(|map| map.kids).unwrap_or_default()
    }
}
