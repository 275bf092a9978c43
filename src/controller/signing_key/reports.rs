//! The log lines, metrics and Events of writes.

use super::Observation;
use crate::api::condition::ConditionStatus;
use crate::api::signing_key::SigningKeyStatus;
use crate::controller::Context;
use crate::controller::runtime::events::record;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::schedule::Now;
use crate::domain::signing_key::{Change, Ledger, LedgerState, Outcome, status};

/// The outcome of a reconcile that failed for that reason.
pub(super) fn blocked(
    observation: &Observation,
    blocked_reason: BlockedReason,
    now: Now,
) -> Outcome {
    let Observation { object, observed, .. } = observation;
    let signs = match (&observed.ledger, &observed.series) {
        // Nothing says that the key which signs has stopped.
        (LedgerState::Unread, _) => was_ready(object.status.as_ref()),
        (LedgerState::Absent | LedgerState::Ledger(..) | LedgerState::Unreadable(_), series) => {
            series.as_ref().is_some_and(|series| status::signs(series, observed, now))
        }
    };
    Outcome::Blocked { blocked_reason, signs }
}

fn was_ready(status: Option<&SigningKeyStatus>) -> bool {
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions.any(|it| it.type_ == "Ready" && it.status == ConditionStatus::True)
}

/// Reports a ledger that was created or recovered.
pub(super) async fn ledger_made(observation: &Observation, ledger: &Ledger, context: &Context) {
    let Observation { object, observed, .. } = observation;
    let Some(series) = &observed.series else { return };
    if let Some(event) = status::ledger_made(observed, ledger) {
        tracing::warn!(name = series.name, "ledger recovered from the key pairs");
        record(object, [event], context).await;
        return;
    }
    // The list is for this warning alone: without it, nothing else is missing.
    let Ok(all) = context.cluster.signing_keys().await else { return };
    let controller_name = &context.settings.controller_name;
    let others = all
        .into_iter()
        .filter(|it| it.metadata.uid.as_ref() != Some(&series.uid))
        .filter(|it| it.spec.controller_name == *controller_name);
    let others: Vec<_> =
        others.filter_map(|it| Some((it.metadata.name?, it.spec.algorithm))).collect();
    record(object, status::another_algorithm(series, &others), context).await;
}

/// Reports the change of a ledger.
pub(super) async fn ledger_changed(
    change: Change,
    observation: &Observation,
    ledger: &Ledger,
    context: &Context,
) {
    let Observation { object, observed, .. } = observation;
    let Some(series) = &observed.series else { return };
    let former = match &observed.ledger {
        LedgerState::Ledger(_, former) => Some(former),
        LedgerState::Absent | LedgerState::Unreadable(_) | LedgerState::Unread => None,
    };
    match change {
        Change::Schedule => {
            tracing::info!(name = series.name, "next key scheduled");
            let Some(former) = former else { return };
            context.metrics.key_scheduled(former.rotated != ledger.rotated);
            record(object, status::algorithm_changes(series, former, ledger), context).await;
        }
        Change::Drain | Change::Remove | Change::Fence | Change::Agree => {}
        Change::Revoke => {
            let kid = series.revoke_request.as_deref().unwrap_or_default();
            tracing::warn!(name = series.name, kid, "key revoked");
            context.metrics.key_revoked();
            record(object, [status::revoked(series, kid, observed, ledger)], context).await;
        }
        Change::RevokeAll => {
            tracing::warn!(name = series.name, "all keys revoked");
            context.metrics.key_revoked();
            let event = former.map(|former| status::all_revoked(series, former, ledger));
            record(object, event, context).await;
        }
        Change::Recover => ledger_made(observation, ledger, context).await,
    }
}
