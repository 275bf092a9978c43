//! What becomes of a ledger or a key pair whose `SigningKey` is gone.
//!
//! The garbage collector deletes what a `SigningKey` owned. What was orphaned, or restored without its
//! owner, is left to the operator: a private key must not stay for ever, and a restore of the
//! `SigningKey` itself may still be under way.

use jiff::{SignedDuration, Timestamp};

use crate::domain::schedule::{Now, later};

/// What to do with such a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Write down that it was seen without its owner at that instant.
    Mark(Timestamp),
    /// Nothing yet.
    Keep,
    /// Delete it.
    Delete,
}

/// Decides for a Secret of which a live read says that its `SigningKey` is gone. `seen_at` is when that
/// was first written down; `kept_for` is how long a token of it may still be signed and live.
pub fn fate(seen_at: Option<Timestamp>, kept_for: SignedDuration, now: Now) -> Fate {
    match seen_at {
        None => Fate::Mark(now.latest()),
        // A clock that was ahead must not keep it for years.
        Some(seen_at) if seen_at > later(now.latest(), kept_for) => Fate::Mark(now.latest()),
        Some(seen_at) if now.has_passed_still(later(seen_at, kept_for), kept_for) => Fate::Delete,
        Some(_) => Fate::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::Watchman;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(hours: i64) -> Timestamp {
        later("2026-11-24T00:00:00Z".parse().unwrap(), SignedDuration::from_hours(hours))
    }

    #[test]
    fn it_is_kept_for_as_long_as_a_token_may_live_after_it_was_seen() {
        let now = |hours| Now::at(at(hours));

        assert_eq!(fate(None, DAY, now(0)), Fate::Mark(at(0)));
        assert_eq!(fate(Some(at(0)), DAY, now(24)), Fate::Keep);
        assert_eq!(fate(Some(at(0)), DAY, now(25)), Fate::Delete);
    }

    #[test]
    fn a_mark_from_the_future_is_written_again() {
        assert_eq!(fate(Some(at(1000)), DAY, Now::at(at(0))), Fate::Mark(at(0)));
    }

    #[test]
    fn nothing_is_deleted_by_clocks_that_differ() {
        let doubtful = Watchman::default().look(at(48), Some(at(47)), std::time::Duration::ZERO);

        assert_eq!(fate(Some(at(0)), DAY, doubtful), Fate::Keep);
    }
}
