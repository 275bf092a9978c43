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

use crate::heartbeat::Heartbeats;

/// Answers whether the process is ready: `Err` with a sentence that says what is missing.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// `/readyz/sign`: whether tokens can be signed. It is no probe of a kubelet, since a replica that
/// cannot sign still serves the JWKS, discovery and introspection.
pub fn signing(readiness: Readiness) -> Router {
    Router::new().route("/readyz/sign", get(ready)).with_state(readiness)
}

/// Lines of `/readyz` that do not change its status.
pub type Notes = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// `/livez` and `/readyz`. The process lives as long as none of its parts stands still.
pub fn health(heartbeats: Heartbeats, readiness: Readiness) -> Router {
    health_with(heartbeats, readiness, Arc::new(Vec::new))
}

/// The same. `/readyz` also lists the notes, with status 200 and with 503.
pub fn health_with(heartbeats: Heartbeats, readiness: Readiness, notes: Notes) -> Router {
    let liveness: Readiness =
        Arc::new(move || heartbeats.stalled().map_or(Ok(()), |stalled| Err(stalled.to_string())));
    let live = Router::new().route("/livez", get(ready));
    let ready = get(move || {
        let (readiness, notes) = (Arc::clone(&readiness), Arc::clone(&notes));
        async move {
            let (status, text) = ready(State(readiness)).await;
            (status, notes().into_iter().fold(text, |text, note| text + &note + "\n"))
        }
    });
    live.with_state(liveness).route("/readyz", ready)
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, String) {
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower_service::Service as _;

    use super::*;

    async fn asked(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_lives_until_a_part_of_it_stands_still() {
        let heartbeats = Heartbeats::default();
        let router = health(heartbeats.clone(), Arc::new(|| Err("not yet".to_owned())));
        let mut part = Box::pin(heartbeats.clone().watch("the listener", pending::<()>()));
        assert!(futures::poll!(&mut part).is_pending());

        assert_eq!(asked(&router, "/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(asked(&router, "/readyz").await, (503, "not yet\n".to_owned()));

        tokio::time::sleep(Duration::from_secs(31)).await;
        let stalled = "the listener stands still for 31 s\n".to_owned();
        assert_eq!(asked(&router, "/livez").await, (503, stalled));
    }
}
