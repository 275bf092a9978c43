//! OAuth 2.0: token endpoint, introspection, metadata and JWKS.

pub mod authenticator;
pub mod discovery;
pub mod error;
pub(crate) mod grants;
pub mod hashing;
pub(crate) mod introspection;
pub mod reason;
pub mod router;
pub mod service;
pub(crate) mod token;
pub(crate) mod ttl_set;
