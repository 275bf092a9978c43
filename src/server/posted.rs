//! A request with its body, which is small and has arrived.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::response::Response;

use super::bounded_body::BodyBounds;
use super::service::Service;

/// The head and the body of a `POST`.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl FromRequest<Arc<Service>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<Service>) -> Result<Self, Response> {
        let (head, mut body) = request.into_parts();
        match BodyBounds::default().read(&mut body).await {
            Ok(bytes) => Ok(Self { headers: head.headers, body: bytes }),
            Err(error) => Err(error.answer(head.version, body).await),
        }
    }
}
