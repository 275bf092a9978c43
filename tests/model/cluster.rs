//! The cluster as the model sees it, and the API server that answers.
//!
//! Everything is a small number, so that states can be compared: a version, an id or a uid has no
//! meaning but whether it equals another. What the invariants need to know of the past is kept in
//! [`History`].

/// A resourceVersion; [`ANY`] makes a write unconditional, which only wrong variants do.
pub(crate) type Version = u8;
/// No version, no credential.
pub(crate) const ANY: u8 = 0;
/// The owner of a Secret that is no `TechnicalUser`.
pub(crate) const FOREIGN: u8 = 255;
/// How many users of the same name may follow each other.
pub(crate) const USERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    Retained,
    Lenient,
    OneTime,
}

/// The `TechnicalUser`. Request tokens are 0 for none, then 1, 2, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct User {
    pub(crate) uid: u8,
    pub(crate) rotate: u8,
    pub(crate) revoke: u8,
    pub(crate) is_suspended: bool,
    pub(crate) mode: Mode,
}

/// The delivered Secret; `id` is [`ANY`] while it is a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Secret {
    pub(crate) version: Version,
    pub(crate) owner: u8,
    pub(crate) id: u8,
    pub(crate) is_altered: bool,
    pub(crate) has_drifted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    /// To be revealed at that version; at [`ANY`], by the creation of the Secret.
    Pending(Version),
    Current,
    Old,
    /// Old, and past its end.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) id: u8,
    pub(crate) life: Life,
    pub(crate) serial: u8,
    /// Whether it was issued so long ago that a period or a one-time delivery is over.
    pub(crate) is_aged: bool,
}

/// The verifier record. Answered tokens are sets of bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) owner: u8,
    pub(crate) serial: u8,
    pub(crate) rotated: u8,
    pub(crate) revoked: u8,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cluster {
    pub(crate) user: Option<User>,
    pub(crate) secret: Option<Secret>,
    /// By client id: one for each user when derived, the first for all when chosen.
    pub(crate) records: [Option<Record>; USERS],
}

/// Why a record is replaced: revocation alone may end what was revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Why {
    Register,
    Promote,
    Revoke,
    Tidy,
}

/// A write on its way to the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    CreateRecord {
        slot: u8,
        owner: u8,
    },
    /// `record.version` is the version that must be stored.
    PutRecord {
        slot: u8,
        record: Record,
        why: Why,
    },
    DeleteRecord {
        slot: u8,
        version: Version,
    },
    CreateSecret {
        owner: u8,
        id: u8,
        serial: u8,
    },
    Fence {
        version: Version,
        owner: u8,
    },
    Reveal {
        version: Version,
        owner: u8,
        id: u8,
        serial: u8,
    },
    Refresh {
        version: Version,
        owner: u8,
    },
    Withdraw {
        version: Version,
        owner: u8,
        id: u8,
    },
    /// What a predecessor left.
    Collect {
        version: Version,
    },
}

/// What the invariants need to know of the past.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that must never happen")]
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct History {
    /// Bits: the credentials that stood in the Secret at some time.
    pub(crate) revealed: u64,
    /// Bits: the credentials that were in a record when it was revoked.
    pub(crate) revoked: u64,
    /// Bits: the credentials that stand in a Secret by its creation and were never current.
    pub(crate) created: u64,
    /// The highest serial of which a client secret was revealed, for each user.
    pub(crate) serials: [u8; USERS],
    pub(crate) ended_early: bool,
    pub(crate) wrote_foreign: bool,
    pub(crate) serial_twice: bool,
    pub(crate) withdrew_unseen: bool,
}

/// The API server: the objects, and the next version and id to hand out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) last_version: Version,
    pub(crate) last_id: u8,
    pub(crate) history: History,
}

impl Server {
    /// A cluster with one user and nothing else.
    pub(crate) fn with(mode: Mode) -> Self {
        let user = User { uid: 0, rotate: 0, revoke: 0, is_suspended: false, mode };
        Self {
            cluster: Cluster { user: Some(user), secret: None, records: [None, None] },
            last_version: 0,
            last_id: 0,
            history: History::default(),
        }
    }

    pub(crate) fn next_version(&mut self) -> Version {
        self.last_version += 1;
        self.last_version
    }

    pub(crate) fn lives(&self, uid: u8) -> bool {
        self.cluster.user.is_some_and(|user| user.uid == uid)
    }

    /// A record whose user is gone.
    pub(crate) fn orphan(&self) -> Option<usize> {
        let mut records = self.cluster.records.iter();
        records.position(|it| it.as_ref().is_some_and(|it| !self.lives(it.owner)))
    }

    /// Answers a write: the new version, or nothing when it is refused.
    pub(crate) fn answer(&mut self, request: &Request) -> Option<Version> {
        match request {
            Request::CreateRecord { slot, owner } => self.create_record(*slot, *owner),
            Request::PutRecord { slot, record, why } => self.put_record(*slot, record, *why),
            Request::DeleteRecord { slot, version } => self.delete_record(*slot, *version),
            Request::CreateSecret { owner, id, serial } => self.create_secret(*owner, *id, *serial),
            Request::Fence { version, owner } => {
                self.secret_at(*version, *owner)?;
                self.touch(|_| ())
            }
            Request::Refresh { version, owner } => {
                self.secret_at(*version, *owner)?;
                self.touch(|secret| secret.has_drifted = false)
            }
            Request::Reveal { version, owner, id, serial } => {
                self.secret_at(*version, *owner)?;
                self.reveal(*owner, *id, *serial);
                self.touch(|secret| {
                    secret.id = *id;
                    secret.is_altered = false;
                })
            }
            Request::Withdraw { version, owner, id } => {
                let secret = self.secret_at(*version, *owner)?;
                self.history.withdrew_unseen |= secret.id != *id;
                self.cluster.secret = None;
                Some(self.next_version())
            }
            Request::Collect { version } => {
                let owner = self.cluster.secret?.owner;
                self.secret_at(*version, owner)?;
                self.history.wrote_foreign |= owner == FOREIGN || self.lives(owner);
                self.cluster.secret = None;
                Some(self.next_version())
            }
        }
    }

    fn create_record(&mut self, slot: u8, owner: u8) -> Option<Version> {
        let slot = usize::from(slot);
        if self.cluster.records[slot].is_some() {
            return None;
        }
        let version = self.next_version();
        self.cluster.records[slot] =
            Some(Record { version, owner, serial: 0, rotated: 0, revoked: 0, entries: Vec::new() });
        Some(version)
    }

    fn put_record(&mut self, slot: u8, put: &Record, why: Why) -> Option<Version> {
        let stored = self.cluster.records[usize::from(slot)].as_ref()?;
        if put.version != ANY && put.version != stored.version {
            return None;
        }
        for entry in &stored.entries {
            if why == Why::Revoke {
                self.history.revoked |= bit(entry.id);
            } else {
                let is_kept = put.entries.iter().any(|kept| kept.id == entry.id);
                let was_seen = self.history.revealed & bit(entry.id) != 0;
                self.history.ended_early |= was_seen && !is_kept && entry.life != Life::Ended;
            }
        }
        for entry in put.entries.iter().filter(|entry| entry.life == Life::Current) {
            self.history.created &= !bit(entry.id);
        }
        let version = self.next_version();
        let mut record = Record { version, ..put.clone() };
        record.entries.sort_unstable();
        self.cluster.records[usize::from(slot)] = Some(record);
        Some(version)
    }

    fn delete_record(&mut self, slot: u8, version: Version) -> Option<Version> {
        let stored = self.cluster.records[usize::from(slot)].as_ref()?;
        if version != ANY && stored.version != version {
            return None;
        }
        let lives = self.lives(stored.owner);
        let was_seen = |entry: &Entry| self.history.revealed & bit(entry.id) != 0;
        self.history.ended_early |= lives && stored.entries.iter().any(was_seen);
        self.cluster.records[usize::from(slot)] = None;
        Some(self.next_version())
    }

    fn create_secret(&mut self, owner: u8, id: u8, serial: u8) -> Option<Version> {
        if self.cluster.secret.is_some() {
            return None;
        }
        let version = self.next_version();
        self.cluster.secret =
            Some(Secret { version, owner, id, is_altered: false, has_drifted: false });
        self.reveal(owner, id, serial);
        self.history.created |= bit(id) & !bit(ANY);
        Some(version)
    }

    fn reveal(&mut self, owner: u8, id: u8, serial: u8) {
        let seen = &mut self.history.serials[usize::from(owner)];
        if id != ANY && self.history.revealed & bit(id) == 0 {
            self.history.serial_twice |= serial <= *seen;
            *seen = serial.max(*seen);
            self.history.revealed |= bit(id);
        }
    }

    fn secret_at(&mut self, version: Version, owner: u8) -> Option<Secret> {
        let secret = self.cluster.secret?;
        if version != ANY && secret.version != version {
            return None;
        }
        self.history.wrote_foreign |= secret.owner != owner;
        Some(secret)
    }

    /// Changes the Secret, which gives it a new version.
    pub(crate) fn touch(&mut self, change: impl FnOnce(&mut Secret)) -> Option<Version> {
        let version = self.next_version();
        let secret = self.cluster.secret.as_mut()?;
        change(secret);
        secret.version = version;
        Some(version)
    }
}

/// The place of a credential in a set of bits.
pub(crate) fn bit(id: u8) -> u64 {
    1 << id
}
