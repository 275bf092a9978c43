//! The paths of the token service.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::State;
use axum::http::{Method, Request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{BoxError, Router};
use futures::future::BoxFuture;
use hyper::body::Incoming;

use super::answer::Refusal;
use super::listener::Handler;
use super::posted::{Posted, Source};
use super::service::Service;
use super::{discovery, introspection, token};

/// The endpoints, below the path of the issuer and, for who strips that on the way, below none.
#[derive(Clone, Debug)]
pub struct Routes {
    service: Arc<Service>,
    router: Router,
}

impl Routes {
    /// All endpoints of `service`.
    pub fn new(service: Arc<Service>) -> Self {
        Self { router: router(Arc::clone(&service)), service }
    }

    /// The answer to one request from `source`, whatever it is.
    pub fn answer<B>(&self, mut request: Request<B>, source: IpAddr) -> BoxFuture<'static, Response>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // What is asked most: the way through the router takes a tenth of what a token does, but for
        // its signature.
        if request.method() == Method::POST && self.is_token(request.uri().path()) {
            let service = Arc::clone(&self.service);
            return Box::pin(async move {
                match Posted::read(request, Some(source)).await {
                    Ok(posted) => token::token(State(service), posted).await,
                    Err(refusal) => refusal,
                }
            });
        }
        request.extensions_mut().insert(Source(source));
        self.router.handle(request, source)
    }

    fn is_token(&self, path: &str) -> bool {
        let below = path.strip_prefix(self.service.issuer.path());
        TOKEN.contains(&path) || below.is_some_and(|path| TOKEN.contains(&path))
    }
}

impl Handler<Incoming> for Routes {
    fn handle(&self, request: Request<Incoming>, source: IpAddr) -> BoxFuture<'static, Response> {
        self.answer(request, source)
    }
}

/// All paths, also those of the token: only the router knows what else there is to say of them.
fn router(service: Arc<Service>) -> Router {
    let path = service.issuer.path().to_owned();
    let mut router = well_known(endpoints(Router::new(), ""), &path);
    if !path.is_empty() {
        router = well_known(endpoints(router, &path), "");
        let metadata = format!("{path}/.well-known/openid-configuration");
        router = router.route(&metadata, get(discovery::metadata));
    }
    router
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(service)
}

fn endpoints(router: Router<Arc<Service>>, path: &str) -> Router<Arc<Service>> {
    let mut router = router;
    for token in TOKEN {
        router = router.route(&format!("{path}{token}"), post(token::token));
    }
    router
        .route(&format!("{path}/oauth2/introspect"), post(introspection::introspect))
        .route(&format!("{path}/.well-known/jwks.json"), get(discovery::jwks))
}

/// The places of the metadata for an issuer with that path (OpenID Connect Discovery 1.0 section 4,
/// RFC 8414 section 3).
fn well_known(router: Router<Arc<Service>>, path: &str) -> Router<Arc<Service>> {
    ["openid-configuration", "oauth-authorization-server"].iter().fold(router, |router, name| {
        router.route(&format!("/.well-known/{name}{path}"), get(discovery::metadata))
    })
}

const TOKEN: [&str; 3] = ["/oauth2/token", "/oauth/token", "/api/oauth/token"];
