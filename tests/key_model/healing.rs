//! What a healthy series is, and whether the operator brings it about.
//!
//! "Eventually" is turned into a property of one state: stop all faults, let one fresh replica run,
//! and it must reach the goal and rest. It is asked in every state.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::adapter::{Clock, Look, Outcome};
use crate::cluster::{Cluster, INDICES, Life};
use crate::kids::NOBODY;
use crate::operator::Operator;
use crate::servers::{History, Servers};
use crate::state::{Budget, State};

/// Remembers which clusters were seen to heal: many states differ in their replicas alone.
#[derive(Debug, Default)]
pub(crate) struct Healed(Mutex<BTreeSet<u64>>);

impl Healed {
    /// Whether the series heals, with everything in flight lost, and with everything delivered.
    pub(crate) fn check(&self, operator: &Operator, servers: &Servers, state: &State) -> bool {
        let requests = state.in_flight.iter().map(|message| &message.request);
        let fingerprint = fingerprint(&(&state.cluster, requests.collect::<Vec<_>>()));
        if self.0.lock().unwrap().contains(&fingerprint) {
            return true;
        }
        if !self.heals(operator, servers, state.cluster.clone()) {
            return false;
        }
        let mut delivered = state.clone();
        while !delivered.in_flight.is_empty() {
            operator.deliver(&mut delivered, 0);
        }
        let heals = self.heals(operator, servers, delivered.cluster);
        if heals {
            self.0.lock().unwrap().insert(fingerprint);
        }
        heals
    }

    fn heals(&self, operator: &Operator, servers: &Servers, cluster: Cluster) -> bool {
        let horizon = operator.adapter.horizon();
        let mut state = alone(cluster).canonical(horizon);
        let mut way = Vec::new();
        let mut ticks = 0;
        for _ in 0..MOST_ROUNDS {
            let fingerprint = fingerprint(&state.cluster);
            if self.0.lock().unwrap().contains(&fingerprint) {
                break;
            }
            way.push(fingerprint);
            let look = look(operator, &state.cluster);
            let requests = operator.requests(&state, &operator.decide(&look), INDICES);
            if requests.is_empty() {
                if is_goal(operator, servers, &state.cluster) {
                    break;
                }
                ticks += 1;
                if ticks > MOST_TICKS {
                    return false;
                }
                state.tick(horizon);
            }
            for request in &requests {
                operator.apply(&mut state, request);
            }
            state = alone(state.cluster).canonical(horizon);
        }
        if way.len() == MOST_ROUNDS {
            return false;
        }
        self.0.lock().unwrap().extend(way);
        true
    }
}

/// The goal, for the states that must be reachable: rotated, and nothing left to do.
pub(crate) fn is_reached(operator: &Operator, servers: &Servers, cluster: &Cluster) -> bool {
    let is_resting = operator.decide(&look(operator, cluster)) == Outcome::Rest;
    is_resting && is_goal(operator, servers, cluster)
}

/// One key that signs, in every JWKS and alone there; all others gone, all requests answered.
fn is_goal(operator: &Operator, servers: &Servers, cluster: &Cluster) -> bool {
    let Some(ledger) = &cluster.ledger else {
        return false;
    };
    let live: Vec<_> = ledger.live().collect();
    let [signer] = live.as_slice() else {
        return false;
    };
    let others = ledger.entries.iter().filter(|entry| entry.life != Life::Live);
    let are_gone =
        others.map(|entry| cluster.pairs[usize::from(entry.index) - 1]).all(|pair| pair == NOBODY);
    let is_published = cluster.maps[..operator.targets].iter().all(|map| {
        map.is_some_and(|map| map.is_exact && map.kids == [signer.kid].into_iter().collect())
    });
    let requests = cluster.requests;
    let is_rotated = requests.rotate == 0 || ledger.rotated & (1 << requests.rotate) != 0;
    let are_all_revoked = ledger.revoked_all == requests.revoke_all;
    signer.until.is_none()
        && are_all_revoked
        && are_gone
        && is_published
        && is_rotated
        && signer.kid != requests.revoke
        && servers.can_sign(&operator.adapter, cluster)
}

/// With a period that lasts: there is no rest while rotations fall due.
fn look(operator: &Operator, cluster: &Cluster) -> Look {
    Look { is_patient: true, ..operator.look(cluster, Clock::Right) }
}

fn alone(cluster: Cluster) -> State {
    let mut state = State::new(1, Budget { crashes: 0, losses: 0, acts: 0 });
    state.cluster = cluster;
    state.history = History::default();
    state
}

/// Good enough to tell apart what is remembered.
pub(crate) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// More than the longest way from anywhere to rest.
const MOST_ROUNDS: usize = 60;
const MOST_TICKS: usize = 20;
