//! The rules that hold for the status of every kind.

use super::events::Event;
use super::readiness::{Conditions, Readiness};
use crate::api::kind::KindStatus;
use crate::domain::schedule::Now;

/// Whether two statuses have the same content: the API server may change the order of a list.
pub fn is_same<S: KindStatus>(one: &S, other: &S) -> bool {
    let sorted = |status: &S| {
        let mut sorted = status.clone();
        sorted.sort_lists();
        sorted
    };
    sorted(one) == sorted(other)
}

/// The status of a resource whose spec cannot be read, and its Event: `readiness` names the field. The
/// rest of the former status stays.
pub fn invalid_spec<S: KindStatus>(
    readiness: Readiness,
    generation: i64,
    former: Option<&S>,
    now: Now,
) -> (S, Option<Event>) {
    let mut status = former.cloned().unwrap_or_default();
    let former = status.conditions().to_vec();
    let event = Event::of(readiness.clone(), &former);
    let conditions = Conditions::of(readiness, generation, now).with_transition_times(&former);
    status.set_conditions(generation, conditions);
    (status, event)
}
