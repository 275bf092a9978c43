//! HTTP: listener, bodies and rates, with nothing of OAuth.

pub mod bounded_body;
pub(crate) mod form_request;
pub mod listener;
pub mod rate_limit;
