//! The five watches: series and ledgers; key pairs, namespaces and JWKS ConfigMaps as metadata.

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::core::PartialObjectMeta;

use super::cache::{
    self, Belonging, Cache, MapKey, Readable, read_key_pair, read_ledger, read_map, read_namespace,
    read_series,
};
use super::observed_config_map::ObservedConfigMap;
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::Settings;
use crate::kubernetes::watch::WatchEvent;
use crate::kubernetes::watches::{
    cluster_resources, labelled_config_maps, namespaces, secrets_of_type,
};

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
    cache: &mut Cache,
) -> SelectAll<BoxStream<'static, Update>> {
    let mut watches = SelectAll::new();
    cache.series.register_watch(0);
    watches.push(cluster_resources(client, read_series).map(Update::Series).boxed());
    cache.ledgers.register_watch(0);
    let of_type = (settings.namespace.as_str(), api::LEDGER_TYPE);
    let ledgers = secrets_of_type(client, of_type, |secret| read_ledger(&secret));
    watches.push(ledgers.map(Update::Ledger).boxed());
    cache.key_pairs.register_watch(0);
    let of_type = (settings.namespace.as_str(), api::KEY_PAIR_TYPE);
    // The metadata alone: no private key.
    let read = |secret: PartialObjectMeta<Secret>| read_key_pair(&secret.metadata);
    watches.push(secrets_of_type(client, of_type, read).map(Update::KeyPair).boxed());
    cache.namespaces.register_watch(0);
    let namespaces = namespaces(client, |metadata| read_namespace(&metadata));
    watches.push(namespaces.map(Update::Namespace).boxed());
    for (index, scope) in settings.scopes_of_jwks().into_iter().enumerate() {
        cache.maps.register_watch(index);
        let namespace = Some(scope).filter(|it| !it.is_empty());
        let operator_namespace = settings.namespace.clone();
        let read = move |map: &ObjectMeta| read_map(map, &operator_namespace);
        let maps = labelled_config_maps(client, namespace, api::SIGNING_KEY, read);
        watches.push(maps.map(move |it| Update::Map(index, it.filtered())).boxed());
    }
    watches
}
