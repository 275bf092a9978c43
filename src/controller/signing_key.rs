//! Reconciles a `SigningKey`: observe, decide in the domain, write, observe again.
//!
//! A private key exists in one function, between its generation and the one request that carries it,
//! and while a key pair is read that the ledger does not have: the next one, or each when the ledger
//! was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use self::bodies::{key_pair_secret, ledger_secret};
use self::observation::Observation;
use self::publish::publish_all;
use self::status_writer::{
    ledger_changed, ledger_made, record_event, report, report_failure, report_invalid_spec,
};
use super::installation::{ClaimOutcome, ensure_claimed};
use super::runtime::{self, Action, Synced};
use super::{Context, Error};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::crypto::public_key::PublicKey;
use crate::domain::object::Version;
use crate::domain::signing_key::{self, Change, Publication, Series, Step, Write};
use crate::kubernetes::client::{ApiError, ApiErrorKind, ObjectRef, Redacted};
use crate::kubernetes::codec::SecretNames;

mod bodies;
mod cache;
pub mod observation;
mod observed_config_map;
mod placement;
mod publish;
mod reconciler;
mod status_writer;
mod sweep;
mod watches;

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
    runtime::run::<reconciler::SigningKeys>(client, context, synced, stop).await;
}

/// The facts of namespaces that a reconcile read and no watch shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Namespaces whose JWKS could not be written.
    blocked: BTreeMap<String, BlockedReason>,
    /// Namespaces that the operator may not read, with the blocked reason.
    hidden: BTreeMap<String, BlockedReason>,
    /// ConfigMaps with the name of the JWKS that belong to another owner.
    foreign: BTreeSet<signing_key::ConfigMapRef>,
    /// The contents of each ConfigMap, which the watch on metadata does not show.
    contents: BTreeMap<signing_key::ConfigMapRef, signing_key::Published>,
    /// How often the JWKS of a namespace could not be written in this reconcile alone.
    failures: BTreeMap<String, usize>,
    /// How often each JWKS was written to each namespace in this reconcile alone.
    writes: BTreeMap<(String, String), usize>,
    /// Namespaces that let a write hang, and those that did so in the reconcile before.
    slow: BTreeSet<String>,
    was_slow: BTreeSet<String>,
    /// The next key pair with its public half, which the watch on metadata cannot tell.
    next: Option<(Version, PublicKey)>,
    /// JWKS ConfigMaps that are not wanted any more and could not be deleted.
    undeletable: BTreeMap<signing_key::ConfigMapRef, BlockedReason>,
}

/// Hints of the watches and of the former reconcile: which objects to read. A hint is never a fact.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    /// ConfigMaps that the series seems to own where none shall be.
    pub(super) known: BTreeSet<signing_key::ConfigMapRef>,
    /// Namespaces that let a write hang.
    pub(super) slow: BTreeSet<String>,
}

/// Brings one `SigningKey` to its desired state and returns when to reconcile again.
///
/// # Guarantees
///
/// Safe to repeat, and to interrupt at any await: every write is refused when what it rests upon
/// has changed.
///
/// # Errors
///
/// The world did not obey. What the user can do about it is already in the status.
async fn reconcile(name: &str, hints: Hints, context: &Context) -> Result<(Action, Memory), Error> {
    let Hints { known, slow } = hints;
    let mut memory = Memory { was_slow: slow, ..Memory::default() };
    let mut last = None;
    match converge((name, &known), context, &mut memory, &mut last).await {
        Ok(settled) => Ok((settled, memory)),
        Err(error) => {
            if let Some(observation) = &last {
                report_failure(observation, &error, context).await;
            }
            Err(error)
        }
    }
}

async fn converge(
    (name, known): (&str, &BTreeSet<signing_key::ConfigMapRef>),
    context: &Context,
    memory: &mut Memory,
    last: &mut Option<Observation>,
) -> Result<Action, Error> {
    let mut setbacks = 0;
    let (mut has_written, mut has_repaired) = (false, false);
    for _ in 0..MAX_ROUNDS {
        let object = context.cluster.signing_key(name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(object) = object else { return Ok(Action::default()) };
        if object.spec.controller_name != context.settings.controller_name {
            return Ok(Action::default());
        }
        match ensure_claimed(&object, context).await {
            Ok(ClaimOutcome::Ours) => {}
            Ok(ClaimOutcome::Claimed) => continue,
            Ok(ClaimOutcome::Left) => return Ok(Action::default()),
            Err(Error::Api(failure)) if is_conflict(&failure, setbacks) => {
                setbacks += 1;
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(series) = observation::series(&object, &context.settings) else {
            report_invalid_spec(&object, context).await?;
            return Ok(Action::default());
        };
        // An error from here on is reported in the status of this object.
        let observation = last.insert(Observation::begun(object, series));
        let condition = observation.complete(known, memory, context).await?;
        let now = context.cluster.now();
        let write = match signing_key::decide(&observation.observed, now) {
            Step::Done(done) => {
                if let Some(condition) = condition {
                    return Err(condition);
                }
                let settled = report(observation, &done, context).await?;
                memory.next = observation.next();
                // If the JWKS or the status alone was wrong, another program keeps writing it.
                has_repaired = !has_written && (has_repaired || settled.has_repaired);
                return Ok(Action { has_repaired, ..settled });
            }
            Step::Write(write) => write,
        };
        if !context.is_leader() {
            return Err(Error::NotLeading);
        }
        let is_repair = is_repair(&write);
        match apply(write, observation, memory, context).await {
            Ok(()) => match is_repair {
                Some(is_repair) => has_repaired |= is_repair,
                None => has_written = true,
            },
            Err(Error::Api(failure)) if is_conflict(&failure, setbacks) => setbacks += 1,
            Err(error) => return Err(error),
        }
    }
    Err(Error::NotConverged)
}

/// Whether the write undoes a change of another program; nothing for a write of the protocol.
fn is_repair(write: &Write) -> Option<bool> {
    match write {
        Write::Publish(_, all) => Some(all.iter().any(undoes)),
        // Two operators with different settings would write it in turn.
        Write::PutLedger(_, _, Change::Agree) => Some(true),
        Write::CreateLedger(_)
        | Write::Stage(_)
        | Write::PutLedger(..)
        | Write::DeleteKeyPair(..) => None,
    }
}

/// Whether it may undo a change of another program. A namespace that is new wants a JWKS and is no quarrel.
fn undoes(publication: &Publication) -> bool {
    match publication {
        Publication::Create(_) => false,
        Publication::Replace(..) | Publication::Delete(..) => true,
    }
}

/// Whether an object merely changed meanwhile: then reconcile again at once, a bounded number of times.
fn is_conflict(failure: &ApiError, setbacks: usize) -> bool {
    let is_outdated = matches!(failure.kind, ApiErrorKind::Conflict | ApiErrorKind::NotFound);
    is_outdated && setbacks < MAX_CONFLICTS
}

// === apply ===

async fn apply(
    write: Write,
    observation: &Observation,
    memory: &mut Memory,
    context: &Context,
) -> Result<(), Error> {
    let series = &observation.series;
    let cluster = &context.cluster;
    let names = SecretNames::of(&series.uid);
    let ledger_name = names.ledger();
    let ledger_at = ObjectRef { namespace: &series.operator_namespace, name: &ledger_name };
    match write {
        Write::CreateLedger(ledger) => {
            cluster.create_secret(ledger_at, &ledger_secret(&ledger, series)).await?;
            ledger_made(observation, &ledger, context).await;
        }
        Write::PutLedger(version, ledger, change) => {
            cluster.replace_secret(ledger_at, &version, &ledger_secret(&ledger, series)).await?;
            ledger_changed(change, observation, &ledger, context).await;
        }
        Write::Stage(index) => stage(index, series, context).await?,
        Write::Publish(jwks, publications) => {
            publish_all(&jwks, publications, series, memory, context).await?;
        }
        Write::DeleteKeyPair(index, version) => {
            let name = names.key_pair(index);
            let at = ObjectRef { namespace: &series.operator_namespace, name: &name };
            cluster.delete_secret(at, &version).await?;
        }
    }
    Ok(())
}

/// Generates on the blocking pool: RSA takes seconds.
async fn stage(index: u32, series: &Series, context: &Context) -> Result<(), Error> {
    let name = SecretNames::of(&series.uid).key_pair(index);
    let (key_pairs, shape) = (Arc::clone(&context.key_pairs), series.shape);
    let permit = Arc::clone(&context.hashing).acquire_owned().await;
    let label = name.clone();
    let generating = tokio::task::spawn_blocking(move || {
        let key_pair = key_pairs.generate(&label, shape);
        drop(permit);
        key_pair
    });
    let key_pair = generating.await.map_err(|_| Error::Generating)?;
    let key_pair = key_pair.map_err(|_| Error::Generating)?;
    let secret = Redacted(key_pair_secret(&key_pair, index, series));
    let at = ObjectRef { namespace: &series.operator_namespace, name: &name };
    context.cluster.create_secret(at, &secret.0).await?;
    tracing::info!(name = series.name, index, "key pair made");
    record_event(series, signing_key::status::staged(series, index), context).await;
    Ok(())
}

/// More rounds than any way to convergence takes, with a few conflicts: each dropped key takes one.
const MAX_ROUNDS: usize = 96;

/// A writer that loses that often in a row has a rival.
const MAX_CONFLICTS: usize = 3;
