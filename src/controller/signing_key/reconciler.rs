//! The signing keys as the engine drives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;

use super::cache::Cache;
use super::observation::DEFAULT;
use super::sweep::sweep;
use super::watches::{self, Update};
use super::{Hints, Memory, reconcile};
use crate::api::signing_key::SigningKey;
use crate::controller::installation::Installations;
use crate::controller::runtime::cache::CacheState;
use crate::controller::runtime::stats::{ObjectStats, ReadyState, Totals};
use crate::controller::runtime::{Action, Affected, Reconciler};
use crate::controller::{Context, Error, Settings};
use crate::domain::schedule::Now;
use crate::kubernetes::client::ApiError;
use crate::kubernetes::watch::{Store, WatchEvent};

/// The controller of signing keys.
#[derive(Debug)]
pub(super) struct SigningKeys {
    cache: Cache,
    stats: ObjectStats<String>,
    memories: BTreeMap<String, Memory>,
    settings: Settings,
    installations: Arc<Installations>,
}

impl Reconciler for SigningKeys {
    type Key = String;
    type Event = Update;
    type Memory = Memory;

    const NAME: &'static str = "signingkey";

    fn start_watches(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Update>>) {
        let mut cache = Cache::default();
        let watches = watches::watches(client, &context.settings, &mut cache);
        let settings = context.settings.clone();
        let (stats, memories) = (ObjectStats::default(), BTreeMap::new());
        let installations = Arc::clone(&context.installations);
        (Self { cache, stats, memories, settings, installations }, watches)
    }

    fn is_synced(&self) -> bool {
        self.cache.are_synced()
    }

    fn keys(&self) -> Vec<String> {
        self.cache.keys()
    }

    fn count(&self) -> usize {
        self.cache.series.len()
    }

    fn totals(&self) -> Totals {
        self.stats.totals()
    }

    fn on_event(&mut self, update: Update) -> Affected<String> {
        let is_whole_list = update.ends_a_list();
        let had_default = self.cache.has(DEFAULT);
        let cache = &mut self.cache;
        let keys = match update {
            Update::Series(event) => {
                let names = cache.series.apply_event(0, event);
                for name in &names {
                    self.stats.record(name, cache.series.get(name).map(|series| standing(series)));
                }
                for gone in names.iter().filter(|name| cache.series.get(name).is_none()) {
                    self.memories.remove(gone);
                }
                names
            }
            Update::Ledger(event) => {
                let touched = owners(&mut cache.ledgers, event, |it| &it.series);
                touched.unwrap_or_else(|| cache.keys())
            }
            Update::KeyPair(event) => {
                let touched = owners(&mut cache.key_pairs, event, |it| &it.series);
                touched.unwrap_or_else(|| cache.keys())
            }
            Update::Map(watch, event) => {
                let is_whole = matches!(event, WatchEvent::InitDone);
                let touched = cache.apply_config_map(watch, event);
                let seen = if is_whole { self.unhide(watch) } else { Vec::new() };
                touched.into_iter().chain(seen).collect()
            }
            Update::Namespace(event) => {
                // Namespaces change all the time; what matters is where and with which labels.
                let is_same = match &event {
                    WatchEvent::Apply(name, namespace) => {
                        cache.namespaces.get(name) == Some(namespace)
                    }
                    WatchEvent::Delete(_)
                    | WatchEvent::Init
                    | WatchEvent::InitDone
                    | WatchEvent::Forbidden => false,
                };
                let touched = cache.namespaces.apply_event(0, event);
                if is_same || touched.is_empty() { Vec::new() } else { cache.selecting() }
            }
        };
        let is_chore = had_default && !self.cache.has(DEFAULT);
        Affected { keys, is_relisted: is_whole_list, needs_periodic_tasks: is_chore }
    }

    fn check_cache(&self, key: &String, now: Now) -> CacheState {
        let none = Memory::default();
        let memory = self.memories.get(key).unwrap_or(&none);
        self.cache.check(key, memory, (&self.settings, &self.installations), now)
    }

    fn reconcile(
        &self,
        key: String,
        context: Arc<Context>,
    ) -> BoxFuture<'static, Result<(Action, Memory), Error>> {
        let none = Memory::default();
        let memory = self.memories.get(&key).unwrap_or(&none);
        let known = self.cache.surplus(&key, memory, &self.settings);
        let hints = Hints { known, slow: memory.slow.clone() };
        async move { reconcile(&key, hints, &context).await }.boxed()
    }

    fn keep(&mut self, key: &String, memory: Memory) {
        if self.cache.series.get(key).is_some() {
            self.memories.insert(key.clone(), memory);
        }
    }

    /// Makes the `SigningKey` that every `TechnicalUser` refers to by default, where it is missing,
    /// whatever others there are. Sweeps what `SigningKeys` left that are gone.
    fn periodic_tasks(&self, context: Arc<Context>) -> Option<BoxFuture<'static, ()>> {
        let is_missing = self.settings.bootstrap_signing_key && !self.cache.has(DEFAULT);
        let leftovers = self.cache.leftovers();
        if !is_missing && leftovers.is_empty() {
            return None;
        }
        let chores = async move {
            if is_missing {
                bootstrap(&context).await;
            }
            if let Err(error) = sweep(&leftovers, &context).await {
                tracing::warn!(%error, "what SigningKeys left behind was not swept");
            }
        };
        Some(chores.boxed())
    }
}

impl SigningKeys {
    /// The operator may read the namespace of that watch: forgets that it might not, and returns
    /// the series of which that was remembered.
    fn unhide(&mut self, watch: usize) -> Vec<String> {
        let scopes = self.settings.scopes_of_jwks();
        let Some(&scope) = scopes.get(watch) else { return Vec::new() };
        let is_in_scope = |namespace: &String| scope.is_empty() || namespace == scope;
        let memories = self.memories.iter_mut();
        let unhidden = memories.filter_map(|(name, it)| {
            let hidden = it.hidden.len();
            it.hidden.retain(|namespace, _| !is_in_scope(namespace));
            (it.hidden.len() < hidden).then(|| name.clone())
        });
        unhidden.collect()
    }
}

async fn bootstrap(context: &Context) {
    let outcome = async {
        if context.cluster.signing_key(DEFAULT).await?.is_none() && context.is_leader() {
            let controller_name = &context.settings.controller_name;
            context.cluster.apply_signing_key(DEFAULT, controller_name).await?;
            tracing::info!(name = DEFAULT, "SigningKey made, since there was none of that name");
        }
        Ok::<(), ApiError>(())
    };
    if let Err(failure) = outcome.await {
        tracing::warn!(name = DEFAULT, %failure, "the SigningKey could not be made");
    }
}

fn standing(series: &SigningKey) -> ReadyState {
    let status = series.status.as_ref();
    ReadyState::of(status.map(|it| (it.conditions.as_slice(), it.next_rotation_time.as_ref())))
}

/// Applies an event of a watch; returns the series that an object named before and names now, and
/// nothing for objects that vanished with a list: any series may miss those.
fn owners<V>(
    view: &mut Store<String, V>,
    event: WatchEvent<String, V>,
    series: impl Fn(&V) -> &String,
) -> Option<Vec<String>> {
    let owner =
        |view: &Store<String, V>, name: &String| view.get(name).map(|it| series(it).clone());
    let is_single = event.key().is_some();
    let former = event.key().and_then(|name| owner(view, name));
    let names = view.apply_event(0, event);
    let present = names.iter().filter_map(|name| owner(view, name));
    let touched = present.chain(former).collect();
    (is_single || names.is_empty()).then_some(touched)
}
