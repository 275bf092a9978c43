//! How resources stand, as their statuses say: kept up to date by the watches, so that no scrape has to
//! go through all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::condition::ConditionStatus;
use crate::api::kind::KindStatus;

/// How the resources of one kind stand.
#[derive(Debug)]
pub(crate) struct ObjectStats<K> {
    states: BTreeMap<K, ReadyState>,
    ready: usize,
    reasons: BTreeMap<String, usize>,
    due: BTreeMap<Timestamp, usize>,
}

/// How one resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadyState {
    is_ready: bool,
    /// Why it is not ready.
    reason: Option<String>,
    due_at: Option<Timestamp>,
}

/// How all of them stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many are ready.
    pub(crate) ready: usize,
    /// How many are not, or not seen yet.
    pub(crate) unready: usize,
    /// How many are not ready for which reason; a reason that was there once stays, with none.
    pub(crate) reasons: BTreeMap<String, usize>,
    /// When the first of their rotations is due, or was.
    pub(crate) first_due_at: Option<Timestamp>,
}

// === impl ReadyState ===

impl ReadyState {
    /// The state by a status; not ready without one.
    pub(crate) fn of<S: KindStatus>(status: Option<&S>) -> Self {
        let conditions = status.map(KindStatus::conditions).unwrap_or_default();
        let next_rotation = status.and_then(KindStatus::next_rotation_time);
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
        let is_ready = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
        let reason = ready.filter(|_| !is_ready).map(|ready| ready.reason.clone());
        Self { is_ready, reason, due_at: next_rotation.map(|time| time.0) }
    }
}

// === impl ObjectStats ===

impl<K> Default for ObjectStats<K> {
    fn default() -> Self {
        Self { states: BTreeMap::new(), ready: 0, reasons: BTreeMap::new(), due: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> ObjectStats<K> {
    /// Takes in how a resource stands now; nothing for one that is gone.
    pub(crate) fn record(&mut self, key: &K, present: Option<ReadyState>) {
        if let Some(former) = self.states.remove(key) {
            self.ready = self.ready.saturating_sub(usize::from(former.is_ready));
            if let Some(count) = former.reason.and_then(|it| self.reasons.get_mut(&it)) {
                *count = count.saturating_sub(1);
            }
            self.forget(former.due_at);
        }
        if let Some(mut present) = present {
            self.ready = self.ready.saturating_add(usize::from(present.is_ready));
            if let Some(reason) = present.reason.take() {
                // A user with the right to write a status could write any word into it.
                let is_known =
                    self.reasons.contains_key(&reason) || self.reasons.len() < MAX_REASONS;
                let reason = if is_known { reason } else { "Other".to_owned() };
                let count = self.reasons.entry(reason.clone()).or_default();
                *count = count.saturating_add(1);
                present.reason = Some(reason);
            }
            self.states.insert(key.clone(), present.clone());
            if let Some(due_at) = present.due_at {
                let count = self.due.entry(due_at).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// How all of them stand together.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            ready: self.ready,
            unready: self.states.len().saturating_sub(self.ready),
            reasons: self.reasons.clone(),
            first_due_at: self.due.first_key_value().map(|(at, _)| *at),
        }
    }

    fn forget(&mut self, due_at: Option<Timestamp>) {
        let Some(due_at) = due_at else { return };
        let Some(count) = self.due.get_mut(&due_at) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.due.remove(&due_at);
        }
    }
}

/// More than the operator has; each becomes a series of a metric.
const MAX_REASONS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_and_what_is_due_first_follow_every_change() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let standing = |is_ready, hour: i64| {
            Some(ReadyState { is_ready, reason: None, due_at: Some(at(hour)) })
        };
        let mut tally = ObjectStats::default();
        let mut after = |key: &str, present| {
            tally.record(&key.to_owned(), present);
            let Totals { ready, unready, first_due_at, .. } = tally.totals();
            (ready, unready, first_due_at)
        };

        assert_eq!(after("a", standing(true, 5)), (1, 0, Some(at(5))));
        assert_eq!(after("b", standing(false, 5)), (1, 1, Some(at(5))));
        assert_eq!(after("c", standing(true, 3)), (2, 1, Some(at(3))));
        assert_eq!(after("c", standing(true, 9)), (2, 1, Some(at(5))));
        assert_eq!(after("a", None), (1, 1, Some(at(5))));
        assert_eq!(
            after("b", Some(ReadyState { is_ready: true, reason: None, due_at: None })),
            (2, 0, Some(at(9)))
        );
        assert_eq!(after("c", None), (1, 0, None));
        assert_eq!(after("b", None), (0, 0, None));
    }

    #[test]
    fn those_that_are_not_ready_are_counted_by_their_reason_and_reasons_are_bounded() {
        let unready = |reason: &str| {
            Some(ReadyState { is_ready: false, reason: Some(reason.to_owned()), due_at: None })
        };
        let mut tally = ObjectStats::default();
        tally.record(&0, unready("SigningKeyNotFound"));
        tally.record(&1, unready("SigningKeyNotFound"));
        tally.record(&1, unready("SecretConflict"));
        tally.record(&0, None);

        let reasons = tally.totals().reasons;
        assert_eq!(reasons["SigningKeyNotFound"], 0);
        assert_eq!(reasons["SecretConflict"], 1);

        for number in 2..200 {
            tally.record(&number, unready(&format!("Reason{number}")));
        }
        let reasons = tally.totals().reasons;
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!(reasons.values().sum::<usize>(), 199);
    }
}
