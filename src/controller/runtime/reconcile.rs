//! One reconcile of one object: its timeout, its metrics and its log line.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{Action, Reconciler};
use crate::controller::{Context, Error, Retry};
use crate::domain::schedule::ClockState;

/// One reconcile with its timeout; a reconcile that hangs is dropped as in a crash.
pub(super) async fn reconcile<C: Reconciler>(
    key: C::Key,
    looking: BoxFuture<'static, Result<(Action, C::Memory), Error>>,
    context: Arc<Context>,
) -> Result<(Action, C::Memory), Retry> {
    let began = Instant::now();
    let outcome = tokio::time::timeout(RECONCILE_TIMEOUT, looking).await;
    let trust = context.cluster.now().clock_state();
    context.metrics.clock_skew(skew_seconds(trust));
    let Ok(outcome) = outcome else {
        tracing::warn!(controller = C::NAME, object = %key, "reconciliation hung");
        return Err(Retry::Backoff);
    };
    context.metrics.reconciled(C::NAME, outcome.as_ref().err(), began.elapsed());
    outcome.map_err(|error| {
        if matches!(error, Error::NotLeading) {
            tracing::info!(controller = C::NAME, object = %key, "left to another replica");
        } else {
            tracing::warn!(controller = C::NAME, object = %key, %error, "will be tried again");
        }
        error.retry()
    })
}

fn skew_seconds(trust: ClockState) -> f64 {
    match trust {
        ClockState::Apart(apart) => apart.as_secs_f64(),
        ClockState::Trusted | ClockState::Jumped => 0.0,
    }
}

/// How long a reconcile may take in all.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);
