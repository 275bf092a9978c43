//! Client secrets, public keys and key sets.

pub mod client_secret;
pub mod digest;
pub mod jwks;
pub mod public_key;
