//! The watches that the controllers and the directory open: what is listed, and in which pages.

use std::fmt::Debug;

use futures::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::store::WatchEvent;
use super::watch::watch;
use crate::api::kind::Kind;

/// The events of one watch.
type Events<K, V> = BoxStream<'static, WatchEvent<K, V>>;

/// Watches a namespaced kind of custom resource, in one namespace or, without one, in all. A malformed object does
/// not stop the watch: `read` gets its metadata alone.
pub(crate) fn namespaced_resources<R, K, V>(
    client: &Client,
    namespace: Option<&str>,
    read: impl Fn(Result<R, ObjectMeta>) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V>
where
    R: Kind + Resource<Scope = NamespaceResourceScope>,
    K: Send + 'static,
    V: Send + 'static,
{
    let read = move |object: DeserializeGuard<R>| read(object.0.map_err(|error| error.metadata));
    objects(scoped(R::PLURAL, namespace), api(client, namespace), small_pages(), read)
}

/// Watches a kind of custom resource without namespace. A malformed object does not stop the watch.
pub(crate) fn cluster_resources<R: Kind, K: Send + 'static, V: Send + 'static>(
    client: &Client,
    read: impl Fn(R) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V> {
    let api: Api<DeserializeGuard<R>> = Api::all(client.clone());
    objects(R::PLURAL, api, small_pages(), move |object| read(object.0.ok()?))
}

/// Watches the Secrets of one type that the operator alone writes: [`Secret`], or their [`PartialObjectMeta`] so
/// that no data is sent.
pub(crate) fn secrets_of_type<T, K: Send + 'static, V: Send + 'static>(
    client: &Client,
    (namespace, secret_type): (&str, &str),
    read: impl Fn(T) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<T> = Api::namespaced(client.clone(), namespace);
    let selected = large_pages().fields(&format!("type={secret_type}"));
    objects(format!("secrets of type {secret_type}"), api, selected, read)
}

/// Watches the metadata of the Secrets with a label, in one namespace or, without one, in all.
pub(crate) fn labelled_secrets<K: Send + 'static, V: Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
    label: &str,
    read: impl Fn(&ObjectMeta) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V> {
    let read = move |secret: PartialObjectMeta<Secret>| read(&secret.metadata);
    let selected = small_pages().labels(label);
    objects(scoped("secrets", namespace), api(client, namespace), selected, read)
}

/// Watches the metadata of the ConfigMaps with a label, in one namespace or, without one, in all.
pub(crate) fn labelled_config_maps<K: Send + 'static, V: Send + 'static>(
    client: &Client,
    namespace: Option<&str>,
    label: &str,
    read: impl Fn(&ObjectMeta) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V> {
    let read = move |map: PartialObjectMeta<ConfigMap>| read(&map.metadata);
    let selected = small_pages().labels(label);
    objects(scoped("configmaps", namespace), api(client, namespace), selected, read)
}

/// Watches the ConfigMaps with a label in one namespace, with their data.
pub(crate) fn whole_config_maps<K: Send + 'static, V: Send + 'static>(
    client: &Client,
    namespace: &str,
    label: &str,
    read: impl Fn(&ConfigMap) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V> {
    let read = move |map: ConfigMap| read(&map);
    // Any ConfigMap can have that label, with a megabyte of data.
    let selected = small_pages().labels(label).page_size(8);
    objects("configmaps", api(client, Some(namespace)), selected, read)
}

/// Watches the metadata of all namespaces.
pub(crate) fn namespaces<K: Send + 'static, V: Send + 'static>(
    client: &Client,
    read: impl Fn(ObjectMeta) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V> {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    objects("namespaces", api, small_pages(), move |namespace| read(namespace.metadata))
}

fn objects<T, K, V>(
    name: impl Into<String>,
    api: Api<T>,
    config: watcher::Config,
    read: impl Fn(T) -> Option<(K, V)> + Send + 'static,
) -> Events<K, V>
where
    T: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K: Send + 'static,
    V: Send + 'static,
{
    watch(name, move || watcher(api.clone(), config.clone()), read)
}

fn api<T>(client: &Client, namespace: Option<&str>) -> Api<T>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn scoped(plural: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!("{plural} of namespace {namespace}"),
        None => plural.to_owned(),
    }
}

/// Pages of objects that others write, each of up to a megabyte and a half: a whole page is in memory.
fn small_pages() -> watcher::Config {
    watcher::Config::default().page_size(50)
}

/// Pages of objects that the operator alone writes, a few kilobytes each.
fn large_pages() -> watcher::Config {
    watcher::Config::default().page_size(500)
}
