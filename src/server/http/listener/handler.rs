//! The handler of requests.

use std::net::IpAddr;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use axum::{BoxError, Router};
use futures::future::BoxFuture;
use tower_service::Service as _;

/// A handler of requests with bodies `B`.
pub trait Handler<B>: Send + Sync + 'static {
    /// The answer to one request that came from `source`. Whatever is wrong with the request, there
    /// is one.
    fn handle(&self, request: Request<B>, source: IpAddr) -> BoxFuture<'static, Response<Body>>;
}

impl<B> Handler<B> for Router
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn handle(&self, request: Request<B>, _: IpAddr) -> BoxFuture<'static, Response<Body>> {
        let answered = self.clone().call(request);
        Box::pin(async {
            let Ok(response) = answered.await;
            response
        })
    }
}
