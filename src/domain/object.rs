//! The version of an object that a decision depends on. A uid identifies an object, a name does not.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::schedule::Now;

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The uid of the object.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

/// Whose an object is, by its owner references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To the resource at hand.
    Ours,
    /// To a resource of the same kind and name that is gone for certain.
    Predecessor,
    /// To another owner, or to none.
    Foreign,
}

/// Whether the garbage collector of Kubernetes has had its time for what the predecessor of a
/// resource left: that one was gone when the resource was made.
///
/// Nothing is unsafe if it comes too early, so that it goes by clocks that are not trusted, too; and
/// where they went back since, nothing waits for them.
pub fn gc_had_time(created_at: Timestamp, now: Now) -> bool {
    now.likely().duration_since(created_at).abs() >= GC_TIME
}

/// The time of the garbage collector, which needs a second as a rule.
pub const GC_TIME: SignedDuration = SignedDuration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_has_ten_seconds_by_clocks_that_may_be_wrong() {
        let created_at: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let after =
            |seconds| Now::at(created_at.checked_add(SignedDuration::from_secs(seconds)).unwrap());

        for (seconds, is_over) in [(0, false), (9, false), (-9, false), (10, true), (-3600, true)] {
            assert_eq!(gc_had_time(created_at, after(seconds)), is_over, "{seconds}");
        }
    }
}
