//! A request with its body, which is small and has arrived.

use std::net::IpAddr;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Request};
use axum::response::Response;

use super::bounded_body::BodyBounds;

/// The head and the body of a `POST`.
#[derive(Debug)]
pub(crate) struct FormRequest {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) source: Option<IpAddr>,
}

/// Where a request came from, on its way through the router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceAddress(pub(crate) IpAddr);

impl FormRequest {
    /// Waits for the body.
    ///
    /// # Errors
    ///
    /// The answer to a request whose body is too large, too slow or broken.
    pub(crate) async fn read<B>(
        request: Request<B>,
        source: Option<IpAddr>,
    ) -> Result<Self, Response>
    where
        B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, mut body) = request.into_parts();
        match BodyBounds::default().read(&mut body).await {
            Ok(bytes) => Ok(Self { headers: head.headers, body: bytes, source }),
            Err(error) => Err(error.answer(head.version, Body::new(body)).await),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for FormRequest {
    type Rejection = Response;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Response> {
        let source = request.extensions().get().map(|SourceAddress(source)| *source);
        Self::read(request, source).await
    }
}
