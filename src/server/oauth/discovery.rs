//! Discovery and the JWKS: from memory, the same bytes for everyone, with validators for caches.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::error::OAuthError;
use super::reason::Reason;
use super::service::TokenEndpoint;
use crate::directory::Published;
use crate::domain::crypto::jwks::Jwks;
use crate::domain::crypto::public_key::Algorithm;
use crate::domain::oauth::metadata::AuthorizationServerMetadata;
use crate::domain::oauth::signer::SigningUnavailable;

/// The metadata as it is sent, made once for each set of algorithms.
#[derive(Debug, Default)]
pub struct MetadataCache(RwLock<Option<Arc<Document>>>);

#[derive(Debug)]
struct Document {
    algorithms: BTreeSet<Algorithm>,
    body: Bytes,
    etag: String,
}

impl MetadataCache {
    fn document(&self, service: &TokenEndpoint, published: &Published) -> Arc<Document> {
        let algorithms = &published.algorithms;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.algorithms == *algorithms) {
            return known;
        }
        let made = Arc::new(Document::new(service, algorithms));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        made
    }
}

impl Document {
    fn new(service: &TokenEndpoint, algorithms: &BTreeSet<Algorithm>) -> Self {
        let metadata = AuthorizationServerMetadata::new(
            service.issuer.url(),
            service.terms.profile,
            algorithms.iter().copied(),
        );
        let body = serde_json::to_string(&metadata).unwrap_or_default();
        let etag = format!("\"{}\"", Jwks::digest_of(&body));
        Self { algorithms: algorithms.clone(), body: body.into(), etag }
    }
}

/// `GET` of the metadata.
pub(crate) async fn metadata(
    State(service): State<Arc<TokenEndpoint>>,
    headers: HeaderMap,
) -> Response {
    let response = match service.directory.published() {
        Some(published) => {
            let document = service.metadata.document(&service, &published);
            cacheable(&headers, document.body.clone(), &document.etag)
        }
        None => missing(),
    };
    service.metrics.discovery_answered(response.status());
    response
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
