//! How resources stand, as their statuses say: kept as the watches tell, so that nobody ever has to
//! go through all of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::condition::{Condition, ConditionStatus};

/// How the resources of one kind stand.
#[derive(Debug)]
pub(super) struct Tally<K> {
    standings: BTreeMap<K, Standing>,
    ready: usize,
    due: BTreeMap<Timestamp, usize>,
}

/// How one resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    is_ready: bool,
    due_at: Option<Timestamp>,
}

/// How all of them stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// How many are ready.
    pub(super) ready: usize,
    /// How many are not, or not seen yet.
    pub(super) unready: usize,
    /// When the first of their rotations is due, or was.
    pub(super) first_due_at: Option<Timestamp>,
}

// === impl Standing ===

impl Standing {
    /// What a status says by its conditions and its next rotation; not ready without one.
    pub(super) fn of(status: Option<(&[Condition], Option<&Time>)>) -> Self {
        let (conditions, next_rotation) = status.unwrap_or_default();
        let mut ready = conditions.iter().filter(|condition| condition.type_ == "Ready");
        let is_ready = ready.any(|condition| condition.status == ConditionStatus::True);
        Self { is_ready, due_at: next_rotation.map(|time| time.0) }
    }
}

// === impl Tally ===

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { standings: BTreeMap::new(), ready: 0, due: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Tally<K> {
    /// Takes in how a resource stands now; nothing for one that is gone.
    pub(super) fn note(&mut self, key: &K, present: Option<Standing>) {
        let former = match present {
            Some(present) => self.standings.insert(key.clone(), present),
            None => self.standings.remove(key),
        };
        if let Some(former) = former {
            self.ready = self.ready.saturating_sub(usize::from(former.is_ready));
            self.forget(former.due_at);
        }
        if let Some(present) = present {
            self.ready = self.ready.saturating_add(usize::from(present.is_ready));
            if let Some(due_at) = present.due_at {
                let count = self.due.entry(due_at).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// How all of them stand together.
    pub(super) fn sum(&self) -> Sum {
        Sum {
            ready: self.ready,
            unready: self.standings.len().saturating_sub(self.ready),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_and_what_is_due_first_follow_every_change() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let standing = |is_ready, hour: i64| Some(Standing { is_ready, due_at: Some(at(hour)) });
        let mut tally = Tally::default();
        let mut after = |key: &str, present| {
            tally.note(&key.to_owned(), present);
            let Sum { ready, unready, first_due_at } = tally.sum();
            (ready, unready, first_due_at)
        };

        assert_eq!(after("a", standing(true, 5)), (1, 0, Some(at(5))));
        assert_eq!(after("b", standing(false, 5)), (1, 1, Some(at(5))));
        assert_eq!(after("c", standing(true, 3)), (2, 1, Some(at(3))));
        assert_eq!(after("c", standing(true, 9)), (2, 1, Some(at(5))));
        assert_eq!(after("a", None), (1, 1, Some(at(5))));
        assert_eq!(
            after("b", Some(Standing { is_ready: true, due_at: None })),
            (2, 0, Some(at(9)))
        );
        assert_eq!(after("c", None), (1, 0, None));
        assert_eq!(after("b", None), (0, 0, None));
    }
}
