//! How much memory the delivered Secrets of one namespace may take: a user with the right to write Secrets there
//! can make
//! any number of them look delivered, each with a megabyte of labels.

use std::collections::BTreeMap;

use crate::domain::technical_user::delivered_secret::ObservedSecret;

/// The bytes of the Secrets of each namespace, and the number of its users.
#[derive(Debug, Default)]
pub(super) struct MemoryBudget {
    taken: BTreeMap<String, usize>,
    users: BTreeMap<String, usize>,
}

impl MemoryBudget {
    /// Whether a Secret of that size may take the place of one of the size `former`. One that may not is asked
    /// for at the API server, as one is that the watch has not delivered yet.
    pub(super) fn has(&self, namespace: &str, former: usize, size: usize) -> bool {
        let of = |sums: &BTreeMap<String, usize>| sums.get(namespace).copied().unwrap_or_default();
        let taken = of(&self.taken).saturating_sub(former).saturating_add(size);
        taken <= of(&self.users).saturating_mul(MAX_PER_USER).saturating_add(MAX_PER_NAMESPACE)
    }

    /// A Secret takes `present`, and took `former`; none takes nothing.
    pub(super) fn note_secret(&mut self, namespace: &str, former: usize, present: usize) {
        change(&mut self.taken, namespace, former, present);
    }

    /// A user of that namespace was there or not, and is or is not.
    pub(super) fn note_user(&mut self, namespace: &str, was_there: bool, is_there: bool) {
        change(&mut self.users, namespace, was_there.into(), is_there.into());
    }

    /// These are all Secrets that there are.
    pub(super) fn recount<'a>(&mut self, secrets: impl Iterator<Item = (&'a str, usize)>) {
        self.taken.clear();
        for (namespace, size) in secrets {
            change(&mut self.taken, namespace, 0, size);
        }
    }
}

fn change(sums: &mut BTreeMap<String, usize>, namespace: &str, former: usize, present: usize) {
    if former == present {
        return;
    }
    let sum = sums.get(namespace).copied().unwrap_or_default();
    let sum = sum.saturating_sub(former).saturating_add(present);
    if sum == 0 {
        sums.remove(namespace);
    } else {
        sums.insert(namespace.to_owned(), sum);
    }
}

/// About how many bytes a Secret takes in memory.
pub(super) fn size(delivered: &ObservedSecret) -> usize {
    let names = [
        &delivered.secret_fields,
        &delivered.rewritten_fields,
        &delivered.ours.fields,
        &delivered.ours.labels,
        &delivered.ours.annotations,
    ];
    let names = names.into_iter().flatten().map(|it| it.len().saturating_add(EACH));
    let pairs = [&delivered.labels, &delivered.annotations, &delivered.foreign_fields];
    let pairs = pairs.into_iter().flatten();
    let pairs =
        pairs.map(|(name, it)| name.len().saturating_add(it.len()).saturating_add(2 * EACH));
    let digest = delivered.content_digest.as_ref().map_or(0, String::len);
    names.chain(pairs).fold(BARE.saturating_add(digest), usize::saturating_add)
}

/// Of a Secret without anything.
const BARE: usize = 1024;

/// Of a text, beside its bytes.
const EACH: usize = 48;

/// A Secret takes 4 KB as a rule. The largest that `secretTemplate` allows takes ten times as much as this,
/// which others of the namespace make up for.
const MAX_PER_USER: usize = 16 * 1024;

/// Enough for some hundred Secrets whose users the watch has not delivered yet.
const MAX_PER_NAMESPACE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_namespace_have_a_bound_that_grows_with_its_users() {
        let mut room = MemoryBudget::default();
        let has = |room: &MemoryBudget| room.has("tenant", 0, MAX_PER_USER);
        let mut kept = 0;
        while has(&room) {
            room.note_secret("tenant", 0, MAX_PER_USER);
            kept += 1;
        }
        assert_eq!(kept, MAX_PER_NAMESPACE / MAX_PER_USER);
        assert!(
            room.has("tenant", MAX_PER_USER, MAX_PER_USER) && room.has("shop", 0, MAX_PER_USER)
        );

        room.note_user("tenant", false, true);
        assert!(has(&room));
        room.note_user("tenant", true, true);
        room.note_user("tenant", true, false);
        assert!(!has(&room) && room.users.is_empty());

        room.note_secret("tenant", MAX_PER_USER, 0);
        assert!(has(&room));
        room.recount([("shop", 7), ("shop", 7)].into_iter());
        assert_eq!(room.taken, BTreeMap::from([("shop".to_owned(), 14)]));
    }
}
