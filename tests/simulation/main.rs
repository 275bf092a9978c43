//! Rung 4: the whole operator in virtual time, against an API server in memory, with one thing going
//! wrong at every request of every story that users can live through.
//!
//! The controller is the one that ships. Invariants are checked after every change of what is
//! stored, and every run has to end at its goal and at rest. A run that fails prints the command
//! that plays it again. Without `PROVE=1`, single troubles are played for `SIMULATE_SECONDS`, spread
//! over all of them; with it every one is, and pairs of troubles for `PROVE_SECONDS`, from number
//! `PROVE_FROM` of a fixed order on, so that a long run can be cut and gone on with.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: a panic is a failed test, and a wrong operator spoils one request of many"
)]

mod crowd;
mod disturbance;
mod environment;
mod events;
mod flow;
mod following;
mod goal;
mod harness;
mod installations;
mod mutant;
mod oracle;
mod run;
mod tenants;
mod world;

use crate::harness::figures::{setting, singles};
use crate::harness::{checks, pairs};

#[test]
fn every_single_trouble_at_every_request_is_survived() {
    checks::single_troubles("simulation");
}

#[test]
fn pairs_of_troubles_are_survived() {
    if setting("PROVE").is_none() {
        return;
    }
    pairs::prove("simulation-pairs", singles);
}

#[test]
fn faults_that_pairs_leave_out_go_the_way_of_others() {
    pairs::compare("simulation");
}

#[test]
fn every_wrong_operator_is_caught() {
    checks::wrong_operators("simulation");
}

#[test]
fn replay() {
    checks::replay_one();
}
