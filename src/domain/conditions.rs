//! Conditions and Events: what a user reads about an object.

pub mod blocked_reason;
pub mod events;
pub mod readiness;
pub mod status;
pub mod unavailable;
