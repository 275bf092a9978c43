//! Whether the operator brings a healthy cluster about.
//!
//! "Eventually" is turned into a property of one state: stop all faults, let one fresh replica run,
//! and it must reach the goal and rest. It is asked in every state.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use super::{CALM, Kind, State, StateOf};

/// What came of one look of an operator that meets no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// It wrote, or something else did.
    Wrote,
    /// It has to wait, and time passed.
    Waited,
    /// It rests at the goal.
    Healed,
    /// It rests, and not at the goal.
    Stuck,
}

/// Remembers which clusters were seen to heal: many states differ in their replicas alone.
#[derive(Debug, Default)]
pub(super) struct Healed(Mutex<BTreeSet<u64>>);

impl Healed {
    /// Whether the cluster heals, with everything in flight lost, and with everything delivered.
    pub(super) fn check<K: Kind>(&self, kind: &K, state: &StateOf<K>) -> bool {
        let requests = state.in_flight.iter().map(|message| &message.request);
        let fingerprint = fingerprint(&(K::stored(&state.world), requests.collect::<Vec<_>>()));
        if self.knows(fingerprint) {
            return true;
        }
        let mut heals = self.heals(kind, state.world.clone());
        if heals && !state.in_flight.is_empty() {
            let mut delivered = state.clone();
            while !delivered.in_flight.is_empty() {
                let message = delivered.arrived(0);
                kind.apply(&mut delivered, &message.request);
            }
            heals = self.heals(kind, delivered.world);
        }
        if heals {
            self.0.lock().unwrap().insert(fingerprint);
        }
        heals
    }

    fn heals<K: Kind>(&self, kind: &K, world: K::World) -> bool {
        let mut state = alone(kind, world);
        let mut way = Vec::new();
        let mut waits = 0;
        loop {
            let fingerprint = fingerprint(&K::stored(&state.world));
            if self.knows(fingerprint) {
                break;
            }
            way.push(fingerprint);
            if way.len() > K::MOST_ROUNDS {
                return false;
            }
            match kind.recover(&mut state) {
                Round::Wrote => {}
                Round::Waited if waits < K::MOST_WAITS => waits += 1,
                Round::Healed => break,
                Round::Waited | Round::Stuck => return false,
            }
            state = alone(kind, state.world);
        }
        self.0.lock().unwrap().extend(way);
        true
    }

    fn knows(&self, fingerprint: u64) -> bool {
        self.0.lock().unwrap().contains(&fingerprint)
    }
}

fn alone<K: Kind>(kind: &K, world: K::World) -> StateOf<K> {
    kind.canonical(State::new(kind.forget(world), 1, CALM))
}

/// Good enough to tell apart what is remembered.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
