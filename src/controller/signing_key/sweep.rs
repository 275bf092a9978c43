//! Deletes the ledgers and key pairs of `SigningKeys` that are gone.

use jiff::Timestamp;
use serde_json::json;

use crate::api;
use crate::controller::{Context, Error};
use crate::domain::signing_key::orphans::{OrphanAction, orphan_action};
use crate::domain::signing_key::retention;
use crate::kubernetes::client::{ApiErrorKind, ConditionalPatch, ObjectRef};
use crate::kubernetes::codec::{uid_of, version_of};

/// Reads each of those Secrets and all `SigningKeys`, and marks or deletes Secrets without an owner.
///
/// # Errors
///
/// The world did not obey. What was not swept is swept the next time.
pub(super) async fn sweep(names: &[String], context: &Context) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        match sweep_one(name, context).await {
            Ok(()) => {}
            // Another replica was faster.
            Err(Error::Api(failure))
                if matches!(failure.kind, ApiErrorKind::Conflict | ApiErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn sweep_one(name: &str, context: &Context) -> Result<(), Error> {
    let cluster = &context.cluster;
    let at = ObjectRef { namespace: &context.settings.namespace, name };
    // The object to delete is read first, the objects that it depends on afterwards.
    let Some(metadata) = cluster.secret_metadata(at).await? else { return Ok(()) };
    let Some(version) = version_of(&metadata) else { return Ok(()) };
    let lives = match uid_of(name) {
        Some(uid) => cluster.signing_key_uids().await?.contains(uid),
        None => true,
    };
    if lives || metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let mark = metadata.annotations.as_ref().and_then(|all| all.get(api::OWNERLESS_SINCE));
    let seen_at: Option<Timestamp> = mark.and_then(|mark| mark.parse().ok());
    let limits = &context.settings.limits;
    let kept_for =
        retention(jiff::SignedDuration::ZERO, limits.max_staleness, limits.token_lifetime);
    match orphan_action(seen_at, kept_for, cluster.now()) {
        OrphanAction::Keep => {}
        OrphanAction::Mark(at_) => {
            let annotations = json!({(api::OWNERLESS_SINCE): at_.to_string()});
            let patch = json!({"metadata": {"annotations": annotations}});
            cluster.patch_secret(at, ConditionalPatch::new(patch, &version)).await?;
            tracing::warn!(secret = name, "its SigningKey is gone, it will be deleted");
        }
        OrphanAction::Delete => {
            cluster.delete_secret(at, &version).await?;
            tracing::info!(secret = name, "deleted: its SigningKey is gone");
        }
    }
    Ok(())
}
