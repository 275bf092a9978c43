//! What the process serves over HTTP. It never sees Kubernetes: what it says comes as values.

pub mod admin;
pub mod unavailable;
