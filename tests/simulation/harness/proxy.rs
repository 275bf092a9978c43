//! The outermost layer between the operator and the API server: it keeps the trace, disturbs the
//! world right before a chosen request, and lets a wrong operator be tried by spoiling what the
//! right one says and hears.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use support::fake_api_server::ResponseBody;
use support::faults::FaultPlan;
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt as _};

use crate::harness::disturbance::Disturbance;
use crate::mutant::{Mutant, Spoiler};

/// What the gate does to the world; it is called while nothing is locked.
pub(crate) type Disturb = Arc<dyn Fn(Disturbance) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Gate {
    plan: FaultPlan,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    armed: Vec<(usize, Disturbance)>,
    disturb: Option<Disturb>,
    is_away: bool,
    /// How often every connection was cut.
    cuts: usize,
    started: Instant,
    trace: Vec<String>,
    spoiler: Option<Spoiler>,
}

impl Gate {
    pub(crate) fn new(plan: FaultPlan, mutant: Option<Mutant>) -> Self {
        let inner = Inner {
            armed: Vec::new(),
            disturb: None,
            is_away: false,
            cuts: 0,
            started: Instant::now(),
            trace: Vec::new(),
            spoiler: mutant.map(Spoiler::new),
        };
        Self { plan, inner: Arc::new(Mutex::new(inner)) }
    }

    pub(crate) fn arm(&self, index: usize, disturbance: Disturbance) {
        self.locked().armed.push((index, disturbance));
    }

    pub(crate) fn on_disturbance(&self, disturb: Disturb) {
        self.locked().disturb = Some(disturb);
    }

    pub(crate) fn shut(&self, is_away: bool) {
        self.locked().is_away = is_away;
    }

    pub(crate) fn is_away(&self) -> bool {
        self.locked().is_away
    }

    /// Cuts every connection for good: what was sent over it and has not arrived never does.
    pub(crate) fn cut(&self) {
        self.locked().cuts += 1;
        self.plan.lose_late();
    }

    fn cuts(&self) -> usize {
        self.locked().cuts
    }

    pub(crate) fn note(&self, line: &str) {
        let mut inner = self.locked();
        let at = inner.started.elapsed().as_secs_f64();
        inner.trace.push(format!("{at:>10.3} {line}"));
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.locked().trace.clone()
    }

    /// The gate before a service, and a connection through it.
    pub(crate) fn before<S>(&self, service: S) -> Gated<S> {
        Gated { proxy: self.clone(), service, cuts: self.cuts() }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Disturbs the world; tells whether the sender of the request died of it.
    fn disturb(&self, index: usize) -> bool {
        let (due, disturb) = {
            let mut inner = self.locked();
            let (due, rest) = inner.armed.drain(..).partition(|(at, _)| *at == index);
            inner.armed = rest;
            (due, inner.disturb.clone())
        };
        let due: Vec<(usize, Disturbance)> = due;
        let kills = due.iter().any(|(_, disturbance)| disturbance.kills());
        for (_, disturbance) in due {
            self.note(&format!("*** {disturbance:?}"));
            if let Some(disturb) = &disturb {
                disturb(disturbance);
            }
        }
        kills
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    proxy: Gate,
    service: S,
    /// How often every connection had been cut when this one was made.
    cuts: usize,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { proxy, service, cuts } = self.clone();
        Box::pin(async move {
            if proxy.cuts() > cuts {
                return std::future::pending().await;
            }
            if is_watch(&request) {
                return if proxy.is_away() { Err(broken()) } else { sent(service, request).await };
            }
            let index = proxy.plan.requests();
            if proxy.disturb(index) {
                // Its process is gone, and the connection with it.
                return std::future::pending().await;
            }
            if proxy.is_away() {
                return Err(broken());
            }
            let words = format!("{index} {} {}", request.method(), request.uri().path());
            let answer = proxy.spoilt(service, request).await;
            match &answer {
                Ok(answer) => proxy.note(&format!("{words} -> {}", answer.status().as_u16())),
                Err(_) => proxy.note(&format!("{words} -> no answer")),
            }
            answer
        })
    }
}

impl Gate {
    async fn spoilt<S>(
        &self,
        service: S,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, BoxError>
    where
        S: Service<Request<Body>, Response = Response<ResponseBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        if self.locked().spoiler.is_none() {
            return sent(service, request).await;
        }
        let (mut parts, body) = request.into_parts();
        let mut body = body.collect().await?.to_bytes();
        let asked = (parts.method.clone(), parts.uri.path().to_owned());
        let swallowed = self.locked().spoiler.as_mut().and_then(|spoiler| {
            let answer = spoiler.answers(&asked.0, &asked.1, &body);
            body = spoiler.request(&asked.0, &asked.1, body.clone());
            answer
        });
        if let Some(answer) = swallowed {
            return Ok(answer);
        }
        parts.headers.remove(http::header::CONTENT_LENGTH);
        let again = Request::from_parts(parts, Body::from(body));
        let (head, body) = sent(service.clone(), again).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let (answer, after) = {
            let mut inner = self.locked();
            let Some(spoiler) = inner.spoiler.as_mut() else { return Err(broken()) };
            let after = spoiler.afterwards(&asked.0, &asked.1);
            (spoiler.response(&asked.0, &asked.1, head, &body), after)
        };
        if let Some(held_back) = after {
            drop(sent(service, held_back).await);
        }
        Ok(answer)
    }
}

async fn sent<S>(service: S, request: Request<Body>) -> Result<Response<ResponseBody>, BoxError>
where
    S: Service<Request<Body>, Response = Response<ResponseBody>>,
    S::Error: Into<BoxError>,
{
    service.oneshot(request).await.map_err(Into::into)
}

fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().unwrap_or_default().split('&').any(|pair| pair == "watch=true")
}

fn broken() -> BoxError {
    io::Error::new(io::ErrorKind::ConnectionReset, "the API server is away").into()
}

/// A whole answer in one piece.
pub(crate) fn whole(bytes: Bytes) -> ResponseBody {
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Whether the request writes.
pub(crate) fn writes(method: &Method) -> bool {
    *method != Method::GET
}
