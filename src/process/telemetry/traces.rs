//! The export of traces by OTLP over HTTP/protobuf, if the environment names an endpoint.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tokio::time::error::Elapsed;

use crate::cli::{OtelVariables, RootSampler, host_name};
use crate::domain::conditions::unavailable::NoAnswer;
use crate::kubernetes::client::no_answer;
use crate::trace_context::RequestSampler;

/// Traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No thread for it.
    #[error("the system refused a thread: {0}")]
    System(#[from] std::io::Error),
    /// The CA bundle of the system.
    #[error(
        "the certificate authorities of the system cannot be read (SSL_CERT_FILE names another file)"
    )]
    Authorities,
    /// The endpoint, or another variable that the exporter reads.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT, or another variable of the exporter, has a value that it cannot use"
    )]
    Exporter,
}

/// The running export. Dropping it sends what is left.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    sampler: RequestSampler,
    #[expect(dead_code, reason = "its end ends the connections")]
    runtime: Runtime,
}

impl Traces {
    /// Begins to export spans of a process, named `service` unless the environment names it.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub fn start(variables: &OtelVariables, service: &'static str) -> Result<Self, ExportError> {
        let runtime = Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).thread_name("otlp").enable_all().build()?;
        let receiver = Receiver::new(&runtime, variables)?;
        let exporter = SpanExporter::builder().with_http().with_http_client(receiver).build();
        // The text of the error quotes the endpoint, which can have a password.
        let exporter = exporter.map_err(|_| ExportError::Exporter)?;
        let sampler = sampler(variables);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(AfterRequests(sampler.clone()))
            .with_resource(resource(variables, service))
            .build();
        Ok(Self { provider, sampler: RequestSampler::new(sampler), runtime })
    }

    /// The decision for each request, made before its span.
    pub fn request_sampler(&self) -> &RequestSampler {
        &self.sampler
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.provider.shutdown_with_timeout(FLUSH_TIMEOUT).is_err() {
            tracing::warn!("the last traces were not exported in time");
        }
    }
}

fn resource(variables: &OtelVariables, service: &'static str) -> Resource {
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", host_name()),
    ]);
    if variables.has_service_name { builder } else { builder.with_service_name(service) }.build()
}

fn sampler(variables: &OtelVariables) -> Box<dyn ShouldSample> {
    let root = match variables.root {
        RootSampler::AlwaysOn => Sampler::AlwaysOn,
        RootSampler::AlwaysOff => Sampler::AlwaysOff,
        RootSampler::TraceIdRatio(ratio) => Sampler::TraceIdRatioBased(ratio),
    };
    if variables.is_parent_based {
        Box::new(Sampler::ParentBased(Box::new(root)))
    } else {
        root.into()
    }
}

/// The sampler of spans: a request has a span only if it was selected before.
#[derive(Clone, Debug)]
struct AfterRequests(Box<dyn ShouldSample>);

impl ShouldSample for AfterRequests {
    fn should_sample(
        &self,
        parent: Option<&opentelemetry::Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampled = self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        if *kind == SpanKind::Server {
            return SamplingResult { decision: SamplingDecision::RecordAndSample, ..sampled };
        }
        sampled
    }
}

/// The way to the OTLP receiver. A failure is logged by its kind, and once until the next success.
struct Receiver {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: tokio::runtime::Handle,
    timeout: Duration,
    is_failing: AtomicBool,
}

/// Why a batch did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    NoAnswer(NoAnswer),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the response is too large or broken")]
    Response,
}

impl Receiver {
    fn new(runtime: &Runtime, variables: &OtelVariables) -> Result<Self, ExportError> {
        let connector = HttpsConnectorBuilder::new();
        let connector = if variables.is_encrypted {
            // The text quotes a path.
            connector.with_native_roots().map_err(|_| ExportError::Authorities)?
        } else {
            let nothing = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
            connector.with_tls_config(nothing.with_no_client_auth())
        };
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime: runtime.handle().clone(),
            timeout: variables.timeout,
            is_failing: AtomicBool::new(false),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await;
            let response = response.map_err(|error| Failure::NoAnswer(no_answer(&error)))?;
            let (head, body) = response.into_parts();
            // The text can quote the response.
            let body = Limited::new(body, MAX_RESPONSE).collect().await;
            Ok(Response::from_parts(head, body.map_err(|_| Failure::Response)?.to_bytes()))
        };
        let sent = self.runtime.spawn(async move { tokio::time::timeout(timeout, exchange).await });
        let sent: Result<Result<_, Elapsed>, JoinError> = sent.await;
        sent.map_or(Err(Failure::NoAnswer(NoAnswer::Closed)), |sent| {
            sent.unwrap_or(Err(Failure::NoAnswer(NoAnswer::Timeout)))
        })
    }

    fn log(&self, failure: Option<Failure>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !was_failing => tracing::warn!(
                %cause,
                "traces cannot be exported: check OTEL_EXPORTER_OTLP_ENDPOINT and the receiver there"
            ),
            None if was_failing => tracing::info!("traces are exported again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Receiver {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.send(request).await;
            self.log(match &sent {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(Failure::Status(response.status().as_u16())),
                Err(failure) => Some(*failure),
            });
            Ok(sent?)
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Receiver").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// How long the end of the process waits for the last traces.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A receiver that rejects spans says so in a few bytes.
const MAX_RESPONSE: usize = 64 * 1024;
