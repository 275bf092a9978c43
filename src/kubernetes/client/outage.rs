//! Whether the API server was away a moment ago.

use std::time::Duration;

use super::ApiErrorKind;

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
    pub(super) fn classify(&mut self, kind: ApiErrorKind, elapsed: Duration) -> ApiErrorKind {
        if matches!(kind, ApiErrorKind::NoAnswer(_) | ApiErrorKind::Server(..)) {
            self.last = Some(elapsed);
        }
        let is_returning = self.last.is_some_and(|last| elapsed.saturating_sub(last) < RECOVERY);
        if kind == ApiErrorKind::Forbidden && is_returning {
            ApiErrorKind::Server(403, None)
        } else {
            kind
        }
    }
}

/// A small API server has its roles after a few seconds; a missing right is reported this late.
const RECOVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conditions::unavailable::NoAnswer;

    #[test]
    fn a_refusal_counts_unless_the_server_was_just_away() {
        let seconds = Duration::from_secs;
        let mut outage = Outage::default();

        let at_rest = outage.classify(ApiErrorKind::Forbidden, seconds(0));
        outage.classify(ApiErrorKind::NoAnswer(NoAnswer::Refused), seconds(100));
        let returning = outage.classify(ApiErrorKind::Forbidden, seconds(129));
        let returned = outage.classify(ApiErrorKind::Forbidden, seconds(130));

        assert_eq!(at_rest, ApiErrorKind::Forbidden);
        assert_eq!(returning, ApiErrorKind::Server(403, None));
        assert_eq!(returned, ApiErrorKind::Forbidden);
    }

    #[test]
    fn other_failures_stay_what_they_are() {
        let mut outage = Outage::default();
        outage.classify(ApiErrorKind::Server(503, None), Duration::ZERO);

        for kind in [
            ApiErrorKind::NotFound,
            ApiErrorKind::Conflict,
            ApiErrorKind::QuotaExceeded,
            ApiErrorKind::NoAnswer(NoAnswer::Timeout),
        ] {
            assert_eq!(outage.classify(kind.clone(), Duration::ZERO), kind);
        }
    }
}
