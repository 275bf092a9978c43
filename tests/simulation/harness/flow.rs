//! The steps of the stories of any kind.

use crate::flow::{Act, Flow, all};
use crate::goal::Goal;

/// Something that users do, and what must come of it.
pub(crate) struct Step {
    pub(crate) acts: Vec<Act>,
    pub(crate) goal: Goal,
}

pub(crate) fn step(acts: Vec<Act>, goal: Goal) -> Step {
    Step { acts, goal }
}

/// The story of that name.
pub(crate) fn named(name: &str) -> Option<Flow> {
    all().into_iter().find(|flow| flow.name == name)
}
