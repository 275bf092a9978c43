//! Holds the fake API server to the real one: the same random requests to both, and any difference
//! in code, reason, causes or object is a divergence. A seed names a sequence forever.

mod comparison;
mod content;
mod sequence;
mod side;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use http::{Method, Request};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};

use self::{sequence::Sequence, side::Side};
use crate::fake_api_server::FakeApiServer;

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of sequences.
    pub sequences: usize,
    /// Number of requests sent to each server.
    pub requests: usize,
    /// Stale replacements that the real server answered with 200, because they say what is stored
    /// anyway and its watch cache was behind; asked again, it refuses them as the fake does.
    pub lagging: usize,
    /// Where the two differ; a sequence ends at its first divergence.
    pub divergences: Vec<Divergence>,
}

/// One difference.
#[derive(Debug)]
pub struct Divergence {
    /// The seed of the sequence.
    pub seed: u64,
    /// The position of the request in its sequence.
    pub step: usize,
    /// The request as it was sent to the real server.
    pub request: String,
    /// The requests before it on the same kind, with the code of their answers.
    pub before: Vec<String>,
    /// The answer of the fake, normalised.
    pub fake: Value,
    /// The answer of the real server, normalised.
    pub real: Value,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for divergence in &self.divergences {
            writeln!(formatter, "{divergence}")?;
        }
        write!(
            formatter,
            "conformance: sequences={} requests={} lagging={} divergences={}",
            self.sequences,
            self.requests,
            self.lagging,
            self.divergences.len()
        )
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {} step {}: {}", self.seed, self.step, self.request)?;
        for line in comparison::differences(&self.fake, &self.real) {
            writeln!(formatter, "  {line}")?;
        }
        for request in &self.before {
            writeln!(formatter, "  before: {request}")?;
        }
        writeln!(formatter, "  fake: {}", self.fake)?;
        writeln!(formatter, "  real: {}", self.real)?;
        write!(
            formatter,
            "  replay: CONFORMANCE_SEED={} CONFORMANCE_SEQUENCES=1 cargo test -p support --test \
             conformance",
            self.seed
        )
    }
}

/// Requests of one sequence.
pub const STEPS: usize = 50;

/// Sends `sequences` sequences, with the seeds from `seed` on, to the real server and to a fake of
/// its own each. The kind of [`definition`] is installed first, and namespaces named
/// `conformance-…` are left behind.
pub async fn run(real: kube::Client, seed: u64, sequences: usize) -> Report {
    const WORKERS: usize = 16;
    install(&real).await;
    let workers = WORKERS.min(sequences.max(1));
    let reports = stream::iter(0..workers).map(|worker| {
        let real = real.clone();
        async move {
            let namespace = format!("conformance-{seed}-{worker}");
            let namespace_uid = create_namespace(&real, &namespace).await;
            let mut report = Report::default();
            for index in (worker..sequences).step_by(workers) {
                let seed = seed + u64::try_from(index).expect("a small number");
                let real = Side::new(real.clone(), &namespace, &namespace_uid);
                run_sequence(seed, real, &mut report).await;
            }
            report
        }
    });
    let reports: Vec<Report> = reports.buffer_unordered(workers).collect().await;
    let mut total = Report::default();
    for report in reports {
        total.sequences += report.sequences;
        total.requests += report.requests;
        total.lagging += report.lagging;
        total.divergences.extend(report.divergences);
    }
    total.divergences.sort_by_key(|divergence| divergence.seed);
    total
}

async fn run_sequence(seed: u64, mut real: Side, report: &mut Report) {
    report.sequences += 1;
    real.clear().await;
    let (mut fake, seconds) = beside(&real);
    let mut sent: Vec<(sequence::Kind, String)> = Vec::new();
    let before = |sent: &[(sequence::Kind, String)], kind| {
        let same = sent.iter().filter(|(of, _)| *of == kind);
        same.map(|(_, request)| request.clone()).collect::<Vec<String>>()
    };
    for (step, request) in Sequence::new(seed).take(STEPS).enumerate() {
        report.requests += 1;
        let shown = real.shown(&request);
        let mut answer = real.ask(&request).await;
        seconds.fetch_max(comparison::newest_time(&answer.1), Relaxed);
        let expected = fake.send(&request).await;
        if expected["code"] == 409 && real.has_lagged(&answer) {
            report.lagging += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer = real.ask(&request).await;
        }
        let answers = (expected, real.learn(&request, &answer));
        if answers.0 != answers.1 {
            report.divergences.push(Divergence {
                seed,
                step,
                request: shown,
                before: before(&sent, request.kind),
                fake: answers.0,
                real: answers.1,
            });
            return;
        }
        sent.push((request.kind, format!("{} {shown}", answers.1["code"])));
    }
    for kind in sequence::KINDS {
        let events = fake.watch(kind, None).await;
        let wanted = events.len();
        let answers = (Value::from(events), Value::from(real.watch(kind, Some(wanted)).await));
        report.requests += 1;
        if answers.0 != answers.1 {
            report.divergences.push(Divergence {
                seed,
                step: STEPS,
                request: format!("watch of {}", kind.plural),
                before: before(&sent, kind),
                fake: answers.0,
                real: answers.1,
            });
            return;
        }
    }
}

/// A fake beside the real server, and its clock. Times are in whole seconds, and their order shows:
/// the fake lives by those of the real server.
fn beside(real: &Side) -> (Side, Arc<AtomicI64>) {
    let seconds = Arc::new(AtomicI64::new(0));
    let time = Arc::clone(&seconds);
    let server = FakeApiServer::builder()
        .crd(&definition())
        .namespace(real.namespace())
        .clock(Arc::new(move || Timestamp::from_second(time.load(Relaxed)).expect("a time")))
        .build();
    let uid = server.read(|state| {
        state.get("namespaces", "", real.namespace()).expect("just added")["metadata"]["uid"]
            .as_str()
            .expect("every object has a uid")
            .to_owned()
    });
    (Side::new(server.client(), real.namespace(), &uid), seconds)
}

async fn install(real: &kube::Client) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (code, answer) = exchange(real, Method::POST, path, &definition()).await;
    assert!(matches!(code, 201 | 409), "the CRD was refused: {answer}");
    for _ in 0..100 {
        let (code, _) =
            exchange(real, Method::GET, "/apis/conformance.cyoda.com/v1/probes", &Value::Null)
                .await;
        if code == 200 {
            // Other parts of the server learn of the kind a little later than its lister.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the CRD is not served");
}

async fn create_namespace(real: &kube::Client, name: &str) -> String {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let (code, _) = exchange(real, Method::POST, "/api/v1/namespaces", &body).await;
    assert!(matches!(code, 201 | 409), "the namespace was refused with {code}");
    let path = format!("/api/v1/namespaces/{name}");
    let (_, object) = exchange(real, Method::GET, &path, &Value::Null).await;
    object["metadata"]["uid"].as_str().expect("every object has a uid").to_owned()
}

async fn exchange(client: &kube::Client, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .expect("a valid request");
    let response = client.send(request).await.expect("the server answers");
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await.expect("the answer is whole");
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// A kind with a status, defaults, a struct, a list and a map.
pub fn definition() -> Value {
    let text = json!({"type": "string"});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer", "default": 3},
        "colour": text,
        "words": {"type": "array", "items": text},
        "nested": {"type": "object", "properties": {
            "x": {"type": "string", "default": "given"}, "y": text
        }},
        "entries": {"type": "object", "additionalProperties": text}
    }});
    let condition = json!({"type": "object", "properties": {"type": text, "status": text}});
    let status = json!({"type": "object", "properties": {
        "phase": text, "serial": {"type": "integer"},
        "conditions": {"type": "array", "items": condition}
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "probes.conformance.cyoda.com"},
        "spec": {
            "group": "conformance.cyoda.com", "scope": "Namespaced",
            "names": {"plural": "probes", "singular": "probe", "kind": "Probe"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": spec, "status": status}
                }}
            }]
        }
    })
}
