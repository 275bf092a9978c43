//! The three watches: users, their delivered Secrets as metadata, and verifier records.

use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::DeserializeGuard;
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, utils::Backoff};
use kube::{Api, Client};

use crate::api;
use crate::api::technical_user::TechnicalUser;
use crate::controller::Context;
use crate::controller::technical_user::Key;
use crate::controller::views::{Readable, Seen, Told, Views, read_record, read_secret, read_user};

/// What a watch told of which kind.
pub(super) enum News {
    User(usize, Option<Told<Key, Box<TechnicalUser>>>),
    Record(usize, Option<Told<String, Readable>>),
    Secret(usize, Option<Told<Key, Seen>>),
    Failed(&'static str, watcher::Error),
}

impl News {
    fn begins_a_list(&self) -> bool {
        matches!(
            self,
            Self::User(_, Some(Told::ListBegins))
                | Self::Record(_, Some(Told::ListBegins))
                | Self::Secret(_, Some(Told::ListBegins))
        )
    }

    /// Whether a watch has just told everything once more.
    pub(super) fn ends_a_list(&self) -> bool {
        matches!(
            self,
            Self::User(_, Some(Told::ListEnds))
                | Self::Record(_, Some(Told::ListEnds))
                | Self::Secret(_, Some(Told::ListEnds))
        )
    }
}

/// Opens the watches, and tells the views to expect them.
pub(super) fn watches(
    client: &Client,
    context: &Context,
    views: &mut Views,
) -> SelectAll<BoxStream<'static, News>> {
    let mut watches = SelectAll::new();
    let settings = &context.settings;
    let namespaces: Vec<Option<&str>> = if settings.watch_namespaces.is_empty() {
        vec![None]
    } else {
        settings.watch_namespaces.iter().map(|it| Some(it.as_str())).collect()
    };
    for (index, namespace) in namespaces.into_iter().enumerate() {
        views.users.expect(index);
        views.secrets.expect(index);
        let namespace = namespace.map(str::to_owned);
        let (client, place) = (client.clone(), namespace.clone());
        let reopened = client.clone();
        watches.push(insistent(move || users(&client, place.as_deref(), index)));
        watches.push(insistent(move || secrets(&reopened, namespace.as_deref(), index)));
    }
    views.records.expect(0);
    let (client, namespace) = (client.clone(), settings.namespace.clone());
    watches.push(insistent(move || records(&client, &namespace)));
    watches
}

/// A watch that is opened anew when its list hangs: kube gives a list no deadline.
fn insistent(
    open: impl Fn() -> BoxStream<'static, News> + Send + 'static,
) -> BoxStream<'static, News> {
    let first = open();
    let watch =
        futures::stream::unfold((open, first, true), |(open, mut watch, mut lists)| async move {
            loop {
                let told = if lists {
                    tokio::time::timeout(LIST, watch.next()).await
                } else {
                    Ok(watch.next().await)
                };
                let Ok(told) = told else {
                    tracing::warn!("a list hung and is asked for anew");
                    watch = open();
                    continue;
                };
                let news = told?;
                lists = news.begins_a_list() || lists && !news.ends_a_list();
                return Some((news, (open, watch, lists)));
            }
        });
    watch.boxed()
}

fn users(client: &Client, namespace: Option<&str>, index: usize) -> BoxStream<'static, News> {
    let api: Api<DeserializeGuard<TechnicalUser>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let stream = watcher(api, watcher::Config::default()).backoff(Patience::default());
    let news = move |event| match event {
        // One malformed object must not stop the watch.
        Ok(event) => News::User(
            index,
            Told::from(event, |user: DeserializeGuard<_>| read_user(user.0.ok()?)),
        ),
        Err(error) => News::Failed("technicalusers", error),
    };
    stream.map(news).boxed()
}

/// Metadata alone, and only of what carries our label.
fn secrets(client: &Client, namespace: Option<&str>, index: usize) -> BoxStream<'static, News> {
    let api: Api<PartialObjectMeta<Secret>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let selected = watcher::Config::default().labels(api::TECHNICAL_USER);
    let stream = watcher(api, selected).backoff(Patience::default());
    let news = move |event| match event {
        Ok(event) => News::Secret(
            index,
            Told::from(event, |secret: PartialObjectMeta<Secret>| read_secret(&secret.metadata)),
        ),
        Err(error) => News::Failed("secrets", error),
    };
    stream.map(news).boxed()
}

fn records(client: &Client, namespace: &str) -> BoxStream<'static, News> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let selected = watcher::Config::default().fields(&format!("type={}", api::RECORD_TYPE));
    let stream = watcher(api, selected).backoff(Patience::default());
    let news = move |event| match event {
        Ok(event) => News::Record(0, Told::from(event, |secret| read_record(&secret))),
        Err(error) => News::Failed("verifier records", error),
    };
    stream.map(news).boxed()
}

/// The kind of trouble: the message of an error can quote an object.
pub(super) fn watch_trouble(error: &watcher::Error) -> String {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => return format!("{} {}", status.code, status.reason),
        watcher::Error::NoResourceVersion => return "no resourceVersion".to_owned(),
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of kube that grows")]
    match source {
        kube::Error::Api(status) if status.code == 404 => "404 not found: is the \
            CustomResourceDefinition installed? technical-user-operator crd | kubectl apply -f -"
            .to_owned(),
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    }
}

/// Waits from a quarter of a second up to ten, the same in every run.
#[derive(Debug, Default)]
struct Patience(u32);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(self.0.min(10)));
        self.0 = self.0.saturating_add(1);
        Some(wait.min(Duration::from_secs(10)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// How long a list may be silent. A page of 500 objects takes a fraction of a second.
const LIST: Duration = Duration::from_secs(30);
