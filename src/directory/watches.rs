//! The watches that feed the directory.

use std::sync::Arc;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};

use super::clients::{Key, User, Verifiers, place};
use super::heartbeat::{Moment, WatchHeartbeat, with_heartbeat};
use super::keys::{Map, Pair, Series, read_map, read_pair, read_series};
use super::{Directory, write};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::domain::signing_key::Ledger;
use crate::kubernetes::codec;
use crate::kubernetes::watch::{WatchEvent, large_pages, scoped, small_pages, watch};

/// The events of the watches, by kind.
enum Update {
    User(usize, WatchEvent<Key, Option<User>>),
    Record(WatchEvent<String, Option<Verifiers>>),
    Namespace(WatchEvent<String, String>),
    Series(WatchEvent<String, Series>),
    Ledger(WatchEvent<String, Option<Ledger>>),
    Pair(WatchEvent<String, Pair>),
    Map(WatchEvent<String, Map>),
}

/// Feeds the directory, without end.
///
/// # Guarantees
///
/// It writes nothing, and needs to get, list and watch: technical users, signing keys and
/// namespaces, and the Secrets and ConfigMaps of the operator's namespace.
pub async fn run_watches(directory: Arc<Directory>, client: Client) {
    let mut watches = directory.watches(&client);
    while let Some(update) = watches.next().await {
        directory.apply(update);
    }
}

impl Directory {
    fn watches(&self, client: &Client) -> SelectAll<BoxStream<'static, Update>> {
        let settings = &self.settings;
        let operator_namespace = settings.namespace.as_str();
        let pulses = &self.pulses;
        let felt = |pulse: &WatchHeartbeat| with_heartbeat(client, pulse, &self.clock);
        let mut watches = SelectAll::new();
        let scopes = settings.watch_namespaces.iter().map(|it| Some(it.as_str()));
        let mut scopes: Vec<Option<&str>> = scopes.collect();
        if scopes.is_empty() {
            scopes.push(None);
        }
        for (index, (scope, pulse)) in scopes.into_iter().zip(&pulses.users).enumerate() {
            watches.push(users(&felt(pulse), scope, index, settings.token_lifetime));
        }
        watches.push(records(&felt(&pulses.records), operator_namespace));
        watches.push(namespaces(&felt(&pulses.namespaces)));
        watches.push(series(&felt(&pulses.series), &settings.controller_name));
        watches.push(ledgers(&felt(&pulses.ledgers), operator_namespace));
        watches.push(pairs(&felt(&pulses.key_pairs), operator_namespace));
        watches.push(maps(&felt(&pulses.jwks), operator_namespace));
        watches
    }

    fn apply(&self, update: Update) {
        let pulses = &self.pulses;
        let (pulse, is_whole) = match &update {
            Update::User(watch, event) => {
                (pulses.users.get(*watch), matches!(event, WatchEvent::InitDone))
            }
            Update::Record(event) => (Some(&pulses.records), matches!(event, WatchEvent::InitDone)),
            Update::Namespace(event) => {
                (Some(&pulses.namespaces), matches!(event, WatchEvent::InitDone))
            }
            Update::Series(event) => (Some(&pulses.series), matches!(event, WatchEvent::InitDone)),
            Update::Ledger(event) => (Some(&pulses.ledgers), matches!(event, WatchEvent::InitDone)),
            Update::Pair(event) => (Some(&pulses.key_pairs), matches!(event, WatchEvent::InitDone)),
            Update::Map(event) => (Some(&pulses.jwks), matches!(event, WatchEvent::InitDone)),
        };
        if let Some(pulse) = pulse.filter(|_| is_whole) {
            pulse.record(&Moment::of(&*self.clock));
        }
        match update {
            Update::User(watch, event) => write(&self.clients).apply_user(watch, event),
            Update::Record(event) => write(&self.clients).apply_record(event),
            Update::Namespace(event) => {
                let mut clients = write(&self.clients);
                clients.apply_namespace(event);
                let own = clients.own().map(str::to_owned);
                drop(clients);
                write(&self.keys).apply_own(own.as_deref());
            }
            Update::Series(event) => write(&self.keys).apply_signing_key(event),
            Update::Ledger(event) => {
                write(&self.keys).apply_ledger(event);
                self.log_mismatches();
            }
            Update::Pair(event) => write(&self.keys).apply_key_pair(event),
            Update::Map(event) => write(&self.keys).apply_config_map(event),
        }
    }
}

impl Directory {
    /// One warning for each disagreement, when it begins.
    fn log_mismatches(&self) {
        let present = self.mismatches();
        let mut logged = write(&self.logged);
        for disagreement in present.difference(&logged) {
            tracing::warn!(flag = disagreement.flag, "{disagreement}");
        }
        *logged = present;
    }
}

fn users(
    client: &Client,
    scope: Option<&str>,
    index: usize,
    most: jiff::SignedDuration,
) -> BoxStream<'static, Update> {
    let api: Api<DeserializeGuard<TechnicalUser>> = match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let open = move || watcher(api.clone(), small_pages());
    let read = move |object: DeserializeGuard<TechnicalUser>| match object.0 {
        Ok(user) => Some((place(&user.metadata)?, User::read(&user, most))),
        Err(error) => Some((place(&error.metadata)?, None)),
    };
    watch(scoped("technicalusers", scope), open, read)
        .map(move |event| Update::User(index, event))
        .boxed()
}

fn records(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let open = of_type(client, operator_namespace, api::RECORD_TYPE);
    let read = |secret: Secret| {
        let record = codec::record(&secret, None).ok().map(|(_, record)| record.into());
        Some((secret.metadata.name?, record))
    };
    watch("verifier records", open, read).map(Update::Record).boxed()
}

fn namespaces(client: &Client) -> BoxStream<'static, Update> {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let open = move || watcher(api.clone(), small_pages());
    let read = |namespace: PartialObjectMeta<Namespace>| {
        Some((namespace.metadata.name?, namespace.metadata.uid?))
    };
    watch("namespaces", open, read).map(Update::Namespace).boxed()
}

fn series(client: &Client, controller: &str) -> BoxStream<'static, Update> {
    let api: Api<DeserializeGuard<SigningKey>> = Api::all(client.clone());
    let open = move || watcher(api.clone(), small_pages());
    let controller = controller.to_owned();
    let read =
        move |object: DeserializeGuard<SigningKey>| read_series(&object.0.ok()?, &controller);
    watch("signingkeys", open, read).map(Update::Series).boxed()
}

fn ledgers(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let open = of_type(client, operator_namespace, api::LEDGER_TYPE);
    let read = |secret: Secret| {
        let name = secret.metadata.name.clone()?;
        let uid = name.strip_prefix("sk-")?;
        let ledger = codec::ledger(&secret, uid).ok().map(|(_, ledger)| ledger);
        Some((name, ledger))
    };
    watch("ledgers", open, read).map(Update::Ledger).boxed()
}

fn pairs(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let open = of_type(client, operator_namespace, api::KEY_PAIR_TYPE);
    watch("key pairs", open, read_pair).map(Update::Pair).boxed()
}

fn maps(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), operator_namespace);
    // Whatever else has that label may have a megabyte, and is read as a whole.
    let selected = small_pages().labels(api::SIGNING_KEY).page_size(8);
    let open = move || watcher(api.clone(), selected.clone());
    watch("configmaps", open, |map| read_map(&map)).map(Update::Map).boxed()
}

/// A watch of the Secrets of one type in the operator's namespace.
fn of_type(
    client: &Client,
    operator_namespace: &str,
    kind: &str,
) -> impl Fn() -> BoxStream<'static, watcher::Result<watcher::Event<Secret>>> + Send + 'static {
    let api: Api<Secret> = Api::namespaced(client.clone(), operator_namespace);
    let selected = large_pages().fields(&format!("type={kind}"));
    move || watcher(api.clone(), selected.clone()).boxed()
}
