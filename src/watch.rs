//! How a watch is kept alive: opened anew when its list hangs, patient when it fails.

use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};

pub(crate) use self::view::{Told, View};

mod view;

/// Watches one kind of object, for ever.
///
/// `open` begins the watch; it is called again when a list hangs, for which kube has no deadline.
/// `read` brings an object into its small form, or says that it is no business of ours. Trouble is
/// logged, and the watch goes on.
pub(crate) fn watch<T, K, V, S>(
    kind: &'static str,
    open: impl Fn() -> S + Send + 'static,
    read: impl Fn(T) -> Option<(K, V)> + Send + 'static,
) -> BoxStream<'static, Told<K, V>>
where
    T: Send + 'static,
    K: Send + 'static,
    V: Send + 'static,
    S: Stream<Item = Result<Event<T>, watcher::Error>> + Send + 'static,
{
    let open = move || open().backoff(Patience::default()).boxed();
    let insistent = futures::stream::unfold((None, true), move |(watch, mut lists)| {
        let mut watch = watch.unwrap_or_else(&open);
        async move {
            let told = if lists {
                let Ok(told) = tokio::time::timeout(LIST, watch.next()).await else {
                    tracing::warn!(kind, "a list hung and is asked for anew");
                    return Some((None, (None, true)));
                };
                told?
            } else {
                watch.next().await?
            };
            lists = match &told {
                Ok(Event::Init) => true,
                Ok(Event::InitDone) => false,
                Ok(Event::InitApply(_) | Event::Apply(_) | Event::Delete(_)) | Err(_) => lists,
            };
            Some((Some(told), (Some(watch), lists)))
        }
    });
    let told = move |told| {
        std::future::ready(match told {
            Some(Ok(event)) => Told::from(event, &read),
            Some(Err(error)) => {
                tracing::warn!(kind, error = trouble(&error), "watch failed, trying again");
                None
            }
            None => None,
        })
    };
    insistent.filter_map(told).boxed()
}

/// The kind of trouble: the message of an error can quote an object.
fn trouble(error: &watcher::Error) -> String {
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
        kube::Error::Api(status) if status.code == 403 => {
            "403 forbidden: list and watch have to be \
            granted, with --watch-namespaces in each of these namespaces"
                .to_owned()
        }
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
