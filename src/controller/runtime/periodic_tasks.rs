//! The periodic tasks of a controller: one run at a time, beside the reconciles, however often they are
//! requested.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

/// When periodic tasks are due, and their run.
#[derive(Debug, Default)]
pub(super) struct PeriodicTasks {
    /// Nothing while another replica leads.
    at: Option<Instant>,
    running: JoinSet<()>,
}

impl PeriodicTasks {
    /// This replica leads: the first run is due.
    pub(super) fn resume(&mut self, now: Instant) {
        self.at = Some(now);
    }

    /// Another replica leads: a run ends by itself, and no other one begins.
    pub(super) fn suspend(&mut self) {
        self.at = None;
    }

    /// There is something to do soon. A run that is under way may have missed it: then another one follows.
    pub(super) fn request(&mut self, now: Instant) {
        self.at = self.at.map(|at| at.min(now + DEBOUNCE));
    }

    /// When the next run begins; not known while one is under way.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.at.filter(|_| self.running.is_empty())
    }

    /// Begins a run, if one is due and there is something to do.
    pub(super) fn start(
        &mut self,
        now: Instant,
        tasks: impl FnOnce() -> Option<BoxFuture<'static, ()>>,
    ) {
        if self.next_at().is_none_or(|at| at > now) {
            return;
        }
        self.at = Some(now + INTERVAL);
        if let Some(tasks) = tasks() {
            self.running.spawn(async move {
                if timeout(INTERVAL, tasks).await.is_err() {
                    tracing::warn!("tasks took too long and are begun once more");
                }
            });
        }
    }

    /// The end of a run; nothing without one.
    pub(super) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        self.running.join_next().await
    }
}

/// How often they are done without being asked for.
const INTERVAL: Duration = Duration::from_mins(10);

/// How soon they follow a request.
const DEBOUNCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// Begins what is due; whether a run began.
    fn begins(tasks: &mut PeriodicTasks, run: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut has_begun = false;
        tasks.start(Instant::now(), || {
            has_begun = true;
            Some(run.boxed())
        });
        has_begun
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_during_a_run_is_one_run_after_it() {
        let (gate, mut tasks) = (Arc::new(Semaphore::new(0)), PeriodicTasks::default());
        let run = || {
            let gate = Arc::clone(&gate);
            async move { gate.acquire().await.unwrap().forget() }
        };
        tasks.resume(Instant::now());
        assert!(begins(&mut tasks, run()));

        for _ in 0..100 {
            tasks.request(Instant::now());
            tokio::time::advance(DEBOUNCE).await;
            assert!(!begins(&mut tasks, run()));
            assert_eq!(tasks.next_at(), None, "an engine that waits for it would spin");
        }

        gate.add_permits(1);
        assert!(tasks.ended().await.unwrap().is_ok());
        assert!(begins(&mut tasks, run()));
        gate.add_permits(1);
        assert!(tasks.ended().await.unwrap().is_ok());
        assert!(!begins(&mut tasks, run()));
        assert_eq!(tasks.next_at(), Some(Instant::now() + INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_panics_or_hangs_does_not_stop_the_next_one() {
        let mut tasks = PeriodicTasks::default();
        tasks.resume(Instant::now());
        assert!(begins(&mut tasks, async { panic!("a mistake") }));
        tasks.request(Instant::now());
        assert!(tasks.ended().await.unwrap().is_err());
        tokio::time::advance(DEBOUNCE).await;

        assert!(begins(&mut tasks, std::future::pending()));
        assert!(tasks.ended().await.unwrap().is_ok());
        assert!(begins(&mut tasks, async {}));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_while_another_replica_leads() {
        let mut tasks = PeriodicTasks::default();
        tasks.request(Instant::now());
        assert!(!begins(&mut tasks, async {}));
        tasks.resume(Instant::now());
        tasks.suspend();
        tasks.request(Instant::now());
        tokio::time::advance(INTERVAL).await;

        assert!(!begins(&mut tasks, async {}));
        assert!(tasks.ended().await.is_none());
    }
}
