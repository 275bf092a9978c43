//! The HTTP servers of the process. They never see Kubernetes: their data comes as values.

pub mod audit;
pub mod figures;
pub mod health;
pub mod http;
pub mod metrics;
pub mod oauth;
