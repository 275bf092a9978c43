//! Reconciles a `TechnicalUser`: observe, decide in the domain, one write, observe again.
//!
//! Plaintext exists in one function, between the draw and the one request that carries it.

use std::fmt;
use std::sync::Arc;

use kube::Client;
use serde_json::json;
use tokio::sync::watch;

use self::bodies::{placeholder, record_secret, refresh_patch};
use self::issue::issue_secret;
use self::kind::TechnicalUsers;
use self::reports::{record_changed, refreshed};
use super::runtime::events::record;
use super::runtime::{self, Synced, reconciler};
use super::{Context, Error};
use crate::api;
use crate::api::technical_user::TechnicalUser;
use crate::domain::object::Belongs;
use crate::domain::technical_user::delivered_secret::Mutability;
use crate::domain::technical_user::verifier_record::{Owner, Version};
use crate::domain::technical_user::{self, ClientIdReservation, Holder, Observed, User, Write};
use crate::kubernetes::client::{ApiErrorKind, ConditionalPatch, ObjectRef};

mod bodies;
mod cache;
mod issue;
mod kind;
pub mod observation;
mod reports;
mod sweep;
mod watches;

/// A `TechnicalUser` by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for UserRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Runs the controller until `stop` resolves, then lets running reconciles end.
///
/// # Guarantees
///
/// Dropping the future is a crash: safe at any instant.
pub async fn run(
    client: Client,
    context: Arc<Context>,
    synced: watch::Sender<Synced>,
    stop: impl Future<Output = ()>,
) {
    runtime::run::<TechnicalUsers>(client, context, synced, stop).await;
}

/// The observation of a user.
type Observation = reconciler::Observation<TechnicalUsers>;

/// The version of a delivered Secret, and what a write showed of its field `immutable` there.
type Tried = Option<(Version, Mutability)>;

// === observe ===

/// Reads the record, then the Secret: the objects that may be replaced, then those that the write depends on.
/// A user that is gone by now is observed as absent.
async fn observe(mut user: User, tried: &Tried, context: &Context) -> Result<Observed, Error> {
    let absent = Observed { user: None, record: ClientIdReservation::Free, delivered: None };
    let cluster = &context.cluster;
    let record = claim(&user, context).await?;
    if technical_user::needs_namespace(&user, &record) {
        user.owner.namespace_uid = namespace_uid(&user.owner, context).await?;
        if user.owner.namespace_uid.is_none() {
            return Ok(absent);
        }
    }
    let Owner { uid, name, namespace, .. } = &user.owner;
    let secret_at = ObjectRef { namespace, name: &user.secret_name };
    let mut delivered = cluster.secret_metadata(secret_at).await?.and_then(|metadata| {
        let ownership = observation::ownership(&metadata);
        let belongs = ownership.map_or(Belongs::Foreign, |it| it.relation_to(uid, name));
        observation::delivered(&metadata, belongs)
    });
    let is_left = delivered.as_ref().is_some_and(|it| it.belongs == Belongs::Predecessor);
    // Unless the name still has that uid, the Secret may be the one of a successor.
    if is_left && !exists(&user.owner, context).await? {
        return Ok(absent);
    }
    if let (Some(delivered), Some((version, mutability))) = (&mut delivered, tried)
        && delivered.version == *version
    {
        delivered.mutability = *mutability;
    }
    Ok(Observed { user: Some(user), record, delivered })
}

/// The uid of the namespace that the user lives in; nothing when one of the two is gone.
///
/// The user was read before and is read again afterwards. An object does not outlive its namespace, so
/// the namespace that was read in between is the one of this very user.
async fn namespace_uid(owner: &Owner, context: &Context) -> Result<Option<String>, Error> {
    let namespace = context.cluster.namespace(&owner.namespace).await?;
    let uid = namespace.and_then(|metadata| metadata.uid);
    Ok(if exists(owner, context).await? { uid } else { None })
}

/// Whether the name still belongs to a user of exactly that uid.
async fn exists(owner: &Owner, context: &Context) -> Result<bool, Error> {
    let at = ObjectRef { namespace: &owner.namespace, name: &owner.name };
    let user = context.cluster.resource::<TechnicalUser>(at).await?;
    Ok(user.is_some_and(|user| user.metadata.uid.as_ref() == Some(&owner.uid)))
}

async fn claim(user: &User, context: &Context) -> Result<ClientIdReservation, Error> {
    let name = user.client_id.record_name();
    let at = ObjectRef { namespace: &context.settings.namespace, name: &name };
    let Some(secret) = context.cluster.own_secret(at).await? else {
        return Ok(ClientIdReservation::Free);
    };
    match observation::record(&secret, Some(&user.client_id)) {
        Err(reason) => Ok(ClientIdReservation::Unreadable(reason)),
        Ok((version, record)) if record.owner.uid == user.owner.uid => {
            Ok(ClientIdReservation::Held(version, Box::new(record)))
        }
        Ok((version, record)) => {
            let holder = holder(&record.owner, context).await?;
            Ok(ClientIdReservation::Taken(version, record.owner, holder))
        }
    }
}

/// Whether a user of exactly that uid exists. On 403 it is assumed to exist, unless its namespace
/// is gone.
pub(super) async fn holder(owner: &Owner, context: &Context) -> Result<Holder, Error> {
    let at = ObjectRef { namespace: &owner.namespace, name: &owner.name };
    match context.cluster.resource::<TechnicalUser>(at).await {
        Ok(Some(user)) if user.metadata.uid.as_ref() == Some(&owner.uid) => Ok(Holder::Exists),
        Ok(_) => Ok(Holder::Gone),
        Err(failure) if failure.kind == ApiErrorKind::Forbidden => {
            let namespace_is_gone =
                context.cluster.has_namespace(&owner.namespace).await == Ok(false);
            Ok(if namespace_is_gone { Holder::Gone } else { Holder::Exists })
        }
        Err(failure) => Err(failure.into()),
    }
}

// === apply ===

async fn apply(
    write: Write,
    observation: &Observation,
    tried: &mut Tried,
    context: &Context,
) -> Result<(), Error> {
    let Observation { object, observed, .. } = observation;
    let Some(user) = &observed.user else {
        return Ok(());
    };
    let cluster = &context.cluster;
    let record_name = user.client_id.record_name();
    let record_at = ObjectRef { namespace: &context.settings.namespace, name: &record_name };
    let secret_at = ObjectRef { namespace: &user.owner.namespace, name: &user.secret_name };
    match write {
        Write::CreateRecord(record) => {
            cluster.create_secret(record_at, &record_secret(&record)).await?;
        }
        Write::DeleteRecord(version) => cluster.delete_secret(record_at, &version).await?,
        Write::CreatePlaceholder => {
            cluster.create_secret(secret_at, &placeholder(user)).await?;
        }
        Write::PutRecord(version, record, change) => {
            cluster.replace_secret(record_at, &version, &record_secret(&record)).await?;
            record_changed(change, observation, &record, context).await;
        }
        Write::Fence(version, attempt) => {
            let annotations = json!({api::DELIVERY_ATTEMPT: attempt.to_string()});
            let patch = json!({"metadata": {"annotations": annotations}});
            cluster.patch_secret(secret_at, ConditionalPatch::new(patch, &version)).await?;
        }
        Write::Issue(issue) => issue_secret(*issue, (object, user), context).await?,
        Write::ClearImmutable(version) => {
            *tried = clear_immutable(&version, secret_at, context).await?;
        }
        Write::Refresh(version, refresh) => {
            let patch = ConditionalPatch::new(refresh_patch(&refresh), &version);
            cluster.patch_secret(secret_at, patch).await?;
            refreshed(&refresh, (object, user), context).await;
        }
        Write::Collect(version) => {
            cluster.delete_secret(secret_at, &version).await?;
            record(object, [technical_user::status::collected(user)], context).await;
        }
        Write::Discard(version) => cluster.delete_secret(secret_at, &version).await?,
        Write::Withdraw(version) => {
            cluster.delete_secret(secret_at, &version).await?;
            record(object, [technical_user::status::withdrawn(user)], context).await;
        }
    }
    Ok(())
}

/// Removes the field `immutable` and returns what the answer shows, for the version it holds for.
async fn clear_immutable(
    version: &Version,
    at: ObjectRef<'_>,
    context: &Context,
) -> Result<Tried, Error> {
    let patch = ConditionalPatch::new(json!({"immutable": null}), version);
    match context.cluster.patch_secret(at, patch).await {
        Ok(version) => Ok(Some((version, Mutability::Mutable))),
        Err(failure) if failure.kind == ApiErrorKind::Invalid => {
            Ok(Some((version.clone(), Mutability::Immutable)))
        }
        Err(failure) => Err(failure.into()),
    }
}
