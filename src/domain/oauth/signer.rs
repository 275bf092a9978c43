//! Which key signs now, given what a server has cached.
//!
//! A token service signs by the ledger alone, and only with a key that it sees published: a server
//! whose caches are too old refuses rather than sign a token that no verifier accepts.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::crypto::public_key::Kid;
use crate::domain::signing_key::Ledger;
use crate::domain::signing_key::ledger::Entry;

/// The cached objects of one series, each with its age: the time since its watch last received
/// data, by a clock that cannot jump.
#[derive(Clone, Copy, Debug)]
pub struct SignerInputs<'a> {
    /// Whether the `SigningKey` lives and is not suspended.
    pub series: Aged<Option<SigningState>>,
    /// Its ledger.
    pub ledger: Aged<Option<&'a Ledger>>,
    /// The kids in its JWKS.
    pub jwks: Aged<&'a BTreeSet<Kid>>,
    /// The kids whose private half is at hand.
    pub private: Aged<&'a BTreeSet<Kid>>,
}

/// A cached value, and how old it may be.
#[derive(Clone, Copy, Debug)]
pub struct Aged<T> {
    /// The value.
    pub seen: T,
    /// The time since the value was known to be current.
    pub age: Duration,
}

/// The permitted use of a `SigningKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningState {
    /// Signing.
    Signing,
    /// Nothing for now: `spec.suspend` is true.
    Suspended,
}

/// Why nothing is signed. A server says 503 then, and means all of them to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningUnavailable {
    /// A watch is not synced yet.
    #[error("the watches of {0} are not synced yet")]
    NotSynced(&'static str),
    /// A watch is too old.
    #[error("the watch of {0} is too old to sign by")]
    Stale(&'static str),
    /// There is no such `SigningKey`.
    #[error("there is no such SigningKey")]
    Absent,
    /// It is suspended.
    #[error("the SigningKey is suspended")]
    Suspended,
    /// No ledger is cached.
    #[error("the ledger of the SigningKey is not there")]
    NoLedger,
    /// The operator runs with other settings, by which keys would leave the JWKS too early.
    #[error(
        "{0} of this token server is larger than that of the operator: give both the same value"
    )]
    Settings(&'static str),
    /// No key of the ledger that could sign now is published and at hand.
    #[error("no key that may sign now is published and at hand")]
    NoKey,
}

/// The key that signs at `now`: the newest that may, that the JWKS has, and whose private half is at
/// hand (K1, K3).
///
/// `most_age` is the bound on the age of every watch, S: a key leaves the JWKS only when no server
/// within that bound can sign with it any more.
///
/// # Errors
///
/// [`SigningUnavailable`]: the request can be repeated later, no token is signed now.
pub fn signer<'a>(
    views: &SignerInputs<'a>,
    now: Timestamp,
    most_age: Duration,
) -> Result<&'a Entry, SigningUnavailable> {
    let ages = [
        ("the SigningKey", views.series.age),
        ("the ledger", views.ledger.age),
        ("the JWKS", views.jwks.age),
        ("the private keys", views.private.age),
    ];
    if let Some((view, _)) = ages.into_iter().find(|(_, age)| *age >= most_age) {
        return Err(SigningUnavailable::Stale(view));
    }
    match views.series.seen {
        None => return Err(SigningUnavailable::Absent),
        Some(SigningState::Suspended) => return Err(SigningUnavailable::Suspended),
        Some(SigningState::Signing) => {}
    }
    let ledger = views.ledger.seen.ok_or(SigningUnavailable::NoLedger)?;
    check_settings(ledger, most_age, SignedDuration::ZERO)?;
    let is_usable = |entry: &Entry| {
        let kid = entry.key.kid();
        views.jwks.seen.contains(kid) && views.private.seen.contains(kid)
    };
    let mut able = ledger.live().rev().map(|(_, entry)| entry).filter(|it| it.signs_at(now));
    able.find(|entry| is_usable(entry)).ok_or(SigningUnavailable::NoKey)
}

/// Whether a server with these settings may sign by that ledger: a key stays in the JWKS as long as
/// the settings of the operator say (K2).
///
/// # Errors
///
/// [`SigningUnavailable::Settings`] names the setting that is larger.
pub fn check_settings(
    ledger: &Ledger,
    max_staleness: Duration,
    token_lifetime: SignedDuration,
) -> Result<(), SigningUnavailable> {
    let Some(agreement) = &ledger.agreement else { return Ok(()) };
    let is_within = |it: SignedDuration, most: i64| it <= SignedDuration::from_secs(most);
    let max_staleness = SignedDuration::try_from(max_staleness).unwrap_or(SignedDuration::MAX);
    if !is_within(max_staleness, agreement.view_age_seconds) {
        return Err(SigningUnavailable::Settings("--max-staleness"));
    }
    if !is_within(token_lifetime, agreement.token_lifetime_seconds) {
        return Err(SigningUnavailable::Settings("--max-access-token-ttl"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::crypto::public_key::{Algorithm, PublicKey};
    use jiff::SignedDuration;

    const S: Duration = Duration::from_hours(1);

    fn key(byte: u8) -> PublicKey {
        PublicKey::ec(Algorithm::ES256, &[vec![4], vec![byte; 64]].concat()).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-24T00:00:00Z".parse().unwrap()
    }

    /// The first key ends in an hour, the second begins in half an hour.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::empty("u", "default");
        let half_an_hour = SignedDuration::from_mins(30);
        let mut first = Entry::scheduled(key(1), now() - half_an_hour);
        first.until = Some(now() + half_an_hour * 2);
        ledger.entries.insert(1, first);
        ledger.entries.insert(2, Entry::scheduled(key(2), now() + half_an_hour));
        ledger
    }

    fn both() -> BTreeSet<Kid> {
        [key(1), key(2)].iter().map(|key| key.kid().clone()).collect()
    }

    fn only(byte: u8) -> BTreeSet<Kid> {
        BTreeSet::from([key(byte).kid().clone()])
    }

    fn sign(
        ledger: &Ledger,
        jwks: &BTreeSet<Kid>,
        private: &BTreeSet<Kid>,
        minutes: i64,
    ) -> Result<Kid, SigningUnavailable> {
        let age = Duration::ZERO;
        let views = SignerInputs {
            series: Aged { seen: Some(SigningState::Signing), age },
            ledger: Aged { seen: Some(ledger), age },
            jwks: Aged { seen: jwks, age },
            private: Aged { seen: private, age },
        };
        let at = now() + SignedDuration::from_mins(minutes);
        signer(&views, at, S).map(|entry| entry.key.kid().clone())
    }

    #[test]
    fn the_newest_key_that_may_sign_does() {
        let (ledger, both) = (ledger(), both());

        assert_eq!(sign(&ledger, &both, &both, 29), Ok(key(1).kid().clone()));
        assert_eq!(sign(&ledger, &both, &both, 30), Ok(key(2).kid().clone()));
        assert_eq!(sign(&ledger, &both, &both, 61), Ok(key(2).kid().clone()));
        assert_eq!(sign(&ledger, &both, &both, -31), Err(SigningUnavailable::NoKey));
    }

    #[test]
    fn a_key_that_is_not_published_or_not_at_hand_does_not_sign() {
        let (ledger, both) = (ledger(), both());

        assert_eq!(sign(&ledger, &only(1), &both, 40), Ok(key(1).kid().clone()));
        assert_eq!(sign(&ledger, &both, &only(1), 40), Ok(key(1).kid().clone()));
        assert_eq!(sign(&ledger, &only(1), &both, 61), Err(SigningUnavailable::NoKey));
        assert_eq!(sign(&ledger, &only(2), &only(1), 40), Err(SigningUnavailable::NoKey));
    }

    #[test]
    fn a_withdrawn_key_does_not_sign() {
        use crate::domain::signing_key::ledger::Withdrawal;
        let (mut ledger, both) = (ledger(), both());
        ledger.entries.get_mut(&2).unwrap().withdrawal = Some(Withdrawal::Revoked);

        assert_eq!(sign(&ledger, &both, &both, 40), Ok(key(1).kid().clone()));
        assert_eq!(sign(&ledger, &both, &both, 61), Err(SigningUnavailable::NoKey));
    }

    #[test]
    fn whoever_sees_too_little_or_too_old_does_not_sign() {
        let (ledger, both) = (ledger(), both());
        let fresh = Duration::ZERO;
        let good = SignerInputs {
            series: Aged { seen: Some(SigningState::Signing), age: fresh },
            ledger: Aged { seen: Some(&ledger), age: fresh },
            jwks: Aged { seen: &both, age: fresh },
            private: Aged { seen: &both, age: fresh },
        };
        let refused = |views: SignerInputs<'_>| signer(&views, now(), S).unwrap_err();

        let mut stale = good;
        stale.jwks.age = S;
        assert_eq!(refused(stale), SigningUnavailable::Stale("the JWKS"));
        let mut suspended = good;
        suspended.series.seen = Some(SigningState::Suspended);
        assert_eq!(refused(suspended), SigningUnavailable::Suspended);
        let mut absent = good;
        absent.series.seen = None;
        assert_eq!(refused(absent), SigningUnavailable::Absent);
        let mut blind = good;
        blind.ledger.seen = None;
        assert_eq!(refused(blind), SigningUnavailable::NoLedger);
    }
}
