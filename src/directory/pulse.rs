//! Whether a watch is alive although nothing changes: the API server sends a bookmark every minute,
//! which kube keeps to itself. So the bytes of each watch are seen on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::Client;
use kube::client::Body;
use tower::BoxError;
use tower_service::Service;

use crate::environment::Clock;

/// When a watch last told something.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Something was told at `elapsed`.
    pub(super) fn beat(&self, elapsed: Duration) {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX - 1);
        self.0.fetch_max(millis.saturating_add(1), Ordering::AcqRel);
    }

    /// How long ago that was; nothing when nothing was ever told.
    pub(super) fn age(&self, elapsed: Duration) -> Option<Duration> {
        let millis = self.0.load(Ordering::Acquire).checked_sub(1)?;
        Some(elapsed.saturating_sub(Duration::from_millis(millis)))
    }
}

/// A client like `client`, whose watches make `pulse` beat.
pub(super) fn felt(client: &Client, pulse: &Pulse, clock: &Arc<dyn Clock>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let (pulse, clock) = (pulse.clone(), Arc::clone(clock));
    Client::new(Felt { client: client.clone(), pulse, clock }, namespace)
}

#[derive(Clone)]
struct Felt {
    client: Client,
    pulse: Pulse,
    clock: Arc<dyn Clock>,
}

impl Service<Request<Body>> for Felt {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, pulse, clock } = self.clone();
        Box::pin(async move {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = client.send(request).await?;
            let tells = is_watch && answer.status().is_success();
            let feel = move |frame| {
                if tells {
                    pulse.beat(clock.elapsed());
                }
                frame
            };
            Ok(answer.map(|body| body.map_frame(feel).map_err(BoxError::from).boxed_unsync()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_knows_its_age_and_never_goes_back() {
        let pulse = Pulse::default();
        assert_eq!(pulse.age(Duration::from_secs(5)), None);

        pulse.beat(Duration::from_secs(5));
        pulse.beat(Duration::from_secs(3));

        assert_eq!(pulse.age(Duration::from_secs(5)), Some(Duration::ZERO));
        assert_eq!(pulse.age(Duration::from_secs(9)), Some(Duration::from_secs(4)));
    }
}
