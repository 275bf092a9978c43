//! The result of a decision, for every kind of resource.

use jiff::Timestamp;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<W, O> {
    /// A write, then another observation. The API server refuses the write when what it depends on has
    /// changed.
    Write(W),
    /// Nothing, until an object changes or the instant comes.
    Done(Done<O>),
}

/// Nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<O> {
    /// The outcome, for the status.
    pub outcome: O,
    /// When to reconcile again, if time alone can change the outcome.
    pub requeue_at: Option<Timestamp>,
}
