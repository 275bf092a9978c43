//! A span for each request to the API server, with `traceparent` for the API server's own traces.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::{BoxError, Layer, Service};
use tracing::{Instrument as _, Span, field};

use super::client::no_answer;
use crate::trace_context;

/// Adds the spans to a client of the API server.
///
/// They have the attributes of the semantic conventions of OpenTelemetry for HTTP clients. The path names
/// resource, namespace and object; query and bodies are left out.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpans;

/// A client with spans.
#[derive(Clone, Debug)]
pub struct Traced<S>(S);

impl<S> Layer<S> for RequestSpans {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced(inner)
    }
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let span = span_of(&request);
        trace_context::inject(&span, request.headers_mut());
        let answered = span.in_scope(|| self.0.call(request));
        Box::pin(
            async move {
                let result = answered.await;
                record(&Span::current(), &result);
                result
            }
            .instrument(span),
        )
    }
}

fn span_of<B>(request: &Request<B>) -> Span {
    let (method, path) = (request.method().as_str(), request.uri().path());
    tracing::info_span!(
        "API request",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.response.status_code = field::Empty,
        url.path = path,
        "error.type" = field::Empty,
    )
}

fn record<R>(span: &Span, result: &Result<Response<R>, BoxError>) {
    let error = match result {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            let is_error = status.is_client_error() || status.is_server_error();
            is_error.then(|| status.as_str().to_owned())
        }
        Err(error) => Some(no_answer(&**error).to_string()),
    };
    if let Some(error) = error {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", error);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tower::{ServiceExt as _, service_fn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The `traceparent` that the API server gets.
    async fn sent() -> Option<String> {
        let answer = async |request: Request<()>| {
            let header = request.headers().get("traceparent").cloned();
            Ok::<_, BoxError>(Response::new(header))
        };
        let request = Request::get("/api/v1/namespaces").body(()).unwrap();
        let response = RequestSpans.layer(service_fn(answer)).oneshot(request).await.unwrap();
        response.into_body().map(|header| header.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn the_api_server_gets_the_trace_of_the_span() {
        assert_eq!(sent().await, None);

        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let span = tracing::info_span!("reconcile");
        let trace_id = trace_context::trace_id(&span).unwrap().to_string();
        let header = sent().instrument(span).await.unwrap();

        assert!(
            header.starts_with(&format!("00-{trace_id}-")) && header.ends_with("-01"),
            "{header}"
        );
    }
}
