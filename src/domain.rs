//! Decides, and does nothing.
//!
//! A decision takes what was observed and an instant, and returns one [`step::Step`]: a
//! conditional write, or rest. Nothing here awaits, logs, reads a clock or draws a random byte, so
//! the operator, the model checker and the simulation run the same functions.

pub mod conditions;
pub mod crypto;
pub mod installation;
pub mod invalid_field;
pub mod oauth;
pub mod object;
pub mod policy;
pub mod request;
pub mod schedule;
pub mod signing_key;
pub mod step;
pub mod technical_user;
pub mod unknown_fields;
#[cfg(test)]
mod wording;
