//! Errors in the JSON form that OAuth clients read, also those that OAuth does not define.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The body of RFC 6749 section 5.2.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// A response with `error` and `error_description` (RFC 6749 section 5.2).
pub(crate) fn error_response(status: StatusCode, error: &str, description: &str) -> Response {
    (status, NoStore(Body { error, error_description: description })).into_response()
}

/// JSON that no cache keeps (RFC 6749 section 5.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoStore<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for NoStore<T> {
    fn into_response(self) -> Response {
        let headers = [
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PRAGMA, HeaderValue::from_static("no-cache")),
        ];
        (headers, Json(self.0)).into_response()
    }
}
