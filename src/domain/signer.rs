//! Which key signs now, given what a server has in view.
//!
//! A token service signs by the ledger alone, and only with a key that it sees published: a server
//! whose views are too old to know better refuses rather than sign what nobody can verify.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::key_pair::Kid;
use super::signing_key::Ledger;
use super::signing_key::ledger::Entry;

/// What a server has in view of one series, each with its age: the time since a watch last told
/// something, by a clock that cannot jump.
#[derive(Clone, Copy, Debug)]
pub struct Views<'a> {
    /// Whether the `SigningKey` lives and is not suspended.
    pub series: Aged<Option<Use>>,
    /// Its ledger.
    pub ledger: Aged<Option<&'a Ledger>>,
    /// The kids in its JWKS.
    pub jwks: Aged<&'a BTreeSet<Kid>>,
    /// The kids whose private half is at hand.
    pub private: Aged<&'a BTreeSet<Kid>>,
}

/// Something in view, and how old that view may be.
#[derive(Clone, Copy, Debug)]
pub struct Aged<T> {
    /// What is in view.
    pub seen: T,
    /// The time since the view was known to be current.
    pub age: Duration,
}

/// What a `SigningKey` may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Signing.
    Signing,
    /// Nothing for now: `spec.suspend` is true.
    Suspended,
}

/// Why nothing is signed. A server says 503 then, and means all of them to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSigner {
    /// A view is too old.
    #[error("the view of {0} is too old to sign by")]
    Stale(&'static str),
    /// There is no such `SigningKey`.
    #[error("there is no such SigningKey")]
    Absent,
    /// It is suspended.
    #[error("the SigningKey is suspended")]
    Suspended,
    /// No ledger is in view.
    #[error("the ledger of the SigningKey is not in view")]
    NoLedger,
    /// No key of the ledger that could sign now is published and at hand.
    #[error("no key that may sign now is published and at hand")]
    NoKey,
}

/// The key that signs at `now`: the newest that may, that the JWKS has, and whose private half is at
/// hand (K1, K3).
///
/// `most_age` is the bound on the age of every view, S: a key leaves the JWKS only when no server
/// within that bound can sign with it any more.
///
/// # Errors
///
/// [`NoSigner`]: the request can be repeated later, no token is signed now.
pub fn signer<'a>(
    views: &Views<'a>,
    now: Timestamp,
    most_age: Duration,
) -> Result<&'a Entry, NoSigner> {
    let ages = [
        ("the SigningKey", views.series.age),
        ("the ledger", views.ledger.age),
        ("the JWKS", views.jwks.age),
        ("the private keys", views.private.age),
    ];
    if let Some((view, _)) = ages.into_iter().find(|(_, age)| *age >= most_age) {
        return Err(NoSigner::Stale(view));
    }
    match views.series.seen {
        None => return Err(NoSigner::Absent),
        Some(Use::Suspended) => return Err(NoSigner::Suspended),
        Some(Use::Signing) => {}
    }
    let ledger = views.ledger.seen.ok_or(NoSigner::NoLedger)?;
    let is_usable = |entry: &Entry| {
        let kid = entry.key.kid();
        views.jwks.seen.contains(kid) && views.private.seen.contains(kid)
    };
    let mut able = ledger.live().rev().map(|(_, entry)| entry).filter(|it| it.signs_at(now));
    able.find(|entry| is_usable(entry)).ok_or(NoSigner::NoKey)
}
