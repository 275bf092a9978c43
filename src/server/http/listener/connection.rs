//! One connection: HTTP/1.1 or HTTP/2, until it ends or is shut down.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use futures::future::{Either, ready};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service as _;

use super::limits::ListenerLimits;
use super::responses::too_many;
use super::state::{ConnectionState, Deadline, Protocol, RequestGuard, Shutdown};
use super::stream::MonitoredStream;

/// The shared part of all connections of a listener.
#[derive(Clone)]
pub(super) struct ConnectionServer {
    builder: Builder<TokioExecutor>,
    router: Router,
    limits: ListenerLimits,
}

impl ConnectionServer {
    pub(super) fn new(router: Router, limits: ListenerLimits) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // `Activity` has a better one.
            .header_read_timeout(None)
            // Answers are small: to copy one into its head costs less than to send two pieces.
            .writev(false)
            .max_buf_size(usize::try_from(limits.head_bytes).unwrap_or(usize::MAX));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping)
            .keep_alive_timeout(limits.pong)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.head_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Self { builder, router, limits }
    }

    /// Serves a client until the connection ends.
    pub(super) async fn serve<I>(
        &self,
        stream: I,
        protocol: Protocol,
        activity: &Arc<ConnectionState>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        activity.opened(protocol);
        let wire = TokioIo::new(MonitoredStream::new(stream, Arc::clone(activity)));
        let service = service_fn(|request| self.answer(request, activity));
        let connection = self.builder.serve_connection(wire, service);
        let mut connection = pin!(connection);
        let mut clock = pin!(tokio::time::sleep(self.limits.head));
        let mut is_leaving = false;
        poll_fn(|context| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    if let Err(error) = ended {
                        if let Some(error) = error.downcast_ref() {
                            activity.responses.count_unreadable(error);
                        }
                        tracing::debug!(error, "a connection failed");
                    }
                    return Poll::Ready(());
                }
                let at = match next(activity, &self.limits, is_leaving, context) {
                    Deadline::At(at) => at,
                    Deadline::Graceful => {
                        is_leaving = true;
                        activity.close_gracefully();
                        connection.as_mut().graceful_shutdown();
                        continue;
                    }
                    Deadline::Abort => return Poll::Ready(()),
                };
                // A later deadline is read when the earlier one has come: requests do not pay
                // for it.
                if at < clock.deadline() {
                    clock.as_mut().reset(at);
                }
                if clock.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                clock.as_mut().reset(at);
            }
        })
        .await;
    }

    fn answer(
        &self,
        mut request: Request<Incoming>,
        activity: &Arc<ConnectionState>,
    ) -> impl Future<Output = Result<Response<TrackedBody>, Infallible>> + Send + 'static + use<>
    {
        let protocol = match request.version() {
            Version::HTTP_2 => Protocol::Multiplexed,
            _ => Protocol::OneByOne,
        };
        let running = activity.request_started(protocol);
        let activity = Arc::clone(activity);
        let pause = activity.pause(protocol);
        let response = if activity.is_beyond(self.limits.of_source) {
            Either::Left(ready(Ok(too_many(protocol))))
        } else {
            request.extensions_mut().insert(ConnectInfo(activity.source));
            Either::Right(self.router.clone().call(request))
        };
        async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let Ok(mut response) = response.await;
            activity.answered(response.status());
            if protocol == Protocol::OneByOne {
                if response.headers().contains_key(CONNECTION) {
                    activity.close_unread();
                } else if activity.is_old() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            Ok(response.map(|body| TrackedBody { body, _running: running }))
        }
    }
}

fn next(
    activity: &ConnectionState,
    limits: &ListenerLimits,
    is_leaving: bool,
    context: &Context<'_>,
) -> Deadline {
    match activity.poll_shutdown(context) {
        Some(Shutdown::Abort) => Deadline::Abort,
        Some(Shutdown::Graceful) if !is_leaving => Deadline::Graceful,
        Some(Shutdown::Graceful) | None => activity.deadline(limits),
    }
}

/// The body of an answer, whose request runs until it has been handed over.
struct TrackedBody {
    body: Body,
    _running: RequestGuard,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The window of a stream: a body of the largest size.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for a connection: what one client can make us keep.
const CONNECTION_WINDOW: u32 = 256 * 1024;
