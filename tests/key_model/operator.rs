//! One replica of the operator: how it looks, decides through the production code, and writes.

use harness::model::{Memory, Replica as _};

use crate::acts::Act;
use crate::adapter::{Adapter, Clock, Look, Outcome, Publishing};
use crate::cluster::{Cluster, HOME, Ledger, Life, Map, Request, Why};
use crate::kids::{Kid, Kids, MOST_KIDS, NOBODY};
use crate::protocol::Setting;
use crate::servers::Servers;
use crate::state::{self, Doing, Replica, Sight, State};
use crate::wrong::Wrong;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Requests,
    Map(usize),
    Ledger,
    Pairs,
}

/// The operator under test: the production decision, or a wrong variant of it.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) setting: Setting,
    pub(crate) adapter: Adapter,
    pub(crate) servers: Servers,
    /// In this order; with the last it decides.
    pub(crate) reads: Vec<Read>,
    wrong: Option<Wrong>,
    known: Memory<Look, Outcome>,
}

impl Operator {
    pub(crate) fn new(setting: Setting, wrong: Option<Wrong>) -> Self {
        let maps = (0..setting.targets).map(Read::Map);
        // Where users ask for nothing, no look at their requests is needed.
        let requests = [Act::RequestRotation, Act::Revoke, Act::RevokeAll];
        let asks = requests.iter().any(|it| setting.acts.contains(it));
        let mut reads: Vec<Read> = asks.then_some(Read::Requests).into_iter().collect();
        if matches!(wrong, Some(Wrong::InputsBeforeJwks | Wrong::InputsBeforeJwksNorFence)) {
            reads.extend([Read::Pairs, Read::Ledger]);
            reads.extend(maps);
        } else {
            reads.extend(maps);
            reads.extend([Read::Ledger, Read::Pairs]);
        }
        let adapter = Adapter::new(setting.timing);
        let servers = Servers::new(setting.lead, setting.timing, wrong);
        Self { setting, adapter, servers, reads, wrong, known: Memory::default() }
    }

    pub(crate) fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Whether its next step is the decision.
    pub(crate) fn is_about_to_decide(&self, replica: &Replica) -> bool {
        replica.doing == Doing::Reading(u8::try_from(self.reads.len() - 1).unwrap())
    }

    /// All objects at once.
    pub(crate) fn look(&self, cluster: &Cluster, clock: Clock) -> Look {
        self.complete(&Replica::idle(), cluster, clock)
    }

    pub(crate) fn decide(&self, look: &Look) -> Outcome {
        self.known.get(look, || {
            let observed = self.adapter.observed(look);
            let step = Wrong::decide(self.wrong, &observed, Adapter::now(look.clock));
            self.adapter.outcome(step)
        })
    }

    /// What goes to the network. Further keys than `most_keys` are not made.
    pub(crate) fn requests(
        &self,
        state: &State,
        outcome: &Outcome,
        most_keys: usize,
    ) -> Vec<Request> {
        match outcome {
            Outcome::Rest => Vec::new(),
            Outcome::CreateLedger(ledger) => vec![Request::CreateLedger(ledger.clone())],
            Outcome::PutLedger { ledger, why, is_current } => {
                let is_valid = *is_current || self.is(Wrong::PutLedgerAnyVersion);
                let put = Request::PutLedger(ledger.clone(), *why);
                vec![if is_valid { put } else { Request::Outdated }]
            }
            Outcome::Stage(index) if *index > most_keys => Vec::new(),
            Outcome::Stage(index) => vec![Request::CreatePair(*index, drawn(state))],
            Outcome::DeletePair(index, kid) => vec![Request::DeletePair(*index, *kid)],
            Outcome::Publish(kids, publications) => {
                let requests = publications.iter().map(|publication| match publication {
                    Publishing::Create(namespace) => Request::CreateMap(*namespace, *kids),
                    Publishing::Replace { namespace, is_current } => {
                        let is_valid = *is_current || self.is(Wrong::JwksAnyVersion);
                        let put = Request::PutMap(*namespace, *kids);
                        if is_valid { put } else { Request::Outdated }
                    }
                });
                requests.collect()
            }
        }
    }

    /// The API server does what it is asked, or refuses.
    pub(crate) fn answer(&self, state: &mut State, request: &Request) {
        let cluster = &mut state.world.cluster;
        match request {
            Request::CreateLedger(ledger) if cluster.ledger.is_none() => {
                cluster.ledger = Some(ledger.clone());
                self.restore(state, ledger);
            }
            Request::PutLedger(ledger, why) if cluster.ledger.is_some() => {
                if cluster.ledger.as_ref().is_some_and(|it| it.revoked_all != ledger.revoked_all) {
                    // A key that came between the request and its answer goes with the others.
                    let revoked = ledger.entries.iter().filter(|it| it.life == Life::Revoked);
                    let revoked = revoked.map(|entry| entry.kid).collect();
                    let marks = &mut state.world.history.marks;
                    marks.revoked = marks.revoked.union(revoked);
                }
                match why {
                    Why::Schedule => self.excuse(state, ledger),
                    Why::Recover => self.restore(state, ledger),
                    Why::Other => self.excuse_heir(state, ledger),
                }
                state.world.cluster.ledger = Some(ledger.clone());
                self.outdate_ledger(state);
            }
            Request::CreatePair(index, kid) if cluster.pairs[*index - 1] == NOBODY => {
                cluster.pairs[*index - 1] = *kid;
            }
            Request::DeletePair(index, kid) if cluster.pairs[*index - 1] == *kid => {
                cluster.pairs[*index - 1] = NOBODY;
            }
            Request::CreateMap(namespace, kids) if cluster.maps[*namespace].is_none() => {
                // One that was decided long ago may arrive now: what it lacks is still missing
                // because of the user.
                let gap = state.world.history.marks.gaps[*namespace].without(*kids);
                publish(state, *namespace, *kids);
                state.world.history.marks.gaps[*namespace] = gap;
            }
            Request::PutMap(namespace, kids) if cluster.maps[*namespace].is_some() => {
                state.world.history.marks.gaps[*namespace] = undone(state).without(*kids);
                publish(state, *namespace, *kids);
                self.outdate_map(state, *namespace);
            }
            Request::Outdated
            | Request::CreateLedger(_)
            | Request::PutLedger(..)
            | Request::CreatePair(..)
            | Request::DeletePair(..)
            | Request::CreateMap(..)
            | Request::PutMap(..) => {}
        }
    }

    /// The ledger has another version now.
    pub(crate) fn outdate_ledger(&self, state: &mut State) {
        let held = state.replicas.iter_mut().filter_map(|replica| replica.ledger.as_mut());
        held.for_each(|sight| sight.is_current = false);
        if self.is(Wrong::PutLedgerAnyVersion) {
            return;
        }
        for message in &mut state.in_flight {
            if let Request::PutLedger(..) = message.request {
                message.request = Request::Outdated;
            }
        }
    }

    /// The JWKS of that namespace has another version now.
    pub(crate) fn outdate_map(&self, state: &mut State, namespace: usize) {
        let replicas = state.replicas.iter_mut();
        let held = replicas.filter_map(|replica| replica.maps[namespace].as_mut());
        held.for_each(|sight| sight.is_current = false);
        if self.is(Wrong::JwksAnyVersion) {
            return;
        }
        for message in &mut state.in_flight {
            if matches!(message.request, Request::PutMap(at, _) if at == namespace) {
                message.request = Request::Outdated;
            }
        }
    }

    /// The first key, and the one after a revocation that left none, sign at once by design: no
    /// token is out there that is still meant to verify, so no verifier has anything to lose.
    fn excuse(&self, state: &mut State, ledger: &Ledger) {
        let had_none =
            state.world.cluster.ledger.iter().all(|former| former.live().next().is_none());
        if let (true, Some(newest)) = (had_none, ledger.entries.last()) {
            state.world.history.excuse(newest.kid, self.adapter.horizon());
        }
    }

    /// So does the key that waits for its time, if a revocation leaves no other: nobody else could
    /// sign till then.
    fn excuse_heir(&self, state: &mut State, ledger: &Ledger) {
        let Some(former) = state.world.cluster.ledger.clone() else { return };
        let is_revocation = ledger.revoked != former.revoked;
        let hastened = ledger.live().filter(|entry| {
            let before = former.live().find(|it| it.index == entry.index);
            is_revocation && before.is_some_and(|before| entry.activate_at < before.activate_at)
        });
        let kids: Vec<_> = hastened.map(|entry| entry.kid).collect();
        for kid in kids {
            state.world.history.excuse(kid, self.adapter.horizon());
        }
    }

    /// A ledger that a user deleted is made again from what exists. It may bring back a key that was
    /// drained and is leaving the JWKS: that one is missing there, through the user, until the next
    /// look puts it back.
    fn restore(&self, state: &mut State, ledger: &Ledger) {
        let live: Kids = ledger.live().map(|entry| entry.kid).collect();
        state.world.history.marks.untold = state.world.history.marks.untold.without(live);
        let event: Kids = ledger.entries.iter().map(|entry| entry.kid).collect();
        if state.world.cluster.private().without(event).is_empty() && live.iter().count() == 1 {
            // The only key pair that is left in the JWKS: nothing else could sign.
            live.iter().for_each(|kid| state.world.history.excuse(kid, self.adapter.horizon()));
        }
        state.world.history.marks.restored = live;
        for namespace in 0..self.setting.targets {
            let missing = live.without(state.world.cluster.published(namespace));
            let gap = &mut state.world.history.marks.gaps[namespace];
            *gap = gap.union(missing);
            if namespace == HOME {
                missing
                    .iter()
                    .for_each(|kid| state.world.history.excuse(kid, self.adapter.horizon()));
            }
        }
    }

    /// What was read, and what is read now.
    pub(crate) fn complete(&self, replica: &Replica, cluster: &Cluster, clock: Clock) -> Look {
        let map = |at: usize| {
            let held = replica.maps[at].clone();
            held.unwrap_or_else(|| Sight::of(cluster.maps[at]))
        };
        let ledger = replica.ledger.clone();
        Look {
            requests: replica.requests.unwrap_or(cluster.requests),
            maps: (0..self.setting.targets).map(map).collect(),
            ledger: ledger.unwrap_or_else(|| Sight::of(cluster.ledger.clone())),
            pairs: replica.pairs.unwrap_or(cluster.pairs),
            clock,
            is_patient: false,
        }
    }
}

/// How much may be under way, and how many keys there may come to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) in_flight: usize,
    pub(crate) most_keys: usize,
}

/// What leaves a JWKS through a user, although it is the operator that takes it out: a key that a
/// new ledger brought back, by a write that the deleted ledger had decided; and a key whose pair was
/// deleted before it had its time, while the write that gives it its time may still arrive. It is
/// missing until the next look puts it back.
fn undone(state: &State) -> Kids {
    let live = state.world.cluster.ledger.iter().flat_map(Ledger::live);
    let live: Kids = live.map(|entry| entry.kid).collect();
    let marks = state.world.history.marks;
    marks.restored.intersection(live).union(marks.dropped)
}

fn publish(state: &mut State, namespace: usize, kids: Kids) {
    state.world.cluster.maps[namespace] = Some(Map { kids, is_exact: true });
    if namespace == HOME {
        state.world.history.publish(kids);
    }
}

/// A key pair that does not exist.
fn drawn(state: &State) -> Kid {
    let kid = state::present(state).next();
    assert!(kid <= MOST_KIDS, "more kids than the model can tell apart");
    kid
}

/// Whether ledger and material agree: one material for each index in use.
pub(crate) fn material_is_right(state: &State) -> bool {
    let mut entries = state.world.cluster.ledger.iter().flat_map(|ledger| &ledger.entries);
    entries.all(|entry| {
        let pair = state.world.cluster.pairs[usize::from(entry.index) - 1];
        let is_in_use = entry.life == Life::Live && entry.until.is_none_or(|until| until > 0);
        // Users can delete a pair. Nothing brings it back, and a late request of another replica
        // can put another in its place: nothing publishes that one or signs with it.
        let is_lost = state.world.history.marks.lost.contains(entry.kid);
        // A ledger that a user deleted may be made again while a pair of a drained key is on its way
        // out: the new ledger then misses that pair, as it would one that a user deletes.
        let is_restored = pair == NOBODY && state.world.history.marks.restored.contains(entry.kid);
        !is_in_use || pair == entry.kid || is_lost || is_restored
    })
}
