//! The token service as a process of its own, with no more than its rights: what it answers while
//! everything else is killed, and an API server that trusts it.

mod crowd;
mod kills;
mod outage;
pub(crate) mod server;
mod together;
mod trust;
