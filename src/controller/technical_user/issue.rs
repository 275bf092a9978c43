//! Draws a client secret, registers its verifier, reveals it. The only place where plaintext exists.

use std::sync::Arc;

use jiff::SignedDuration;

use super::bodies::{delivery_patch, record_secret, whole};
use crate::api::technical_user::TechnicalUser;
use crate::controller::runtime::events;
use crate::controller::{Context, Error};
use crate::domain::crypto::client_secret::{ClientSecret, CredentialId, Verifier};
use crate::domain::schedule::Now;
use crate::domain::technical_user::verifier_record::Version;
use crate::domain::technical_user::{Issue, User, status};
use crate::kubernetes::client::{ConditionalPatch, ObjectRef};
use crate::kubernetes::codec::version_of;

/// Registers, reveals, promotes. Each step is taken only after a 2xx of the one before. After any
/// other response the client secret is forgotten, and the next observation shows which steps succeeded.
pub(super) async fn issue_secret(
    issue: Issue,
    (object, user): (&TechnicalUser, &User),
    context: &Context,
) -> Result<(), Error> {
    let cluster = &context.cluster;
    let record_name = user.client_id.record_name();
    let record_at = ObjectRef { namespace: &context.settings.namespace, name: &record_name };
    let secret_at = ObjectRef { namespace: &user.owner.namespace, name: &user.secret_name };
    let (id, secret, verifier) = draw(&issue, user, context).await?;
    let now = cluster.now();
    let placeholder = issue.placeholder.clone();
    let record = issue.record.with_pending(id.clone(), verifier, placeholder, now);
    let registered =
        cluster.replace_secret(record_at, &issue.record_version, &record_secret(&record)).await?;
    let revealed = match &issue.placeholder {
        Some(version) => {
            let patch = ConditionalPatch::new(delivery_patch(&id, &secret, user), version);
            drop(secret);
            cluster.patch_secret(secret_at, patch).await
        }
        // A creation carries no version that could stop it: it leaves at once or not at all.
        None if has_paused(now, cluster.now()) => return Err(Error::NotConverged),
        None => {
            let whole = whole(&id, &secret, user);
            drop(secret);
            cluster.create_secret(secret_at, &whole.0).await
        }
    };
    if let Err(failure) = revealed {
        let untouched = issue.placeholder.as_ref();
        let is_unseen =
            failure.kind.is_refusal() && is_untouched(secret_at, untouched, context).await;
        if is_unseen {
            // Else each reconcile would leave another one behind. What fails here is left to the fence.
            let record = record_secret(&record.without(&id));
            let _ = cluster.replace_secret(record_at, &registered, &record).await;
            // A blocked delivery leaves no Secret without a client secret behind.
            if let Some(empty) = untouched.filter(|_| issue.placeholder_is_empty) {
                let _ = cluster.delete_secret(secret_at, empty).await;
            }
        }
        return Err(failure.into());
    }
    // After a 2xx the client secret is current, even if its reader deletes the Secret right now.
    let record = record.promote(&id, user.overlap, cluster.now());
    cluster.replace_secret(record_at, &registered, &record_secret(&record)).await?;
    tracing::info!(
        namespace = user.owner.namespace,
        name = user.owner.name,
        serial = record.serial,
        cause = ?issue.cause,
        "client secret issued"
    );
    context.metrics.issued(issue.cause);
    events::record(object, [status::issued(user, record.serial, issue.cause)], context).await;
    Ok(())
}

/// Whether the process stood still since the verifier was registered, by the clocks.
fn has_paused(before: Now, after: Now) -> bool {
    after.likely().duration_since(before.likely()).abs() > MAX_PAUSE
}

/// Whether the Secret is still what was to be written over, or absent if it was to be created. A
/// refusal alone does not show it: a proxy may have sent the request twice, and a policy is checked before
/// the version is compared.
async fn is_untouched(at: ObjectRef<'_>, placeholder: Option<&Version>, context: &Context) -> bool {
    match (context.cluster.secret_metadata(at).await, placeholder) {
        (Ok(Some(found)), Some(placeholder)) => version_of(&found).as_ref() == Some(placeholder),
        (Ok(None), None) => true,
        (Ok(_) | Err(_), _) => false,
    }
}

/// Draws on this thread, hashes on the blocking pool: bcrypt would hold up a worker.
async fn draw(
    issue: &Issue,
    user: &User,
    context: &Context,
) -> Result<(CredentialId, ClientSecret, Verifier), Error> {
    let label = format!("{}/{}", user.owner.uid, issue.record.serial);
    let mut bytes = zeroize::Zeroizing::new([0; DRAWN_BYTES]);
    let (id, secret) = loop {
        context.entropy.fill(&label, bytes.as_mut())?;
        let (for_id, for_secret) = bytes.split_at(ID_BYTES);
        let id = CredentialId::draw(for_id).filter(|id| !issue.record.entries.contains_key(id));
        let drawn = id.and_then(|id| Some((id.clone(), ClientSecret::draw(&id, for_secret)?)));
        if let Some(drawn) = drawn {
            break drawn;
        }
    };
    let mut salt = [0; 16];
    context.entropy.fill(&label, &mut salt)?;
    let permit = Arc::clone(&context.hashing).acquire_owned().await;
    let cost = context.settings.bcrypt_cost;
    let hashing = tokio::task::spawn_blocking(move || {
        let verifier = Verifier::of(&secret, cost, salt);
        drop(permit);
        (secret, verifier)
    });
    // No text of a panic is repeated.
    let (secret, verifier) = hashing.await.map_err(|_| Error::Panicked("hashing"))?;
    Ok((id, secret, verifier.map_err(Error::Hashing)?))
}

/// More than the deadline of the registration, which lies between.
const MAX_PAUSE: SignedDuration = SignedDuration::from_secs(30);

const ID_BYTES: usize = 20;

/// Of 60 bytes fewer than 43 are usable once in 10^15 draws; then another draw is made.
const DRAWN_BYTES: usize = ID_BYTES + 60;
