//! The Events about changes of conditions.
//!
//! The start and the end of a condition have an Event. A new wording of the same condition has none.

use super::readiness::{Progress, Readiness};
use crate::api::condition::{Condition, ConditionStatus};

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// `Normal` or `Warning`.
    pub progress: Progress,
}

impl Event {
    /// The Event about the condition `Ready`, unless the former conditions had the same state.
    pub fn of(readiness: Readiness, former: &[Condition]) -> Option<Self> {
        let is_news = readiness.is_change(former);
        let Readiness { reason, message, progress, .. } = readiness;
        is_news.then_some(Self { reason, message, progress })
    }

    /// Something that is as it should be.
    pub(crate) fn done(reason: &'static str, message: String) -> Self {
        Self { reason, message, progress: Progress::Done }
    }

    /// An Event of type `Warning`.
    pub(crate) fn warning(reason: &'static str, message: String) -> Self {
        Self { reason, message, progress: Progress::Reconciling }
    }
}

/// The conditions beside `Ready` that have begun or ended. `object` is the kind and the name.
pub fn condition_events(object: &str, former: &[Condition], present: &[Condition]) -> Vec<Event> {
    let turn = |condition: &NegativeCondition| match (
        find(former, condition.type_),
        find(present, condition.type_),
    ) {
        (None, Some(begun)) => Some(Event::warning(condition.type_, begun.message.clone())),
        (Some(_), None) => Some(Event::done(
            condition.cleared_reason,
            format!("{object}: {}", condition.cleared_message),
        )),
        (None, None) | (Some(_), Some(_)) => None,
    };
    NEGATIVE_CONDITIONS.iter().filter_map(turn).collect()
}

/// Whether a fault was reported, so that its end is reported, too.
pub fn was_not_ready(former: &[Condition]) -> bool {
    let is_there = |type_| find(former, type_).is_some();
    let ready = find(former, "Ready");
    ready.is_some_and(|ready| ready.status == ConditionStatus::False)
        || is_there("Reconciling")
        || is_there("Stalled")
        // A suspended object had no fault, but did not work either: its end is reported.
        || is_there("Suspended")
}

fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A condition that is present only while it is true, and the Event of its end.
struct NegativeCondition {
    type_: &'static str,
    cleared_reason: &'static str,
    /// Goes on after the name of the object.
    cleared_message: &'static str,
}

const NEGATIVE_CONDITIONS: &[NegativeCondition] = &[
    NegativeCondition {
        type_: "ClockSkew",
        cleared_reason: "ClockSkewResolved",
        cleared_message: "the clocks of the operator and of the API server agree and have held still. What \
            is due by the clock happens again.",
    },
    NegativeCondition {
        type_: "JWKSIncomplete",
        cleared_reason: "JWKSComplete",
        cleared_message: "the JWKS is up to date in every selected namespace.",
    },
    NegativeCondition {
        type_: "JWKSOrphaned",
        cleared_reason: "JWKSOrphanDeleted",
        cleared_message: "every unwanted copy of the JWKS was deleted.",
    },
    NegativeCondition {
        type_: "RevokedKeyPublished",
        cleared_reason: "RevokedKeyRemoved",
        cleared_message: "no revoked key is in the JWKS of the operator's namespace any more.",
    },
    NegativeCondition {
        type_: "RevocationRequestInvalid",
        cleared_reason: "RevocationRequestResolved",
        cleared_message: "the invalid revocation request is gone.",
    },
    NegativeCondition {
        type_: "RequestIgnored",
        cleared_reason: "RequestNoLongerEmpty",
        cleared_message: "every request annotation has a value.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conditions::readiness::Conditions;
    use crate::domain::schedule::Now;

    #[test]
    fn a_trouble_is_told_when_it_begins_and_when_it_ends_and_not_in_between() {
        let (calm, skewed) = (conditions(&[]), conditions(&["ClockSkew"]));

        let event = |former, present| {
            let events = condition_events("SigningKey default", former, present).into_iter();
            events.map(|it| (it.reason, it.progress)).collect::<Vec<_>>()
        };

        assert_eq!(event(&calm, &skewed), [("ClockSkew", Progress::Reconciling)]);
        assert_eq!(event(&skewed, &skewed), []);
        assert_eq!(event(&skewed, &calm), [("ClockSkewResolved", Progress::Done)]);
        assert_eq!(event(&[], &conditions(&["RotationInProgress"])), []);
    }

    #[test]
    fn the_end_of_every_trouble_names_the_object() {
        for condition in NEGATIVE_CONDITIONS {
            let events =
                condition_events("SigningKey default", &conditions(&[condition.type_]), &[]);

            let messages: Vec<&str> = events.iter().map(|it| it.message.as_str()).collect();
            let is_named = messages.iter().all(|it| it.starts_with("SigningKey default: "));
            assert!(messages.len() == 1 && is_named, "{messages:?}");
        }
    }

    fn conditions(true_: &[&str]) -> Vec<Condition> {
        let readiness = Readiness {
            status: ConditionStatus::True,
            reason: "Issued",
            message: String::new(),
            progress: Progress::Done,
        };
        let now = Now::at("2026-11-24T12:00:00Z".parse().unwrap());
        let mut conditions = Conditions::of(readiness, 1, now);
        for type_ in true_ {
            conditions.set_true(type_, "Reason", "A sentence.".to_owned());
        }
        conditions.with_transition_times(&[])
    }
}
