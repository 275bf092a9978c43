//! The four watches: users, their delivered Secrets as metadata, verifier records, signing keys.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{BoxStream, SelectAll, StreamExt};
use kube::Client;

use super::UserRef;
use super::cache::{
    Cache, CachedSecret, Readable, read_record, read_secret, read_signing_key, read_user,
};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::controller::Settings;
use crate::controller::installation::Installations;
use crate::domain::technical_user::status::SigningKeyState;
use crate::kubernetes::watch::WatchEvent;
use crate::kubernetes::watches::{
    cluster_resources, labelled_secrets, namespaced_resources, secrets_of_type,
};

/// The events of the watches, by kind.
pub(super) enum Update {
    User(usize, WatchEvent<UserRef, Box<TechnicalUser>>),
    Record(WatchEvent<String, Readable>),
    Secret(usize, WatchEvent<UserRef, CachedSecret>),
    SigningKey(WatchEvent<String, SigningKeyState>),
}

impl Update {
    /// Whether a watch has just relisted.
    pub(super) fn ends_a_list(&self) -> bool {
        matches!(
            self,
            Self::User(_, WatchEvent::InitDone)
                | Self::Record(WatchEvent::InitDone)
                | Self::Secret(_, WatchEvent::InitDone)
                | Self::SigningKey(WatchEvent::InitDone)
        )
    }
}

/// Starts the watches, and registers them in the cache.
pub(super) fn watches(
    client: &Client,
    (settings, installations): (&Settings, &Arc<Installations>),
    views: &mut Cache,
) -> SelectAll<BoxStream<'static, Update>> {
    let mut watches = SelectAll::new();
    let namespaces: Vec<Option<&str>> = if settings.watch_namespaces.is_empty() {
        vec![None]
    } else {
        settings.watch_namespaces.iter().map(|it| Some(it.as_str())).collect()
    };
    for (index, namespace) in namespaces.into_iter().enumerate() {
        views.users.register_watch(index);
        views.secrets.register_watch(index);
        let (listed, is_listed) = tokio::sync::watch::channel(false);
        let users = users(client, namespace, index).inspect(move |update| {
            if matches!(update, Update::User(_, WatchEvent::InitDone | WatchEvent::Forbidden)) {
                listed.send_replace(true);
            }
        });
        watches.push(users.boxed());
        watches.push(after(is_listed, secrets(client, namespace, index)));
    }
    views.records.register_watch(0);
    let of_type = (settings.namespace.as_str(), api::RECORD_TYPE);
    let records = secrets_of_type(client, of_type, |secret| read_record(&secret));
    watches.push(records.map(Update::Record).boxed());
    views.signing_keys.register_watch(0);
    watches.push(signing_keys(client, &settings.controller_name, installations));
    watches
}

/// Begins a watch once another one has listed: how many Secrets of a namespace are kept depends on its users.
fn after(
    mut is_listed: tokio::sync::watch::Receiver<bool>,
    watch: BoxStream<'static, Update>,
) -> BoxStream<'static, Update> {
    let begun = async move {
        // Without the other watch there is nothing to wait for.
        drop(is_listed.wait_for(|is_listed| *is_listed).await);
        watch
    };
    begun.flatten_stream().boxed()
}

fn users(client: &Client, namespace: Option<&str>, index: usize) -> BoxStream<'static, Update> {
    let read = |user: Result<_, _>| read_user(user.ok()?);
    namespaced_resources(client, namespace, read)
        .map(move |event| Update::User(index, event))
        .boxed()
}

/// The Secrets with the label of delivered ones.
fn secrets(client: &Client, namespace: Option<&str>, index: usize) -> BoxStream<'static, Update> {
    labelled_secrets(client, namespace, api::TECHNICAL_USER, read_secret)
        .map(move |event| Update::Secret(index, event.filtered()))
        .boxed()
}

fn signing_keys(
    client: &Client,
    controller: &str,
    installations: &Arc<Installations>,
) -> BoxStream<'static, Update> {
    let (controller, installations) = (controller.to_owned(), Arc::clone(installations));
    let read =
        move |key: SigningKey| read_signing_key(&key, installations.serves(&key, &controller));
    cluster_resources(client, read).map(Update::SigningKey).boxed()
}
