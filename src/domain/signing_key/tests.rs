//! Decisions about signing keys, one by one and in the order in which a life brings them.

mod given;
mod life;
mod news;
mod recovery;
mod requests;
mod sight;
mod trouble;
mod wording;
