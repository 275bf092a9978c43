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
#[path = "../model/figures.rs"]
mod figures;
mod healing;
mod kids;
mod operator;
mod search;
mod servers;
mod settings;
mod state;
mod survivors;
mod wrong;

use crate::figures::Figures;
use crate::settings::{HARDY, LARGE, MUTANTS, SMALL, SURVIVORS};

#[test]
fn every_token_verifies_and_every_state_heals() {
    let mut figures = Figures::default();
    for setting in SMALL {
        figures.search(*setting);
    }
    if figures::is_thorough() {
        for setting in LARGE {
            figures.search(*setting);
        }
    }
    figures.conclude();
}

#[test]
fn every_wrong_variant_is_caught() {
    let hardy = if figures::is_thorough() { HARDY } else { &[] };
    figures::kill(&[MUTANTS, hardy].concat());
}

#[test]
fn where_two_locks_hold_one_is_enough() {
    survivors::survive(SURVIVORS);
}

/// What figures are printed and kept under.
const MODEL: &str = "key model";

/// What the names of invariants begin with, K1 to K5.
const INVARIANTS: char = 'K';
