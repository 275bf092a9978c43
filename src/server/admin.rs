//! Health and metrics, each on a listener of its own.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Answers whether the process is ready: `Err` with a sentence that says what is missing.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// `/readyz/sign`: whether tokens can be signed. It is no probe of a kubelet, since a replica that
/// cannot sign still serves the JWKS, discovery and introspection.
pub fn signing(readiness: Readiness) -> Router {
    Router::new().route("/readyz/sign", get(answer)).with_state(readiness)
}

/// `/livez` and `/readyz`, with `/healthz` and `/ready` for those who expect them.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(answer))
        .route("/ready", get(answer))
        .with_state(readiness)
}

async fn answer(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

/// `/metrics` in the OpenMetrics text format.
pub fn metrics(registry: Arc<Mutex<Registry>>) -> Router {
    Router::new().route("/metrics", get(exposition)).with_state(registry)
}

async fn exposition(State(registry): State<Arc<Mutex<Registry>>>) -> Response {
    let mut text = String::new();
    let encoded = encode(&mut text, &registry.lock().unwrap_or_else(PoisonError::into_inner));
    if encoded.is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, HeaderValue::from_static(openmetrics))], text).into_response()
}
