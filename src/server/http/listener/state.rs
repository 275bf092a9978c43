//! The state of a connection, its deadline, and the shutdown that was requested.
//!
//! hyper's own deadline for a head also runs while no request is awaited, so that it cannot tell a
//! client that waits from one that dawdles. Here the two are distinguished.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::limits::ListenerLimits;
use super::responses::Responses;

/// One connection, as seen by itself, by its requests and by the crowd.
#[derive(Debug)]
pub(super) struct ConnectionState {
    phase: Mutex<Phase>,
    order: AtomicU8,
    waker: AtomicWaker,
    /// How many answers in a row were refusals.
    refused: AtomicU32,
    pause: Duration,
    /// How many requests run on all connections of the source.
    requests_of_source: Arc<AtomicUsize>,
    /// Where the client, or the last proxy before it, connects from.
    pub(super) source: IpAddr,
    /// Here, so that a request does not count references to it.
    pub(super) responses: Responses,
}

#[derive(Debug)]
struct Phase {
    protocol: Protocol,
    awaits: Awaits,
    /// When the last request began or ended, or else when the connection began to wait.
    since: Instant,
    running: usize,
    old_at: Instant,
    is_leaving: bool,
    is_unread: bool,
}

/// The protocol of the client, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or not known yet.
    OneByOne,
    /// HTTP/2.
    Multiplexed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// The rest of a head, or the first one.
    Head,
    /// The next request of the client.
    Anything,
}

/// A shutdown that was requested for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// End when the running requests have.
    Graceful,
    /// End.
    Abort,
}

/// The next deadline of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// Nothing before that.
    At(Instant),
    /// As [`Order::Leave`].
    Graceful,
    /// As [`Order::Cut`].
    Abort,
}

impl ConnectionState {
    pub(super) fn new(
        (age, pause): (Duration, Duration),
        source: IpAddr,
        requests_of_source: Arc<AtomicUsize>,
        responses: Responses,
    ) -> Self {
        let now = Instant::now();
        let phase = Phase {
            protocol: Protocol::OneByOne,
            awaits: Awaits::Head,
            since: now,
            running: 0,
            old_at: now + age,
            is_leaving: false,
            is_unread: false,
        };
        Self {
            phase: Mutex::new(phase),
            order: AtomicU8::new(0),
            waker: AtomicWaker::new(),
            refused: AtomicU32::new(0),
            pause,
            requests_of_source,
            source,
            responses,
        }
    }

    /// The client may send its first request from now on.
    pub(super) fn opened(&self, protocol: Protocol) {
        let mut phase = self.phase();
        phase.since = Instant::now();
        phase.protocol = protocol;
        if protocol == Protocol::Multiplexed {
            phase.awaits = Awaits::Anything;
        }
    }

    /// Something came from the client.
    pub(super) fn on_read(&self) {
        let mut phase = self.phase();
        // HTTP/2 talks without a request, too: answers to pings, for one.
        if phase.protocol == Protocol::OneByOne
            && phase.running == 0
            && phase.awaits == Awaits::Anything
            && !phase.is_leaving
        {
            phase.awaits = Awaits::Head;
            phase.since = Instant::now();
        }
    }

    /// A request runs until what is returned is dropped.
    pub(super) fn request_started(self: &Arc<Self>, protocol: Protocol) -> RequestGuard {
        let mut phase = self.phase();
        phase.protocol = protocol;
        phase.awaits = Awaits::Anything;
        phase.running += 1;
        phase.since = Instant::now();
        self.requests_of_source.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Whether more requests run for the source than that.
    pub(super) fn is_beyond(&self, most_of_source: usize) -> bool {
        self.requests_of_source.load(Ordering::Relaxed) > most_of_source
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: StatusCode) {
        self.responses.count(status);
        if status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    /// How long the next request waits: a moment on a connection that is only refused, so that guesses
    /// take no time from the others. Requests of HTTP/2 never wait: a proxy has those of all clients on one
    /// connection.
    pub(super) fn pause(&self, protocol: Protocol) -> Option<Duration> {
        let is_only_refused = self.refused.load(Ordering::Relaxed) >= MAX_CONSECUTIVE_REFUSALS;
        (protocol == Protocol::OneByOne && is_only_refused).then_some(self.pause)
    }

    /// Whether the answer to an HTTP/1.1 request should be the last.
    pub(super) fn is_old(&self) -> bool {
        let phase = self.phase();
        phase.protocol == Protocol::OneByOne && Instant::now() >= phase.old_at
    }

    /// The client is answered while it still sends.
    pub(super) fn close_unread(&self) {
        self.phase().is_unread = true;
    }

    /// The connection ends by itself from now on.
    pub(super) fn close_gracefully(&self) {
        let mut phase = self.phase();
        phase.is_leaving = true;
        if phase.running == 0 {
            phase.since = Instant::now();
        }
    }

    /// Whether the client may still send bytes that the server will not read.
    pub(super) fn is_unread(&self) -> bool {
        let phase = self.phase();
        let is_cut_short = phase.awaits == Awaits::Head || phase.is_unread;
        phase.protocol == Protocol::OneByOne && is_cut_short
    }

    /// The deadline that has come, or the instant of the next one.
    pub(super) fn deadline(&self, limits: &ListenerLimits) -> Deadline {
        let now = Instant::now();
        let phase = self.phase();
        let (at, then) = match (phase.running, phase.is_leaving, phase.awaits) {
            (1.., _, _) => (phase.since + limits.request, Deadline::Abort),
            (0, true, _) => (phase.since + LINGER_TIMEOUT, Deadline::Abort),
            (0, false, Awaits::Head) => (phase.since + limits.head, Deadline::Abort),
            (0, false, Awaits::Anything) => (phase.since + limits.idle, Deadline::Graceful),
        };
        let can_age = phase.protocol == Protocol::Multiplexed && !phase.is_leaving;
        match (now >= at, can_age) {
            (true, _) => then,
            (false, true) if now >= phase.old_at => Deadline::Graceful,
            (false, true) => Deadline::At(at.min(phase.old_at)),
            (false, false) => Deadline::At(at),
        }
    }

    /// Since when there has been no request, if there is none and no shutdown was requested.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let phase = self.phase();
        let is_free = phase.running == 0 && !phase.is_leaving;
        (is_free && self.order.load(Ordering::Acquire) == 0).then_some(phase.since)
    }

    pub(super) fn shut_down(&self, order: Shutdown) {
        self.order.fetch_max(number(order), Ordering::AcqRel);
        self.waker.wake();
    }

    /// The requested shutdown; the next request wakes the task of the connection.
    pub(super) fn poll_shutdown(&self, context: &Context<'_>) -> Option<Shutdown> {
        self.waker.register(context.waker());
        let number = self.order.load(Ordering::Acquire);
        [Shutdown::Abort, Shutdown::Graceful]
            .into_iter()
            .find(|order| self::number(*order) == number)
    }

    /// Resolves when something was asked of the connection.
    pub(super) async fn shutdown_requested(&self) {
        let poll = |context: &mut Context<'_>| match self.poll_shutdown(context) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        };
        poll_fn(poll).await;
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, until its response was handed over or the client is gone.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        phase.running = phase.running.saturating_sub(1);
        phase.since = Instant::now();
        self.0.requests_of_source.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(order: Shutdown) -> u8 {
    match order {
        Shutdown::Graceful => 1,
        Shutdown::Abort => 2,
    }
}

/// More than a client that is set up badly needs to be seen, and none on a connection that works.
const MAX_CONSECUTIVE_REFUSALS: u32 = 16;

/// Some round trips: for a client to hear that the connection ends, and to end it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
