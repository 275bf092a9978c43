//! What a healthy series is, and how one operator without faults brings it about.

use harness::model::Round;

use crate::adapter::{Clock, Look, Outcome};
use crate::cluster::{Cluster, INDICES, Life};
use crate::kids::NOBODY;
use crate::operator::Operator;
use crate::state::{State, tick};

pub(crate) fn recover(operator: &Operator, state: &mut State) -> Round {
    let look = look(operator, &state.world.cluster);
    let requests = operator.requests(state, &operator.decide(&look), INDICES);
    for request in &requests {
        operator.answer(state, request);
    }
    if !requests.is_empty() {
        return Round::Wrote;
    }
    if is_goal(operator, &state.world.cluster) {
        return Round::Healed;
    }
    tick(state, operator.adapter.horizon());
    Round::Waited
}

/// The goal, for the states that must be reachable: rotated, and nothing left to do.
pub(crate) fn is_reached(operator: &Operator, cluster: &Cluster) -> bool {
    let is_resting = operator.decide(&look(operator, cluster)) == Outcome::Rest;
    is_resting && is_goal(operator, cluster)
}

/// One key that signs, in every JWKS and alone there; all others gone, all requests answered.
fn is_goal(operator: &Operator, cluster: &Cluster) -> bool {
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
    let is_published = cluster.maps[..operator.setting.targets].iter().all(|map| {
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
        && operator.servers.can_sign(&operator.adapter, cluster)
}

/// With a period that lasts: there is no rest while rotations fall due.
fn look(operator: &Operator, cluster: &Cluster) -> Look {
    Look { is_patient: true, ..operator.look(cluster, Clock::Right) }
}
