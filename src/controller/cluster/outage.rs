//! Whether the API server was away a moment ago.

use std::time::Duration;

use super::Kind;

/// When a call was last left without a proper answer.
#[derive(Debug, Default)]
pub(super) struct Outage {
    last: Option<Duration>,
}

impl Outage {
    /// What a failure means, seen at `elapsed`.
    ///
    /// A server that comes back refuses everybody until it has read its own roles: that says nothing
    /// of a right.
    pub(super) fn judge(&mut self, kind: Kind, elapsed: Duration) -> Kind {
        if matches!(kind, Kind::Unanswered | Kind::Server(..)) {
            self.last = Some(elapsed);
        }
        let is_returning = self.last.is_some_and(|last| elapsed.saturating_sub(last) < RETURN);
        if kind == Kind::Forbidden && is_returning { Kind::Server(403, None) } else { kind }
    }
}

/// A small API server has its roles after a few seconds; a right that is missing is told this late.
const RETURN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_unless_the_server_was_just_away() {
        let seconds = Duration::from_secs;
        let mut outage = Outage::default();

        let at_rest = outage.judge(Kind::Forbidden, seconds(0));
        outage.judge(Kind::Unanswered, seconds(100));
        let returning = outage.judge(Kind::Forbidden, seconds(129));
        let returned = outage.judge(Kind::Forbidden, seconds(130));

        assert_eq!(at_rest, Kind::Forbidden);
        assert_eq!(returning, Kind::Server(403, None));
        assert_eq!(returned, Kind::Forbidden);
    }

    #[test]
    fn other_failures_stay_what_they_are() {
        let mut outage = Outage::default();
        outage.judge(Kind::Server(503, None), Duration::ZERO);

        for kind in [Kind::NotFound, Kind::Outdated, Kind::Quota, Kind::Unanswered] {
            assert_eq!(outage.judge(kind.clone(), Duration::ZERO), kind);
        }
    }
}
