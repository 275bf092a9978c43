//! The model: who may act when, and what must hold in every state.

use std::hash::Hash;

use harness::model::{
    Action, ActionOf, Budget, Frame, Kind, Place, Property, Replica as _, Round, Search,
};

use crate::acts::{self, Act};
use crate::adapter::{Clock, Look, Outcome, Timing};
use crate::cluster::{Cluster, Life, Request, Time};
use crate::goal;
use crate::kids::{Kid, NOBODY};
use crate::operator::{self, Operator, Read, Room};
use crate::servers::History;
use crate::state::{self, Doing, Replica, Sight, State, World};
use crate::wrong::Wrong;

/// What holds in every state, by the names of the design.
pub(crate) mod property {
    /// A kid is in the JWKS at the instant at which it signs.
    pub(crate) const PUBLISHED: &str = "K1 published when it signs";
    /// Every token verifies against every JWKS until it expires.
    pub(crate) const VERIFIES: &str = "K2 every token verifies";
    /// No key signs before it was published for the whole of `prePublish`.
    pub(crate) const KNOWN: &str = "K3 known before it signs";
    /// Ledger and material agree, with one material for each index in use.
    pub(crate) const MATERIAL: &str = "K4 one material";
    /// Once every key was revoked, none that was there before comes to sign.
    pub(crate) const WITHDRAWN: &str = "K6 what leaked is withdrawn";
    /// Once faults stop, one operator reaches the goal and rests.
    pub(crate) const HEALS: &str = "K5 heals";
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) replicas: usize,
    /// In how many namespaces the JWKS is.
    pub(crate) targets: usize,
    pub(crate) room: Room,
    pub(crate) timing: Timing,
    /// What the clocks of a replica may show.
    pub(crate) clocks: &'static [Clock],
    /// How far the clock of a server may be ahead of that of others.
    pub(crate) lead: Time,
    pub(crate) budget: Budget,
    pub(crate) acts: &'static [Act],
    /// What must be reached somewhere.
    pub(crate) reaches: &'static [&'static str],
}

/// What happens besides what happens to every kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    Tick,
}

impl Kind for Operator {
    const NAME: &'static str = "key model";
    const INVARIANTS: char = 'K';
    const HEALS: &'static str = property::HEALS;
    const MOST_ROUNDS: usize = 59;
    const MOST_WAITS: usize = 20;

    type Setting = Setting;
    type Wrong = Wrong;
    type World = World;
    type Replica = Replica;
    type Request = Request;
    type Then = ();
    type Choice = Clock;
    type Act = Act;
    type Own = Own;

    fn new(setting: &Setting, wrong: Option<Wrong>) -> Self {
        Self::new(*setting, wrong)
    }

    fn frame(setting: &Setting) -> Frame {
        let Setting { name, replicas, budget, reaches, .. } = *setting;
        Frame { name, replicas, budget, reaches }
    }

    fn world(&self) -> World {
        World::default()
    }

    fn own_actions(&self, _state: &State, place: Place) -> Vec<Own> {
        (place == Place::First).then_some(Own::Tick).into_iter().collect()
    }

    fn choices(&self, replica: &Replica) -> Vec<Clock> {
        let decides = self.is_about_to_decide(replica);
        if decides { self.setting.clocks.to_vec() } else { vec![Clock::Right] }
    }

    fn acts(&self, state: &State) -> Vec<(Act, u8)> {
        let ways = |act: &Act| {
            let act = *act;
            acts::ways(act, &state.world.cluster).into_iter().map(move |way| (act, way))
        };
        self.setting.acts.iter().flat_map(ways).collect()
    }

    fn step(&self, state: &mut State, index: usize, clock: Clock) -> Option<()> {
        let room = self.setting.room;
        let Doing::Reading(read) = state.replicas[index].doing else {
            return None;
        };
        if !self.is_about_to_decide(&state.replicas[index]) {
            let cluster = &state.world.cluster;
            let replica = &mut state.replicas[index];
            match self.reads[usize::from(read)] {
                Read::Requests => replica.requests = Some(cluster.requests),
                Read::Map(at) => replica.maps[at] = Some(Sight::of(cluster.maps[at])),
                Read::Ledger => replica.ledger = Some(Sight::of(cluster.ledger.clone())),
                Read::Pairs => replica.pairs = Some(cluster.pairs),
            }
            replica.doing = Doing::Reading(read + 1);
            return Some(());
        }
        let look = self.complete(&state.replicas[index], &state.world.cluster, clock);
        let mut outcome = self.decide(&look);
        if matches!(outcome, Outcome::Stage(index) if index > room.most_keys) {
            // There the model ends: the last key is left to sign forever.
            outcome = self.decide(&Look { is_patient: true, ..look });
        }
        let requests = self.requests(state, &outcome, room.most_keys);
        if state.in_flight.len() + requests.len() > room.in_flight {
            return None;
        }
        state.replicas[index] = Replica::idle();
        for request in requests {
            state.post(index, request, ());
        }
        Some(())
    }

    fn apply(&self, state: &mut State, request: &Request) {
        self.answer(state, request);
    }

    fn perform(&self, state: &mut State, act: Act, way: u8) {
        acts::perform(self, state, act, way);
    }

    fn happen(&self, state: &mut State, Own::Tick: Own) -> Option<()> {
        state::tick(state, self.adapter.horizon());
        Some(())
    }

    fn canonical(&self, state: State) -> State {
        state::canonical(state, self.adapter.horizon())
    }

    fn settle(&self, last: &State, action: &ActionOf<Self>, mut state: State) -> Option<State> {
        // Time changes nothing but ages.
        let before = (*action != Action::Own(Own::Tick)).then_some(&last.world.cluster);
        self.servers.sign(&self.adapter, before, &mut state);
        let state = self.canonical(state);
        (state != *last).then_some(state)
    }

    fn properties() -> Vec<Property<Search<Self>>> {
        vec![
            Property::always(property::PUBLISHED, |_, state: &State| {
                !state.world.history.signed_unpublished
            }),
            Property::always(property::VERIFIES, every_token_verifies),
            Property::always(property::KNOWN, |_, state: &State| !state.world.history.signed_early),
            Property::always(property::MATERIAL, |_, state: &State| {
                operator::material_is_right(state)
            }),
            Property::always(property::WITHDRAWN, |_, state: &State| is_withdrawn(state)),
            Property::sometimes(SETTLED, |search: &Search<Self>, state: &State| {
                goal::is_reached(&search.kind, &state.world.cluster)
            }),
            Property::sometimes(SECOND, |_, state: &State| {
                let second = of_index(&state.world.cluster, 2).map(|(kid, _)| kid);
                state.world.history.tokens.iter().any(|(kid, _)| Some(*kid) == second)
            }),
            Property::sometimes(RETIRED, |_, state: &State| {
                is_gone(&state.world.cluster, 1, Life::Drained)
            }),
            Property::sometimes(REVOKED, |_, state: &State| {
                let indices = 1..4;
                indices.into_iter().any(|index| is_gone(&state.world.cluster, index, Life::Revoked))
            }),
            Property::sometimes(RECOVERED, |search: &Search<Self>, state: &State| {
                let is_act =
                    search.kind.setting.acts == [Act::DeleteLedger] && state.left.acts == 0;
                let ledger = state.world.cluster.ledger.as_ref();
                is_act && ledger.is_some_and(|ledger| !ledger.entries.is_empty())
            }),
        ]
    }

    fn stored(world: &World) -> impl Hash {
        &world.cluster
    }

    /// Without what servers saw: they sign by what is there.
    fn forget(&self, world: World) -> World {
        World { cluster: world.cluster, history: History::default(), ..World::default() }
    }

    fn recover(&self, state: &mut State) -> Round {
        goal::recover(self, state)
    }
}

/// K2, but for what users took away.
fn every_token_verifies(search: &Search<Operator>, state: &State) -> bool {
    let marks = &state.world.history.marks;
    let mut tokens = state.world.history.tokens.iter();
    // Revocation means that tokens stop verifying, and nothing verifies in a gap that a user
    // made.
    tokens.all(|(kid, _)| {
        let mut namespaces = 0..search.kind.setting.targets;
        marks.let_go().contains(*kid)
            || namespaces.all(|namespace| {
                let gap = marks.gaps[namespace];
                state.world.cluster.published(namespace).contains(*kid) || gap.contains(*kid)
            })
    })
}

/// Whether the ledger that says that every key was revoked has none of them.
fn is_withdrawn(state: &State) -> bool {
    let Some(ledger) = &state.world.cluster.ledger else { return true };
    let wanted = state.world.cluster.requests.revoke_all;
    let is_handled = wanted > 0 && ledger.revoked_all == wanted;
    let leaked = state.world.history.marks.leaked;
    !is_handled || ledger.live().all(|entry| !leaked.contains(entry.kid))
}

fn of_index(cluster: &Cluster, index: u8) -> Option<(Kid, Life)> {
    let entry = cluster.ledger.as_ref()?.entry(index)?;
    Some((entry.kid, entry.life))
}

/// Whether the key of that index left the JWKS, and its pair is deleted.
fn is_gone(cluster: &Cluster, index: u8, life: Life) -> bool {
    of_index(cluster, index).is_some_and(|(kid, it)| {
        let is_published = cluster.published(0).contains(kid);
        it == life && !is_published && cluster.pairs[usize::from(index) - 1] == NOBODY
    })
}

// What must be possible: where it is not, the search proves nothing.
pub(crate) const SETTLED: &str = "settled";
pub(crate) const SECOND: &str = "second key signs";
pub(crate) const RETIRED: &str = "first key retired";
pub(crate) const REVOKED: &str = "a key revoked";
pub(crate) const RECOVERED: &str = "ledger recovered";
