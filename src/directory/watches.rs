//! The watches that feed the directory.

use std::sync::Arc;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use super::clients::{Key, User, Verifiers, place};
use super::heartbeat::{Moment, WatchHeartbeat, with_heartbeat};
use super::keys::{Map, Pair, Series, read_map, read_pair, read_series};
use super::{Directory, write};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::domain::signing_key::Ledger;
use crate::kubernetes::codec;
use crate::kubernetes::watch::WatchEvent;
use crate::kubernetes::watches::{
    cluster_resources, namespaced_resources, namespaces, secrets_of_type, whole_config_maps,
};

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
        let with_uid = |metadata: ObjectMeta| Some((metadata.name?, metadata.uid?));
        let all = namespaces(&felt(&pulses.namespaces), with_uid);
        watches.push(all.map(Update::Namespace).boxed());
        watches.push(series(&felt(&pulses.series), &settings.controller_name));
        watches.push(ledgers(&felt(&pulses.ledgers), operator_namespace));
        let of_type = (operator_namespace, api::KEY_PAIR_TYPE);
        let pairs = secrets_of_type(&felt(&pulses.key_pairs), of_type, read_pair);
        watches.push(pairs.map(Update::Pair).boxed());
        let client = felt(&pulses.jwks);
        let maps = whole_config_maps(&client, operator_namespace, api::SIGNING_KEY, read_map);
        watches.push(maps.map(Update::Map).boxed());
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
    namespace: Option<&str>,
    index: usize,
    token_lifetime: jiff::SignedDuration,
) -> BoxStream<'static, Update> {
    let read = move |object: Result<TechnicalUser, ObjectMeta>| match object {
        Ok(user) => Some((place(&user.metadata)?, User::read(&user, token_lifetime))),
        Err(metadata) => Some((place(&metadata)?, None)),
    };
    namespaced_resources(client, namespace, read)
        .map(move |event| Update::User(index, event))
        .boxed()
}

fn records(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let read = |secret: Secret| {
        let record = codec::record(&secret, None).ok().map(|(_, record)| record.into());
        Some((secret.metadata.name?, record))
    };
    secrets_of_type(client, (operator_namespace, api::RECORD_TYPE), read)
        .map(Update::Record)
        .boxed()
}

fn series(client: &Client, controller: &str) -> BoxStream<'static, Update> {
    let controller = controller.to_owned();
    let read = move |key: SigningKey| read_series(&key, &controller);
    cluster_resources(client, read).map(Update::Series).boxed()
}

fn ledgers(client: &Client, operator_namespace: &str) -> BoxStream<'static, Update> {
    let read = |secret: Secret| {
        let name = secret.metadata.name.clone()?;
        let uid = name.strip_prefix("sk-")?;
        let ledger = codec::ledger(&secret, uid).ok().map(|(_, ledger)| ledger);
        Some((name, ledger))
    };
    secrets_of_type(client, (operator_namespace, api::LEDGER_TYPE), read)
        .map(Update::Ledger)
        .boxed()
}
