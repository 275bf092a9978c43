//! Bodies of a bounded size that arrive in a bounded time, refused in the form that OAuth clients
//! read. The listener bounds what comes before a body.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// How large a body may be, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    /// The most bytes.
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

/// Why a body was refused.
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

impl BodyError {
    /// The answer (RFC 6749 section 5.2) to a request whose body is refused, with the rest of that body.
    ///
    /// An HTTP/1.1 connection ends after it: what is left of the body would be taken for the next
    /// request. HTTP/2 has no such header (RFC 9113 section 8.2.2) and resets the stream, upon which
    /// curl forgets the answer it has; so the rest of a body that is not much too large is let in.
    pub async fn answer(self, version: Version, rest: Body) -> Response {
        if self == Self::TooLarge && version == Version::HTTP_2 {
            let _ = timeout(DISCARD_TIMEOUT, discard(rest)).await;
        }
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        };
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let body = format!(r#"{{"error":"invalid_request","error_description":"{self}"}}"#);
        let mut response = (status, headers, body).into_response();
        if version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Has every handler find a body that has arrived and is small.
///
/// For `axum::middleware::from_fn_with_state`. A handler that wants nothing between itself and the
/// body calls [`BodyBounds::read`].
pub async fn bounded_body(
    State(bounds): State<BodyBounds>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, mut body) = request.into_parts();
    match bounds.read(&mut body).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(error) => error.answer(head.version, body).await,
    }
}

impl BodyBounds {
    /// The whole body. One that arrived in one piece is not copied.
    ///
    /// # Errors
    ///
    /// [`BodyError`]; a body that says that it is too large is not read at all.
    pub async fn read<B>(&self, body: &mut B) -> Result<Bytes, BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let said = body.size_hint();
        if usize::try_from(said.lower()).map_or(true, |bytes| bytes > self.bytes) {
            return Err(BodyError::TooLarge);
        }
        let said = said.exact().and_then(|bytes| usize::try_from(bytes).ok());
        // The timer is only set when the first piece has not arrived yet.
        timeout(self.deadline, self.collect(body, said)).await.unwrap_or(Err(BodyError::TooSlow))
    }

    async fn collect<B>(&self, body: &mut B, said: Option<usize>) -> Result<Bytes, BodyError>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            // Trailers say nothing to us.
            // Whatever broke it, no answer reaches its sender.
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
