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
use self::kind::SigningKeys;
use self::publish::publish_all;
use self::reports::{ledger_changed, ledger_made};
use super::runtime::events::record;
use super::runtime::reconciler::{self, Effect};
use super::runtime::{self, Synced};
use super::{Context, Error};
use crate::api::signing_key::SigningKey;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::crypto::public_key::PublicKey;
use crate::domain::object::Version;
use crate::domain::signing_key::{self, Change, Publication, Series, Write};
use crate::kubernetes::client::{ObjectRef, Redacted};
use crate::kubernetes::codec::SecretNames;

mod bodies;
mod cache;
mod kind;
pub mod observation;
mod observed_config_map;
mod placement;
mod publish;
mod reports;
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
    runtime::run::<SigningKeys>(client, context, synced, stop).await;
}

/// The facts of namespaces that a reconcile read and no watch shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory {
    /// ConfigMaps that the series seems to own where none shall be: a hint of the watches, which names the
    /// objects to read.
    known: BTreeSet<signing_key::ConfigMapRef>,
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

/// The observation of a `SigningKey`. Its facts: why only the JWKS of the operator's namespace was read, if so.
type Observation = reconciler::Observation<SigningKeys>;

fn effect(write: &Write) -> Effect {
    match write {
        Write::Publish(_, all) if all.iter().any(undoes) => Effect::Correction,
        Write::Publish(..) => Effect::Neutral,
        // Two operators with different settings would write it in turn.
        Write::PutLedger(_, _, Change::Agree) => Effect::Correction,
        Write::CreateLedger(_)
        | Write::Stage(_)
        | Write::PutLedger(..)
        | Write::DeleteKeyPair(..) => Effect::Progress,
    }
}

/// Whether it may undo a change of another program. A namespace that is new wants a JWKS and is no quarrel.
fn undoes(publication: &Publication) -> bool {
    match publication {
        Publication::Create(_) => false,
        Publication::Replace(..) | Publication::Delete(..) => true,
    }
}

// === apply ===

async fn apply(
    write: Write,
    observation: &Observation,
    memory: &mut Memory,
    context: &Context,
) -> Result<(), Error> {
    let Some(series) = &observation.observed.series else {
        return Ok(());
    };
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
        Write::Stage(index) => stage(index, (&observation.object, series), context).await?,
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
async fn stage(
    index: u32,
    (object, series): (&SigningKey, &Series),
    context: &Context,
) -> Result<(), Error> {
    let name = SecretNames::of(&series.uid).key_pair(index);
    let (key_pairs, shape) = (Arc::clone(&context.key_pairs), series.shape);
    let permit = Arc::clone(&context.hashing).acquire_owned().await;
    let label = name.clone();
    let generating = tokio::task::spawn_blocking(move || {
        let key_pair = key_pairs.generate(&label, shape);
        drop(permit);
        key_pair
    });
    // No text of a panic is repeated.
    let key_pair = generating.await.map_err(|_| Error::Panicked("generating"))?;
    let key_pair = key_pair.map_err(Error::Generating)?;
    let secret = Redacted(key_pair_secret(&key_pair, index, series));
    let at = ObjectRef { namespace: &series.operator_namespace, name: &name };
    context.cluster.create_secret(at, &secret.0).await?;
    tracing::info!(name = series.name, index, "key pair made");
    record(object, [signing_key::status::staged(series, index)], context).await;
    Ok(())
}
