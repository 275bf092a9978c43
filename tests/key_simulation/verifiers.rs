//! Verifiers that keep the key set for a while, each as its consumer does: how often it fetches, and
//! what it does about a key that it does not know. The figures are defaults of those projects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use technical_user_operator::domain::crypto::public_key::Kid;

/// The ids of a key set.
pub(crate) type Keys = Arc<BTreeSet<Kid>>;

/// How one consumer behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    pub(crate) name: &'static str,
    fetches: Fetches,
    /// How long ago the last fetch must be for an unknown key to cause another at once. Some fetch
    /// in the background then, and refuse this token: that is no help to it.
    refetches_after: Option<Duration>,
    /// By how much a fetch may be late.
    jitter: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Fetches {
    /// In the background.
    Every(Duration),
    /// With the next token, once the key set is that old.
    OnceOlderThan(Duration),
    /// As soon as it changes.
    OnChange,
    Never,
}

/// The consumers of the documentation.
pub(crate) const HABITS: [Habit; 11] = [
    background("istio", 20 * 60),
    background("trino", 15 * 60),
    // It starts a fetch for an unknown key, and refuses the token meanwhile.
    Habit { jitter: Duration::ZERO, ..background("kafka", 60 * 60) },
    background("strimzi", 300),
    lazy("envoy-remote", 300, None),
    Habit { fetches: Fetches::OnChange, ..lazy("envoy-local", 0, None) },
    lazy("spring", 300, Some(0)),
    lazy("jose", 600, Some(30)),
    lazy("oauth4webapi", 300, Some(60)),
    Habit { fetches: Fetches::Never, ..lazy("go-oidc", 0, Some(0)) },
    lazy("pyjwt", 300, Some(0)),
];

/// Kafka, whose fetches may be a minute late.
pub(crate) const LATE_KAFKA: Habit = background("kafka", 60 * 60);

const fn background(name: &'static str, seconds: u64) -> Habit {
    let fetches = Fetches::Every(Duration::from_secs(seconds));
    Habit { name, fetches, refetches_after: None, jitter: Duration::from_mins(1) }
}

const fn lazy(name: &'static str, seconds: u64, refetches_after: Option<u64>) -> Habit {
    let refetches_after = match refetches_after {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => None,
    };
    let fetches = Fetches::OnceOlderThan(Duration::from_secs(seconds));
    Habit { name, fetches, refetches_after, jitter: Duration::ZERO }
}

/// A consumer at work.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) habit: Habit,
    number: u64,
    known: Keys,
    fetched_at: Duration,
    next_at: Duration,
    fetches: u64,
}

impl Verifier {
    /// The verifier of that number among `all` alike, whose fetches are spread over their period.
    pub(crate) fn new(habit: Habit, number: u32, all: u32, now: Duration, known: Keys) -> Self {
        let period = match habit.fetches {
            Fetches::Every(period) => period,
            Fetches::OnceOlderThan(_) | Fetches::OnChange | Fetches::Never => Duration::ZERO,
        };
        let next_at = now + period * number / all;
        Self { habit, number: number.into(), known, fetched_at: now, next_at, fetches: 0 }
    }

    /// Whether a token of that key is accepted at first sight. `published` tells the key set of
    /// every instant up to now.
    pub(crate) fn accepts(
        &mut self,
        kid: &Kid,
        now: Duration,
        published: &impl Fn(Duration) -> Keys,
    ) -> bool {
        match self.habit.fetches {
            Fetches::Every(period) => {
                while self.next_at <= now {
                    self.fetch(self.next_at, published);
                    self.next_at += period + self.lateness();
                }
            }
            Fetches::OnceOlderThan(age) if now.saturating_sub(self.fetched_at) >= age => {
                self.fetch(now, published);
            }
            Fetches::OnChange => self.fetch(now, published),
            Fetches::OnceOlderThan(_) | Fetches::Never => {}
        }
        let age = now.saturating_sub(self.fetched_at);
        let may_refetch = self.habit.refetches_after.is_some_and(|least| age >= least);
        if !self.known.contains(kid) && may_refetch {
            self.fetch(now, published);
        }
        self.known.contains(kid)
    }

    fn fetch(&mut self, at: Duration, published: &impl Fn(Duration) -> Keys) {
        self.known = published(at);
        self.fetched_at = at;
        self.fetches += 1;
    }

    /// Spread over the jitter, the same in every run.
    fn lateness(&self) -> Duration {
        let text = format!("{}/{}/{}", self.habit.name, self.number, self.fetches);
        self.habit.jitter * (crc32fast::hash(text.as_bytes()) % 1000) / 1000
    }
}
