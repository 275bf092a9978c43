//! Which installation an object belongs to.
//!
//! Several operators can run in one cluster, each with a namespace of its own. An object belongs to
//! the installation that its status names. An operator claims an object that belongs to none before
//! it writes anything else for it, and writes nothing at all for an object of another installation
//! whose namespace exists.

use crate::api::installation::Installation;

/// Whether the namespace of an installation exists, with the uid that the installation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It exists.
    Lives,
    /// There is no namespace of that name, or it has another uid.
    Gone,
}

/// What an operator has to do before it may write for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing: the object belongs to this installation.
    Ours,
    /// Write its own installation into the status.
    Claim,
    /// Look whether the namespace of the holder exists.
    Ask,
    /// Leave the object alone.
    Leave,
}

/// Decides by the holder that the status names and by the presence of the holder, if it is known.
pub fn hold(holder: Option<&Installation>, own: &Installation, presence: Option<Presence>) -> Hold {
    match (holder, presence) {
        (Some(holder), _) if holder == own => Hold::Ours,
        (Some(_), None) => Hold::Ask,
        (Some(_), Some(Presence::Lives)) => Hold::Leave,
        (None, _) | (Some(_), Some(Presence::Gone)) => Hold::Claim,
    }
}

/// Whether the holder exists, by the uid of the namespace of its name.
pub fn presence(holder: &Installation, namespace_uid: Option<&str>) -> Presence {
    if namespace_uid == Some(holder.uid.as_str()) { Presence::Lives } else { Presence::Gone }
}

/// Whether the token servers of the installation with that uid serve an object.
///
/// An object without a holder is served: an operator of an older version did not claim it, and only
/// the verifier records and key pairs of this installation are used for it.
pub fn is_served(holder: Option<&str>, own: Option<&str>) -> bool {
    holder.is_none_or(|holder| own == Some(holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(namespace: &str, uid: &str) -> Installation {
        Installation { namespace: namespace.to_owned(), uid: uid.to_owned() }
    }

    #[test]
    fn only_the_object_of_an_installation_that_lives_is_left() {
        let own = installation("system", "a");
        let other = installation("other", "b");
        let predecessor = installation("system", "z");
        let table = [
            (None, None, Hold::Claim),
            (None, Some(Presence::Lives), Hold::Claim),
            (Some(&own), None, Hold::Ours),
            (Some(&own), Some(Presence::Gone), Hold::Ours),
            (Some(&other), None, Hold::Ask),
            (Some(&other), Some(Presence::Lives), Hold::Leave),
            (Some(&other), Some(Presence::Gone), Hold::Claim),
            (Some(&predecessor), None, Hold::Ask),
            (Some(&predecessor), Some(Presence::Gone), Hold::Claim),
        ];
        for (holder, presence, expected) in table {
            assert_eq!(hold(holder, &own, presence), expected, "{holder:?} {presence:?}");
        }
    }

    #[test]
    fn a_namespace_that_was_created_again_is_another_installation() {
        let holder = installation("system", "a");

        assert_eq!(presence(&holder, Some("a")), Presence::Lives);
        assert_eq!(presence(&holder, Some("b")), Presence::Gone);
        assert_eq!(presence(&holder, None), Presence::Gone);
    }

    #[test]
    fn token_servers_refuse_what_another_installation_holds() {
        assert!(is_served(None, Some("a")));
        assert!(is_served(None, None));
        assert!(is_served(Some("a"), Some("a")));
        assert!(!is_served(Some("b"), Some("a")));
        assert!(!is_served(Some("b"), None));
    }
}
