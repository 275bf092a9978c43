//! A state of the model, and which states are the same.
//!
//! Times count from now, kids are renamed to their rank, replicas are put in order, and of a version
//! only matters whether it is still current: that keeps an endless history finite.

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

/// A write in flight. Without a sender it is late: nobody waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) sender: Option<u8>,
    pub(crate) request: Request,
}

/// How much may still go wrong, and how much users may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) losses: u8,
    pub(crate) acts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) in_flight: Vec<Message>,
    pub(crate) views: Views,
    pub(crate) history: History,
    pub(crate) left: Budget,
}

impl<T> Sight<T> {
    /// An object just read. What is absent has no version.
    pub(crate) fn of(seen: Option<T>) -> Self {
        let is_current = seen.is_some();
        Self { seen, is_current }
    }
}

impl Replica {
    pub(crate) fn idle() -> Self {
        let doing = Doing::Reading(0);
        Self { doing, requests: None, maps: [None, None], ledger: None, pairs: None }
    }

    pub(crate) fn waiting() -> Self {
        Self { doing: Doing::Waiting, ..Self::idle() }
    }
}

impl State {
    pub(crate) fn new(replicas: usize, left: Budget) -> Self {
        Self {
            cluster: Cluster::default(),
            replicas: vec![Replica::idle(); replicas],
            in_flight: Vec::new(),
            views: Views::default(),
            history: History::default(),
            left,
        }
    }

    /// An hour passes.
    pub(crate) fn tick(&mut self, horizon: Time) {
        self.ledgers(&mut |ledger| ledger.shift(TICK, horizon));
        self.history.tick(horizon);
        self.views.grow_older();
    }

    pub(crate) fn canonical(mut self, horizon: Time) -> Self {
        self.ledgers(&mut |ledger| ledger.shift(0, horizon));
        // What users did to a key matters only while the key does.
        let marks = std::mem::take(&mut self.history.marks);
        let mut present = Kids::default();
        self.kids(&mut |kid| present.insert(*kid));
        self.sets(&mut |set| present = present.union(*set));
        self.history.marks = marks.intersection(present);
        if !present.is_contiguous() {
            self.kids(&mut |kid| *kid = present.rank(*kid));
            self.sets(&mut |set| *set = set.iter().map(|kid| present.rank(kid)).collect());
        }
        self.views.order();
        self.history.order();
        self.order();
        self
    }

    /// Every kid that is anywhere.
    pub(crate) fn present(&self) -> Kids {
        let mut present = Kids::default();
        let mut copy = self.clone();
        copy.kids(&mut |kid| present.insert(*kid));
        copy.sets(&mut |set| present = present.union(*set));
        present
    }

    /// Replicas are alike, and so are messages: only what they are tells them apart.
    fn order(&mut self) {
        self.in_flight.sort_unstable();
        if let [first, second] = self.replicas.as_slice() {
            let sent = |index| {
                let sent = self.in_flight.iter().filter(move |it| it.sender == Some(index));
                sent.map(|message| &message.request)
            };
            if first.cmp(second).then_with(|| sent(0).cmp(sent(1))).is_gt() {
                self.replicas.swap(0, 1);
                for message in &mut self.in_flight {
                    message.sender = message.sender.map(|sender| 1 - sender);
                }
                self.in_flight.sort_unstable();
            }
        }
    }

    /// Every ledger, wherever it is stored, held, seen or under way.
    fn ledgers(&mut self, visitor: &mut impl FnMut(&mut Ledger)) {
        self.cluster.ledger.iter_mut().for_each(&mut *visitor);
        let held = self.replicas.iter_mut().filter_map(|it| it.ledger.as_mut()?.seen.as_mut());
        held.for_each(&mut *visitor);
        for message in &mut self.in_flight {
            if let Request::CreateLedger(ledger) | Request::PutLedger(ledger, _) =
                &mut message.request
            {
                visitor(ledger);
            }
        }
        self.views.ledgers.iter_mut().for_each(|view| visitor(&mut view.seen));
    }

    fn kids(&mut self, visitor: &mut impl FnMut(&mut Kid)) {
        self.ledgers(&mut |ledger| {
            ledger.entries.iter_mut().for_each(|entry| visitor(&mut entry.kid));
        });
        visitor(&mut self.cluster.requests.revoke);
        self.cluster.pairs.iter_mut().for_each(&mut *visitor);
        for replica in &mut self.replicas {
            replica.requests.iter_mut().for_each(|it| visitor(&mut it.revoke));
            replica.pairs.iter_mut().flatten().for_each(&mut *visitor);
        }
        for message in &mut self.in_flight {
            if let Request::CreatePair(_, kid) | Request::DeletePair(_, kid) = &mut message.request
            {
                visitor(kid);
            }
        }
        self.history.tokens.iter_mut().for_each(|(kid, _)| visitor(kid));
        self.history.published.iter_mut().for_each(|(kid, _)| visitor(kid));
    }

    fn sets(&mut self, visitor: &mut impl FnMut(&mut Kids)) {
        self.ledgers(&mut |ledger| visitor(&mut ledger.revoked));
        self.ledgers(&mut |ledger| visitor(&mut ledger.vanished));
        self.cluster.maps.iter_mut().flatten().for_each(|map| visitor(&mut map.kids));
        for replica in &mut self.replicas {
            let held = replica.maps.iter_mut().flatten();
            held.filter_map(|sight| sight.seen.as_mut()).for_each(|map| visitor(&mut map.kids));
        }
        for message in &mut self.in_flight {
            if let Request::CreateMap(_, kids) | Request::PutMap(_, kids) = &mut message.request {
                visitor(kids);
            }
        }
        self.views.maps.iter_mut().for_each(|view| visitor(&mut view.seen));
        self.views.pairs.iter_mut().for_each(|view| visitor(&mut view.seen));
        self.history.marks.sets(visitor);
    }
}
