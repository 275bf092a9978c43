//! The technical users as the engine drives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;

use super::cache::Cache;
use super::watches::{self, Update};
use super::{UserRef, reconcile, sweep};
use crate::api::technical_user::TechnicalUser;
use crate::controller::installation::Installations;
use crate::controller::runtime::cache::CacheState;
use crate::controller::runtime::stats::{ObjectStats, ReadyState, Totals};
use crate::controller::runtime::{Action, Affected, Reconciler};
use crate::controller::{Context, Error, Settings};
use crate::domain::schedule::Now;
use crate::domain::technical_user::status::SigningKeyState;
use crate::kubernetes::watch::WatchEvent;

/// The controller of technical users.
#[derive(Debug)]
pub(super) struct TechnicalUsers {
    cache: Cache,
    stats: ObjectStats<UserRef>,
    settings: Settings,
    installations: Arc<Installations>,
}

impl TechnicalUsers {
    /// The users of every `SigningKey` whose ability to sign has changed.
    fn follow(&mut self, event: WatchEvent<String, SigningKeyState>) -> Vec<UserRef> {
        let cache = &mut self.cache;
        let before: BTreeMap<_, _> =
            cache.signing_keys.iter().map(|(name, it)| (name.clone(), *it)).collect();
        let was_synced = cache.signing_keys.is_synced();
        let touched = cache.signing_keys.apply_event(0, event);
        if cache.signing_keys.is_synced() != was_synced {
            return cache.keys();
        }
        let mut followers = Vec::new();
        for name in touched {
            let ability = cache.ability(&name);
            if before.get(&name) == Some(&ability) || !was_synced {
                continue;
            }
            let known = followers.len();
            followers.extend(cache.followers(&name).cloned());
            let users = followers.len() - known;
            if ability == SigningKeyState::Signs {
                tracing::info!(signing_key = name, users, "signing key of technical users signs");
            } else {
                tracing::warn!(
                    signing_key = name,
                    users,
                    state = ?ability,
                    "no token is issued for technical users of this signing key"
                );
            }
        }
        followers
    }

    fn serves(&self, namespace: &str) -> bool {
        let served = &self.settings.watch_namespaces;
        served.is_empty() || served.iter().any(|it| it == namespace)
    }
}

impl Reconciler for TechnicalUsers {
    type Key = UserRef;
    type Event = Update;
    type Memory = ();

    const NAME: &'static str = "technicaluser";

    fn start_watches(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Update>>) {
        let mut cache = Cache::default();
        let watches =
            watches::watches(client, (&context.settings, &context.installations), &mut cache);
        let stats = ObjectStats::default();
        let (settings, installations) =
            (context.settings.clone(), Arc::clone(&context.installations));
        (Self { cache, stats, settings, installations }, watches)
    }

    fn is_synced(&self) -> bool {
        self.cache.are_synced()
    }

    fn keys(&self) -> Vec<UserRef> {
        self.cache.keys()
    }

    fn spec_hash(&self, key: &UserRef) -> Option<u32> {
        let metadata = &self.cache.users.get(key)?.metadata;
        let asked = (&metadata.uid, metadata.generation, &metadata.annotations);
        Some(crc32fast::hash(format!("{asked:?}").as_bytes()))
    }

    fn count(&self) -> usize {
        self.cache.users.len()
    }

    fn totals(&self) -> Totals {
        self.stats.totals()
    }

    fn on_event(&mut self, update: Update) -> Affected<UserRef> {
        let is_whole_list = update.ends_a_list();
        let mut is_chore = false;
        let cache = &mut self.cache;
        let keys = match update {
            Update::User(watch, event) => {
                let keys = cache.apply_user(watch, event);
                for key in &keys {
                    self.stats.record(key, cache.users.get(key).map(|user| standing(user)));
                }
                is_chore = keys.iter().any(|key| cache.users.get(key).is_none());
                keys
            }
            Update::Record(event) => cache.apply_record(event),
            Update::Secret(watch, event) => cache.apply_secret(watch, event),
            Update::SigningKey(event) => self.follow(event),
        };
        Affected { keys, is_relisted: is_whole_list, needs_periodic_tasks: is_chore }
    }

    fn check_cache(&self, key: &UserRef, now: Now) -> CacheState {
        self.cache.check(key, (&self.settings, &self.installations), now)
    }

    fn reconcile(
        &self,
        key: UserRef,
        context: Arc<Context>,
    ) -> BoxFuture<'static, Result<(Action, ()), Error>> {
        async move { reconcile(&key, &context).await.map(|settled| (settled, ())) }.boxed()
    }

    fn keep(&mut self, _key: &UserRef, (): ()) {}

    /// Sweeps the records of users that are gone.
    fn periodic_tasks(&self, context: Arc<Context>) -> Option<BoxFuture<'static, ()>> {
        let ownerless = self.cache.ownerless().into_iter();
        let names: Vec<String> = ownerless
            .filter(|(_, owner)| self.serves(&owner.namespace))
            .map(|(name, _)| name)
            .collect();
        if names.is_empty() {
            return None;
        }
        let sweeping = async move {
            for name in names {
                if let Err(error) = sweep::sweep(&name, &context).await {
                    tracing::warn!(record = name, %error, "verifier record not swept");
                }
            }
        };
        Some(sweeping.boxed())
    }
}

fn standing(user: &TechnicalUser) -> ReadyState {
    let status = user.status.as_ref();
    ReadyState::of(status.map(|it| (it.conditions.as_slice(), it.next_rotation_time.as_ref())))
}

#[cfg(test)]
mod tests;
