//! A span for each request that is traced. A request that is not traced has no span.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::future::{BoxFuture, Either};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};

use crate::trace_context::{self, RequestSampler};

/// Adds the spans to one route.
///
/// They have the attributes of the semantic conventions of OpenTelemetry for HTTP servers. Query, headers and
/// body are left out.
#[derive(Clone, Debug)]
pub struct RequestSpans {
    sampler: RequestSampler,
    route: Arc<str>,
}

/// A route with spans.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
    spans: RequestSpans,
}

impl RequestSpans {
    /// For the requests at the path template `route` that `sampler` selects.
    pub fn new(sampler: RequestSampler, route: &str) -> Self {
        Self { sampler, route: route.into() }
    }
}

impl<S> Layer<S> for RequestSpans {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, spans: self.clone() }
    }
}

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(caller) = self.spans.sampler.sample(request.headers()) else {
            return Either::Left(self.inner.call(request));
        };
        let span = span_of(&request, &self.spans.route);
        trace_context::set_parent(&span, caller);
        trace_context::record_trace_id(&span);
        let answered = span.in_scope(|| self.inner.call(request));
        let traced = async move {
            let Ok(response) = answered.await;
            record(&Span::current(), response.status());
            Ok(response)
        };
        Either::Right(Box::pin(traced.instrument(span)))
    }
}

fn span_of(request: &Request, route: &str) -> Span {
    let method = known(request.method());
    let source = request.extensions().get().map(|ConnectInfo(source): &ConnectInfo<IpAddr>| source);
    tracing::info_span!(
        "request",
        trace_id = field::Empty,
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        network.peer.address = source.map(field::display),
        client_id = field::Empty,
        "error.type" = field::Empty,
    )
}

fn record(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// A method that a client invents is not repeated.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}
