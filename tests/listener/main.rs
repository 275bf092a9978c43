//! The listener of the token service over real sockets: both protocols, TLS and its renewal, every bound, and the drain.
//! Tests wait for what they want to see, never for time to pass.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is a failed test")]

mod bodies;
mod bounds;
mod drain;
mod figures;
mod given;
mod protocols;
mod sources;
mod strange;
mod tls;
