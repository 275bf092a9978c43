//! The content of the condition `Ready`, and the rule by which conditions keep their times.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::condition::{Condition, ConditionStatus};
use crate::domain::schedule::{ClockState, Now};

/// The content of the condition `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether what the resource is for works.
    pub status: ConditionStatus,
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Whether the operator works on it, or a person has to.
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

impl Readiness {
    /// Whether the former conditions do not say so yet: the same again is no Event.
    pub fn is_change(&self, former: &[Condition]) -> bool {
        let ready = former.iter().find(|it| it.type_ == "Ready");
        ready.is_none_or(|ready| ready.reason != self.reason)
    }
}

/// The status of `Ready` while something that works has a fault.
pub(crate) fn ready_status(works: bool) -> ConditionStatus {
    if works { ConditionStatus::True } else { ConditionStatus::False }
}

/// Why nothing that is due by the clock happens, if so: a reason, and a sentence that every kind
/// goes on from.
pub(crate) fn clock_condition(trust: ClockState) -> Option<(&'static str, &'static str)> {
    match trust {
        ClockState::Trusted => None,
        ClockState::Apart(_) => Some((
            "ClocksApart",
            "The clocks of the operator and of the API server differ by more than 5 seconds. \
             Correct them (NTP).",
        )),
        ClockState::Jumped => Some((
            "ClockJumped",
            "The clocks jumped. They count again once they have held still for 10 minutes.",
        )),
    }
}

/// The conditions of a resource, as one reconcile found them.
pub(crate) struct Conditions {
    generation: i64,
    now: Now,
    all: Vec<Condition>,
}

impl Conditions {
    /// `Ready`, and whether the operator works on it.
    pub(crate) fn of(readiness: Readiness, generation: i64, now: Now) -> Self {
        let Readiness { status, reason, message, progress } = readiness;
        let mut conditions = Self { generation, now, all: Vec::new() };
        conditions.push("Ready", status, reason, message.clone());
        match progress {
            Progress::Done => {}
            Progress::Reconciling => conditions.set_true("Reconciling", reason, message),
            Progress::Stalled => conditions.set_true("Stalled", reason, message),
        }
        conditions
    }

    /// One more that is true.
    pub(crate) fn set_true(&mut self, type_: &str, reason: &str, message: String) {
        self.push(type_, ConditionStatus::True, reason, message);
    }

    /// One that is left as it was, if it was there.
    pub(crate) fn retain(&mut self, type_: &str, former: &[Condition]) {
        self.all.extend(former.iter().find(|condition| condition.type_ == type_).cloned());
    }

    /// All of them, with the times of their former selves where they say the same.
    pub(crate) fn with_transition_times(self, former: &[Condition]) -> Vec<Condition> {
        let kept = |condition: Condition| {
            let mut former = former.iter();
            let same =
                former.find(|it| it.type_ == condition.type_ && it.status == condition.status);
            let last_transition_time =
                same.map_or(condition.last_transition_time, |it| it.last_transition_time.clone());
            Condition { last_transition_time, ..condition }
        };
        self.all.into_iter().map(kept).collect()
    }

    fn push(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: String) {
        self.all.push(Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: self.generation,
            last_transition_time: time(self.now.latest()),
            reason: reason.to_owned(),
            message,
        });
    }
}

/// Times in a status are whole seconds, so that they compare equal after a round trip.
pub(crate) fn time(instant: Timestamp) -> Time {
    Time(seconds(instant))
}

/// Cut to whole seconds.
pub(crate) fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
