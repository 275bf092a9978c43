//! Limits of rate, as the generic cell rate algorithm counts them: one number each, no lock and no
//! timer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    every: u64,
    burst: u64,
}

impl Rate {
    /// So often a second, and up to `burst` at once; without limit when either is 0.
    pub const fn a_second(often: u32, burst: u32) -> Self {
        let every = if often == 0 { 0 } else { NANOS / often as u64 };
        Self { every, burst: every.saturating_mul(burst as u64) }
    }

    /// One in that many seconds, and up to `burst` at once.
    pub const fn one_in(seconds: u32, burst: u32) -> Self {
        let every = (seconds as u64).saturating_mul(NANOS);
        Self { every, burst: every.saturating_mul(burst as u64) }
    }

    /// Whether one could be taken, at `elapsed`. Nothing is taken.
    ///
    /// # Errors
    ///
    /// How long to wait for the next one.
    pub fn check(self, count: &AtomicU64, elapsed: Duration) -> Result<(), Duration> {
        if self.burst == 0 {
            return Ok(());
        }
        let (_, wait) = self.one_more(count.load(Ordering::Acquire), nanos(elapsed));
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Takes one, at `elapsed`.
    ///
    /// # Errors
    ///
    /// How long to wait for the next one.
    pub fn take(self, count: &AtomicU64, elapsed: Duration) -> Result<(), Duration> {
        if self.burst == 0 {
            return Ok(());
        }
        let now = nanos(elapsed);
        let mut due = count.load(Ordering::Acquire);
        loop {
            let (next, wait) = self.one_more(due, now);
            if !wait.is_zero() {
                return Err(wait);
            }
            match count.compare_exchange_weak(due, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => due = other,
            }
        }
    }

    /// When one more makes the next due, and how long to wait for it.
    fn one_more(self, due: u64, now: u64) -> (u64, Duration) {
        let next = due.max(now).saturating_add(self.every);
        let surplus = next.saturating_sub(now).saturating_sub(self.burst);
        (next, Duration::from_nanos(surplus))
    }
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let (rate, count) = (Rate::a_second(10, 3), AtomicU64::new(0));
        let at = |millis| rate.take(&count, Duration::from_millis(millis));

        assert_eq!([at(1000), at(1000), at(1000)], [Ok(()); 3]);
        assert_eq!(at(1000), Err(Duration::from_millis(100)));
        assert_eq!(at(1100), Ok(()));
        assert_eq!(at(1101), Err(Duration::from_millis(99)));
        assert_eq!([at(9000), at(9000), at(9000)], [Ok(()); 3]);
        assert!(at(9000).is_err());
    }

    #[test]
    fn a_check_takes_nothing() {
        let (rate, count) = (Rate::one_in(60, 1), AtomicU64::new(0));
        let at = Duration::from_secs;

        assert!((0..10).all(|_| rate.check(&count, at(5)).is_ok()));
        assert_eq!(rate.take(&count, at(5)), Ok(()));
        assert_eq!(rate.check(&count, at(35)), Err(at(30)));
        assert_eq!(rate.check(&count, at(65)), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        for rate in [Rate::a_second(0, 5), Rate::a_second(5, 0)] {
            let count = AtomicU64::new(0);
            assert!((0..1000).all(|_| rate.take(&count, Duration::ZERO).is_ok()));
        }
    }
}
