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
use self::status_writer::{
    record_changed, record_event, refreshed, report, report_failure, report_invalid_spec,
};
use super::runtime::{self, Synced};
use crate::kubernetes::client::{ApiError, ApiErrorKind, ConditionalPatch, ObjectRef};

use super::installation::{ClaimOutcome, ensure_claimed};
use super::runtime::workqueue::Action;
use super::{Context, Error};
use crate::api;
use crate::api::technical_user::TechnicalUser;
use crate::domain::object::Belongs;
use crate::domain::technical_user::delivered_secret::Mutability;
use crate::domain::technical_user::verifier_record::{Owner, Version};
use crate::domain::technical_user::{
    self, ClientIdReservation, Holder, Observed, Step, User, Write,
};

mod bodies;
mod cache;
mod issue;
pub mod observation;
mod reconciler;
mod status_writer;
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
    runtime::run::<reconciler::TechnicalUsers>(client, context, synced, stop).await;
}

/// Brings one technical user to its desired state and returns when to reconcile again.
///
/// # Guarantees
///
/// Safe to repeat, and to interrupt at any await: every write is refused when what it rests upon
/// has changed.
///
/// # Errors
///
/// The world did not obey. What the user can do about it is already in the status.
pub(super) async fn reconcile(key: &UserRef, context: &Context) -> Result<Action, Error> {
    let mut last = None;
    match converge(key, context, &mut last).await {
        Ok(settled) => Ok(settled),
        Err(Error::InvalidSpec(object)) => {
            report_invalid_spec(&object, context).await?;
            Ok(Action::default())
        }
        Err(error) => {
            if let Some(observation) = &last {
                report_failure(observation, &error, context).await;
            }
            Err(error)
        }
    }
}

async fn converge(
    key: &UserRef,
    context: &Context,
    last: &mut Option<Observation>,
) -> Result<Action, Error> {
    let mut setbacks = 0;
    let (mut has_written, mut has_repaired) = (false, false);
    let mut tried = None;
    for _ in 0..MAX_ROUNDS {
        let observation = match observe(key, context).await {
            Ok(Observe::Observed(observation)) => last.insert(*observation),
            Ok(Observe::Claimed) => continue,
            Ok(Observe::HeldByOther) => return Ok(Action::default()),
            Err(Error::Api(failure)) if is_conflict(&failure, setbacks) => {
                setbacks += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        observation.learn(tried.as_ref());
        let now = context.cluster.now();
        let write = match technical_user::decide(&observation.observed, now) {
            Step::Done(done) => {
                let settled = report(observation, &done, context).await?;
                // If the status alone was wrong, another program keeps writing it.
                has_repaired |= settled.has_repaired && !has_written;
                return Ok(Action { has_repaired, ..settled });
            }
            Step::Write(write) => write,
        };
        has_repaired |= matches!(write, Write::Refresh(..));
        if !context.is_leader() {
            return Err(Error::NotLeading);
        }
        let outcome = if let Write::ClearImmutable(version) = &write {
            clear_immutable(version, observation, context).await.map(|found| tried = found)
        } else {
            apply(write, observation, context).await
        };
        match outcome {
            Ok(()) => has_written = true,
            Err(Error::Api(failure)) if is_conflict(&failure, setbacks) => setbacks += 1,
            Err(error) => return Err(error),
        }
    }
    Err(Error::NotConverged)
}

/// The result of an observation.
#[derive(Debug)]
enum Observe {
    /// The user is ours, or gone.
    Observed(Box<Observation>),
    /// The user was claimed just now: observe again.
    Claimed,
    /// Another installation holds the user.
    HeldByOther,
}

/// The observed state, and the object whose status is written.
#[derive(Debug)]
struct Observation {
    observed: Observed,
    object: Option<TechnicalUser>,
}

impl Observation {
    fn absent() -> Observe {
        let observed = Observed { user: None, record: ClientIdReservation::Free, delivered: None };
        Observe::Observed(Box::new(Self { observed, object: None }))
    }

    /// Adds what a write showed of the delivered Secret at exactly that version.
    fn learn(&mut self, tried: Option<&(Version, Mutability)>) {
        if let (Some(delivered), Some((version, mutability))) =
            (&mut self.observed.delivered, tried)
            && delivered.version == *version
        {
            delivered.mutability = *mutability;
        }
    }
}

/// Whether an object merely changed meanwhile: then reconcile again at once, a bounded number of times.
fn is_conflict(failure: &ApiError, setbacks: usize) -> bool {
    match failure.kind {
        ApiErrorKind::Conflict | ApiErrorKind::NotFound => setbacks < MAX_CONFLICTS,
        // Another uid, or an object that will never be valid: one more observation shows which.
        ApiErrorKind::Invalid => setbacks < 1,
        ApiErrorKind::NoAnswer
        | ApiErrorKind::InvalidResponse
        | ApiErrorKind::Oversized
        | ApiErrorKind::NamespaceGone
        | ApiErrorKind::NamespaceTerminating
        | ApiErrorKind::Forbidden
        | ApiErrorKind::AdmissionDenied(_)
        | ApiErrorKind::QuotaExceeded
        | ApiErrorKind::TooManyRequests(_)
        | ApiErrorKind::Server(..)
        | ApiErrorKind::Refused(..) => false,
    }
}

// === observe ===

/// Reads the user, then the objects that may be replaced, then the objects that the write depends on.
async fn observe(key: &UserRef, context: &Context) -> Result<Observe, Error> {
    let cluster = &context.cluster;
    let at = ObjectRef { namespace: &key.namespace, name: &key.name };
    let object = cluster.technical_user(at).await?;
    let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
    let Some(object) = object else { return Ok(Observation::absent()) };
    match ensure_claimed(&object, context).await? {
        ClaimOutcome::Ours => {}
        ClaimOutcome::Claimed => return Ok(Observe::Claimed),
        ClaimOutcome::Left => return Ok(Observe::HeldByOther),
    }
    let Some(mut user) = observation::user(&object, &context.settings) else {
        return Err(Error::InvalidSpec(Box::new(object)));
    };
    let record = claim(&user, context).await?;
    if technical_user::needs_namespace(&user, &record) {
        user.owner.namespace_uid = namespace_uid(&user.owner, context).await?;
        if user.owner.namespace_uid.is_none() {
            return Ok(Observation::absent());
        }
    }
    let Owner { uid, name, .. } = &user.owner;
    let secret_at = ObjectRef { namespace: &key.namespace, name: &user.secret_name };
    let delivered = cluster.secret_metadata(secret_at).await?.and_then(|metadata| {
        let ownership = observation::ownership(&metadata);
        let belongs = ownership.map_or(Belongs::Foreign, |it| it.relation_to(uid, name));
        observation::delivered(&metadata, belongs)
    });
    let is_left = delivered.as_ref().is_some_and(|it| it.belongs == Belongs::Predecessor);
    // Unless the name still has that uid, the Secret may be the one of a successor.
    if is_left && !exists(&user.owner, context).await? {
        return Ok(Observation::absent());
    }
    let observed = Observed { user: Some(user), record, delivered };
    Ok(Observe::Observed(Box::new(Observation { observed, object: Some(object) })))
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
    let user = context.cluster.technical_user(at).await?;
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
    match context.cluster.technical_user(at).await {
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

async fn apply(write: Write, observation: &Observation, context: &Context) -> Result<(), Error> {
    let Some(user) = &observation.observed.user else {
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
            record_changed(change, &observation.observed, &record, context).await;
        }
        Write::Fence(version, attempt) => {
            let annotations = json!({api::DELIVERY_ATTEMPT: attempt.to_string()});
            let patch = json!({"metadata": {"annotations": annotations}});
            cluster.patch_secret(secret_at, ConditionalPatch::new(patch, &version)).await?;
        }
        Write::Issue(issue) => return issue_secret(*issue, user, context).await,
        // Its answer is needed by the next observation.
        Write::ClearImmutable(_) => {}
        Write::Refresh(version, refresh) => {
            let patch = ConditionalPatch::new(refresh_patch(&refresh), &version);
            cluster.patch_secret(secret_at, patch).await?;
            refreshed(&refresh, user, context).await;
        }
        Write::Collect(version) => {
            cluster.delete_secret(secret_at, &version).await?;
            record_event(user, technical_user::status::collected(user), context).await;
        }
        Write::Discard(version) => cluster.delete_secret(secret_at, &version).await?,
        Write::Withdraw(version) => {
            cluster.delete_secret(secret_at, &version).await?;
            record_event(user, technical_user::status::withdrawn(user), context).await;
        }
    }
    Ok(())
}

/// Removes the field `immutable` and returns what the answer shows, for the version it holds for.
async fn clear_immutable(
    version: &Version,
    observation: &Observation,
    context: &Context,
) -> Result<Option<(Version, Mutability)>, Error> {
    let Some(user) = &observation.observed.user else {
        return Ok(None);
    };
    let at = ObjectRef { namespace: &user.owner.namespace, name: &user.secret_name };
    let patch = ConditionalPatch::new(json!({"immutable": null}), version);
    match context.cluster.patch_secret(at, patch).await {
        Ok(version) => Ok(Some((version, Mutability::Mutable))),
        Err(failure) if failure.kind == ApiErrorKind::Invalid => {
            Ok(Some((version.clone(), Mutability::Immutable)))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// More rounds than any way to convergence takes, with a few conflicts.
const MAX_ROUNDS: usize = 16;

/// A writer that loses that often in a row has a rival.
const MAX_CONFLICTS: usize = 3;
