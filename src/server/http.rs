//! HTTP: listener, bodies and rates, with nothing of OAuth.

pub(crate) mod error_response;
pub mod form_request;
pub mod listener;
pub mod rate_limit;
pub mod request_span;
