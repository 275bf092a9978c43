//! The decision for every state of the three objects, and the order of the checks.

mod checks;
mod clocks;
mod conditions;
mod given;
mod modes;
mod order;
mod properties;
mod reports;
mod requests;
mod whole;
mod wording;
