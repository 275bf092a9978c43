//! A state of the model, and which states are the same.
//!
//! Times count from now, kids are renamed to their rank, replicas are put in order, and of a version
//! only matters whether it is still current: that keeps an endless history finite.

use harness::model;

use crate::cluster::{Cluster, Ledger, Map, Pairs, Request, Requests, TICK, Time};
use crate::kids::{Kid, Kids};
use crate::servers::{History, Views};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Doing {
    /// So many objects were read.
    Reading(u8),
    /// Its writes are under way.
    Waiting,
}

/// What was read of one object, and whether that is still its current version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sight<T> {
    pub(crate) seen: Option<T>,
    pub(crate) is_current: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Replica {
    pub(crate) doing: Doing,
    pub(crate) requests: Option<Requests>,
    pub(crate) maps: [Option<Sight<Map>>; 2],
    pub(crate) ledger: Option<Sight<Ledger>>,
    pub(crate) pairs: Option<Pairs>,
}

/// What is stored, what servers may see of it, and what must be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) views: Views,
    pub(crate) history: History,
}

pub(crate) type State = model::State<World, Replica, Request>;

impl<T> Sight<T> {
    /// An object just read. What is absent has no version.
    pub(crate) fn of(seen: Option<T>) -> Self {
        let is_current = seen.is_some();
        Self { seen, is_current }
    }
}

impl model::Replica for Replica {
    fn idle() -> Self {
        let doing = Doing::Reading(0);
        Self { doing, requests: None, maps: [None, None], ledger: None, pairs: None }
    }

    fn waiting() -> Self {
        Self { doing: Doing::Waiting, ..Self::idle() }
    }
}

/// An hour passes.
pub(crate) fn tick(state: &mut State, horizon: Time) {
    visit_ledgers(state, &mut |ledger| ledger.shift(TICK, horizon));
    state.world.history.tick(horizon);
    state.world.views.grow_older();
}

pub(crate) fn canonical(mut state: State, horizon: Time) -> State {
    visit_ledgers(&mut state, &mut |ledger| ledger.shift(0, horizon));
    // What users did to a key matters only while the key does.
    let marks = std::mem::take(&mut state.world.history.marks);
    let present = collect(&mut state);
    state.world.history.marks = marks.intersection(present);
    if !present.is_contiguous() {
        visit_kids(&mut state, &mut |kid| *kid = present.rank(*kid));
        visit_sets(&mut state, &mut |set| {
            *set = set.iter().map(|kid| present.rank(kid)).collect();
        });
    }
    state.world.views.order();
    state.world.history.order();
    state.order();
    state
}

/// Every kid that is anywhere.
pub(crate) fn present(state: &State) -> Kids {
    collect(&mut state.clone())
}

fn collect(state: &mut State) -> Kids {
    let mut present = Kids::default();
    visit_kids(state, &mut |kid| present.insert(*kid));
    visit_sets(state, &mut |set| present = present.union(*set));
    present
}

/// Every ledger, in every place where it is stored, held, seen or under way.
fn visit_ledgers(state: &mut State, visitor: &mut impl FnMut(&mut Ledger)) {
    state.world.cluster.ledger.iter_mut().for_each(&mut *visitor);
    let held = state.replicas.iter_mut().filter_map(|it| it.ledger.as_mut()?.seen.as_mut());
    held.for_each(&mut *visitor);
    for message in &mut state.in_flight {
        if let Request::CreateLedger(ledger) | Request::PutLedger(ledger, _) = &mut message.request
        {
            visitor(ledger);
        }
    }
    state.world.views.ledgers.iter_mut().for_each(|view| visitor(&mut view.seen));
}

fn visit_kids(state: &mut State, visitor: &mut impl FnMut(&mut Kid)) {
    visit_ledgers(state, &mut |ledger| {
        ledger.entries.iter_mut().for_each(|entry| visitor(&mut entry.kid));
    });
    visitor(&mut state.world.cluster.requests.revoke);
    state.world.cluster.pairs.iter_mut().for_each(&mut *visitor);
    for replica in &mut state.replicas {
        replica.requests.iter_mut().for_each(|it| visitor(&mut it.revoke));
        replica.pairs.iter_mut().flatten().for_each(&mut *visitor);
    }
    for message in &mut state.in_flight {
        if let Request::CreatePair(_, kid) | Request::DeletePair(_, kid) = &mut message.request {
            visitor(kid);
        }
    }
    state.world.history.tokens.iter_mut().for_each(|(kid, _)| visitor(kid));
    state.world.history.published.iter_mut().for_each(|(kid, _)| visitor(kid));
}

fn visit_sets(state: &mut State, visitor: &mut impl FnMut(&mut Kids)) {
    visit_ledgers(state, &mut |ledger| {
        visitor(&mut ledger.revoked);
        visitor(&mut ledger.vanished);
    });
    state.world.cluster.maps.iter_mut().flatten().for_each(|map| visitor(&mut map.kids));
    for replica in &mut state.replicas {
        let held = replica.maps.iter_mut().flatten();
        held.filter_map(|sight| sight.seen.as_mut()).for_each(|map| visitor(&mut map.kids));
    }
    for message in &mut state.in_flight {
        if let Request::CreateMap(_, kids) | Request::PutMap(_, kids) = &mut message.request {
            visitor(kids);
        }
    }
    state.world.views.maps.iter_mut().for_each(|view| visitor(&mut view.seen));
    state.world.views.pairs.iter_mut().for_each(|view| visitor(&mut view.seen));
    state.world.history.marks.sets(visitor);
}
