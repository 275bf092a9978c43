//! What the condition `Ready` says, and how conditions keep their times.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::schedule::Trust;
use crate::api::condition::{Condition, ConditionStatus};

/// What the condition `Ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether what the resource is for works.
    pub status: ConditionStatus,
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Whether somebody is working on it, or a person has to.
    pub progress: Progress,
}

/// Whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// The operator goes on by itself.
    Reconciling,
    /// A person has to act.
    Stalled,
}

/// The status of `Ready` while something that works is in trouble.
pub(super) fn working(works: bool) -> ConditionStatus {
    if works { ConditionStatus::True } else { ConditionStatus::False }
}

/// Why nothing that is due by the clock happens, if so.
pub(super) fn doubt(trust: Trust) -> Option<(&'static str, String)> {
    match trust {
        Trust::Trusted => None,
        Trust::Apart(_) => Some((
            "ClocksApart",
            "The clocks of the operator and of the API server differ by more than 5 seconds. \
             Nothing that is due by the clock happens until they agree; rotation on request does."
                .to_owned(),
        )),
        Trust::Jumped => Some((
            "ClockJumped",
            "The clocks jumped. Nothing that is due by the clock happens until they have held \
             still for 10 minutes; rotation on request does."
                .to_owned(),
        )),
    }
}

/// The condition with the time of its former self, if it says the same.
pub(super) fn keep_transition(condition: Condition, former: &[Condition]) -> Condition {
    let same =
        former.iter().find(|it| it.type_ == condition.type_ && it.status == condition.status);
    let last_transition_time =
        same.map_or(condition.last_transition_time, |it| it.last_transition_time.clone());
    Condition { last_transition_time, ..condition }
}

/// Times in a status are whole seconds, so that they compare equal after a round trip.
pub(super) fn time(instant: Timestamp) -> Time {
    Time(seconds(instant))
}

/// Cut to whole seconds.
pub(super) fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
