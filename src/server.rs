//! What the process serves over HTTP. It never sees Kubernetes: what it says comes as values.

pub mod audit;
pub mod authenticator;
pub mod bounded_body;
pub mod error;
pub mod figures;
pub mod hashing;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod rate_limit;
pub mod reason;
pub mod router;
pub mod service;
pub mod token_ids;

mod discovery;
mod form_request;
mod introspection;
mod token;
mod ttl_set;
