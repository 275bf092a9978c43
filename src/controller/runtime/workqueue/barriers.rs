//! Blocked reasons that stop many objects: a quota, a policy, a missing right.
//!
//! One of the blocked objects probes for all of them, each in its turn. Its success wakes
//! a few others, and so does each of theirs: a blocked reason that is gone frees all objects within seconds,
//! and one that stops some objects only costs a few requests for each object that comes free.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::kubernetes::client::{ApiError, Operation};

/// A blocked reason in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Barrier {
    /// The call and the reason why it is refused. It is the same text in every namespace.
    blocked_reason: String,
    namespace: String,
}

impl Barrier {
    /// The barrier of a refused request: it stops every other one like it. The namespace stands apart.
    pub(crate) fn of(error: &ApiError) -> Self {
        let Operation { verb, resource, namespace, .. } = &error.operation;
        Self::new(format!("{verb} {resource}: {}", error.kind), namespace.clone())
    }
}

/// The objects that wait behind each barrier.
#[derive(Debug)]
pub(super) struct Barriers<K> {
    groups: BTreeMap<Barrier, Group<K>>,
}

#[derive(Debug)]
struct Group<K> {
    waiting: BTreeSet<K>,
    /// The object whose try is scheduled.
    scout: Option<K>,
    /// The object that tried last: the next one in the order tries next.
    last: Option<K>,
    tries: u32,
}

/// A try to schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe<K> {
    pub(super) key: K,
    pub(super) wait: Duration,
}

impl Barrier {
    /// The barrier of a blocked reason, as a text that is the same for all objects that it stops, in a
    /// namespace.
    pub(in crate::controller) fn new(blocked_reason: String, namespace: String) -> Self {
        Self { blocked_reason, namespace }
    }
}

impl<K> Default for Barriers<K> {
    fn default() -> Self {
        Self { groups: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Barriers<K> {
    /// `key` waits, again if its own try failed.
    pub(super) fn join(&mut self, barrier: &Barrier, key: &K) {
        let group = self.groups.entry(barrier.clone()).or_default();
        group.waiting.insert(key.clone());
        if group.scout.as_ref() == Some(key) {
            group.scout = None;
        }
    }

    /// `key` does not wait any more.
    pub(super) fn leave(&mut self, barrier: &Barrier, key: &K) {
        let Some(group) = self.groups.get_mut(barrier) else { return };
        group.waiting.remove(key);
        if group.scout.as_ref() == Some(key) {
            group.scout = None;
        }
        if group.waiting.is_empty() && group.scout.is_none() {
            self.groups.remove(barrier);
        }
    }

    /// Whether `key` waits without a try of its own.
    pub(super) fn holds(&self, barrier: &Barrier, key: &K) -> bool {
        let group = self.groups.get(barrier);
        group.is_some_and(|it| it.waiting.contains(key) && it.scout.as_ref() != Some(key))
    }

    /// The next probe, unless one is scheduled or no object waits.
    pub(super) fn next_probe(&mut self, barrier: &Barrier) -> Option<Probe<K>> {
        // However many namespaces are blocked, the tries of all of them take a bounded rate.
        let crowded =
            RELEASE_INTERVAL.saturating_mul(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
        let group = self.groups.get_mut(barrier)?;
        if group.scout.is_some() {
            return None;
        }
        let wait = if group.tries == 0 { FIRST_PROBE } else { PROBE_INTERVAL.max(crowded) };
        let key = group.elect()?;
        group.tries = group.tries.saturating_add(1);
        Some(Probe { key, wait })
    }

    /// An object got past the barrier: returns some of those that wait. They may try at once. They wait
    /// no more. So does one of each of a few other namespaces with the same blocked reason.
    pub(super) fn release(&mut self, barrier: &Barrier) -> Vec<K> {
        let mut freed = Vec::new();
        if let Some(group) = self.groups.get_mut(barrier) {
            group.tries = 0;
            while freed.len() < PROBES_AT_ONCE {
                let Some(key) = group.waiting.pop_first() else { break };
                if group.scout.as_ref() == Some(&key) {
                    group.scout = None;
                }
                freed.push(key);
            }
            if group.waiting.is_empty() && group.scout.is_none() {
                self.groups.remove(barrier);
            }
        }
        freed.extend(self.siblings(barrier));
        freed
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    /// An object of each of the next few namespaces with the same blocked reason.
    fn siblings(&mut self, barrier: &Barrier) -> Vec<K> {
        let after = (Bound::Excluded(barrier.clone()), Bound::Unbounded);
        let next = self.groups.range_mut(after).take(PROBES_AT_ONCE);
        let same = next.take_while(|(other, _)| other.blocked_reason == barrier.blocked_reason);
        let first = Barrier { namespace: String::new(), ..barrier.clone() };
        let mut keys: Vec<K> =
            same.filter_map(|(_, group)| group.waiting.first().cloned()).collect();
        if keys.is_empty() {
            // From the last namespace on it goes on with the first.
            let before = (Bound::Included(first), Bound::Excluded(barrier.clone()));
            let wrapped = self.groups.range(before).take(PROBES_AT_ONCE);
            keys = wrapped.filter_map(|(_, group)| group.waiting.first().cloned()).collect();
        }
        keys
    }
}

impl<K> Default for Group<K> {
    fn default() -> Self {
        Self { waiting: BTreeSet::new(), scout: None, last: None, tries: 0 }
    }
}

impl<K: Clone + Ord> Group<K> {
    /// Each object has a turn: the cause that blocks one object may not block another.
    fn elect(&mut self) -> Option<K> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        let key = next.or_else(|| self.waiting.first())?.clone();
        self.scout = Some(key.clone());
        self.last = Some(key.clone());
        Some(key)
    }
}

/// How soon the first try comes: rights and namespaces are often applied in the wrong order.
const FIRST_PROBE: Duration = Duration::from_secs(15);

/// The time between two tries, so that one a minute is certain.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(45);

/// The time that one try takes of the tries of all: five a second, where very many fail.
pub(super) const RELEASE_INTERVAL: Duration = Duration::from_millis(200);

/// How many others a success wakes.
const PROBES_AT_ONCE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(namespace: &str) -> Barrier {
        Barrier::new("create secrets: quota".to_owned(), namespace.to_owned())
    }

    fn blocked(keys: impl IntoIterator<Item = u32>) -> Barriers<u32> {
        let mut barriers = Barriers::default();
        for key in keys {
            barriers.join(&barrier("a"), &key);
        }
        barriers
    }

    #[test]
    fn one_tries_at_a_time_and_everybody_has_a_turn() {
        let mut barriers = blocked(1..=3);
        let mut tried = Vec::new();

        for _ in 0..4 {
            let next = barriers.next_probe(&barrier("a")).unwrap();
            assert_eq!(barriers.next_probe(&barrier("a")), None);
            barriers.join(&barrier("a"), &next.key);
            tried.push((next.key, next.wait));
        }

        assert_eq!(
            tried,
            [(1, FIRST_PROBE), (2, PROBE_INTERVAL), (3, PROBE_INTERVAL), (1, PROBE_INTERVAL)]
        );
    }

    #[test]
    fn an_object_that_is_alone_tries_every_interval() {
        let mut barriers = blocked([1]);

        let waits = [(); 3].map(|()| {
            let next = barriers.next_probe(&barrier("a")).unwrap();
            barriers.join(&barrier("a"), &next.key);
            next.wait
        });

        assert_eq!(waits, [FIRST_PROBE, PROBE_INTERVAL, PROBE_INTERVAL]);
    }

    #[test]
    fn each_success_wakes_a_few_others_until_all_are_free() {
        let mut barriers = blocked(0..100);
        let first = barriers.next_probe(&barrier("a")).unwrap().key;
        barriers.leave(&barrier("a"), &first);
        let mut free = vec![first];

        while let Some(key) = free.pop() {
            let woken = barriers.release(&barrier("a"));
            assert!(woken.len() <= PROBES_AT_ONCE && !woken.contains(&key));
            free.extend(woken);
        }

        assert!(barriers.groups.is_empty());
    }

    #[test]
    fn a_success_wakes_one_object_of_other_namespaces_with_the_same_obstacle() {
        let mut barriers = Barriers::default();
        for (number, namespace) in ["a", "b", "c"].into_iter().enumerate() {
            barriers.join(&barrier(namespace), &number);
        }
        let other = Barrier::new("patch secrets: policy".to_owned(), "d".to_owned());
        barriers.join(&other, &9);

        barriers.leave(&barrier("c"), &2);
        assert_eq!(barriers.release(&barrier("c")), [0, 1]);
        barriers.leave(&barrier("a"), &0);
        assert_eq!(barriers.release(&barrier("a")), [1]);
    }

    #[test]
    fn the_tries_of_very_many_namespaces_take_a_bounded_rate() {
        let mut barriers = Barriers::default();
        for number in 0..10_000_u32 {
            barriers.join(&barrier(&number.to_string()), &number);
        }

        barriers.next_probe(&barrier("7")).unwrap();
        barriers.join(&barrier("7"), &7);

        assert_eq!(barriers.next_probe(&barrier("7")).unwrap().wait, RELEASE_INTERVAL * 10_000);
    }
}
