//! The time, as an interval between two clocks, and the instants at which actions are due.
//!
//! The clock of this machine, the clock of the API server and a monotonic clock are compared. [`Now`] has the
//! two ends of the interval. If the clocks disagree, the later clock decides the end of a period, and the
//! earlier clock decides whether an action is due. So a wrong clock makes a rotation late, and never shortens
//! the life of a client secret.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The instant of a decision: true time lies between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    earliest: Timestamp,
    latest: Timestamp,
    likely: Timestamp,
    trust: ClockState,
    /// The time since a jump of the clocks, if there was one.
    still_for: Option<Duration>,
}

/// Whether actions may follow the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// They agree, and neither jumped.
    Trusted,
    /// The clock of this machine and that of the API server differ by more than [`TOLERANCE`].
    Apart(SignedDuration),
    /// The clocks jumped together. They are trusted once they have been steady for [`STABLE_AFTER`].
    Jumped,
}

/// How far two clocks may differ; the `Date` header alone is a second coarse.
pub const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// How long clocks that jumped together must then hold still to be believed.
pub const STABLE_AFTER: Duration = Duration::from_mins(10);

// === impl Now ===

impl Now {
    /// An instant of a trusted clock.
    pub fn at(instant: Timestamp) -> Self {
        let trust = ClockState::Trusted;
        Self { earliest: instant, latest: instant, likely: instant, trust, still_for: None }
    }

    /// The earliest that it can be: what is due now is due for certain.
    pub fn earliest(&self) -> Timestamp {
        self.earliest
    }

    /// The latest that it can be: what ends after this has its whole time.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The most likely time, for a date that is neither the end of a period nor the time of a due action.
    /// It is the clock of the API server if the two clocks differ, because every replica sees that clock.
    pub fn likely(&self) -> Timestamp {
        self.likely
    }

    /// Whether actions may follow the clocks.
    pub fn clock_state(&self) -> ClockState {
        self.trust
    }

    /// Whether `instant` has come for certain. Never while the clocks cannot be trusted.
    pub fn has_reached(&self, instant: Timestamp) -> bool {
        self.trust == ClockState::Trusted && self.earliest >= instant
    }

    /// Whether `instant` is over for certain. Never while the clocks cannot be trusted.
    pub fn has_passed(&self, instant: Timestamp) -> bool {
        self.trust == ClockState::Trusted && self.earliest > instant
    }

    /// Whether `instant` is over for certain, and no jump of the clocks within `span` has made it so.
    ///
    /// A jump before this process started is unknown.
    pub fn has_passed_on_stable_clock(&self, instant: Timestamp, span: SignedDuration) -> bool {
        self.has_passed(instant) && self.passed_on_stable_clock_at(span) <= self.earliest
    }

    /// When the clocks will have held still for `span`: now, if they did not jump.
    pub fn passed_on_stable_clock_at(&self, span: SignedDuration) -> Timestamp {
        let still_for = self.still_for.and_then(|it| SignedDuration::try_from(it).ok());
        still_for.map_or(self.earliest, |it| {
            saturating_add(self.earliest, span.saturating_sub(it).max(SignedDuration::ZERO))
        })
    }
}

/// Compares the clocks from sample to sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockMonitor {
    last: Option<ClockSample>,
    jumped_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct ClockSample {
    local: Timestamp,
    elapsed: Duration,
}

impl ClockMonitor {
    /// Samples the clocks: `local` of this machine, `served` of the API server as its last answer
    /// showed it, corrected by the time since then, and `elapsed`, which cannot jump.
    pub fn sample(
        &mut self,
        local: Timestamp,
        served: Option<Timestamp>,
        elapsed: Duration,
    ) -> Now {
        let served = served.unwrap_or(local);
        let apart = served.duration_since(local).abs();
        // The one may jump long before the other follows.
        let follows =
            apart > TOLERANCE && self.stable_for(elapsed).is_some_and(|it| it < STABLE_AFTER);
        if follows || self.last.is_some_and(|last| jumped(last, local, elapsed)) {
            self.jumped_at = Some(elapsed);
        }
        self.last = Some(ClockSample { local, elapsed });
        let still_for = self.stable_for(elapsed);
        let (likely, trust) = if apart > TOLERANCE {
            (served, ClockState::Apart(apart))
        } else if still_for.is_some_and(|it| it < STABLE_AFTER) {
            (local, ClockState::Jumped)
        } else {
            (local, ClockState::Trusted)
        };
        let (earliest, latest) = (local.min(served), local.max(served));
        Now { earliest, latest, likely, trust, still_for }
    }

    fn stable_for(&self, elapsed: Duration) -> Option<Duration> {
        self.jumped_at.map(|at| elapsed.saturating_sub(at))
    }
}

fn jumped(last: ClockSample, local: Timestamp, elapsed: Duration) -> bool {
    let by_wall = local.duration_since(last.local);
    let by_steady = SignedDuration::try_from(elapsed.saturating_sub(last.elapsed));
    by_steady.is_ok_and(|steady| by_wall.checked_sub(steady).is_none_or(|d| d.abs() > TOLERANCE))
}

/// `instant` moved by `duration`, or the end of time.
pub fn saturating_add(instant: Timestamp, duration: SignedDuration) -> Timestamp {
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// When a client secret issued at `issued_at` is to be replaced: `period` later, or a little
/// earlier, by an amount that `uid` decides.
///
/// Spreading keeps a thousand objects that were applied together from rotating together. It takes
/// at most a sixteenth of the period, at most 10 minutes, and never so much that two rotations come
/// within one overlap.
pub fn due_at(
    issued_at: Timestamp,
    period: SignedDuration,
    overlap: SignedDuration,
    uid: &str,
) -> Timestamp {
    let room = (period / 16).min(MAX_JITTER).min(period.saturating_sub(overlap));
    let thousandths = i32::try_from(crc32fast::hash(uid.as_bytes()) % 1000).unwrap_or_default();
    let spread = (room / 1000).saturating_mul(thousandths).max(SignedDuration::ZERO);
    saturating_add(issued_at, period.saturating_sub(spread))
}

const MAX_JITTER: SignedDuration = SignedDuration::from_mins(10);

/// Parses a duration of the API: `90s`, `5m`, `1h30m`. Units may stand in any order, as in Go.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let parts = text.split_inclusive(UNITS).map(|part| {
        // jiff knows more units and forms than the API has.
        let number = part.strip_suffix(UNITS)?;
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { part.parse().ok() } else { None }
    });
    let parts: Option<Vec<SignedDuration>> = parts.collect();
    let parts = parts.filter(|parts| !parts.is_empty())?;
    parts.into_iter().try_fold(SignedDuration::ZERO, SignedDuration::checked_add)
}

const UNITS: [char; 3] = ['h', 'm', 's'];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        saturating_add("2026-11-24T00:00:00Z".parse().unwrap(), SignedDuration::from_secs(seconds))
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(parse_duration("90s"), Some(SignedDuration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Some(SignedDuration::from_mins(90)));
        assert_eq!(parse_duration("87600h"), Some(SignedDuration::from_hours(87_600)));
        assert_eq!(parse_duration("30m1h1m"), Some(SignedDuration::from_mins(91)));
        for nonsense in [
            "",
            "h",
            "5",
            "5d",
            "-1h",
            "+1h",
            "1h30",
            "1h 30m",
            "1.5h",
            "PT1H",
            "1hour",
            "1ms",
            "9999999999999999999h",
            "2562047788015215h2562047788015215h",
        ] {
            assert_eq!(parse_duration(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn clocks_that_agree_are_trusted() {
        let now = ClockMonitor::default().sample(at(0), Some(at(3)), Duration::ZERO);

        assert_eq!(now.clock_state(), ClockState::Trusted);
        assert_eq!((now.earliest(), now.latest()), (at(0), at(3)));
    }

    #[test]
    fn while_the_clocks_are_apart_nothing_is_due_and_ends_count_from_the_later() {
        let hour = SignedDuration::from_hours(1);

        let now = ClockMonitor::default().sample(at(0), Some(at(3600)), Duration::ZERO);

        assert_eq!(now.clock_state(), ClockState::Apart(hour));
        assert_eq!((now.earliest(), now.latest()), (at(0), at(3600)));
        assert!(!now.has_reached(at(-1_000_000)));
    }

    #[test]
    fn clocks_that_jump_together_are_believed_once_they_hold_still() {
        let mut watchman = ClockMonitor::default();
        watchman.sample(at(0), Some(at(0)), Duration::ZERO);

        let jumped = watchman.sample(at(90_000), Some(at(90_000)), Duration::from_secs(10));
        let still = watchman.sample(at(90_300), Some(at(90_300)), Duration::from_secs(310));
        let settled = watchman.sample(at(90_700), Some(at(90_700)), Duration::from_secs(710));

        assert_eq!(jumped.clock_state(), ClockState::Jumped);
        assert_eq!(still.clock_state(), ClockState::Jumped);
        assert_eq!(settled.clock_state(), ClockState::Trusted);
    }

    #[test]
    fn clocks_that_jump_one_after_the_other_hold_still_once_they_agree() {
        let mut watchman = ClockMonitor::default();
        watchman.sample(at(0), Some(at(0)), Duration::ZERO);

        for minutes in (0..30).step_by(5) {
            let steady = i64::try_from(minutes).unwrap() * 60;
            let elapsed = Duration::from_mins(minutes);
            let now = watchman.sample(at(90_000 + steady), Some(at(steady)), elapsed);
            assert_ne!(now.clock_state(), ClockState::Trusted);
        }
        let look = |watchman: &mut ClockMonitor, minutes| {
            let steady = at(90_000 + i64::try_from(minutes).unwrap() * 60);
            watchman.sample(steady, Some(steady), Duration::from_mins(minutes)).clock_state()
        };

        assert_eq!(look(&mut watchman, 30), ClockState::Jumped);
        assert_eq!(look(&mut watchman, 36), ClockState::Trusted);
    }

    #[test]
    fn what_must_not_come_early_waits_longer_for_clocks_that_jumped() {
        let mut watchman = ClockMonitor::default();
        let hours = SignedDuration::from_hours;
        let first = watchman.sample(at(0), None, Duration::ZERO);
        watchman.sample(at(90_000), None, Duration::from_secs(10));

        let settled = watchman.sample(at(90_000 + 1800), None, Duration::from_secs(1810));
        let late = watchman.sample(at(90_000 + 7200), None, Duration::from_secs(7210));

        assert!(first.has_passed_on_stable_clock(at(-1), hours(1)));
        assert!(settled.has_passed(at(0)) && !settled.has_passed_on_stable_clock(at(0), hours(1)));
        assert_eq!(settled.passed_on_stable_clock_at(hours(1)), at(90_000 + 3600));
        assert!(late.has_passed_on_stable_clock(at(0), hours(1)));
    }

    #[test]
    fn a_rotation_is_due_a_little_before_its_period_and_never_within_one_overlap() {
        let hours = SignedDuration::from_hours;

        for index in 0..200 {
            let uid = format!("uid-{index}");
            let due = due_at(at(0), hours(720), hours(24), &uid);
            assert!(due <= at(720 * 3600) && due > at(720 * 3600 - 600), "{uid}: {due}");
            let tight = due_at(at(0), hours(2), SignedDuration::from_secs(7199), &uid);
            assert!(tight > at(7198), "{uid}: {tight}");
        }
    }
}
