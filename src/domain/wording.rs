//! What every message has to be like, for the tables of both kinds.

use super::obstacle::{Obstacle, Operation};

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
pub(super) fn every_obstacle() -> Vec<Obstacle> {
    std::iter::successors(obstacle_after(None), |it| obstacle_after(Some(it))).collect()
}

/// A new variant does not compile until it stands in this chain.
fn obstacle_after(former: Option<&Obstacle>) -> Option<Obstacle> {
    let operation = || Operation::on("create", "secrets", "shop", "other-credentials");
    let text = str::to_owned;
    Some(match former {
        None => Obstacle::Forbidden { operation: operation(), account: None },
        Some(Obstacle::Forbidden { .. }) => Obstacle::Quota { operation: operation(), quota: None },
        Some(Obstacle::Quota { .. }) => Obstacle::NamespaceTerminating { namespace: text("shop") },
        Some(Obstacle::NamespaceTerminating { .. }) => {
            Obstacle::Denied { operation: operation(), policy: text("no-secrets") }
        }
        Some(Obstacle::Denied { .. }) => {
            Obstacle::Refused { operation: operation(), reason: text("Invalid") }
        }
        Some(Obstacle::Refused { .. }) => {
            Obstacle::AwaitingCollection { object: text("ConfigMap shop/other-jwks") }
        }
        Some(Obstacle::AwaitingCollection { .. }) => Obstacle::Unavailable,
        Some(Obstacle::Unavailable) => Obstacle::Contended { object: None },
        Some(Obstacle::Contended { object: None }) => {
            Obstacle::Contended { object: Some(text("ConfigMap shop/other-jwks")) }
        }
        Some(Obstacle::Contended { object: Some(_) }) => return None,
    })
}
