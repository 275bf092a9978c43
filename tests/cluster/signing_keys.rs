//! Signing keys against a real API server: what is refused, what is published and where, how keys
//! follow one another, and what remains after loss, faults and kills.

mod admission;
mod faults;
mod first;
mod kills;
mod loss;
mod oracle;
pub(crate) mod private;
mod publication;
mod reference;
mod replicas;
mod rotation;
pub(crate) mod series;
mod token_server;
