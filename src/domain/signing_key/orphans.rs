//! Ledgers and key pairs whose `SigningKey` is deleted.
//!
//! The garbage collector deletes the objects that a `SigningKey` owned. It does not delete objects that were
//! orphaned, or restored without their owner. The operator deletes these, because a private key must not stay.
//! It waits first, because a restore of the `SigningKey` itself may still be running.

use jiff::{SignedDuration, Timestamp};

use crate::domain::schedule::{Now, saturating_add};

/// The action for such a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanAction {
    /// Write down that it was seen without its owner at that instant.
    Mark(Timestamp),
    /// Nothing yet.
    Keep,
    /// Delete it.
    Delete,
}

/// Decides for a Secret whose `SigningKey` is deleted according to a live read. `seen_at` is the first recorded
/// time of that. `kept_for` is the time in which its tokens may still be signed and be valid.
pub fn orphan_action(
    seen_at: Option<Timestamp>,
    kept_for: SignedDuration,
    now: Now,
) -> OrphanAction {
    match seen_at {
        None => OrphanAction::Mark(now.latest()),
        // A clock that was ahead must not keep it for years.
        Some(seen_at) if seen_at > saturating_add(now.latest(), kept_for) => {
            OrphanAction::Mark(now.latest())
        }
        Some(seen_at)
            if now.has_passed_on_stable_clock(saturating_add(seen_at, kept_for), kept_for) =>
        {
            OrphanAction::Delete
        }
        Some(_) => OrphanAction::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::ClockMonitor;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(hours: i64) -> Timestamp {
        saturating_add("2026-11-24T00:00:00Z".parse().unwrap(), SignedDuration::from_hours(hours))
    }

    #[test]
    fn it_is_kept_for_as_long_as_a_token_may_live_after_it_was_seen() {
        let now = |hours| Now::at(at(hours));

        assert_eq!(orphan_action(None, DAY, now(0)), OrphanAction::Mark(at(0)));
        assert_eq!(orphan_action(Some(at(0)), DAY, now(24)), OrphanAction::Keep);
        assert_eq!(orphan_action(Some(at(0)), DAY, now(25)), OrphanAction::Delete);
    }

    #[test]
    fn a_mark_from_the_future_is_written_again() {
        assert_eq!(orphan_action(Some(at(1000)), DAY, Now::at(at(0))), OrphanAction::Mark(at(0)));
    }

    #[test]
    fn nothing_is_deleted_by_clocks_that_differ() {
        let doubtful =
            ClockMonitor::default().sample(at(48), Some(at(47)), std::time::Duration::ZERO);

        assert_eq!(orphan_action(Some(at(0)), DAY, doubtful), OrphanAction::Keep);
    }
}
