//! Deletes records whose user is gone. A record has no owner reference, since one across namespaces
//! would have it collected; without its user it is refused by every server anyway.

use super::{holder, observation};
use crate::controller::{Context, Error};
use crate::domain::technical_user::Holder;
use crate::kubernetes::client::{ApiErrorKind, ObjectRef};

/// Deletes the record of that name if no user of exactly its owner's uid lives.
///
/// # Guarantees
///
/// The record goes at exactly the version that was read before its owner was read, so one
/// that a new user has taken over stays. A record that cannot be read stays.
///
/// # Errors
///
/// The world did not obey; the next sweep tries again.
pub(super) async fn sweep(name: &str, context: &Context) -> Result<(), Error> {
    let at = ObjectRef { namespace: &context.settings.namespace, name };
    let Some(secret) = context.cluster.own_secret(at).await? else {
        return Ok(());
    };
    let Ok((version, record)) = observation::record(&secret, None) else {
        return Ok(());
    };
    if holder(&record.owner, context).await? == Holder::Exists || !context.is_leader() {
        return Ok(());
    }
    match context.cluster.delete_secret(at, &version).await {
        Ok(()) => {}
        Err(failure) if matches!(failure.kind, ApiErrorKind::NotFound | ApiErrorKind::Conflict) => {
            return Ok(());
        }
        Err(failure) => return Err(failure.into()),
    }
    tracing::info!(
        namespace = record.owner.namespace,
        name = record.owner.name,
        "verifier record of a deleted technical user swept"
    );
    Ok(())
}
