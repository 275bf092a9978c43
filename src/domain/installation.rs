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
    Exists,
    /// There is no namespace of that name, or it has another uid.
    Gone,
}

/// The step that an operator needs before it may write for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Nothing: the object belongs to this installation.
    Ours,
    /// Write its own installation into the status.
    Claim,
    /// Read whether the namespace of the holder exists.
    CheckHolder,
    /// Leave the object alone.
    Skip,
}

/// Decides by the holder that the status names and by the presence of the holder, if it is known.
pub fn claim_decision(
    holder: Option<&Installation>,
    own: &Installation,
    presence: Option<Presence>,
) -> ClaimDecision {
    match (holder, presence) {
        (Some(holder), _) if holder == own => ClaimDecision::Ours,
        (Some(_), None) => ClaimDecision::CheckHolder,
        (Some(_), Some(Presence::Exists)) => ClaimDecision::Skip,
        (None, _) | (Some(_), Some(Presence::Gone)) => ClaimDecision::Claim,
    }
}

/// Whether the holder exists, by the uid of the namespace of its name.
pub fn presence(holder: &Installation, namespace_uid: Option<&str>) -> Presence {
    if namespace_uid == Some(holder.uid.as_str()) { Presence::Exists } else { Presence::Gone }
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
            (None, None, ClaimDecision::Claim),
            (None, Some(Presence::Exists), ClaimDecision::Claim),
            (Some(&own), None, ClaimDecision::Ours),
            (Some(&own), Some(Presence::Gone), ClaimDecision::Ours),
            (Some(&other), None, ClaimDecision::CheckHolder),
            (Some(&other), Some(Presence::Exists), ClaimDecision::Skip),
            (Some(&other), Some(Presence::Gone), ClaimDecision::Claim),
            (Some(&predecessor), None, ClaimDecision::CheckHolder),
            (Some(&predecessor), Some(Presence::Gone), ClaimDecision::Claim),
        ];
        for (holder, presence, expected) in table {
            assert_eq!(claim_decision(holder, &own, presence), expected, "{holder:?} {presence:?}");
        }
    }

    #[test]
    fn a_namespace_that_was_created_again_is_another_installation() {
        let holder = installation("system", "a");

        assert_eq!(presence(&holder, Some("a")), Presence::Exists);
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
