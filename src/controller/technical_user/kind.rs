//! The technical users as the engine drives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SelectAll};
use kube::Client;

use super::cache::Cache;
use super::watches::{self, Update};
use super::{Observation, Tried, UserRef, apply, observation, observe, sweep};
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::{TechnicalUser, TechnicalUserStatus};
use crate::controller::runtime::cache::Resources;
use crate::controller::runtime::reconciler::{Affected, Effect, Reconciler, Report};
use crate::controller::{Context, Error, Settings};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::{Progress, Readiness};
use crate::domain::schedule::Now;
use crate::domain::technical_user::status::{self, SigningKeyState, StatusInputs};
use crate::domain::technical_user::verifier_record::Owner;
use crate::domain::technical_user::{Observed, Outcome, Step, User, Write, decide};
use crate::kubernetes::client::ObjectRef;
use crate::kubernetes::watch::WatchEvent;

/// The controller of technical users.
#[derive(Debug)]
pub(super) struct TechnicalUsers {
    cache: Cache,
    settings: Settings,
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
            return cache.users.keys();
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
    type Resource = TechnicalUser;
    type Key = UserRef;
    type Event = Update;
    type Memory = Tried;
    type Spec = User;
    type Observed = Observed;
    type Facts = SigningKeyState;
    type Write = Write;
    type Outcome = Outcome;

    const NAME: &'static str = "technicaluser";
    const MAX_ROUNDS: usize = 16;

    fn start_watches(
        client: &Client,
        context: &Context,
    ) -> (Self, SelectAll<BoxStream<'static, Update>>) {
        let mut cache = Cache::default();
        let watches =
            watches::watches(client, (&context.settings, &context.installations), &mut cache);
        (Self { cache, settings: context.settings.clone() }, watches)
    }

    fn is_synced(&self) -> bool {
        self.cache.are_synced()
    }

    fn resources(&self) -> &Resources<UserRef, TechnicalUser> {
        &self.cache.users
    }

    fn spec_hash(&self, key: &UserRef) -> Option<u32> {
        let metadata = &self.cache.users.get(key)?.metadata;
        let asked = (&metadata.uid, metadata.generation, &metadata.annotations);
        Some(crc32fast::hash(format!("{asked:?}").as_bytes()))
    }

    fn on_event(&mut self, update: Update) -> Affected<UserRef> {
        let is_relisted = update.ends_a_list();
        let concerns_records = matches!(update, Update::User(..) | Update::Record(_));
        let cache = &mut self.cache;
        let keys = match update {
            Update::User(watch, event) => cache.apply_user(watch, event),
            Update::Record(event) => cache.apply_record(event),
            Update::Secret(watch, event) => cache.apply_secret(watch, event),
            Update::SigningKey(event) => self.follow(event),
        };
        // A record may also appear after its user is gone: a reconcile was on its way.
        let is_ownerless = |key: &UserRef| self.cache.users.get(key).is_none();
        let has_ownerless = concerns_records && keys.iter().any(is_ownerless);
        Affected { keys, is_relisted, needs_periodic_tasks: has_ownerless || is_relisted }
    }

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

    fn object_ref(key: &UserRef) -> ObjectRef<'_> {
        ObjectRef { namespace: &key.namespace, name: &key.name }
    }

    fn spec(object: &TechnicalUser, settings: &Settings) -> Option<User> {
        observation::user(object, settings)
    }

    fn memory(&self, _key: &UserRef) -> Tried {
        None
    }

    fn observe_cached(
        &self,
        object: &TechnicalUser,
        user: User,
    ) -> Option<(Observed, SigningKeyState)> {
        let ability = self.cache.ability(&object.spec.signing_key_ref.name);
        Some((self.cache.observe(user)?, ability))
    }

    async fn observe(
        object: TechnicalUser,
        user: User,
        tried: &mut Tried,
        last: &mut Option<Observation>,
        context: &Context,
    ) -> Result<(), Error> {
        let observed = observe(user, tried, context).await?;
        *last = Some(Observation { object, observed, facts: SigningKeyState::Unknown });
        Ok(())
    }

    fn decide(observed: &Observed, now: Now) -> Step {
        decide(observed, now)
    }

    fn effect(write: &Write) -> Effect {
        match write {
            Write::Refresh(..) => Effect::Repair,
            Write::CreateRecord(_)
            | Write::DeleteRecord(_)
            | Write::CreatePlaceholder
            | Write::PutRecord(..)
            | Write::Fence(..)
            | Write::Issue(_)
            | Write::ClearImmutable(_)
            | Write::Withdraw(_)
            | Write::Discard(_)
            | Write::Collect(_) => Effect::Progress,
        }
    }

    async fn apply(
        write: Write,
        observation: &Observation,
        tried: &mut Tried,
        context: &Context,
    ) -> Result<(), Error> {
        apply(write, observation, tried, context).await
    }

    /// Reads whether the `SigningKey` of the user can sign.
    async fn read_facts(observation: &mut Observation, context: &Context) -> Result<(), Error> {
        if observation.observed.user.is_none() {
            return Ok(());
        }
        observation.facts = SigningKeyState::Unknown;
        let at = ObjectRef::cluster_scoped(&observation.object.spec.signing_key_ref.name);
        let key = context.cluster.resource::<SigningKey>(at).await?;
        let controller = &context.settings.controller_name;
        let is_foreign =
            key.as_ref().is_some_and(|key| !context.installations.serves(key, controller));
        observation.facts =
            if is_foreign { SigningKeyState::Elsewhere } else { SigningKeyState::of(key.as_ref()) };
        Ok(())
    }

    fn blocked(_observation: &Observation, blocked_reason: BlockedReason, _now: Now) -> Outcome {
        Outcome::Blocked(blocked_reason)
    }

    fn is_blocked(outcome: &Outcome) -> bool {
        outcome.progress() != Progress::Done
    }

    fn invalid_spec(object: &TechnicalUser) -> Readiness {
        let ObjectRef { namespace, name } = ObjectRef::of(object);
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let owner = Owner { uid, namespace, name, namespace_uid: None };
        status::invalid_spec(&owner, observation::invalid_field(object))
    }

    fn status(report: &Report<'_, Self>) -> Option<TechnicalUserStatus> {
        with_inputs(report, |inputs| {
            status::status(report.observed, inputs, report.object.status.as_ref())
        })
    }

    fn events(report: &Report<'_, Self>, present: &TechnicalUserStatus) -> Vec<Event> {
        with_inputs(report, |inputs| {
            status::events(report.observed, inputs, report.object.status.as_ref(), present)
        })
    }

    fn follows(report: &Report<'_, Self>, present: &TechnicalUserStatus) -> Option<String> {
        let follows =
            with_inputs(report, |inputs| status::follows_key(report.observed, inputs, present));
        follows.then(|| report.object.spec.signing_key_ref.name.clone())
    }
}

fn with_inputs<T>(
    report: &Report<'_, TechnicalUsers>,
    of: impl FnOnce(&StatusInputs<'_>) -> T,
) -> T {
    of(&StatusInputs {
        outcome: report.outcome,
        signing_key: &observation::referred_key(report.object, *report.facts),
        operator_namespace: &report.settings.namespace,
        now: report.now,
    })
}

#[cfg(test)]
mod tests;
