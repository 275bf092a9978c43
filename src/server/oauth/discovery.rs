//! Discovery and the JWKS: from memory, the same bytes for everyone, with validators for caches.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::OAuthError;
use super::reason::Reason;
use super::service::TokenEndpoint;
use crate::domain::crypto::jwks::Jwks;
use crate::domain::oauth::signer::SigningUnavailable;

/// OpenID Connect Discovery 1.0 section 3 and RFC 8414 section 2.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    jwks_uri: String,
    introspection_endpoint: String,
    grant_types_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
    claims_supported: Vec<&'static str>,
}

/// `GET` of the metadata.
pub(crate) async fn metadata(
    State(service): State<Arc<TokenEndpoint>>,
    headers: HeaderMap,
) -> Response {
    let response = metadata_of(&service, &headers);
    service.metrics.discovery_answered(response.status());
    response
}

fn metadata_of(service: &TokenEndpoint, headers: &HeaderMap) -> Response {
    let Some(published) = service.directory.published() else {
        return missing();
    };
    let algorithms = published.algorithms.iter().map(|it| it.name()).collect();
    let issuer = service.issuer.url();
    let metadata = Metadata {
        issuer,
        token_endpoint: format!("{issuer}/oauth2/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        introspection_endpoint: format!("{issuer}/oauth2/introspect"),
        grant_types_supported: ["client_credentials"],
        token_endpoint_auth_methods_supported: METHODS,
        introspection_endpoint_auth_methods_supported: METHODS,
        // The value of Kubernetes' own issuer: there is no authorization endpoint.
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: algorithms,
        claims_supported: claims(service.terms.profile.roles()),
    };
    let body = serde_json::to_string(&metadata).unwrap_or_default();
    let etag = format!("\"{}\"", Jwks::digest_of(&body));
    cacheable(headers, body.into(), &etag)
}

/// `GET` of the JWKS.
pub(crate) async fn jwks(
    State(service): State<Arc<TokenEndpoint>>,
    headers: HeaderMap,
) -> Response {
    let response = match service.directory.published() {
        Some(published) => cacheable(&headers, published.bytes.clone(), &published.etag),
        None => missing(),
    };
    service.metrics.jwks_answered(response.status());
    response
}

/// `GET` of the JWKS of one `SigningKey`, `<name>.json`: for verifiers that stop at a key of an
/// algorithm that they do not know.
pub(crate) async fn jwks_of_one(
    State(service): State<Arc<TokenEndpoint>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let published = file.strip_suffix(".json").map(|name| service.directory.published_of(name));
    let response = match published {
        Some(Ok(Some(published))) => cacheable(&headers, published.bytes.clone(), &published.etag),
        None | Some(Err(SigningUnavailable::Absent)) => OAuthError::NotFound.into_response(),
        Some(Ok(None) | Err(_)) => missing(),
    };
    service.metrics.jwks_answered(response.status());
    response
}

/// No key at all: an empty set would have verifiers forget the keys that they know.
fn missing() -> Response {
    OAuthError::Unavailable(Reason::NothingPublished, Duration::from_secs(1)).into_response()
}

fn cacheable(headers: &HeaderMap, body: Bytes, etag: &str) -> Response {
    let etag_value = HeaderValue::from_str(etag).unwrap_or_else(|_| HeaderValue::from_static(""));
    let common = [
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300, stale-if-error=3600")),
        (ETAG, etag_value),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    if is_known(headers, etag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (common, json, body).into_response()
}

/// Whether the asker has these very bytes (RFC 9110 section 13.1.2: compared weakly).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
}

const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// The claims of a token whose roles are in the claim of that name.
fn claims(roles: &'static str) -> Vec<&'static str> {
    let before = ["iss", "sub", "aud", "client_id", "caas_user_id", "caas_org_id"];
    before.into_iter().chain([roles, "scope", "iat", "exp", "jti"]).collect()
}
