//! What a healthy cluster is, and how one operator without faults brings it about.

use harness::model::Round;

use crate::adapter::Outcome;
use crate::cluster::{ANY, FOREIGN, Life, Mode, Record, Secret, Server, User, bit};
use crate::replica::Operator;
use crate::state::{State, end};

pub(crate) fn recover(operator: &Operator, state: &mut State) -> Round {
    // The collector of Kubernetes may never come; then no actor removes it.
    if state.world.server.cluster.user.is_none() {
        collect_garbage(&mut state.world.server);
    }
    if let Some(slot) = state.world.server.orphan() {
        operator.sweep(state, 0, slot);
    } else {
        let server = &state.world.server;
        let Some(user) = server.cluster.user else { return Round::Healed };
        match operator.decide(&operator.look(server, user)) {
            // It waits for the first end, which comes.
            Outcome::Rest("TooManyCredentials" | "SecretLostRepeatedly") => {
                end(state);
                return Round::Waited;
            }
            Outcome::Rest(reason) => {
                let is_goal = is_goal(operator, server, user, reason);
                return if is_goal { Round::Healed } else { Round::Stuck };
            }
            outcome => operator.send(state, 0, user, &outcome),
        }
    }
    while !state.in_flight.is_empty() {
        operator.arrive(state, 0);
    }
    Round::Wrote
}

pub(crate) fn collect_garbage(server: &mut Server) {
    let owner = server.cluster.secret.map(|secret| secret.owner);
    if owner.is_some_and(|owner| owner != FOREIGN && !server.lives(owner)) {
        server.cluster.secret = None;
    }
}

/// Whether the operator may rest here, with these words to the user.
fn is_goal(operator: &Operator, server: &Server, user: User, reason: &str) -> bool {
    let record = server.cluster.records[operator.slot(user.uid)].as_ref();
    let Some(record) = record.filter(|record| record.owner == user.uid) else {
        return false;
    };
    let is_revoked = user.revoke == 0 || record.revoked & (1 << user.revoke) != 0;
    let secret = server.cluster.secret;
    if secret.is_some_and(|secret| secret.owner == FOREIGN) {
        return is_revoked && reason == "SecretConflict";
    }
    let is_tidy = record.entries.iter().all(|entry| entry.life != Life::Ended)
        && secret.is_none_or(|secret| secret.id != ANY);
    if user.is_suspended {
        return is_revoked && is_tidy && reason == "Suspended";
    }
    is_revoked && is_tidy && is_delivered(operator, record, secret, user, reason)
}

fn is_delivered(
    operator: &Operator,
    record: &Record,
    secret: Option<Secret>,
    user: User,
    reason: &str,
) -> bool {
    let current = record.entries.iter().find(|entry| entry.life == Life::Current);
    let Some(current) = current else { return false };
    let is_pending = |life| matches!(life, Life::Pending(_));
    let is_settled = record.entries.iter().all(|entry| !is_pending(entry.life));
    let is_answered = user.rotate == 0 || record.rotated & (1 << user.rotate) != 0;
    let is_due = operator.setting.is_scheduled && current.is_aged;
    if current.serial != record.serial || !is_settled || !is_answered || is_due {
        return false;
    }
    let expected = match (user.mode, secret) {
        (Mode::Retained, None) => return false,
        (Mode::Lenient, None) => "DeletionIgnored",
        (Mode::OneTime, None) => "DeliveredOnce",
        (_, Some(secret)) if secret.id != current.id || secret.has_drifted => return false,
        (Mode::OneTime, Some(_)) if current.is_aged => return false,
        (Mode::Retained, Some(secret)) if secret.is_altered => return false,
        (_, Some(secret)) if secret.is_altered => "AlterationIgnored",
        (_, Some(_)) => "Issued",
    };
    reason == expected
}

/// The goal, for the states that must be reachable: delivered, and nothing left to do.
pub(crate) fn is_reached(operator: &Operator, server: &Server) -> bool {
    let Some(user) = server.cluster.user else {
        return false;
    };
    let look = operator.look(server, user);
    match operator.decide(&look) {
        Outcome::Rest(reason) => is_goal(operator, server, user, reason),
        _ => false,
    }
}

/// Whether a client secret that the user can read works.
pub(crate) fn visible_is_accepted(operator: &Operator, server: &Server) -> bool {
    let (Some(user), Some(secret)) = (server.cluster.user, server.cluster.secret) else {
        return true;
    };
    let is_visible = secret.owner == user.uid && secret.id != ANY && !secret.is_altered;
    if !is_visible || server.history.revoked & bit(secret.id) != 0 {
        return true;
    }
    let record = server.cluster.records[operator.slot(user.uid)].as_ref();
    record.is_some_and(|record| {
        let mut entries = record.entries.iter();
        record.owner == user.uid
            && entries.any(|entry| entry.id == secret.id && entry.life != Life::Ended)
    })
}
