//! The answer of an endpoint that this version does not serve yet: a declared, temporary absence in
//! the form that OAuth clients read, never a hang-up.

use std::fmt::Write;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Answers 503 with `temporarily_unavailable` (RFC 6749 section 4.1.2.1) to everything.
pub fn router(reason: &'static str) -> Router {
    Router::new().fallback(move || async move { unavailable(reason) })
}

fn unavailable(reason: &str) -> Response {
    let mut body = String::new();
    // Writing to a String cannot fail.
    let _ = write!(body, r#"{{"error":"temporarily_unavailable","error_description":"{reason}"}}"#);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (RETRY_AFTER, HeaderValue::from_static("3600")),
    ];
    (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
}
