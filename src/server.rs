//! What the process serves over HTTP. It never sees Kubernetes: what it says comes as values.

pub mod admin;
pub mod answer;
pub mod audit;
pub mod authentication;
pub mod bounded_body;
pub mod hashing;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod readings;
pub mod reason;
pub mod routes;
pub mod service;
pub mod token_ids;

mod discovery;
mod introspection;
mod posted;
mod recent;
mod token;
