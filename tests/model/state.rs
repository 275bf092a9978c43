//! A state of the model, and which states are the same.
//!
//! Versions and ids are renamed to their rank, and replicas are put in order: two states that differ
//! in nothing else are one. That keeps an endless history finite.

use harness::model;

use crate::adapter::Seen;
use crate::cluster::{ANY, Cluster, Life, Record, Request, Secret, Server, User, Version, bit};

/// What a replica of the operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Doing {
    /// Nothing: it holds no knowledge.
    Idle,
    /// It read the user and goes on to the next object.
    ReadUser,
    /// It read two objects; with the third it decides.
    ReadTwo,
    /// It read what a predecessor left, and makes sure that the user is still the same.
    ReadLeft,
    /// A wrong sweep, that looked for the user before the record.
    FoundNoUser,
    /// It sent a write.
    Waiting,
}

/// A Secret that was read before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Early {
    Unread,
    Read(Option<Secret>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Replica {
    pub(crate) doing: Doing,
    pub(crate) user: Option<User>,
    pub(crate) record: Option<Seen>,
    /// Read early by a wrong variant, or while [`Doing::ReadLeft`].
    pub(crate) secret: Early,
}

/// What the sender of a write sends next, once it was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Then {
    #[default]
    Nothing,
    /// The verifier is registered: reveal.
    Reveal { placeholder: Version, id: u8 },
    /// The verifier is registered: create the Secret with the client secret in it.
    Create { id: u8 },
    /// The client secret is revealed: its verifier becomes current.
    Promote { slot: u8, record: Record, id: u8 },
    /// A write that only a wrong variant sends.
    Send(Request),
}

/// What is stored, and where it can go back to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) snapshot: Option<Box<Cluster>>,
    pub(crate) next_uid: u8,
}

pub(crate) type State = model::State<World, Replica, Request, Then>;

pub(crate) type Message = model::Message<Request, Then>;

impl model::Replica for Replica {
    fn idle() -> Self {
        Self { doing: Doing::Idle, user: None, record: None, secret: Early::Unread }
    }

    fn waiting() -> Self {
        Self { doing: Doing::Waiting, ..Self::idle() }
    }
}

pub(crate) fn canonical(mut state: State) -> State {
    let (mut versions, mut ids) = (0, 0);
    visit(&mut state, &mut |kind, number| match kind {
        Kind::Version => versions |= 1 << *number,
        Kind::Id => ids |= 1 << *number,
    });
    visit(&mut state, &mut |kind, number| {
        *number = match kind {
            Kind::Version => rank(versions, *number),
            Kind::Id => rank(ids, *number),
        }
    });
    let server = &mut state.world.server;
    server.last_version = rank(versions, 63);
    server.last_id = rank(ids, 63);
    let history = &mut server.history;
    history.revealed = renamed(history.revealed, ids);
    history.revoked = renamed(history.revoked, ids);
    history.created = renamed(history.created, ids);
    for record in server.cluster.records.iter_mut().flatten() {
        record.entries.sort_unstable();
    }
    state.order();
    state
}

/// An overlap passes: everything with an end has reached it, also in what is held or under way.
pub(crate) fn end(state: &mut State) {
    for entry in records(state).flat_map(|record| &mut record.entries) {
        if entry.life == Life::Old {
            entry.life = Life::Ended;
        }
    }
}

/// Whether a creation is not over whose verifier has got its end: it is still under way, or it
/// arrived and no operator has looked since.
pub(crate) fn awaits_creation(state: &State) -> bool {
    let under_way = state.in_flight.iter().filter_map(|message| match message.request {
        Request::CreateSecret { id, .. } => Some(id),
        _ => None,
    });
    let server = &state.world.server;
    let secret = server.cluster.secret.map(|secret| secret.id);
    let arrived = secret.filter(|id| server.history.created & bit(*id) != 0);
    let ids: Vec<u8> = under_way.chain(arrived).filter(|id| *id != ANY).collect();
    if ids.is_empty() {
        return false;
    }
    let mut state = state.clone();
    let mut entries = records(&mut state).flat_map(|record| &record.entries);
    entries.any(|entry| entry.life == Life::Old && ids.contains(&entry.id))
}

/// Every record, in every place where it is stored, held or under way.
pub(crate) fn records(state: &mut State) -> impl Iterator<Item = &mut Record> {
    let stored = state.world.server.cluster.records.iter_mut().flatten();
    let held = state.replicas.iter_mut().filter_map(|replica| match &mut replica.record {
        Some(Seen::Held(record)) => Some(record),
        Some(Seen::Free | Seen::Taken { .. }) | None => None,
    });
    let sent = state.in_flight.iter_mut().flat_map(|message| {
        let requested = of_request(&mut message.request);
        let next = match &mut message.then {
            Then::Promote { record, .. } => Some(record),
            Then::Send(request) => of_request(request),
            Then::Nothing | Then::Reveal { .. } | Then::Create { .. } => None,
        };
        requested.into_iter().chain(next)
    });
    let snapshot = state.world.snapshot.iter_mut();
    let kept = snapshot.flat_map(|cluster| cluster.records.iter_mut().flatten());
    stored.chain(held).chain(sent).chain(kept)
}

fn visit(state: &mut State, visitor: &mut impl FnMut(Kind, &mut u8)) {
    for record in records(state) {
        visit_record(record, visitor);
    }
    if let Some(secret) = &mut state.world.server.cluster.secret {
        visit_secret(secret, visitor);
    }
    let snapshot = state.world.snapshot.as_mut();
    if let Some(secret) = snapshot.and_then(|snapshot| snapshot.secret.as_mut()) {
        visit_secret(secret, visitor);
    }
    for replica in &mut state.replicas {
        if let Some(Seen::Taken { version, .. }) = &mut replica.record {
            visitor(Kind::Version, version);
        }
        if let Early::Read(Some(secret)) = &mut replica.secret {
            visit_secret(secret, visitor);
        }
    }
    for message in &mut state.in_flight {
        visit_request(&mut message.request, visitor);
        match &mut message.then {
            Then::Nothing => {}
            Then::Reveal { placeholder, id } => {
                visitor(Kind::Version, placeholder);
                visitor(Kind::Id, id);
            }
            Then::Create { id } | Then::Promote { id, .. } => visitor(Kind::Id, id),
            Then::Send(request) => visit_request(request, visitor),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Version,
    Id,
}

fn of_request(request: &mut Request) -> Option<&mut Record> {
    match request {
        Request::PutRecord { record, .. } => Some(record),
        Request::CreateRecord { .. }
        | Request::DeleteRecord { .. }
        | Request::CreateSecret { .. }
        | Request::Fence { .. }
        | Request::Reveal { .. }
        | Request::Refresh { .. }
        | Request::Withdraw { .. }
        | Request::Collect { .. } => None,
    }
}

fn visit_record(record: &mut Record, visitor: &mut impl FnMut(Kind, &mut u8)) {
    visitor(Kind::Version, &mut record.version);
    for entry in &mut record.entries {
        visitor(Kind::Id, &mut entry.id);
        if let Life::Pending(version) = &mut entry.life {
            visitor(Kind::Version, version);
        }
    }
}

fn visit_secret(secret: &mut Secret, visitor: &mut impl FnMut(Kind, &mut u8)) {
    visitor(Kind::Version, &mut secret.version);
    visitor(Kind::Id, &mut secret.id);
}

fn visit_request(request: &mut Request, visitor: &mut impl FnMut(Kind, &mut u8)) {
    match request {
        // Its record is visited with the others.
        Request::CreateRecord { .. } | Request::PutRecord { .. } => {}
        Request::DeleteRecord { version, .. }
        | Request::Fence { version, .. }
        | Request::Refresh { version, .. }
        | Request::Collect { version } => visitor(Kind::Version, version),
        Request::CreateSecret { id, .. } => visitor(Kind::Id, id),
        Request::Reveal { version, id, .. } | Request::Withdraw { version, id, .. } => {
            visitor(Kind::Version, version);
            visitor(Kind::Id, id);
        }
    }
}

/// How many of `present` are not above `number`; [`ANY`] stays what it is.
fn rank(present: u64, number: u8) -> u8 {
    let below = present & !(1 << ANY) & (u64::MAX >> (63 - number));
    u8::try_from(below.count_ones()).unwrap()
}

fn renamed(set: u64, present: u64) -> u64 {
    (1..64)
        .filter(|number| set & present & (1 << number) != 0)
        .fold(0, |renamed, number| renamed | 1 << rank(present, number))
}
