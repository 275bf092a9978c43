//! The paths of the token service.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{MethodRouter, get, post};

use super::error::{Methods, OAuthError};
use super::service::TokenEndpoint;
use super::{discovery, introspection, token};
use crate::server::http::form_request::BodyBounds;
use crate::server::http::request_span::RequestSpans;
use crate::trace_context::RequestSampler;

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

/// The endpoints of `service`, below the path of the issuer and, for a proxy that strips that path, below
/// none. With a span for each request that `sampler` selects.
pub fn router(service: Arc<TokenEndpoint>, sampler: Option<&RequestSampler>) -> Router {
    // Segments that begin with `:` or `*` are text, as they are in the issuer.
    let router = Router::new().without_v07_checks();
    paths(service.issuer.path())
        .into_iter()
        .fold(router, |router, (path, endpoint)| {
            let methods = endpoint.methods();
            let methods = match sampler {
                Some(sampler) => methods.layer(RequestSpans::new(sampler.clone(), &path)),
                None => methods,
            };
            router.route(&path, methods)
        })
        .fallback(async || OAuthError::NotFound)
        .with_state(service)
}

impl FromRef<Arc<TokenEndpoint>> for BodyBounds {
    fn from_ref(_: &Arc<TokenEndpoint>) -> Self {
        Self::default()
    }
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
            Self::Token => only_post(post(token::token)),
            Self::Introspection => only_post(post(introspection::introspect)),
            Self::Metadata => only_get(get(discovery::metadata)),
            Self::Jwks => only_get(get(discovery::jwks)),
            Self::JwksOfOne => only_get(get(discovery::jwks_of_one)),
        }
    }
}

fn only_post(methods: MethodRouter<Arc<TokenEndpoint>>) -> MethodRouter<Arc<TokenEndpoint>> {
    methods.fallback(async || OAuthError::MethodNotAllowed(Methods::Post))
}

fn only_get(methods: MethodRouter<Arc<TokenEndpoint>>) -> MethodRouter<Arc<TokenEndpoint>> {
    methods.fallback(async || OAuthError::MethodNotAllowed(Methods::Get))
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
