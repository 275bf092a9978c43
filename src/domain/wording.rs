//! What every message has to be like, for the tables of both kinds.

use super::conditions::blocked_reason::{BlockedReason, Operation};
use crate::domain::conditions::unavailable::Unavailable;

/// Fails unless the message names the object by kind and name, is made of sentences, and fits into
/// an Event.
pub(super) fn assert_worded(message: &str, object: &str) {
    let is_end = |after: &str| {
        let next = after.trim_start_matches('.').chars().next();
        next.is_none_or(|next| !next.is_alphanumeric() && next != '-' && next != '/')
    };
    let is_named =
        message.match_indices(object).any(|(at, _)| is_end(&message[at + object.len()..]));
    assert!(is_named, "does not name {object}: {message}");
    assert!(message.ends_with('.') && !message.contains("  "), "no sentence: {message}");
    assert!(message.len() < 900, "too long for an Event: {message}");
}

/// Every variant with names in it.
pub(super) fn every_blocked_reason() -> Vec<BlockedReason> {
    std::iter::successors(blocked_reason_after(None), |it| blocked_reason_after(Some(it))).collect()
}

/// A new variant does not compile until it stands in this chain.
fn blocked_reason_after(former: Option<&BlockedReason>) -> Option<BlockedReason> {
    let operation = || Operation::on("create", "secrets", "shop", "other-credentials");
    let text = str::to_owned;
    Some(match former {
        None => BlockedReason::Forbidden { operation: operation(), account: None },
        Some(BlockedReason::Forbidden { .. }) => {
            BlockedReason::QuotaExceeded { operation: operation(), quota: None }
        }
        Some(BlockedReason::QuotaExceeded { .. }) => {
            BlockedReason::NamespaceTerminating { namespace: text("shop") }
        }
        Some(BlockedReason::NamespaceTerminating { .. }) => {
            BlockedReason::Denied { operation: operation(), policy: text("no-secrets") }
        }
        Some(BlockedReason::Denied { .. }) => {
            BlockedReason::Refused { operation: operation(), reason: text("Invalid") }
        }
        Some(BlockedReason::Refused { .. }) => {
            BlockedReason::AwaitingGarbageCollection { object: text("ConfigMap shop/other-jwks") }
        }
        Some(BlockedReason::AwaitingGarbageCollection { .. }) => {
            BlockedReason::ApiServerUnavailable(Unavailable::Server(503))
        }
        Some(BlockedReason::ApiServerUnavailable(_)) => {
            BlockedReason::WriteConflict { object: None }
        }
        Some(BlockedReason::WriteConflict { object: None }) => {
            BlockedReason::WriteConflict { object: Some(text("ConfigMap shop/other-jwks")) }
        }
        Some(BlockedReason::WriteConflict { object: Some(_) }) => return None,
    })
}
