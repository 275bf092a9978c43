//! The paths of the token service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::State;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{BoxError, Router};
use futures::future::BoxFuture;
use hyper::body::Incoming;
use serde_json::json;

use super::error::{OAuthError, no_store};
use super::service::TokenEndpoint;
use super::{discovery, introspection, token};
use crate::server::http::form_request::{FormRequest, SourceAddress};
use crate::server::http::listener::Handler;

/// The endpoints, below the path of the issuer and, for who strips that on the way, below none.
#[derive(Clone, Debug)]
pub struct Routes {
    service: Arc<TokenEndpoint>,
    router: Router,
}

impl Routes {
    /// All endpoints of `service`.
    pub fn new(service: Arc<TokenEndpoint>) -> Self {
        Self { router: router(Arc::clone(&service)), service }
    }

    /// The answer to one request from `source`, whatever it is.
    pub fn answer<B>(&self, mut request: Request<B>, source: IpAddr) -> BoxFuture<'static, Response>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // The most frequent request: the router costs a tenth of the time of a token without
        // its signature.
        if request.method() == Method::POST && self.is_token(request.uri().path()) {
            let service = Arc::clone(&self.service);
            return Box::pin(async move {
                match FormRequest::read(request, Some(source)).await {
                    Ok(posted) => token::token(State(service), posted).await,
                    Err(refusal) => refusal,
                }
            });
        }
        request.extensions_mut().insert(SourceAddress(source));
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

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Token,
    Introspection,
    Metadata,
    /// The keys of every `SigningKey`.
    Jwks,
    /// The keys of the one that the path names.
    JwksOfOne,
}

/// All paths, also those of the token: only the router knows what else there is to say of them.
fn router(service: Arc<TokenEndpoint>) -> Router {
    // Segments that begin with `:` or `*` are text, as they are in the issuer.
    let router = Router::new().without_v07_checks();
    paths(service.issuer.path())
        .into_iter()
        .fold(router, |router, (path, endpoint)| router.route(&path, endpoint.methods()))
        .fallback(async || OAuthError::NotFound)
        .with_state(service)
}

/// Every path once. One path can come from two rules: the issuer `/api` with `/oauth/token` below it,
/// and `/api/oauth/token` below no issuer.
fn paths(issuer: &str) -> BTreeMap<String, Endpoint> {
    // A brace in a route begins a parameter.
    let issuer = issuer.replace('{', "{{").replace('}', "}}");
    let below = |path: &str| -> Vec<(String, Endpoint)> {
        let rest = [
            ("/oauth2/introspect", Endpoint::Introspection),
            ("/.well-known/jwks.json", Endpoint::Jwks),
            ("/.well-known/jwks/{file}", Endpoint::JwksOfOne),
        ];
        let tokens = TOKEN.map(|token| (token, Endpoint::Token));
        let all = tokens.into_iter().chain(rest);
        all.map(|(rest, endpoint)| (format!("{path}{rest}"), endpoint)).collect()
    };
    // OpenID Connect Discovery 1.0 section 4 appends to the issuer, RFC 8414 section 3 inserts
    // before its path. Clients of either do either with both names.
    let metadata = METADATA.into_iter().flat_map(|name| {
        let places = [
            format!("/.well-known/{name}"),
            format!("/.well-known/{name}{issuer}"),
            format!("{issuer}/.well-known/{name}"),
        ];
        places.map(|place| (place, Endpoint::Metadata))
    });
    below("").into_iter().chain(metadata).chain(below(&issuer)).collect()
}

impl Endpoint {
    fn methods(self) -> MethodRouter<Arc<TokenEndpoint>> {
        match self {
            Self::Token => post(token::token).fallback(async || use_post()),
            Self::Introspection => post(introspection::introspect).fallback(async || use_post()),
            Self::Metadata => get(discovery::metadata).fallback(async || use_get()),
            Self::Jwks => get(discovery::jwks).fallback(async || use_get()),
            Self::JwksOfOne => get(discovery::jwks_of_one).fallback(async || use_get()),
        }
    }
}

fn use_post() -> Response {
    let text = "use POST for this path, with the parameters in a form \
        (Content-Type: application/x-www-form-urlencoded)";
    other_method("POST", text)
}

fn use_get() -> Response {
    other_method("GET,HEAD", "use GET for this path")
}

/// RFC 9110 section 15.5.6.
fn other_method(allowed: &'static str, text: &str) -> Response {
    let body = json!({"error": "invalid_request", "error_description": text});
    let mut response = no_store(StatusCode::METHOD_NOT_ALLOWED, &body);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

const TOKEN: [&str; 3] = ["/oauth2/token", "/oauth/token", "/api/oauth/token"];
const METADATA: [&str; 2] = ["openid-configuration", "oauth-authorization-server"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_two_rules_make_is_there_once() {
        let paths = paths("/api");

        assert_eq!(paths["/api/oauth/token"], Endpoint::Token);
        assert_eq!(paths["/api/api/oauth/token"], Endpoint::Token);
        assert_eq!(paths["/oauth2/token"], Endpoint::Token);
    }

    #[test]
    fn the_metadata_is_where_either_standard_has_it() {
        let paths = paths("/iam");

        for name in METADATA {
            for place in [
                format!("/.well-known/{name}"),
                format!("/.well-known/{name}/iam"),
                format!("/iam/.well-known/{name}"),
            ] {
                assert_eq!(paths[&place], Endpoint::Metadata, "{place}");
            }
        }
    }
}
