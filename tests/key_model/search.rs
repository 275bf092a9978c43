//! The model: who may act when, and what must hold in every state.

use stateright::{Model, Property};

use crate::acts::{self, Act};
use crate::adapter::{Adapter, Clock, Timing};
use crate::cluster::{Cluster, Life, Time};
use crate::healing::{self, Healed};
use crate::kids::{Kid, NOBODY};
use crate::operator::{self, Operator, Room};
use crate::servers::Servers;
use crate::state::{Budget, Doing, State};
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

#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) setting: Setting,
    pub(crate) operator: Operator,
    servers: Servers,
    healed: Healed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Tick,
    Step(usize, Clock),
    Deliver(usize),
    Drop(usize),
    Lose(usize),
    Crash(usize),
    User(Act, u8),
}

impl Search {
    pub(crate) fn new(setting: Setting, wrong: Option<Wrong>) -> Self {
        let requests = [Act::RequestRotation, Act::Revoke, Act::RevokeAll];
        let asks = requests.iter().any(|it| setting.acts.contains(it));
        let Timing { token, view_age, .. } = setting.timing;
        let adapter = Adapter::new(setting.timing);
        Self {
            setting,
            operator: Operator::new(adapter, setting.targets, asks, wrong),
            servers: Servers::new(setting.lead, token, view_age, wrong),
            healed: Healed::default(),
        }
    }

    fn every_token_verifies(&self, state: &State) -> bool {
        let marks = &state.history.marks;
        let mut tokens = state.history.tokens.iter();
        // Revocation means that tokens stop verifying, and nothing verifies in a gap that a user
        // made.
        tokens.all(|(kid, _)| {
            let mut namespaces = 0..self.setting.targets;
            marks.let_go().contains(*kid)
                || namespaces.all(|namespace| {
                    let gap = marks.gaps[namespace];
                    state.cluster.published(namespace).contains(*kid) || gap.contains(*kid)
                })
        })
    }

    fn replica_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, replica) in state.replicas.iter().enumerate() {
            if replica.doing == Doing::Waiting {
                actions.extend((state.left.losses > 0).then_some(Action::Lose(index)));
            } else if self.operator.is_about_to_decide(replica) {
                let clocks = self.setting.clocks.iter();
                actions.extend(clocks.map(|clock| Action::Step(index, *clock)));
            } else {
                actions.push(Action::Step(index, Clock::Right));
            }
            if replica.doing != Doing::Reading(0) && state.left.crashes > 0 {
                actions.push(Action::Crash(index));
            }
        }
    }
}

impl Model for Search {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.setting.replicas, self.setting.budget)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        self.replica_actions(state, actions);
        for (index, message) in state.in_flight.iter().enumerate() {
            actions.push(Action::Deliver(index));
            actions.extend(message.sender.is_none().then_some(Action::Drop(index)));
        }
        if state.left.acts > 0 {
            for act in self.setting.acts {
                for way in acts::ways(*act, &state.cluster) {
                    actions.push(Action::User(*act, way));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let horizon = self.operator.adapter.horizon();
        let mut state = last.clone();
        // Time changes nothing but ages.
        let before = (action != Action::Tick).then_some(&last.cluster);
        match action {
            Action::Tick => state.tick(horizon),
            Action::Step(index, clock) => {
                self.operator.step(&mut state, index, clock, self.setting.room)?;
            }
            Action::Deliver(index) => self.operator.deliver(&mut state, index),
            Action::Drop(index) => {
                state.in_flight.remove(index);
            }
            Action::Lose(index) => {
                state.left.losses -= 1;
                Operator::give_up(&mut state, index);
            }
            Action::Crash(index) => {
                state.left.crashes -= 1;
                Operator::give_up(&mut state, index);
            }
            Action::User(act, way) => {
                state.left.acts -= 1;
                acts::perform(&self.operator, &mut state, act, way);
            }
        }
        self.servers.sign(&self.operator.adapter, before, &mut state);
        let state = state.canonical(horizon);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(property::PUBLISHED, |_, state: &State| {
                !state.history.signed_unpublished
            }),
            Property::always(property::VERIFIES, Self::every_token_verifies),
            Property::always(property::KNOWN, |_, state: &State| !state.history.signed_early),
            Property::always(property::MATERIAL, |_, state: &State| {
                operator::material_is_right(state)
            }),
            Property::always(property::WITHDRAWN, |_, state: &State| is_withdrawn(state)),
            Property::always(property::HEALS, |search: &Self, state: &State| {
                search.healed.check(&search.operator, &search.servers, state)
            }),
            Property::sometimes(SETTLED, |search: &Self, state: &State| {
                healing::is_reached(&search.operator, &search.servers, &state.cluster)
            }),
            Property::sometimes(SECOND, |_, state: &State| {
                let second = of_index(&state.cluster, 2).map(|(kid, _)| kid);
                state.history.tokens.iter().any(|(kid, _)| Some(*kid) == second)
            }),
            Property::sometimes(RETIRED, |_, state: &State| {
                is_gone(&state.cluster, 1, Life::Drained)
            }),
            Property::sometimes(REVOKED, |_, state: &State| {
                let indices = 1..4;
                indices.into_iter().any(|index| is_gone(&state.cluster, index, Life::Revoked))
            }),
            Property::sometimes(RECOVERED, |search: &Self, state: &State| {
                let is_act = search.setting.acts == [Act::DeleteLedger] && state.left.acts == 0;
                let ledger = state.cluster.ledger.as_ref();
                is_act && ledger.is_some_and(|ledger| !ledger.entries.is_empty())
            }),
        ]
    }
}

/// Whether the ledger that says that every key was revoked has none of them.
fn is_withdrawn(state: &State) -> bool {
    let Some(ledger) = &state.cluster.ledger else { return true };
    let wanted = state.cluster.requests.revoke_all;
    let is_handled = wanted > 0 && ledger.revoked_all == wanted;
    let leaked = state.history.marks.leaked;
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
