//! Rung 3: every interleaving of two operators, servers that sign by views of any admissible age,
//! crashes, lost and late messages, clocks and users, over the decisions about signing keys.
//!
//! Nothing of the protocol is spelt again here: the model asks `signing_key::decide` what to write
//! and `signer` what to sign with, carries the answers out against a small API server, and checks
//! the invariants in every state that can be reached. `PROVE=1` searches the large settings too,
//! which takes minutes.

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
mod kids;
mod operator;
mod protocol;
mod servers;
mod settings;
mod state;
mod wrong;

use harness::model;

use crate::operator::Operator;
use crate::settings::{HARDY, LARGE, MUTANTS, SMALL, SURVIVORS};

#[test]
fn every_token_verifies_and_every_state_heals() {
    model::prove::<Operator>(SMALL, LARGE);
}

#[test]
fn every_wrong_variant_is_caught() {
    let hardy = if model::is_thorough() { HARDY } else { &[] };
    model::kill::<Operator>(&[MUTANTS, hardy].concat());
}

#[test]
fn where_two_locks_hold_one_is_enough() {
    model::survive::<Operator>(SURVIVORS);
}
