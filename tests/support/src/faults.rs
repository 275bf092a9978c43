//! A layer between a Kubernetes client and any server, real or fake, that counts requests and lets
//! one or two of them go wrong in a chosen way. It must not change anything else: a plan without
//! faults is transparent.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use http::{HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::fake_api_server::ResponseBody;

/// What can go wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before the request leaves it.
    DieBefore,
    /// The request is answered, but the process dies before it sees the answer.
    DieAfter,
    /// The connection breaks before the request arrives.
    DropRequest,
    /// The connection breaks after the request was applied.
    DropResponse,
    /// The connection breaks, and the request arrives later: ahead of the request that follows
    /// `after` further ones, or at [`FaultPlan::flush_late`].
    Late {
        /// Number of requests that overtake it.
        after: usize,
    },
    /// The server refuses with this code and applies nothing.
    Answer(u16),
    /// The server applies the request and answers this code nevertheless.
    AppliedThen(u16),
    /// No answer ever comes, and nothing is applied.
    Hang,
    /// No answer ever comes, though the request was applied.
    HangApplied,
}

impl Fault {
    /// Every kind of fault, with the parameters worth trying.
    pub const ALL: [Self; 18] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::DropRequest,
        Self::DropResponse,
        Self::Late { after: 0 },
        Self::Late { after: 1 },
        Self::Late { after: 4 },
        Self::Answer(404),
        Self::Answer(409),
        Self::Answer(422),
        Self::Answer(429),
        Self::Answer(500),
        Self::Answer(503),
        Self::Answer(504),
        Self::AppliedThen(500),
        Self::AppliedThen(504),
        Self::Hang,
        Self::HangApplied,
    ];

    /// Whether the process that sent the request is killed.
    pub fn kills(self) -> bool {
        matches!(self, Self::DieBefore | Self::DieAfter)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DieBefore => formatter.write_str("die-before"),
            Self::DieAfter => formatter.write_str("die-after"),
            Self::DropRequest => formatter.write_str("drop-request"),
            Self::DropResponse => formatter.write_str("drop-response"),
            Self::Late { after } => write!(formatter, "late-{after}"),
            Self::Answer(code) => write!(formatter, "answer-{code}"),
            Self::AppliedThen(code) => write!(formatter, "applied-then-{code}"),
            Self::Hang => formatter.write_str("hang"),
            Self::HangApplied => formatter.write_str("hang-applied"),
        }
    }
}

/// Where a fault strikes. Both counts start at 0 and leave watches out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The request of this index, reads among them.
    Request(usize),
    /// The write of this index.
    Write(usize),
}

/// One request that passed the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Position among all requests.
    pub index: usize,
    /// Position among the writes, if it is one.
    pub write: Option<usize>,
    /// HTTP method.
    pub verb: Method,
    /// Path without the query.
    pub path: String,
    /// What was done to it.
    pub fault: Option<Fault>,
}

/// Kills the process under test.
pub type Kill = Arc<dyn Fn() + Send + Sync>;

/// Which requests go wrong, and what has passed so far. Clones share one plan.
#[derive(Clone, Default)]
pub struct FaultPlan {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    armed: Vec<(Point, Fault)>,
    passed: Vec<Passed>,
    writes: usize,
    late: Vec<Parked>,
    kill: Option<Kill>,
}

/// A request on its way.
struct Parked {
    overtaken_by: usize,
    send: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.locked();
        formatter
            .debug_struct("FaultPlan")
            .field("armed", &inner.armed)
            .field("requests", &inner.passed.len())
            .field("late", &inner.late.len())
            .finish_non_exhaustive()
    }
}

impl FaultPlan {
    /// A plan that lets everything pass.
    pub fn transparent() -> Self {
        Self::default()
    }

    /// A plan with one fault.
    pub fn with(point: Point, fault: Fault) -> Self {
        let plan = Self::default();
        plan.arm(point, fault);
        plan
    }

    /// Adds a fault; it strikes once. Two calls make a pair.
    pub fn arm(&self, point: Point, fault: Fault) {
        self.locked().armed.push((point, fault));
    }

    /// Takes back what has not struck yet.
    pub fn disarm(&self) {
        self.locked().armed.clear();
    }

    /// Sets what kills the process under test.
    pub fn on_kill(&self, kill: Kill) {
        self.locked().kill = Some(kill);
    }

    /// Every request so far, in order, watches left out.
    pub fn passed(&self) -> Vec<Passed> {
        self.locked().passed.clone()
    }

    /// Number of requests so far, watches left out.
    pub fn requests(&self) -> usize {
        self.locked().passed.len()
    }

    /// Number of writes so far.
    pub fn writes(&self) -> usize {
        self.locked().writes
    }

    /// The faults that have struck.
    pub fn struck(&self) -> Vec<Passed> {
        let inner = self.locked();
        inner
            .passed
            .iter()
            .filter(|passed| passed.fault.is_some())
            .cloned()
            .collect()
    }

    /// Delivers the late requests now.
    pub async fn flush_late(&self) {
        let late = std::mem::take(&mut self.locked().late);
        for parked in late {
            (parked.send)().await;
        }
    }

    /// Number of late requests that have not been delivered.
    pub fn late(&self) -> usize {
        self.locked().late.len()
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request; returns what to do to it and which late requests come ahead of it.
    fn meet(&self, parts: &Parts) -> (Option<Fault>, Vec<Parked>) {
        let mut inner = self.locked();
        let index = inner.passed.len();
        let write = (parts.method != Method::GET).then_some(inner.writes);
        inner.writes += usize::from(write.is_some());
        let strikes = |point: &Point| match point {
            Point::Request(wanted) => *wanted == index,
            Point::Write(wanted) => Some(*wanted) == write,
        };
        let armed = inner.armed.iter().position(|(point, _)| strikes(point));
        let fault = armed.map(|position| inner.armed.remove(position).1);
        inner.passed.push(Passed {
            index,
            write,
            verb: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            fault,
        });
        let (due, mut waiting): (Vec<Parked>, Vec<Parked>) = std::mem::take(&mut inner.late)
            .into_iter()
            .partition(|it| it.overtaken_by == 0);
        waiting
            .iter_mut()
            .for_each(|parked| parked.overtaken_by -= 1);
        inner.late = waiting;
        (fault, due)
    }

    fn kill(&self) {
        let kill = self.locked().kill.clone();
        if let Some(kill) = kill {
            kill();
        }
    }
}

/// Puts a [`FaultPlan`] around a service.
#[derive(Debug, Clone)]
pub struct FaultLayer {
    plan: FaultPlan,
}

impl FaultLayer {
    /// A layer that follows the plan.
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty {
            inner,
            plan: self.plan.clone(),
        }
    }
}

/// A service under a [`FaultPlan`].
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    plan: FaultPlan,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each request waits for its own clone of the inner service.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, plan } = self.clone();
        Box::pin(async move {
            if is_watch(&request) {
                return send(inner, request).await;
            }
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let (fault, due) = plan.meet(&parts);
            for parked in due {
                (parked.send)().await;
            }
            let request = Request::from_parts(parts, Body::from(body));
            match fault {
                None => send(inner, request).await,
                Some(fault) => strike(fault, inner, request, &plan).await,
            }
        })
    }
}

async fn strike<S, B>(
    fault: Fault,
    inner: S,
    request: Request<Body>,
    plan: &FaultPlan,
) -> Result<Response<ResponseBody>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let method = request.method().clone();
    match fault {
        Fault::DieBefore => {
            plan.kill();
            future::pending().await
        }
        Fault::DieAfter => {
            complete(inner, request).await;
            plan.kill();
            future::pending().await
        }
        Fault::DropRequest => Err(broken()),
        Fault::DropResponse => {
            complete(inner, request).await;
            Err(broken())
        }
        Fault::Late { after } => {
            let send =
                Box::new(move || -> BoxFuture<'static, ()> { Box::pin(complete(inner, request)) });
            plan.locked().late.push(Parked {
                overtaken_by: after,
                send,
            });
            Err(broken())
        }
        Fault::Answer(code) => Ok(refusal(code, &method)),
        Fault::AppliedThen(code) => {
            complete(inner, request).await;
            Ok(refusal(code, &method))
        }
        Fault::Hang => future::pending().await,
        Fault::HangApplied => {
            complete(inner, request).await;
            future::pending().await
        }
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

async fn send<S, B>(inner: S, request: Request<Body>) -> Result<Response<ResponseBody>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let response = inner.oneshot(request).await.map_err(Into::into)?;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Sends a request of which nobody sees the answer, and waits until it is answered.
async fn complete<S, B>(inner: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Ok(response) = send(inner, request).await {
        // The answer is lost by design, so an error while reading it tells nothing new.
        drop(response.into_body().collect().await);
    }
}

fn broken() -> BoxError {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "connection reset by the fault layer",
    )
    .into()
}

fn refusal(code: u16, method: &Method) -> Response<ResponseBody> {
    let (reason, message) = match code {
        404 => (
            "NotFound",
            "the server could not find the requested resource",
        ),
        409 if *method == Method::POST => ("AlreadyExists", "object already exists"),
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        ),
        422 => (
            "Invalid",
            "the server rejected our request due to an error in our request",
        ),
        429 => (
            "TooManyRequests",
            "too many requests, please try again later",
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted",
        ),
        _ => (
            "InternalError",
            "an error on the server has prevented the request from succeeding",
        ),
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code
    });
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a valid code");
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 1});
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.map(|()| whole(&status))
}

fn whole(value: &Value) -> ResponseBody {
    Full::new(Bytes::from(value.to_string()))
        .map_err(|never| match never {})
        .boxed_unsync()
}
