//! What the models and the simulations of all kinds of resources share. A kind adds what is its own:
//! what is stored, what users do, what must hold, and which mistakes must be caught.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "support for tests: a panic is a failed test"
)]

pub mod model;

/// Says a line to people and scripts.
#[expect(clippy::print_stdout, reason = "figures are what the test is run for")]
pub fn say(line: &str) {
    println!("{line}");
}

/// A setting of the environment.
#[expect(clippy::disallowed_methods, reason = "a test has no arguments of its own")]
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
