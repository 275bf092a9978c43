//! Whether the parts of a process still run.
//!
//! A thread of its own answers probes and renews the Lease while every core is busy. That thread says
//! nothing about the others. So each part that does the work leaves a heartbeat, and a part whose
//! heartbeat is old stands still: it is blocked, or its thread is.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// The last heartbeat of each part of a process.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    parts: BTreeMap<u64, (&'static str, Instant)>,
    next: u64,
}

/// A part of the process that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part} stands still for {} s", for_.as_secs())]
pub struct Stalled {
    /// Its name.
    pub part: &'static str,
    /// The age of its last heartbeat.
    pub for_: Duration,
}

/// One part, until it is dropped.
#[derive(Debug)]
struct Part {
    beats: Heartbeats,
    number: u64,
}

impl Heartbeats {
    /// Runs `work` as the part of that name: it beats as long as the runtime polls this future.
    pub async fn watch<T>(self, part: &'static str, work: impl Future<Output = T>) -> T {
        let part = self.begin(part);
        let mut work = pin!(work);
        let mut beats = interval(INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = beats.tick() => part.beat(),
            }
        }
    }

    /// The part that stands still longest, if one does.
    pub fn stalled(&self) -> Option<Stalled> {
        let now = Instant::now();
        let beats = self.lock();
        let (part, at) = beats.parts.values().min_by_key(|(_, at)| *at)?;
        let for_ = now.saturating_duration_since(*at);
        (for_ >= STALLED_AFTER).then_some(Stalled { part, for_ })
    }

    fn begin(&self, name: &'static str) -> Part {
        let mut beats = self.lock();
        let number = beats.next;
        beats.next += 1;
        beats.parts.insert(number, (name, Instant::now()));
        Part { beats: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn beat(&self) {
        if let Some((_, at)) = self.beats.lock().parts.get_mut(&self.number) {
            *at = Instant::now();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.beats.lock().parts.remove(&self.number);
    }
}

/// Often enough that a few late ones are not too late.
const INTERVAL: Duration = Duration::from_secs(5);

/// Longer than a process waits for a core where cores are few; the Lease is taken over 15 s later.
const STALLED_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_waits_does_not_stand_still() {
        let beats = Heartbeats::default();
        let kept = beats.clone();
        let waiting = tokio::spawn(async move { kept.watch("a part", pending::<()>()).await });

        for _ in 0..720 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(beats.stalled(), None);
        }

        waiting.abort();
        let _ = waiting.await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(beats.stalled(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_the_runtime_does_not_poll_stands_still() {
        let beats = Heartbeats::default();
        let mut blocked = Box::pin(beats.clone().watch("the blocked part", pending::<()>()));
        let other = beats.clone();
        tokio::spawn(async move { other.watch("another part", pending::<()>()).await });
        assert!(futures::poll!(&mut blocked).is_pending());

        tokio::time::sleep(STALLED_AFTER.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(beats.stalled(), None);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let stalled = beats.stalled().unwrap();
        assert_eq!(stalled.to_string(), "the blocked part stands still for 30 s");

        assert!(futures::poll!(&mut blocked).is_pending());
        assert_eq!(beats.stalled(), None);
        drop(blocked);
        tokio::time::sleep(STALLED_AFTER * 2).await;
        assert_eq!(beats.stalled(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_part_returns_is_returned() {
        assert_eq!(Heartbeats::default().watch("a part", async { 7 }).await, 7);
    }
}
