//! Traces as an OTLP receiver gets them, and the logs beside them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use support::control_plane::Options;

use crate::leaks::{Evidence, search};
use crate::namespace::Namespace;
use crate::operator::ISSUER;
use crate::token_service::server::Launch;
use crate::world::{SYSTEM, bare, until};

/// An OTLP receiver that keeps what it gets.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Bytes>>>);

impl Receiver {
    /// Starts one, and says at which endpoint.
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let kept = Arc::clone(&receiver.0);
        let export = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["x-tenant"], "a b", "OTEL_EXPORTER_OTLP_HEADERS");
            kept.lock().unwrap().push(body);
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", socket.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(export));
        tokio::spawn(async move { axum::serve(socket, router).await });
        (receiver, endpoint)
    }

    fn batches(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().clone()
    }

    /// Every span, with its resource.
    fn spans(&self) -> Vec<(Resource, Span)> {
        let batches = self.batches().into_iter();
        let batches = batches.map(|it| ExportTraceServiceRequest::decode(it).unwrap());
        batches
            .flat_map(|batch| batch.resource_spans)
            .flat_map(|spans| {
                let resource = spans.resource.unwrap_or_default();
                let all = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
                all.map(|span| (resource.clone(), span)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The first span that is right, when it arrives.
    async fn span(&self, what: &str, is_right: impl Fn(&Span) -> bool) -> (Resource, Span) {
        until(what, || async { self.spans().into_iter().find(|(_, span)| is_right(span)) }).await
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|it| it.key == key)?.value.clone()?.value?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other value is wrong here")]
    match value {
        any_value::Value::StringValue(text) => Some(text),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// What a log line has of its span, if it is of a trace.
fn traced_lines(log: &str) -> impl Iterator<Item = Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["span"]["trace_id"].is_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_and_a_request_are_traces_and_hold_no_secret() {
    let options = Options { audit: true, ..Options::default() };
    let Some(control_plane) = bare(options).await else { return };
    let (receiver, endpoint) = Receiver::start().await;
    let launch = Launch::new(&control_plane, "traces", ISSUER).await.all_in_one(&control_plane);
    let launch = launch
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .with_variable("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with_variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    let server = launch.start();
    server.ready().await;
    let namespace = Namespace::with(control_plane.client().await, "traces", SYSTEM).await;
    namespace.apply("billing", json!({})).await;
    namespace.ready("billing").await;
    let client_id = namespace.client_id("billing").await.to_string();
    let secret = namespace.shown("billing-credentials").await;

    let header = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    let issued = until("a token", || async {
        let answer = launch.token_with(&client_id, &secret, &header).await?;
        answer.access_token()
    })
    .await;

    // The request is a part of the trace of its caller.
    let is_it =
        |span: &Span| hex(&span.trace_id) == TRACE && text(&span.attributes, "client_id").is_some();
    let (resource, span) = receiver.span("the span of the request", is_it).await;
    assert_eq!(span.name, "POST /oauth2/token");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(text(&span.attributes, "client_id"), Some(client_id));
    assert_eq!(text(&span.attributes, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(text(&span.attributes, "network.peer.address").as_deref(), Some("127.0.0.1"));
    let named = |key: &str| text(&resource.attributes, key);
    assert_eq!(named("service.name").as_deref(), Some("technical-user-operator"));
    assert_eq!(named("deployment.environment.name").as_deref(), Some("test"));

    // The requests to the API server are parts of a reconcile.
    let is_it = |span: &Span| text(&span.attributes, "object").as_deref() == Some("traces/billing");
    let (_, reconcile) = receiver.span("the span of a reconcile", is_it).await;
    assert_eq!(reconcile.name, "reconcile");
    let path = "/apis/iam.cyoda.com/v1alpha1/namespaces/traces/technicalusers/billing";
    let is_it = |span: &Span| text(&span.attributes, "url.path").as_deref() == Some(path);
    let (_, request) = receiver.span("the span of an API request", is_it).await;
    assert_eq!(request.name, "GET");
    let spans = receiver.spans();
    let parents: BTreeSet<_> = spans.iter().map(|(_, span)| span.span_id.clone()).collect();
    for (_, span) in &spans {
        let is_root = span.parent_span_id.is_empty();
        assert_eq!(is_root, span.name == "reconcile", "{}", span.name);
        assert!(is_root || hex(&span.trace_id) == TRACE || parents.contains(&span.parent_span_id));
    }

    // A log line names its object and its trace.
    let log = std::fs::read_to_string(launch.log()).unwrap();
    let line = traced_lines(&log).find(|it| it["span"]["object"] == "traces/billing").unwrap();
    let traces: BTreeSet<_> = spans.iter().map(|(_, span)| hex(&span.trace_id)).collect();
    assert!(traces.contains(line["span"]["trace_id"].as_str().unwrap()), "{line}");

    let mut evidence = Evidence::default();
    evidence.secret("the access token", issued.rsplit('.').next().unwrap());
    evidence.cluster(&namespace.client).await;
    evidence.key_sets(&namespace.client).await;
    for batch in receiver.batches() {
        evidence.bytes("traces", batch.to_vec());
    }
    search("traces", evidence, &control_plane, &[launch.log()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_decides_which_requests_are_traced_and_a_receiver_that_is_away_stops_nothing() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let (receiver, endpoint) = Receiver::start().await;
    let launch = Launch::new(&control_plane, "sampled", ISSUER).await.all_in_one(&control_plane);
    let launch = launch.with_variable("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b");
    let launch = launch.with_variable("OTEL_BSP_SCHEDULE_DELAY", "100");
    let selective = launch
        .clone()
        .with_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{endpoint}/v1/traces"))
        .with_variable("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let mut server = selective.start();
    server.ready().await;
    let namespace = Namespace::with(control_plane.client().await, "sampled", SYSTEM).await;
    namespace.apply("billing", json!({})).await;
    namespace.ready("billing").await;
    let client_id = namespace.client_id("billing").await.to_string();
    let secret = namespace.shown("billing-credentials").await;

    selective.answers(200, &client_id, &secret).await;
    for (trace, flags) in [(OTHER_TRACE, "00"), (TRACE, "01")] {
        let header = format!("traceparent: 00-{trace}-00f067aa0ba902b7-{flags}\r\n");
        assert_eq!(selective.token_with(&client_id, &secret, &header).await.unwrap().status, 200);
    }

    receiver.span("the span of the request", |span| hex(&span.trace_id) == TRACE).await;
    assert!(receiver.spans().iter().all(|(_, span)| hex(&span.trace_id) == TRACE));

    server.kill().await;
    let away = launch.clone().with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let mut server = away.start();
    server.ready().await;
    away.answers(200, &client_id, &secret).await;
    let warning = "traces cannot be exported";
    until("a warning with its cause", || async {
        let log = std::fs::read_to_string(away.log()).unwrap();
        log.lines().any(|it| it.contains(warning) && it.contains("refused")).then_some(())
    })
    .await;
    server.kill().await;

    let wrong = launch.with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let wrong = wrong.with_variable("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let server = wrong.start();
    server.ready().await;
    wrong.answers(200, &client_id, &secret).await;
    let log = std::fs::read_to_string(wrong.log()).unwrap();
    assert!(log.contains("OTEL_EXPORTER_OTLP_PROTOCOL"), "the variable is named");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
