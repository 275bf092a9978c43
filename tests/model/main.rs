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
mod figures;
mod healing;
mod replica;
mod search;
mod settings;
mod state;
mod wrong;

use crate::figures::Figures;
use crate::settings::{LARGE, MUTANTS, SMALL};

#[test]
fn every_state_is_safe_and_heals() {
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
    figures::kill(MUTANTS);
}

/// What figures are printed and kept under.
const MODEL: &str = "model";

/// What the names of invariants begin with, I1 to I6.
const INVARIANTS: char = 'I';
