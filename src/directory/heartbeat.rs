//! Whether a watch is alive although nothing changes: the API server sends a bookmark every minute,
//! which kube keeps to itself. So the bytes of each watch are seen on their way.
//!
//! Ages are the larger of two distances. The monotonic clock stands still while a machine sleeps, and
//! the wall clock can be set back; the age is the larger of both distances.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use tower::BoxError;
use tower_service::Service;

use crate::environment::Clock;

/// One instant by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) elapsed: Duration,
    pub(super) wall: Timestamp,
}

/// When a watch last delivered something.
#[derive(Clone, Debug, Default)]
pub(super) struct WatchHeartbeat(Arc<Beat>);

/// Both in milliseconds. `elapsed` is one more than it was, so that 0 means never.
#[derive(Debug, Default)]
struct Beat {
    elapsed: AtomicU64,
    wall: AtomicI64,
}

/// An answer that was sent before the machine slept says nothing about the time since.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the clocks of this machine ran apart while the answer was on its way: it is asked for again"
)]
struct SleptThrough;

// === impl Moment ===

impl Moment {
    /// Reads both clocks.
    pub(super) fn of(clock: &dyn Clock) -> Self {
        Self { elapsed: clock.elapsed(), wall: clock.now() }
    }

    /// The time since an earlier moment, by the clock that saw more of it.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        self.monotonic(earlier).max(self.by_wall(earlier))
    }

    /// How much more time passed by the wall clock than by the monotonic one: the machine slept, or
    /// the wall clock was set forward.
    fn ran_ahead_since(&self, earlier: &Self) -> Duration {
        self.by_wall(earlier).saturating_sub(self.monotonic(earlier))
    }

    fn monotonic(&self, earlier: &Self) -> Duration {
        self.elapsed.saturating_sub(earlier.elapsed)
    }

    fn by_wall(&self, earlier: &Self) -> Duration {
        // A distance below zero is a clock that was set back.
        Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default()
    }
}

// === impl Pulse ===

impl WatchHeartbeat {
    /// Something was delivered at `moment`.
    pub(super) fn record(&self, moment: &Moment) {
        let millis = u64::try_from(moment.elapsed.as_millis()).unwrap_or(u64::MAX - 1);
        // In this order: an age that is read meanwhile is too large at worst.
        self.0.wall.store(moment.wall.as_millisecond(), Ordering::Release);
        self.0.elapsed.fetch_max(millis.saturating_add(1), Ordering::AcqRel);
    }

    /// The time since then; nothing when nothing was ever delivered.
    pub(super) fn age(&self, now: &Moment) -> Option<Duration> {
        let elapsed = self.0.elapsed.load(Ordering::Acquire).checked_sub(1)?;
        let wall = Timestamp::from_millisecond(self.0.wall.load(Ordering::Acquire)).ok()?;
        Some(now.since(&Moment { elapsed: Duration::from_millis(elapsed), wall }))
    }
}

/// A client like `client`, whose watches make `pulse` beat.
///
/// An answer that was on its way while the machine slept fails: its bytes may have waited here all
/// the time, so that they would pass for new ones.
pub(super) fn with_heartbeat(
    client: &Client,
    pulse: &WatchHeartbeat,
    clock: &Arc<dyn Clock>,
) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (pulse, clock) = (pulse.clone(), Arc::clone(clock));
    Client::new(HeartbeatService { client: client.clone(), pulse, clock }, namespace)
}

#[derive(Clone)]
struct HeartbeatService {
    client: Client,
    pulse: WatchHeartbeat,
    clock: Arc<dyn Clock>,
}

impl Service<Request<Body>> for HeartbeatService {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, pulse, clock } = self.clone();
        let asked_at = Moment::of(&*clock);
        Box::pin(async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = client.send(request).await?;
            let tells = is_watch && answer.status().is_success();
            let feel = move |frame: kube::Result<_>| {
                let frame = frame.map_err(BoxError::from)?;
                let now = Moment::of(&*clock);
                if now.ran_ahead_since(&asked_at) > MAX_CLOCK_DIFFERENCE {
                    return Err(BoxError::from(SleptThrough));
                }
                if tells {
                    pulse.record(&now);
                }
                Ok(frame)
            };
            Ok(answer.map(|body| StreamBody::new(BodyStream::new(body).map(feel)).boxed_unsync()))
        })
    }
}

/// More than clocks of one machine differ when none of them jumps, and little beside the age that a watch may
/// be minutes old.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn at(elapsed: u64, wall: i64) -> Moment {
        let began = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 50);
        let wall = began + SignedDuration::from_secs(wall);
        Moment { elapsed: Duration::from_secs(elapsed), wall }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pulse_knows_its_age_and_never_goes_back() {
        let pulse = WatchHeartbeat::default();
        assert_eq!(pulse.age(&at(5, 5)), None);

        pulse.record(&at(5, 5));
        pulse.record(&at(3, 3));

        assert_eq!(pulse.age(&at(5, 3)), Some(Duration::ZERO));
        assert_eq!(pulse.age(&at(9, 7)), Some(seconds(4)));
    }

    #[test]
    fn the_clock_that_saw_more_time_pass_says_how_old_a_view_is() {
        let pulse = WatchHeartbeat::default();
        pulse.record(&at(100, 100));
        let days = 3 * 86_400;

        assert_eq!(pulse.age(&at(101, 100 + days)), Some(seconds(days.unsigned_abs())));
        assert_eq!(pulse.age(&at(160, 100 - days)), Some(seconds(60)), "set back");
    }

    #[test]
    fn only_a_clock_that_ran_ahead_casts_doubt_on_an_answer() {
        let asked = at(10, 10);

        assert_eq!(at(300, 300).ran_ahead_since(&asked), Duration::ZERO);
        assert_eq!(at(300, 20).ran_ahead_since(&asked), Duration::ZERO);
        assert_eq!(at(20, 320).ran_ahead_since(&asked), seconds(300));
    }
}
