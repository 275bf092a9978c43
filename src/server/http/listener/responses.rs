//! How many answers there were of each status code, also of those that no handler gave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};

use super::state::Protocol;
use crate::server::http::error_response::error_response;

/// How many answers a listener gave, by status code; it outlives the listener.
#[derive(Clone, Debug, Default)]
pub struct Responses(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    known: [AtomicU64; KNOWN.len()],
    other: AtomicU64,
}

impl Responses {
    /// How many there were of each code so far; of all that are never given, together as `other`.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let known = KNOWN.iter().zip(&self.0.known);
        let known = known.map(|(code, count)| (code.as_str().to_owned(), read(count)));
        known.chain([("other".to_owned(), read(&self.0.other))]).collect()
    }

    pub(super) fn count(&self, status: StatusCode) {
        let mut known = KNOWN.iter().zip(&self.0.known);
        let count = known.find(|(code, _)| **code == status).map(|(_, count)| count);
        count.unwrap_or(&self.0.other).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the answer that hyper gives by itself to a head that it cannot read.
    pub(super) fn count_unreadable(&self, error: &hyper::Error) {
        if error.is_parse_too_large() {
            self.count(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        } else if error.is_parse() {
            self.count(StatusCode::BAD_REQUEST);
        }
    }
}

/// The response to a request beyond the limit of its source. The server does not read the body of the
/// request, so that an HTTP/1.1 connection ends.
pub(super) fn too_many(protocol: Protocol) -> Response<Body> {
    let description = "too many requests of this address at once, try again later";
    let mut response = error_response(StatusCode::TOO_MANY_REQUESTS, "slow_down", description);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    if protocol == Protocol::OneByOne {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The most frequent code comes first.
const KNOWN: [StatusCode; 13] = [
    StatusCode::OK,
    StatusCode::UNAUTHORIZED,
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_MODIFIED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::INTERNAL_SERVER_ERROR,
];
