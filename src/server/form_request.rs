//! A request with its body, which is small and has arrived.

use std::net::IpAddr;
use std::sync::Arc;

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::FromRequest;
use axum::http::{HeaderMap, Request};
use axum::response::Response;

use super::bounded_body::BodyBounds;
use super::service::TokenEndpoint;

/// The head and the body of a `POST`.
#[derive(Debug)]
pub(super) struct FormRequest {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) source: Option<IpAddr>,
}

/// Where a request came from, on its way through the router.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourceAddress(pub(super) IpAddr);

impl FormRequest {
    /// Waits for the body.
    ///
    /// # Errors
    ///
    /// The answer to a request whose body is too large, too slow or broken.
    pub(super) async fn read<B>(
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

impl FromRequest<Arc<TokenEndpoint>> for FormRequest {
    type Rejection = Response;

    async fn from_request(
        request: Request<Body>,
        _: &Arc<TokenEndpoint>,
    ) -> Result<Self, Response> {
        let source = request.extensions().get().map(|SourceAddress(source)| *source);
        Self::read(request, source).await
    }
}
