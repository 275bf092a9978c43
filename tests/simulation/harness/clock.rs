//! Time that only the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use technical_user_operator::environment::Clock;
use tokio::time::Instant;

/// A wall clock over virtual time, which can be set wrong.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    started: Instant,
    offset: Arc<AtomicI64>,
}

impl WallClock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), offset: Arc::default() }
    }

    /// Sets it forward, or back, from now on.
    pub(crate) fn jump(&self, by: SignedDuration) {
        self.offset.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap();
        let offset = SignedDuration::from_secs(self.offset.load(Ordering::SeqCst));
        EPOCH.parse::<Timestamp>().unwrap() + elapsed + offset
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The day that every run begins on.
const EPOCH: &str = "2027-01-01T00:00:00Z";
