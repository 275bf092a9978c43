//! Decisions about signing keys, one by one and in the order in which a life brings them.

mod events;
mod faults;
mod given;
mod life;
mod recovery;
mod requests;
mod sight;
mod wording;
