//! The names that users chose for their delivered Secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::UserRef;

/// The users that chose the name of their delivered Secret, by that name: no event of a Secret has to
/// search all users for it.
#[derive(Debug, Default)]
pub(super) struct ChosenNames {
    names: BTreeMap<UserRef, String>,
    /// The place of the Secret, and the name of a user.
    users: BTreeSet<(UserRef, String)>,
}

impl ChosenNames {
    /// The user has chosen that name, or none, or is gone.
    pub(super) fn note(&mut self, user: &UserRef, chosen: Option<&String>) {
        let former = match chosen {
            Some(chosen) => self.names.insert(user.clone(), chosen.clone()),
            None => self.names.remove(user),
        };
        let place = |name| UserRef { namespace: user.namespace.clone(), name };
        if let Some(former) = former {
            self.users.remove(&(place(former), user.name.clone()));
        }
        if let Some(chosen) = chosen {
            self.users.insert((place(chosen.clone()), user.name.clone()));
        }
    }

    /// Whether the user has chosen a name.
    pub(super) fn has(&self, user: &UserRef) -> bool {
        self.names.contains_key(user)
    }

    /// The users that have chosen that place.
    pub(super) fn users(&self, place: &UserRef) -> impl Iterator<Item = UserRef> {
        let users = self.users.range((place.clone(), String::new())..);
        let users = users.take_while(move |(it, _)| it == place);
        users.map(|(it, name)| UserRef { namespace: it.namespace.clone(), name: name.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_name_is_known_until_its_user_is_gone() {
        let key = |name: &str| UserRef { namespace: "tenant".to_owned(), name: name.to_owned() };
        let mut chosen = ChosenNames::default();
        chosen.note(&key("a"), Some(&"shared".to_owned()));
        chosen.note(&key("b"), Some(&"shared".to_owned()));
        chosen.note(&key("b"), Some(&"shared".to_owned()));
        chosen.note(&key("c"), None);

        assert!(chosen.users(&key("shared")).eq([key("a"), key("b")]));
        assert!(chosen.has(&key("a")) && !chosen.has(&key("c")));

        chosen.note(&key("a"), None);
        chosen.note(&key("b"), Some(&"other".to_owned()));
        assert!(chosen.users(&key("shared")).eq([]));
        assert!(chosen.users(&key("other")).eq([key("b")]));
        assert!(!chosen.has(&key("a")));
    }
}
