//! Token servers, all that there can be: at every instant, one for every combination of views that
//! are younger than S, with a clock that is right, ahead or behind.
//!
//! They sign by the production [`signer`]. What one of them could sign with, one of them does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use technical_user_operator::domain::crypto::public_key::Kid;
use technical_user_operator::domain::oauth::signer::{Aged, SignerInputs, SigningState, signer};
use technical_user_operator::domain::signing_key::{Ledger, SKEW};

/// What a view showed since when, from the oldest that a server may still hold.
#[derive(Debug)]
pub(crate) struct History<T> {
    versions: Vec<(Duration, T)>,
}

impl<T: Clone + PartialEq> History<T> {
    pub(crate) fn new(first: T) -> Self {
        Self { versions: vec![(Duration::ZERO, first)] }
    }

    pub(crate) fn current(&self) -> &T {
        &self.versions[self.versions.len() - 1].1
    }

    /// What it showed at any time that a server may still hold.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.versions.iter().map(|(_, version)| version)
    }

    pub(crate) fn push(&mut self, now: Duration, version: T) {
        if *self.current() != version {
            self.versions.push((now, version));
        }
    }

    /// Forgets the past: every server was restarted.
    pub(crate) fn reset(&mut self, version: T) {
        self.versions = vec![(Duration::ZERO, version)];
    }

    /// What a server may have in view, each once, with its least age.
    fn admissible(&mut self, now: Duration) -> Vec<(Duration, T)> {
        let ends = |index: usize, versions: &[(Duration, T)]| {
            versions.get(index + 1).map_or(now, |(since, _)| *since)
        };
        let fresh = |index: usize, versions: &[(Duration, T)]| {
            now.saturating_sub(ends(index, versions)) < VIEW_AGE
        };
        let first = (0..self.versions.len()).find(|index| fresh(*index, &self.versions));
        self.versions.drain(..first.unwrap_or_default());
        let all = (0..self.versions.len()).rev();
        let aged = all.map(|index| {
            let age = now.saturating_sub(ends(index, &self.versions));
            (age, self.versions[index].1.clone())
        });
        let mut once: Vec<(Duration, T)> = Vec::new();
        for (age, version) in aged {
            if once.iter().all(|(_, known)| *known != version) {
                once.push((age, version));
            }
        }
        once
    }
}

/// The `SigningKey` as servers see it: its uid, and whether it may sign.
pub(crate) type Series = Option<(String, SigningState)>;

/// Ledgers by the uid of their series: a server takes the one of the series that it sees.
pub(crate) type Ledgers = BTreeMap<String, Arc<Ledger>>;

/// Everything that servers watch.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) series: History<Series>,
    pub(crate) ledgers: History<Ledgers>,
    pub(crate) jwks: History<BTreeSet<Kid>>,
    pub(crate) private: History<BTreeSet<Kid>>,
}

impl Servers {
    pub(crate) fn new() -> Self {
        Self {
            series: History::new(None),
            ledgers: History::new(Ledgers::new()),
            jwks: History::new(BTreeSet::new()),
            private: History::new(BTreeSet::new()),
        }
    }

    /// The keys that some server signs with now, by the uid of their series.
    pub(crate) fn sign(&mut self, elapsed: Duration, now: Timestamp) -> BTreeSet<(String, Kid)> {
        let series = self.series.admissible(elapsed);
        let ledgers = self.ledgers.admissible(elapsed);
        let jwks = self.jwks.admissible(elapsed);
        let private = self.private.admissible(elapsed);
        let mut signing = BTreeSet::new();
        for (series_age, series) in &series {
            let Some((uid, used)) = series else { continue };
            for (ledger_age, ledgers) in &ledgers {
                let ledger = ledgers.get(uid).map(Arc::as_ref);
                for ((jwks_age, jwks), (private_age, private)) in
                    jwks.iter().flat_map(|it| private.iter().map(move |other| (it, other)))
                {
                    let views = SignerInputs {
                        series: Aged { seen: Some(*used), age: *series_age },
                        ledger: Aged { seen: ledger, age: *ledger_age },
                        jwks: Aged { seen: jwks, age: *jwks_age },
                        private: Aged { seen: private, age: *private_age },
                    };
                    for skew in [-SKEW, SignedDuration::ZERO, SKEW] {
                        if let Ok(entry) = signer(&views, now + skew, VIEW_AGE) {
                            signing.insert((uid.clone(), entry.key.kid().clone()));
                        }
                    }
                }
            }
        }
        signing
    }
}

/// S. Longer than the operator waits after a jump of all clocks, so that nothing is safe by luck.
pub(crate) const VIEW_AGE: Duration = Duration::from_mins(11);

/// How long tokens live.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_mins(2);

/// How long a token verifies, by the most generous clock.
pub(crate) fn token_life() -> SignedDuration {
    SignedDuration::try_from(TOKEN_LIFETIME).unwrap() + SKEW * 2
}
