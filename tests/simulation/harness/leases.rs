//! A server for Leases alone. The operator renews every two seconds, so an hour of virtual time is
//! 1,800 requests: the whole API server would spend most of a run on them. It is slow to answer
//! writes, as slow as just lets a lease be kept, so that there are fewer.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use support::fake_api_server::ResponseBody;
use tower::{BoxError, Service};

use crate::harness::proxy::{Gate, whole, writes};

/// Leases by name; away when the API server is.
#[derive(Clone)]
pub(crate) struct Leases {
    proxy: Gate,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    revision: u64,
    leases: BTreeMap<String, Value>,
}

impl Leases {
    pub(crate) fn new(proxy: Gate) -> Self {
        Self { proxy, stored: Arc::default() }
    }
}

impl Service<Request<Body>> for Leases {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.proxy.is_away() {
            return Box::pin(ready(Err("the API server is away".into())));
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().now_or_never().and_then(Result::ok).unwrap_or_default();
        let sent = serde_json::from_slice::<Value>(&body.to_bytes()).unwrap_or_default();
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, answer) = stored.answer(&parts.method, parts.uri.path(), sent);
        let mut response = Response::new(whole(Bytes::from(answer.to_string())));
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
        Box::pin(async move {
            if writes(&parts.method) {
                tokio::time::sleep(SLOW).await;
            }
            Ok(response)
        })
    }
}

impl Stored {
    fn answer(&mut self, method: &Method, path: &str, mut sent: Value) -> (u16, Value) {
        let name = match *method {
            Method::POST => sent["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            _ => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        match (method, self.leases.get(&name)) {
            (&Method::GET, Some(lease)) => return (200, lease.clone()),
            (&Method::GET | &Method::PUT, None) => return (404, refusal(404, "NotFound")),
            (&Method::POST, Some(_)) => return (409, refusal(409, "AlreadyExists")),
            (&Method::PUT, Some(lease)) if version(lease) != version(&sent) => {
                return (409, refusal(409, "Conflict"));
            }
            _ => {}
        }
        self.revision += 1;
        sent["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.leases.insert(name, sent.clone());
        (if *method == Method::POST { 201 } else { 200 }, sent)
    }
}

fn refusal(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    })
}

/// Two answers, and the two seconds between them, just fit into the ten seconds that a lease is
/// believed in.
const SLOW: Duration = Duration::from_millis(3900);
