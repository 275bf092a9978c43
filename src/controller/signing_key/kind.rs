//! The signing keys as the engine drives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;

use super::cache::Cache;
use super::observation::{self, DEFAULT};
use super::reports::blocked;
use super::sweep::sweep;
use super::watches::{self, Update};
use super::{Memory, Observation, apply, effect};
use crate::api::signing_key::{SigningKey, SigningKeyStatus};
use crate::controller::runtime::cache::Resources;
use crate::controller::runtime::reconciler::{Affected, Effect, Reconciler, Report};
use crate::controller::{Context, Error, Settings};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::Readiness;
use crate::domain::schedule::Now;
use crate::domain::signing_key::{Observed, Outcome, Series, Step, Write, decide, status};
use crate::kubernetes::client::{ApiError, ObjectRef};
use crate::kubernetes::watch::{Store, WatchEvent};

/// The controller of signing keys.
#[derive(Debug)]
pub(super) struct SigningKeys {
    cache: Cache,
    memories: BTreeMap<String, Memory>,
    settings: Settings,
}

impl Reconciler for SigningKeys {
    type Resource = SigningKey;
    type Key = String;
    type Event = Update;
    type Memory = Memory;
    type Spec = Series;
    type Observed = Observed;
    type Facts = Option<Error>;
    type Write = Write;
    type Outcome = Outcome;

    const NAME: &'static str = "signingkey";
    /// Each dropped key takes a round.
    const MAX_ROUNDS: usize = 96;

    fn start_watches(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Update>>) {
        let mut cache = Cache::default();
        let watches = watches::watches(client, &context.settings, &mut cache);
        let settings = context.settings.clone();
        (Self { cache, memories: BTreeMap::new(), settings }, watches)
    }

    fn is_synced(&self) -> bool {
        self.cache.are_synced()
    }

    fn resources(&self) -> &Resources<String, SigningKey> {
        &self.cache.series
    }

    fn on_event(&mut self, update: Update) -> Affected<String> {
        let is_relisted = update.ends_a_list();
        let had_default = self.cache.has(DEFAULT);
        let cache = &mut self.cache;
        let keys = match update {
            Update::Series(event) => {
                let names = cache.series.apply_event(0, event);
                for gone in names.iter().filter(|name| cache.series.get(name).is_none()) {
                    self.memories.remove(gone);
                }
                names
            }
            Update::Ledger(event) => {
                let touched = owners(&mut cache.ledgers, event, |it| &it.series);
                touched.unwrap_or_else(|| cache.series.keys())
            }
            Update::KeyPair(event) => {
                let touched = owners(&mut cache.key_pairs, event, |it| &it.series);
                touched.unwrap_or_else(|| cache.series.keys())
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
        let has_lost_default = had_default && !self.cache.has(DEFAULT);
        Affected { keys, is_relisted, needs_periodic_tasks: has_lost_default || is_relisted }
    }

    fn memory(&self, name: &String) -> Memory {
        let none = Memory::default();
        let former = self.memories.get(name).unwrap_or(&none);
        let known = self.cache.surplus(name, former, &self.settings);
        Memory { known, was_slow: former.slow.clone(), ..Memory::default() }
    }

    fn keep(&mut self, key: &String, memory: Memory) {
        if self.cache.series.get(key).is_some() {
            self.memories.insert(key.clone(), memory);
        }
    }

    /// Makes the `SigningKey` that every `TechnicalUser` refers to by default, where it is missing,
    /// also if there are others. Sweeps what `SigningKeys` left that are gone.
    fn periodic_tasks(&self, context: Arc<Context>) -> Option<BoxFuture<'static, ()>> {
        let is_missing = self.settings.bootstrap_signing_key && !self.cache.has(DEFAULT);
        let leftovers = self.cache.leftovers();
        if !is_missing && leftovers.is_empty() {
            return None;
        }
        let tasks = async move {
            if is_missing {
                bootstrap(&context).await;
            }
            if let Err(error) = sweep(&leftovers, &context).await {
                tracing::warn!(%error, "objects of deleted SigningKeys were not removed");
            }
        };
        Some(tasks.boxed())
    }

    fn object_ref(name: &String) -> ObjectRef<'_> {
        ObjectRef::cluster_scoped(name)
    }

    fn is_served(object: &SigningKey, settings: &Settings) -> bool {
        object.spec.controller_name == settings.controller_name
    }

    fn spec(object: &SigningKey, settings: &Settings) -> Option<Series> {
        observation::series(object, settings)
    }

    fn observe_cached(
        &self,
        object: &SigningKey,
        series: Series,
    ) -> Option<(Observed, Option<Error>)> {
        let none = Memory::default();
        let memory = self.memories.get(&series.name).unwrap_or(&none);
        Some((self.cache.observe(object, series, memory, &self.settings), None))
    }

    async fn observe(
        object: SigningKey,
        series: Series,
        memory: &mut Memory,
        last: &mut Option<Observation>,
        context: &Context,
    ) -> Result<(), Error> {
        let unread = observation::unread(series.clone());
        let observation = last.insert(Observation { object, observed: unread, facts: None });
        let (observed, condition) =
            observation::observe(&observation.object, series, memory, context).await?;
        observation.observed = observed;
        observation.facts = condition;
        Ok(())
    }

    fn decide(observed: &Observed, now: Now) -> Step {
        decide(observed, now)
    }

    fn effect(write: &Write) -> Effect {
        effect(write)
    }

    async fn apply(
        write: Write,
        observation: &Observation,
        memory: &mut Memory,
        context: &Context,
    ) -> Result<(), Error> {
        apply(write, observation, memory, context).await
    }

    fn conclude(observation: &mut Observation, memory: &mut Memory) -> Result<(), Error> {
        memory.next = observation::next(&observation.observed);
        observation.facts.take().map_or(Ok(()), Err)
    }

    fn blocked(observation: &Observation, blocked_reason: BlockedReason, now: Now) -> Outcome {
        blocked(observation, blocked_reason, now)
    }

    fn invalid_spec(object: &SigningKey) -> Readiness {
        status::invalid_spec(ObjectRef::of(object).name, observation::invalid_field(object))
    }

    fn status(report: &Report<'_, Self>) -> Option<SigningKeyStatus> {
        let former = report.object.status.as_ref();
        status::status(report.observed, report.outcome, former, report.now)
    }

    fn events(report: &Report<'_, Self>, present: &SigningKeyStatus) -> Vec<Event> {
        let name = ObjectRef::of(report.object).name;
        status::events(name, report.outcome, report.object.status.as_ref(), present)
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
        let at = ObjectRef::cluster_scoped(DEFAULT);
        if context.cluster.resource::<SigningKey>(at).await?.is_none() && context.is_leader() {
            let controller_name = &context.settings.controller_name;
            context.cluster.apply_signing_key(DEFAULT, controller_name).await?;
            tracing::info!(name = DEFAULT, "SigningKey created, since it did not exist");
        }
        Ok::<(), ApiError>(())
    };
    if let Err(failure) = outcome.await {
        tracing::warn!(name = DEFAULT, %failure, "the SigningKey could not be made");
    }
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
