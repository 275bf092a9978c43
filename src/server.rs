//! What the process serves over HTTP. It never sees Kubernetes: what it says comes as values.

pub mod audit;
pub mod figures;
pub mod health;
pub mod http;
pub mod metrics;
pub mod oauth;
