//! What users do.

use crate::cluster::{Cluster, INDICES, Life, Map};
use crate::kids::{Kid, Kids, NOBODY};
use crate::operator::Operator;
use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Act {
    RequestRotation,
    /// Any key that could be meant.
    Revoke,
    /// Every key that exists may have leaked.
    RevokeAll,
    DeleteJwks,
    /// Its keys are taken out.
    EmptyJwks,
    /// Something is added to it.
    AddToJwks,
    DeleteLedger,
    DeletePair,
}

/// Each way in which users can do that, in numbers that [`perform`] takes.
pub(crate) fn ways(act: Act, cluster: &Cluster) -> Vec<u8> {
    let numbers = |ways: usize, is_possible: &dyn Fn(usize) -> bool| {
        let possible = (0..ways).filter(|way| is_possible(*way));
        possible.map(|way| u8::try_from(way).unwrap()).collect::<Vec<_>>()
    };
    let is_exact = |at: usize| cluster.maps[at].is_some_and(|map| map.is_exact);
    match act {
        Act::RequestRotation | Act::RevokeAll => numbers(1, &|_| cluster.ledger.is_some()),
        Act::Revoke => revocable(cluster).iter().collect(),
        Act::DeleteJwks => numbers(2, &|at| cluster.maps[at].is_some()),
        Act::EmptyJwks | Act::AddToJwks => numbers(2, &is_exact),
        Act::DeleteLedger => numbers(1, &|_| cluster.ledger.is_some()),
        Act::DeletePair => numbers(INDICES, &|at| cluster.pairs[at] != NOBODY),
    }
}

pub(crate) fn perform(operator: &Operator, state: &mut State, act: Act, way: u8) {
    let at = usize::from(way);
    match act {
        Act::RequestRotation => state.world.cluster.requests.rotate += 1,
        Act::Revoke => {
            let kid: Kid = way;
            state.world.cluster.requests.revoke = kid;
            state.world.history.marks.revoked.insert(kid);
        }
        Act::RevokeAll => {
            state.world.cluster.requests.revoke_all += 1;
            let leaked = revocable(&state.world.cluster);
            let marks = &mut state.world.history.marks;
            marks.leaked = marks.leaked.union(leaked);
            marks.revoked = marks.revoked.union(leaked);
        }
        Act::DeleteJwks => {
            open_gap(state, at);
            state.world.cluster.maps[at] = None;
            operator.outdate_map(state, at);
        }
        Act::EmptyJwks => {
            open_gap(state, at);
            state.world.cluster.maps[at] = Some(Map { kids: Kids::default(), is_exact: false });
            operator.outdate_map(state, at);
        }
        Act::AddToJwks => {
            if let Some(map) = &mut state.world.cluster.maps[at] {
                map.is_exact = false;
            }
            operator.outdate_map(state, at);
        }
        Act::DeleteLedger => {
            for entry in state.world.cluster.ledger.iter().flat_map(|ledger| &ledger.entries) {
                // Who takes the pair and the ledger leaves no record that could know of the key.
                if state.world.cluster.pairs[usize::from(entry.index) - 1] != entry.kid {
                    state.world.history.marks.untold.insert(entry.kid);
                }
            }
            state.world.cluster.ledger = None;
            operator.outdate_ledger(state);
        }
        Act::DeletePair => {
            let kid = state.world.cluster.pairs[at];
            let mut entries = state.world.cluster.ledger.iter().flat_map(|ledger| &ledger.entries);
            if entries.all(|entry| entry.kid != kid) {
                state.world.history.marks.dropped.insert(kid);
            }
            if state.world.cluster.ledger.is_none() {
                state.world.history.marks.untold.insert(kid);
            }
            state.world.history.marks.lost.insert(kid);
            state.world.cluster.pairs[at] = NOBODY;
        }
    }
}

fn open_gap(state: &mut State, namespace: usize) {
    let taken = state.world.cluster.published(namespace);
    let gap = &mut state.world.history.marks.gaps[namespace];
    *gap = gap.union(taken);
}

/// The keys that a user could want to be gone.
fn revocable(cluster: &Cluster) -> Kids {
    let entries = cluster.ledger.iter().flat_map(|ledger| &ledger.entries);
    let live = entries.filter(|entry| entry.life == Life::Live).map(|entry| entry.kid);
    live.chain(cluster.private().iter()).collect()
}
