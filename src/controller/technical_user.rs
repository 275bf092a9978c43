//! Carries out what the domain decides about a `TechnicalUser`: look, one write, look again.
//!
//! Plaintext exists in one function, between the draw and the one request that carries it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::cluster::{Conditional, Failure, Kind, Place};
use super::event::{self, Happening, Severity};
use super::queue::Settled;
use super::{Context, Error};
use crate::api;
use crate::api::technical_user::TechnicalUser;
use crate::domain::credential::record::{Owner, Record};
use crate::domain::credential::{ClientSecret, CredentialId, Verifier};
use crate::domain::delivery::Refresh;
use crate::domain::technical_user::{
    self, Cause, Change, Claim, Holder, Issue, Observed, Rest, Step, User, Verdict, Write, report,
};

pub mod observation;

/// A `TechnicalUser` by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Brings one technical user to its desired state and returns when to look again.
///
/// # Guarantees
///
/// Safe to repeat, and to interrupt at any await: every write is refused when what it rests upon
/// has changed.
///
/// # Errors
///
/// The world did not obey. What the user can do about it is already in the status.
pub(super) async fn reconcile(key: &Key, context: &Context) -> Result<Settled, Error> {
    let mut last = None;
    match advance(key, context, &mut last).await {
        Ok(settled) => Ok(settled),
        Err(Error::InvalidSpec(object)) => {
            report_invalid_spec(&object, context).await?;
            Ok(Settled::default())
        }
        Err(error) => {
            if let Some(look) = &last {
                report_failure(look, &error, context).await;
            }
            Err(error)
        }
    }
}

async fn advance(key: &Key, context: &Context, last: &mut Option<Look>) -> Result<Settled, Error> {
    let mut setbacks = 0;
    let mut has_repaired = false;
    for _ in 0..ROUNDS {
        let look = last.insert(observe(key, context).await?);
        let now = context.cluster.now();
        let write = match technical_user::decide(&look.observed, now) {
            Step::Rest(rest) => {
                let wake_in = publish(look, &rest, context).await?;
                return Ok(Settled {
                    wake_in,
                    has_repaired,
                });
            }
            Step::Write(write) => write,
        };
        has_repaired |= matches!(write, Write::Refresh(..));
        if !context.leads() {
            return Err(Error::NotLeading);
        }
        match apply(write, look, context).await {
            Ok(()) => {}
            Err(Error::Call(failure)) if is_setback(&failure, setbacks) => setbacks += 1,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unsettled)
}

/// What was looked at, and the object that its status goes to.
#[derive(Debug)]
struct Look {
    observed: Observed,
    object: Option<TechnicalUser>,
}

/// Whether the world merely moved on: then look again at once, but not for ever.
fn is_setback(failure: &Failure, setbacks: usize) -> bool {
    match failure.kind {
        Kind::Outdated | Kind::NotFound => setbacks < MOST_SETBACKS,
        // Another uid, or an object that will never be valid: one more look tells.
        Kind::Invalid => setbacks < 1,
        Kind::Unanswered
        | Kind::Garbled
        | Kind::NamespaceGone
        | Kind::NamespaceTerminating
        | Kind::Forbidden
        | Kind::Quota
        | Kind::TooManyRequests(_)
        | Kind::Server(..)
        | Kind::Refused(..) => false,
    }
}

// === observe ===

/// Looks at the user, then at what will be swapped, then at what the swap rests upon.
async fn observe(key: &Key, context: &Context) -> Result<Look, Error> {
    let cluster = &context.cluster;
    let at = Place {
        namespace: &key.namespace,
        name: &key.name,
    };
    let object = cluster.technical_user(at).await?;
    let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
    let Some(object) = object else {
        let observed = Observed {
            user: None,
            record: Claim::Free,
            delivered: None,
        };
        return Ok(Look {
            observed,
            object: None,
        });
    };
    let Some(user) = observation::user(&object, &context.settings.endpoints) else {
        return Err(Error::InvalidSpec(Box::new(object)));
    };
    let record = claim(&user, context).await?;
    let at = Place {
        namespace: &key.namespace,
        name: &user.secret_name,
    };
    let metadata = cluster.secret_metadata(at).await?;
    let delivered = metadata.and_then(|metadata| observation::delivered(&metadata, &user.owner));
    Ok(Look {
        observed: Observed {
            user: Some(user),
            record,
            delivered,
        },
        object: Some(object),
    })
}

async fn claim(user: &User, context: &Context) -> Result<Claim, Error> {
    let name = user.client_id.record_name();
    let at = Place {
        namespace: &context.settings.namespace,
        name: &name,
    };
    let Some(secret) = context.cluster.own_secret(at).await? else {
        return Ok(Claim::Free);
    };
    match observation::record(&secret, Some(&user.client_id)) {
        Err(reason) => Ok(Claim::Unreadable(reason)),
        Ok((version, record)) if record.owner.uid == user.owner.uid => {
            Ok(Claim::Held(version, Box::new(record)))
        }
        Ok((version, record)) => {
            let holder = holder(&record.owner, context).await?;
            Ok(Claim::Taken(version, record.owner, holder))
        }
    }
}

/// Whether a user of exactly that uid exists. Who may not look takes it to live.
pub(super) async fn holder(owner: &Owner, context: &Context) -> Result<Holder, Error> {
    let at = Place {
        namespace: &owner.namespace,
        name: &owner.name,
    };
    match context.cluster.technical_user(at).await {
        Ok(Some(user)) if user.metadata.uid.as_ref() == Some(&owner.uid) => Ok(Holder::Lives),
        Ok(_) => Ok(Holder::Gone),
        Err(failure) if failure.kind == Kind::Forbidden => Ok(Holder::Lives),
        Err(failure) => Err(failure.into()),
    }
}

// === apply ===

async fn apply(write: Write, look: &Look, context: &Context) -> Result<(), Error> {
    let Some(user) = &look.observed.user else {
        return Ok(());
    };
    let cluster = &context.cluster;
    let record_name = user.client_id.record_name();
    let record_at = Place {
        namespace: &context.settings.namespace,
        name: &record_name,
    };
    let secret_at = Place {
        namespace: &user.owner.namespace,
        name: &user.secret_name,
    };
    match write {
        Write::CreateRecord(record) => {
            cluster
                .create_secret(record_at, &record_secret(&record))
                .await?;
        }
        Write::DeleteRecord(version) => cluster.delete_secret(record_at, &version).await?,
        Write::CreatePlaceholder => {
            cluster.create_secret(secret_at, &placeholder(user)).await?;
        }
        Write::PutRecord(version, record, change) => {
            cluster
                .put_secret(record_at, &version, &record_secret(&record))
                .await?;
            record_changed(change, user, &record, context).await;
        }
        Write::Fence(version, attempt) => {
            let annotations = json!({api::DELIVERY_ATTEMPT: attempt.to_string()});
            let patch = json!({"metadata": {"annotations": annotations}});
            cluster
                .patch_secret(secret_at, Conditional::new(patch, &version))
                .await?;
        }
        Write::Issue(issue) => return issue_secret(*issue, user, context).await,
        Write::Refresh(version, refresh) => {
            let patch = Conditional::new(refresh_patch(&refresh), &version);
            cluster.patch_secret(secret_at, patch).await?;
        }
        Write::Withdraw(version) => {
            cluster.delete_secret(secret_at, &version).await?;
            let note = "The Secret that was to be read once has had its time and was deleted.";
            tell(
                user,
                Severity::Normal,
                "SecretWithdrawn",
                note.to_owned(),
                context,
            )
            .await;
        }
    }
    Ok(())
}

/// Registers, reveals, promotes. Each step is taken only after a 2xx of the one before; whatever
/// else happens, the client secret is forgotten and the next look tells how far it came.
async fn issue_secret(issue: Issue, user: &User, context: &Context) -> Result<(), Error> {
    let cluster = &context.cluster;
    let record_name = user.client_id.record_name();
    let record_at = Place {
        namespace: &context.settings.namespace,
        name: &record_name,
    };
    let secret_at = Place {
        namespace: &user.owner.namespace,
        name: &user.secret_name,
    };
    let (id, secret, verifier) = draw(&issue, user, context).await?;
    let now = cluster.now();
    let record = issue
        .record
        .with_pending(id.clone(), verifier, &issue.placeholder, now);
    let registered = cluster
        .put_secret(record_at, &issue.record_version, &record_secret(&record))
        .await?;
    let patch = Conditional::new(delivery_patch(&id, &secret, user), &issue.placeholder);
    drop(secret);
    cluster.patch_secret(secret_at, patch).await?;
    // What a 2xx says was shown is current, even if its reader deletes the Secret right now.
    let record = record.promoted(&id, user.overlap, cluster.now());
    cluster
        .put_secret(record_at, &registered, &record_secret(&record))
        .await?;
    tracing::info!(
        namespace = user.owner.namespace,
        name = user.owner.name,
        serial = record.serial,
        cause = ?issue.cause,
        "client secret issued"
    );
    context.metrics.issued(issue.cause);
    let (reason, note) = issued(issue.cause, record.serial);
    tell(user, severity(issue.cause), reason, note, context).await;
    Ok(())
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
    let (secret, verifier) = hashing.await.map_err(|_| Error::Hashing)?;
    Ok((id, secret, verifier.map_err(|_| Error::Hashing)?))
}

// === report ===

async fn publish(look: &Look, rest: &Rest, context: &Context) -> Result<Option<Duration>, Error> {
    let now = context.cluster.now();
    write_status(look, &rest.verdict, context).await?;
    let wake_in = rest
        .wake_at
        .map(|at| at.duration_since(now.latest()).max(SOONEST));
    Ok(wake_in.map(|wait| Duration::try_from(wait).unwrap_or_default()))
}

/// Says what is wrong, if the API server lets it be said.
async fn report_failure(look: &Look, error: &Error, context: &Context) {
    let Some(obstacle) = error.obstacle() else {
        return;
    };
    let verdict = Verdict::Blocked(obstacle);
    if let Err(failure) = write_status(look, &verdict, context).await {
        tracing::debug!(%failure, "status not written");
    }
}

/// A spec that only a weakened CRD lets through is a mistake, not an error.
async fn report_invalid_spec(object: &TechnicalUser, context: &Context) -> Result<(), Error> {
    let Some(owner) = observation::owner(&object.metadata) else {
        return Ok(());
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let status = report::invalid_spec(generation, object.status.as_ref(), context.cluster.now());
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let at = Place {
        namespace: &owner.namespace,
        name: &owner.name,
    };
    Ok(context
        .cluster
        .apply_status(at, &owner.uid, &status)
        .await?)
}

async fn write_status(look: &Look, verdict: &Verdict, context: &Context) -> Result<(), Error> {
    let Some(object) = &look.object else {
        return Ok(());
    };
    let Some(user) = &look.observed.user else {
        return Ok(());
    };
    let former = object.status.as_ref();
    let now = context.cluster.now();
    let Some(status) = report::status(&look.observed, verdict, former, now) else {
        return Ok(());
    };
    if former.is_some_and(|former| report::is_same(former, &status)) {
        return Ok(());
    }
    if !context.leads() {
        return Err(Error::NotLeading);
    }
    let at = Place {
        namespace: &user.owner.namespace,
        name: &user.owner.name,
    };
    match context
        .cluster
        .apply_status(at, &user.owner.uid, &status)
        .await
    {
        Ok(()) => {}
        // The user went, or came anew, in the meantime: the watch will tell.
        Err(failure)
            if matches!(
                failure.kind,
                Kind::NotFound | Kind::Outdated | Kind::Invalid
            ) =>
        {
            return Ok(());
        }
        Err(failure) => return Err(failure.into()),
    }
    announce(object, user, verdict, context).await;
    Ok(())
}

/// A change of the condition `Ready` is worth an Event; the same words again are not.
async fn announce(object: &TechnicalUser, user: &User, verdict: &Verdict, context: &Context) {
    let former = object
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    let ready = former
        .unwrap_or_default()
        .iter()
        .find(|it| it.type_ == "Ready");
    let is_news = ready.is_none_or(|ready| ready.reason != verdict.reason());
    if !is_news || *verdict == Verdict::Delivered {
        return;
    }
    let readiness = verdict.readiness(false);
    let severity = match readiness.progress {
        report::Progress::Done => Severity::Normal,
        report::Progress::Reconciling | report::Progress::Stalled => Severity::Warning,
    };
    tell(user, severity, readiness.reason, readiness.message, context).await;
}

async fn record_changed(change: Change, user: &User, record: &Record, context: &Context) {
    match change {
        Change::Promote | Change::Tidy => {}
        Change::Revoke => {
            tracing::info!(
                namespace = user.owner.namespace,
                name = user.owner.name,
                serial = record.serial,
                "client secrets revoked"
            );
            let note = "Every client secret of this TechnicalUser ended now, on request.";
            tell(
                user,
                Severity::Warning,
                "CredentialsRevoked",
                note.to_owned(),
                context,
            )
            .await;
        }
    }
}

async fn tell(
    user: &User,
    severity: Severity,
    reason: &'static str,
    note: String,
    context: &Context,
) {
    let happening = Happening {
        severity,
        reason,
        note,
    };
    event::publish(
        &context.cluster,
        &user.owner,
        &happening,
        &context.settings.identity,
    )
    .await;
}

fn issued(cause: Cause, serial: i64) -> (&'static str, String) {
    let (reason, why) = match cause {
        Cause::Unissued => ("CredentialIssued", ""),
        Cause::Due => ("CredentialRotated", ", since the rotation period is over"),
        Cause::Requested => ("CredentialRotated", ", on request"),
        Cause::Deleted => (
            "CredentialRotated",
            ", since the delivered Secret was deleted",
        ),
        Cause::Altered => (
            "CredentialRotated",
            ", since the delivered Secret was altered",
        ),
        Cause::Unknown => (
            "CredentialRotated",
            ", since the delivered Secret carried another one than the current",
        ),
    };
    (
        reason,
        format!("Client secret number {serial} was issued{why}."),
    )
}

fn severity(cause: Cause) -> Severity {
    match cause {
        Cause::Unissued | Cause::Due | Cause::Requested => Severity::Normal,
        Cause::Deleted | Cause::Altered | Cause::Unknown => Severity::Warning,
    }
}

// === bodies ===

fn record_secret(record: &Record) -> Value {
    json!({
        "metadata": {
            "labels": {
                api::MANAGED: "true",
                "app.kubernetes.io/managed-by": api::MANAGER,
                "app.kubernetes.io/component": "verifier",
            },
        },
        "type": api::RECORD_TYPE,
        "data": {api::RECORD_FIELD: STANDARD.encode(record.to_json().to_string())},
    })
}

fn placeholder(user: &User) -> Value {
    json!({
        "metadata": {
            "labels": user.content.labels,
            "annotations": user.content.annotations,
            "ownerReferences": [{
                "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
                "kind": "TechnicalUser",
                "name": user.owner.name,
                "uid": user.owner.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "type": api::DELIVERED_TYPE,
    })
}

fn delivery_patch(id: &CredentialId, secret: &ClientSecret, user: &User) -> Value {
    let content = &user.content;
    let mut data = Map::new();
    for (field, value) in &content.fields {
        data.insert(field.clone(), Value::String(STANDARD.encode(value)));
    }
    for field in &content.secret_fields {
        data.insert(
            field.clone(),
            Value::String(STANDARD.encode(secret.reveal())),
        );
    }
    let annotations = content.delivery_annotations(id);
    json!({"metadata": {"labels": content.labels, "annotations": annotations}, "data": data})
}

fn refresh_patch(refresh: &Refresh) -> Value {
    let encoded = |value: &Option<String>| value.as_ref().map(|value| STANDARD.encode(value));
    let data: BTreeMap<_, _> = refresh
        .fields
        .iter()
        .map(|(field, value)| (field, encoded(value)))
        .collect();
    json!({
        "metadata": {"labels": refresh.labels, "annotations": refresh.annotations},
        "data": data,
    })
}

/// More rounds than any way from nothing to rest takes, with a few setbacks.
const ROUNDS: usize = 16;

/// Whoever loses that often in a row is fighting somebody.
const MOST_SETBACKS: usize = 3;

const SOONEST: SignedDuration = SignedDuration::from_secs(1);

const ID_BYTES: usize = 20;

/// Of 60 bytes fewer than 43 are usable once in 10^15 draws; then another draw is made.
const DRAWN_BYTES: usize = ID_BYTES + 60;
