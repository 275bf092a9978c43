//! Rung 3: every interleaving of two operators, crashes, lost and late messages and users, over the
//! decision function that the operator runs.
//!
//! Nothing of the protocol is spelt again here: the model asks `technical_user::decide`, carries the
//! answer out against a small API server, and checks the invariants in every state that can be
//! reached. `PROVE=1` searches the large settings too, which takes minutes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: a panic is a failed test, and a wrong variant spoils one case of many"
)]

mod acts;
mod adapter;
mod cluster;
mod goal;
mod protocol;
mod replica;
mod settings;
mod state;
mod wrong;

use harness::model;

use crate::replica::Operator;
use crate::settings::{LARGE, MUTANTS, SMALL};

#[test]
fn every_state_is_safe_and_heals() {
    model::prove::<Operator>(SMALL, LARGE);
}

#[test]
fn every_wrong_variant_is_caught() {
    model::kill::<Operator>(MUTANTS);
}
