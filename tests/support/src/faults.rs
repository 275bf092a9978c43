//! A layer between a Kubernetes client and any server, real or fake, that counts requests and lets
//! one or two of them go wrong in a chosen way. It must not change anything else: a plan without
//! faults is transparent.

mod plan;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service, ServiceExt as _};

pub use self::plan::{FaultPlan, Kill, Passed, Point, Screen};
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

    /// The fault whose way a request that reads, or that writes, goes with this one: a sender that
    /// tries again whatever the server says of itself does not tell them apart, and what would have
    /// been applied, or comes late, makes no difference to a read.
    pub fn like(self, reads: bool) -> Option<Self> {
        match self {
            Self::Answer(500 | 503 | 504) => Some(Self::DropRequest),
            Self::AppliedThen(_) if !reads => Some(Self::DropResponse),
            Self::DropResponse | Self::Late { .. } | Self::AppliedThen(_) if reads => {
                Some(Self::DropRequest)
            }
            Self::DieAfter if reads => Some(Self::DieBefore),
            Self::HangApplied if reads => Some(Self::Hang),
            Self::DieBefore
            | Self::DieAfter
            | Self::DropRequest
            | Self::DropResponse
            | Self::Late { .. }
            | Self::Answer(_)
            | Self::AppliedThen(_)
            | Self::Hang
            | Self::HangApplied => None,
        }
    }

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
        Faulty { inner, plan: self.plan.clone() }
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
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let screen = plan.clone();
            let send = Box::new(move || -> BoxFuture<'static, ()> {
                Box::pin(async move {
                    if screen.admits(&parts, &body) {
                        complete(inner, Request::from_parts(parts, Body::from(body))).await;
                    }
                })
            });
            plan.park(after, send);
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
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
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

/// Sends a request of which no reader sees the answer, and waits until it is answered.
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
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by the fault layer").into()
}

fn refusal(code: u16, method: &Method) -> Response<ResponseBody> {
    let (reason, message) = match code {
        404 => ("NotFound", "the server could not find the requested resource"),
        409 if *method == Method::POST => ("AlreadyExists", "object already exists"),
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        ),
        422 => ("Invalid", "the server rejected our request due to an error in our request"),
        429 => ("TooManyRequests", "too many requests, please try again later"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "the server was unable to return a response in the time allotted"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    };
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code
    });
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a valid code");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if code == 429 {
        status["details"] = json!({"retryAfterSeconds": 1});
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.map(|()| whole(&status))
}

fn whole(value: &Value) -> ResponseBody {
    Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync()
}
