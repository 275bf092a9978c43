//! The five watches: series and ledgers; key pairs, namespaces and JWKS ConfigMaps as metadata.

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher::watcher;
use kube::{Api, Client};

use super::cache::{
    self, Belonging, Cache, MapKey, Readable, read_key_pair, read_ledger, read_map, read_namespace,
    read_series,
};
use super::observed_config_map::ObservedConfigMap;
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::Settings;
use crate::kubernetes::watch::{WatchEvent, large_pages, scoped, small_pages, watch};

/// The events of the watches, by kind.
pub(super) enum Update {
    Series(WatchEvent<String, Box<SigningKey>>),
    Ledger(WatchEvent<String, Box<Readable>>),
    KeyPair(WatchEvent<String, Belonging>),
    Map(usize, WatchEvent<MapKey, Box<ObservedConfigMap>>),
    Namespace(WatchEvent<String, cache::Namespace>),
}

impl Update {
    /// Whether a watch has just relisted.
    pub(super) fn ends_a_list(&self) -> bool {
        matches!(
            self,
            Self::Series(WatchEvent::InitDone)
                | Self::Ledger(WatchEvent::InitDone)
                | Self::KeyPair(WatchEvent::InitDone)
                | Self::Map(_, WatchEvent::InitDone)
                | Self::Namespace(WatchEvent::InitDone)
        )
    }
}

/// Starts the watches, and registers them in the cache.
pub(super) fn watches(
    client: &Client,
    settings: &Settings,
    views: &mut Cache,
) -> SelectAll<BoxStream<'static, Update>> {
    let mut watches = SelectAll::new();
    views.series.register_watch(0);
    watches.push(series(client));
    views.ledgers.register_watch(0);
    watches.push(ledgers(client, &settings.namespace));
    views.key_pairs.register_watch(0);
    watches.push(key_pairs(client, &settings.namespace));
    views.namespaces.register_watch(0);
    watches.push(namespaces(client));
    for (index, scope) in settings.scopes_of_jwks().into_iter().enumerate() {
        views.maps.register_watch(index);
        watches.push(maps(client, scope, (index, &settings.namespace)));
    }
    watches
}

fn series(client: &Client) -> BoxStream<'static, Update> {
    let api: Api<DeserializeGuard<SigningKey>> = Api::all(client.clone());
    let open = move || watcher(api.clone(), small_pages());
    // One malformed object must not stop the watch.
    let read = |series: DeserializeGuard<_>| read_series(series.0.ok()?);
    watch("signingkeys", open, read).map(Update::Series).boxed()
}

fn ledgers(client: &Client, namespace: &str) -> BoxStream<'static, Update> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let selected = large_pages().fields(&format!("type={}", api::LEDGER_TYPE));
    let open = move || watcher(api.clone(), selected.clone());
    watch("ledgers", open, |secret| read_ledger(&secret)).map(Update::Ledger).boxed()
}

/// Metadata alone: nothing private.
fn key_pairs(client: &Client, namespace: &str) -> BoxStream<'static, Update> {
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), namespace);
    let selected = large_pages().fields(&format!("type={}", api::KEY_PAIR_TYPE));
    let open = move || watcher(api.clone(), selected.clone());
    let read = |secret: PartialObjectMeta<Secret>| read_key_pair(&secret.metadata);
    watch("key pairs", open, read).map(Update::KeyPair).boxed()
}

/// Metadata alone, in small pages: anybody may put that label on a ConfigMap of a megabyte.
fn maps(
    client: &Client,
    scope: &str,
    (index, operator_namespace): (usize, &str),
) -> BoxStream<'static, Update> {
    let api: Api<PartialObjectMeta<ConfigMap>> = match scope {
        "" => Api::all(client.clone()),
        namespace => Api::namespaced(client.clone(), namespace),
    };
    let selected = small_pages().labels(api::SIGNING_KEY);
    let open = move || watcher(api.clone(), selected.clone());
    let operator_namespace = operator_namespace.to_owned();
    let read =
        move |map: PartialObjectMeta<ConfigMap>| read_map(&map.metadata, &operator_namespace);
    watch(scoped("configmaps", Some(scope).filter(|it| !it.is_empty())), open, read)
        .map(move |it| Update::Map(index, it.filtered()))
        .boxed()
}

fn namespaces(client: &Client) -> BoxStream<'static, Update> {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let open = move || watcher(api.clone(), small_pages());
    let read = |namespace: PartialObjectMeta<Namespace>| read_namespace(&namespace.metadata);
    watch("namespaces", open, read).map(Update::Namespace).boxed()
}
