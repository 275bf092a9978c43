//! Carries out what the domain decides about a `SigningKey`: look, write, look again.
//!
//! A private key exists in one function, between its generation and the one request that carries it,
//! and while a key pair is read that the ledger does not have: the next one, or each when the ledger
//! was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use kube::Client;
use tokio::sync::watch;

use self::bodies::{JwksMap, jwks_patch, key_pair_secret, ledger_secret};
use self::news::{ledger_changed, ledger_made, publish, report_failure, report_invalid_spec, tell};
use self::observation::Look;
use super::cluster::{Conditional, Failure, Kind, Place, Redacted};
use super::engine::{self, Settled, Synced};
use super::event::Severity;
use super::installation::{Settlement, settle};
use super::{Context, Error};
use crate::domain::key_pair::PublicKey;
use crate::domain::object::Version;
use crate::domain::obstacle::Obstacle;
use crate::domain::signing_key::{self, Publication, Series, Step, Write};
use crate::stored::Names;

mod bodies;
mod driver;
mod news;
pub mod observation;
mod views;
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
    engine::run::<driver::SigningKeys>(client, context, synced, stop).await;
}

/// What one reconcile learnt of namespaces that the watches cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Namespaces whose JWKS could not be written.
    blocked: BTreeMap<String, Obstacle>,
    /// Namespaces where the operator may not look, with what to tell of it.
    hidden: BTreeMap<String, Obstacle>,
    /// Namespaces where something of that name exists without our label.
    unlabelled: BTreeSet<String>,
    /// How often the JWKS of a namespace could not be written in this reconcile alone.
    failures: BTreeMap<String, usize>,
    /// The next key pair with its public half, which the watch on metadata cannot tell.
    next: Option<(Version, PublicKey)>,
    /// JWKS ConfigMaps that are not wanted any more and could not be deleted.
    undeletable: BTreeMap<signing_key::Place, Obstacle>,
}

/// Brings one series to its desired state and returns when to look again.
///
/// # Guarantees
///
/// Safe to repeat, and to interrupt at any await: every write is refused when what it rests upon
/// has changed.
///
/// # Errors
///
/// The world did not obey. What the user can do about it is already in the status.
async fn reconcile(name: &str, context: &Context) -> Result<(Settled, Memory), Error> {
    let mut memory = Memory::default();
    let mut last = None;
    match advance(name, context, &mut memory, &mut last).await {
        Ok(settled) => Ok((settled, memory)),
        Err(error) => {
            if let Some(look) = &last {
                report_failure(look, &error, context).await;
            }
            Err(error)
        }
    }
}

async fn advance(
    name: &str,
    context: &Context,
    memory: &mut Memory,
    last: &mut Option<Look>,
) -> Result<Settled, Error> {
    let mut setbacks = 0;
    let (mut has_written, mut has_repaired) = (false, false);
    for _ in 0..ROUNDS {
        let object = context.cluster.signing_key(name).await?;
        let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let Some(object) = object else { return Ok(Settled::default()) };
        if object.spec.controller_name != context.settings.controller_name {
            return Ok(Settled::default());
        }
        match settle(&object, context).await {
            Ok(Settlement::Ours) => {}
            Ok(Settlement::Claimed) => continue,
            Ok(Settlement::Left) => return Ok(Settled::default()),
            Err(Error::Call(failure)) if is_setback(&failure, setbacks) => {
                setbacks += 1;
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some(series) = observation::series(&object, &context.settings) else {
            report_invalid_spec(&object, context).await?;
            return Ok(Settled::default());
        };
        // What goes wrong from here on is told in the status of this object.
        let look = last.insert(Look::begun(object, series));
        look.complete(memory, context).await?;
        let now = context.cluster.now();
        let write = match signing_key::decide(&look.observed, now) {
            Step::Rest(rest) => {
                let settled = publish(look, &rest, context).await?;
                memory.next = look.next();
                // A JWKS or a status that alone was wrong is what somebody else keeps writing.
                has_repaired = !has_written && (has_repaired || settled.has_repaired);
                return Ok(Settled { has_repaired, ..settled });
            }
            Step::Write(write) => write,
        };
        if !context.leads() {
            return Err(Error::NotLeading);
        }
        let is_repair = match &write {
            Write::Publish(_, all) => Some(all.iter().any(undoes)),
            Write::CreateLedger(_)
            | Write::Stage(_)
            | Write::PutLedger(..)
            | Write::DeleteKeyPair(..) => None,
        };
        match apply(write, look, memory, context).await {
            Ok(()) => match is_repair {
                Some(is_repair) => has_repaired |= is_repair,
                None => has_written = true,
            },
            Err(Error::Call(failure)) if is_setback(&failure, setbacks) => setbacks += 1,
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unsettled)
}

/// Whether it may undo what somebody else did. A namespace that is new wants a JWKS and is no quarrel.
fn undoes(publication: &Publication) -> bool {
    match publication {
        Publication::Create(_) => false,
        Publication::Replace(..) | Publication::Delete(..) => true,
    }
}

/// Whether the world merely moved on: then look again at once, but not for ever.
fn is_setback(failure: &Failure, setbacks: usize) -> bool {
    let is_outdated = matches!(failure.kind, Kind::Outdated | Kind::NotFound);
    is_outdated && setbacks < MOST_SETBACKS
}

// === apply ===

async fn apply(
    write: Write,
    look: &Look,
    memory: &mut Memory,
    context: &Context,
) -> Result<(), Error> {
    let series = &look.series;
    let cluster = &context.cluster;
    let names = Names::of(&series.uid);
    let ledger_name = names.ledger();
    let ledger_at = Place { namespace: &series.home, name: &ledger_name };
    match write {
        Write::CreateLedger(ledger) => {
            cluster.create_secret(ledger_at, &ledger_secret(&ledger, series)).await?;
            ledger_made(look, &ledger, context).await;
        }
        Write::PutLedger(version, ledger, change) => {
            cluster.put_secret(ledger_at, &version, &ledger_secret(&ledger, series)).await?;
            ledger_changed(change, look, &ledger, context).await;
        }
        Write::Stage(index) => stage(index, series, context).await?,
        Write::Publish(jwks, publications) => {
            publish_all(&jwks, publications, series, memory, context).await?;
        }
        Write::DeleteKeyPair(index, version) => {
            let name = names.key_pair(index);
            let at = Place { namespace: &series.home, name: &name };
            cluster.delete_secret(at, &version).await?;
        }
    }
    Ok(())
}

/// Generates on the blocking pool: RSA takes seconds.
async fn stage(index: u32, series: &Series, context: &Context) -> Result<(), Error> {
    let name = Names::of(&series.uid).key_pair(index);
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
    let at = Place { namespace: &series.home, name: &name };
    context.cluster.create_secret(at, &secret.0).await?;
    tracing::info!(name = series.name, index, "key pair made");
    let note = format!("Key pair number {index} of this series was made.");
    tell(series, Severity::Normal, "KeyStaged", note, context).await;
    Ok(())
}

/// Writes to every place; one that cannot be written does not hold up the others.
async fn publish_all(
    jwks: &str,
    publications: Vec<Publication>,
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<(), Error> {
    let map = JwksMap::of(jwks, series);
    let map = &map;
    let writes = publications.into_iter().map(|publication| async move {
        let outcome = publish_one(&publication, map, series, context).await;
        (publication, outcome)
    });
    let outcomes: Vec<_> = stream::iter(writes).buffered(AT_ONCE).collect().await;
    let is_outage = outcomes.iter().all(|(_, outcome)| outcome.is_err())
        && is_outage(map, series, context).await;
    let mut trouble = Ok(());
    for (publication, outcome) in outcomes {
        let Err(failure) = outcome else { continue };
        match (&publication, &failure.kind) {
            (Publication::Create(namespace), Kind::Outdated) => {
                memory.unlabelled.insert(namespace.clone());
            }
            (_, Kind::Outdated | Kind::NotFound) => {}
            (
                Publication::Create(namespace) | Publication::Replace(namespace, ..),
                Kind::Forbidden
                | Kind::Denied(_)
                | Kind::Quota
                | Kind::NamespaceGone
                | Kind::NamespaceTerminating
                | Kind::Invalid
                | Kind::Refused(..),
            ) => {
                memory.blocked.insert(namespace.clone(), failure.obstacle());
            }
            (
                Publication::Delete(place, _),
                Kind::Forbidden
                | Kind::Denied(_)
                | Kind::Invalid
                | Kind::Refused(..)
                | Kind::NamespaceGone,
            ) => {
                tracing::warn!(namespace = place.namespace, %failure, "JWKS not deleted");
                memory.undeletable.insert(place.clone(), failure.obstacle());
            }
            (
                Publication::Create(namespace) | Publication::Replace(namespace, ..),
                Kind::Server(..) | Kind::Unanswered | Kind::Garbled,
            ) if *namespace != series.home && !is_outage => {
                // A webhook of that namespace, perhaps: the others need not wait for it.
                let failures = memory.failures.entry(namespace.clone()).or_default();
                *failures += 1;
                if *failures >= MOST_FAILURES {
                    memory.blocked.insert(namespace.clone(), failure.obstacle());
                }
            }
            _ => trouble = Err(failure.into()),
        }
    }
    trouble
}

/// Whether the API server takes no write at all: it does when it refuses to make the JWKS at home,
/// which is there already.
async fn is_outage(map: &JwksMap, series: &Series, context: &Context) -> bool {
    let at_home = Publication::Create(series.home.clone());
    let outcome = publish_one(&at_home, map, series, context).await;
    outcome.is_err_and(|failure| {
        matches!(
            failure.kind,
            Kind::Server(..) | Kind::Unanswered | Kind::Garbled | Kind::TooManyRequests(_)
        )
    })
}

async fn publish_one(
    publication: &Publication,
    map: &JwksMap,
    series: &Series,
    context: &Context,
) -> Result<(), Failure> {
    let cluster = &context.cluster;
    match publication {
        Publication::Create(namespace) => {
            let at = Place { namespace, name: &series.config_map_name };
            cluster.create_config_map(at, &map.object).await
        }
        Publication::Replace(namespace, version, surplus) => {
            let at = Place { namespace, name: &series.config_map_name };
            let patch = Conditional::new(jwks_patch(map, surplus), version);
            match cluster.patch_config_map(at, patch).await {
                Err(failure) if failure.kind == Kind::Invalid => {
                    replace_immutable(at, version, failure, context).await
                }
                outcome => outcome,
            }
        }
        Publication::Delete(place, version) => {
            let at = Place { namespace: &place.namespace, name: &place.name };
            cluster.delete_config_map(at, version).await
        }
    }
}

/// Somebody made it immutable: it is deleted at exactly that version, and made anew.
async fn replace_immutable(
    at: Place<'_>,
    version: &Version,
    failure: Failure,
    context: &Context,
) -> Result<(), Failure> {
    let map = context.cluster.config_map(at).await?;
    if map.is_some_and(|map| map.immutable == Some(true)) {
        return context.cluster.delete_config_map(at, version).await;
    }
    Err(failure)
}

/// More rounds than any way to rest takes, with a few setbacks: each key that is gone takes one.
const ROUNDS: usize = 96;

/// A namespace that refuses that often in one reconcile waits for the next.
const MOST_FAILURES: usize = 2;

/// Whoever loses that often in a row is fighting somebody.
const MOST_SETBACKS: usize = 3;

/// So many ConfigMaps are written at once.
const AT_ONCE: usize = 8;
