//! What both the controllers and the directory need of the API server.

pub mod client;
pub mod codec;
pub mod request_span;
pub(crate) mod store;
pub(crate) mod watch;
pub(crate) mod watches;
