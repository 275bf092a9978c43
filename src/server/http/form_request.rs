//! A `POST` with a small body that arrives in time. The listener bounds what comes before a body.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, FromRef, FromRequest, Request};
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::error_response::error_response;

/// The headers and the whole body of a request, and the address of its peer.
///
/// An extractor: the state of the router has the [`BodyBounds`].
#[derive(Debug)]
pub struct FormRequest {
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The address of the peer: the last proxy, if there is one.
    pub source: Option<IpAddr>,
}

/// The largest size of a body and its longest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// The largest number of bytes.
    pub bytes: usize,
    /// The longest time from the head of the request to the end of its body.
    pub deadline: Duration,
}

impl Default for BodyBounds {
    /// 64 KiB, which no token request comes near, and 10 seconds.
    fn default() -> Self {
        Self { bytes: 64 * 1024, deadline: Duration::from_secs(10) }
    }
}

/// A body that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// Slower than allowed.
    #[error("the body took too long")]
    TooSlow,
    /// The client went away, or broke the framing.
    #[error("the body ended before its end")]
    Broken,
}

/// A request whose body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRejection {
    error: BodyError,
    version: Version,
}

impl<S> FromRequest<S> for FormRequest
where
    S: Send + Sync,
    BodyBounds: FromRef<S>,
{
    type Rejection = BodyRejection;

    /// A body that is too large is refused when its length is known, before it arrives.
    async fn from_request(request: Request, state: &S) -> Result<Self, BodyRejection> {
        let source = request.extensions().get().map(|ConnectInfo(source)| *source);
        let (head, mut body) = request.into_parts();
        match BodyBounds::from_ref(state).read(&mut body).await {
            Ok(body) => Ok(Self { headers: head.headers, body, source }),
            Err(error) => {
                // HTTP/2 resets the stream, and curl then forgets the response: the rest of a body that is not
                // much too large is read.
                if error == BodyError::TooLarge && head.version == Version::HTTP_2 {
                    let _ = timeout(DISCARD_TIMEOUT, discard(body)).await;
                }
                Err(BodyRejection { error, version: head.version })
            }
        }
    }
}

impl IntoResponse for BodyRejection {
    /// An HTTP/1.1 connection ends after it: the rest of the body would be read as the next request.
    /// HTTP/2 has no such header (RFC 9113 section 8.2.2).
    fn into_response(self) -> Response {
        let status = match self.error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        let mut response = error_response(status, "invalid_request", &self.error.to_string());
        if self.version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl BodyBounds {
    /// The whole body. One that arrived in one piece is not copied.
    async fn read(&self, body: &mut Body) -> Result<Bytes, BodyError> {
        let said = body.size_hint();
        if usize::try_from(said.lower()).map_or(true, |bytes| bytes > self.bytes) {
            return Err(BodyError::TooLarge);
        }
        let said = said.exact().and_then(|bytes| usize::try_from(bytes).ok());
        // The timer is only set when the first piece has not arrived yet.
        timeout(self.deadline, self.collect(body, said)).await.unwrap_or(Err(BodyError::TooSlow))
    }

    async fn collect(&self, body: &mut Body, said: Option<usize>) -> Result<Bytes, BodyError> {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            // The cause does not matter: no response reaches the sender. Trailers have no meaning here.
            let Ok(piece) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if whole.len().saturating_add(piece.len()) > self.bytes {
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() && (said == Some(piece.len()) || body.is_end_stream()) {
                return Ok(piece);
            }
            if whole.is_empty() {
                whole.reserve_exact(said.unwrap_or_default());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}

/// Discards the rest of a body, up to a bound.
async fn discard(mut rest: Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > MAX_DISCARDED {
            return;
        }
    }
}

/// As the listener has with HTTP/1.1.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DISCARDED: usize = 1024 * 1024;
