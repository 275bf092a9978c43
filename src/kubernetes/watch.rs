//! How a watch is kept alive: reopened when its list hangs, with backoff when it fails.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use tokio::time::Instant;

use super::client::no_answer;
pub(crate) use super::store::{Store, WatchEvent};

/// Watches one kind of object, without end.
///
/// `of` is what the log calls it. `open` begins the watch; it is called again when a list hangs, for
/// which kube has no deadline. `read` brings an object into its small form, or says that it is no
/// business of ours. An error is logged, and the watch goes on.
pub(crate) fn watch<T, K, V, S>(
    of: impl Into<String>,
    open: impl Fn() -> S + Send + 'static,
    read: impl Fn(T) -> Option<(K, V)> + Send + 'static,
) -> BoxStream<'static, WatchEvent<K, V>>
where
    T: Send + 'static,
    K: Send + 'static,
    V: Send + 'static,
    S: Stream<Item = Result<Event<T>, watcher::Error>> + Send + 'static,
{
    let of = Arc::<str>::from(of.into());
    let hung = Arc::clone(&of);
    let open = move || open().boxed();
    let insistent = futures::stream::unfold((None, WatchState::begin()), move |(watch, course)| {
        let mut watch = watch.unwrap_or_else(&open);
        let hung = Arc::clone(&hung);
        async move {
            if !course.pause.is_zero() {
                tokio::time::sleep(course.pause).await;
            }
            let event = if course.lists {
                let Ok(event) = tokio::time::timeout(LIST_TIMEOUT, watch.next()).await else {
                    tracing::warn!(of = &*hung, "a list hung and is requested again");
                    return Some((None, (None, course.listing())));
                };
                event?
            } else {
                watch.next().await?
            };
            let course = course.after(&event);
            Some((Some(event), (Some(watch), course)))
        }
    });
    let event = move |event| {
        std::future::ready(match event {
            Some(Ok(event)) => WatchEvent::from(event, &read),
            Some(Err(error)) => {
                tracing::warn!(of = &*of, error = error_kind(&error), "watch failed, trying again");
                is_forbidden(&error).then_some(WatchEvent::Forbidden)
            }
            None => None,
        })
    };
    insistent.filter_map(event).boxed()
}

/// Whether the API server itself says that a right is missing. A proxy answers 403 as well, which says
/// nothing about rights.
fn is_forbidden(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return false,
    };
    status.code == 403 && status.reason == "Forbidden"
}

/// The kind of an error: its message can quote an object.
fn error_kind(error: &watcher::Error) -> String {
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
            "403 forbidden: list and watch have to be granted".to_owned()
        }
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        error => format!("no answer: {}", no_answer(error)),
    }
}

/// How a watch has gone so far.
#[derive(Clone, Copy, Debug)]
struct WatchState {
    lists: bool,
    failures: u32,
    failed_at: Option<Instant>,
    pause: Duration,
}

impl WatchState {
    fn begin() -> Self {
        Self { lists: true, failures: 0, failed_at: None, pause: Duration::ZERO }
    }

    fn after<T>(self, event: &watcher::Result<Event<T>>) -> Self {
        match event {
            Ok(Event::Init) => self.listing(),
            Ok(Event::InitDone) => Self { lists: false, pause: Duration::ZERO, ..self },
            Ok(Event::InitApply(_) | Event::Apply(_) | Event::Delete(_)) => {
                Self { pause: Duration::ZERO, ..self }
            }
            Err(_) => self.failed(),
        }
    }

    fn listing(self) -> Self {
        Self { lists: true, pause: Duration::ZERO, ..self }
    }

    /// Waits from a quarter of a second up to ten, the same in every run. Only time without a failure
    /// makes up for failures: kube says that a list begins before it is refused.
    fn failed(self) -> Self {
        let now = Instant::now();
        let is_first = self.failed_at.is_none_or(|at| now.duration_since(at) > BACKOFF_RESET_AFTER);
        let failures = if is_first { 0 } else { self.failures.saturating_add(1) };
        let wait =
            Duration::from_millis(250).saturating_mul(2_u32.saturating_pow(failures.min(10)));
        Self { failures, failed_at: Some(now), pause: wait.min(Duration::from_secs(10)), ..self }
    }
}

/// After how long without a failure the next one is a first one. Longer than a hung list and a pause.
const BACKOFF_RESET_AFTER: Duration = Duration::from_mins(1);

/// How long a list may be silent. A page of 500 objects takes a fraction of a second.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    type Told_ = watcher::Result<Event<()>>;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_for_ever_asks_every_ten_seconds() {
        let opened = || futures::stream::iter(refused().cycle()).map(|event| event()).fuse();
        let began = Instant::now();
        let mut watch = watch("nothing", opened, |()| None::<((), ())>);

        for _ in 0..200 {
            assert!(watch.next().await.is_some());
        }

        let requests = 100;
        let each = began.elapsed() / requests;
        assert!(each > Duration::from_secs(9) && each < Duration::from_secs(11), "{each:?}");
    }

    #[test]
    fn only_the_api_server_says_that_a_right_is_missing() {
        let of = |code, reason: &str| {
            let status = kube::core::Status::failure("x", reason).with_code(code).boxed();
            is_forbidden(&watcher::Error::InitialListFailed(kube::Error::Api(status)))
        };

        assert!(of(403, "Forbidden"));
        assert!(!of(403, "Failed to parse error data"), "the page of a proxy");
        assert!(!of(404, "NotFound"));
    }

    /// What kube tells of a list that is refused: it begins each time.
    fn refused() -> impl Iterator<Item = fn() -> Told_> + Clone {
        let begins: fn() -> Told_ = || Ok(Event::Init);
        let fails: fn() -> Told_ = || {
            let status = kube::core::Status::failure("", "Forbidden").with_code(403);
            Err(watcher::Error::WatchError(Box::new(status)))
        };
        [begins, fails].into_iter()
    }

    #[test]
    fn failures_far_apart_are_each_a_first_one() {
        let mut course = WatchState::begin().failed().failed().failed();
        assert_eq!(course.pause, Duration::from_secs(1));

        course.failed_at = course.failed_at.and_then(|at| at.checked_sub(BACKOFF_RESET_AFTER * 2));

        assert_eq!(course.failed().pause, Duration::from_millis(250));
    }
}
