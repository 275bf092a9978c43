//! The token service in virtual time: the contract of its endpoints as a table, the life of clients and
//! keys as it sees them, outages of half an hour, and requests that no client would send.
//!
//! The service and the controllers that feed it are those that ship; only the API server is in memory.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: a panic is a failed test, and figures are printed"
)]

#[path = "../simulation/harness/clock.rs"]
mod clock;
#[path = "../simulation/environment.rs"]
#[expect(dead_code, reason = "nobody looks for secrets here")]
mod environment;

mod audit;
mod contract;
mod discovery;
mod first_use;
mod introspection;
mod keys;
mod life;
mod metrics;
mod outage;
mod policy;
mod strange;
mod tenant;
mod world;
