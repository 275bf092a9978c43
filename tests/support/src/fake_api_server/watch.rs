//! Watches: a cursor into the history of changes, read as a stream of lines.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::stream::{self, Stream};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tower::BoxError;

use super::{
    failure::Failure,
    request::Call,
    resource::Resource,
    selector::Selector,
    storage::{Objects, Recorded, State},
};

/// One open watch.
pub(crate) struct Watch {
    state: Arc<Mutex<State>>,
    selection: Selection,
    cursor: u64,
    epoch: u64,
    pending: VecDeque<Bytes>,
    bookmarks: bool,
    deadline: Instant,
    signal: watch::Receiver<u64>,
    ended: bool,
}

/// Which objects a list or a watch shows, and how.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) selector: Selector,
    pub(crate) metadata_only: bool,
}

impl Selection {
    pub(crate) fn of(call: &Call) -> Self {
        let selector =
            Selector::parse(call.parameter("labelSelector"), call.parameter("fieldSelector"));
        Self {
            resource: Arc::clone(&call.resource),
            namespace: call.namespace.clone(),
            selector,
            metadata_only: call.metadata_only,
        }
    }

    /// The selected objects, by namespace and name.
    pub(crate) fn of_objects<'a>(&self, objects: &'a Objects) -> Vec<&'a Arc<Value>> {
        let first = State::key(&self.resource, &self.namespace, "");
        objects
            .range(first.clone()..)
            .take_while(|(key, _)| {
                key.resource == first.resource
                    && (self.namespace.is_empty() || key.namespace == self.namespace)
            })
            .map(|(_, object)| object)
            .filter(|object| self.selector.matches(object))
            .collect()
    }

    /// What a change means to this selection: an object that leaves it is deleted from its view.
    fn event(&self, recorded: &Recorded) -> Option<Bytes> {
        let ours = recorded.key.resource == self.resource.qualified()
            && (self.namespace.is_empty() || recorded.key.namespace == self.namespace);
        if !ours {
            return None;
        }
        let selected =
            |object: &Option<Arc<Value>>| object.clone().filter(|it| self.selector.matches(it));
        match (selected(&recorded.old), selected(&recorded.new)) {
            (None, None) => None,
            (None, Some(new)) => Some(self.line("ADDED", &new)),
            (Some(_), Some(new)) => Some(self.line("MODIFIED", &new)),
            (Some(old), None) => {
                let mut last = old.as_ref().clone();
                last["metadata"]["resourceVersion"] = recorded.revision.to_string().into();
                Some(self.line("DELETED", &last))
            }
        }
    }

    fn line(&self, kind: &str, object: &Value) -> Bytes {
        let shown = if self.metadata_only { metadata_of(object) } else { object.clone() };
        line(&json!({"type": kind, "object": shown}))
    }

    fn bookmark(&self, revision: u64, ends_initial_events: bool) -> Bytes {
        let (api_version, kind) = if self.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
        } else {
            (self.resource.api_version(), self.resource.kind.as_str())
        };
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        line(&json!({"type": "BOOKMARK", "object": object}))
    }
}

/// An object without anything but its metadata.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"]
    })
}

fn line(event: &Value) -> Bytes {
    let mut text = event.to_string();
    text.push('\n');
    Bytes::from(text)
}

impl Watch {
    /// Opens a watch; the caller holds the lock on `state`, of which `shared` is the handle.
    pub(crate) fn open(
        call: &Call,
        state: &State,
        shared: &Arc<Mutex<State>>,
    ) -> Result<Self, Failure> {
        let selection = Selection::of(call);
        // Watches without a limit are ended by the real server after 30 to 60 minutes.
        let seconds = call.number("timeoutSeconds").unwrap_or(1800);
        let bookmarks = call.parameter("allowWatchBookmarks") == Some("true");
        let initial = call.parameter("sendInitialEvents") == Some("true");
        let from = match call.parameter("resourceVersion") {
            None | Some("0") => None,
            Some(text) => Some(text.parse::<u64>().map_err(|_| {
                Failure::bad_request(format!("invalid resource version \"{text}\""))
            })?),
        };
        let mut watch = Self {
            state: Arc::clone(shared),
            selection,
            cursor: from.unwrap_or(0),
            epoch: state.epoch,
            pending: VecDeque::new(),
            bookmarks,
            deadline: Instant::now() + Duration::from_secs(seconds),
            signal: state.signal.subscribe(),
            ended: false,
        };
        if from.is_none() || initial {
            watch.start_with_everything(state, initial && bookmarks);
        }
        Ok(watch)
    }

    fn start_with_everything(&mut self, state: &State, marks_the_end: bool) {
        self.cursor = state.frozen_at.unwrap_or(state.revision);
        let objects = state.objects_at(self.cursor);
        for object in self.selection.of_objects(&objects) {
            self.pending.push_back(self.selection.line("ADDED", object));
        }
        if marks_the_end {
            self.pending.push_back(self.selection.bookmark(self.cursor, true));
        }
    }

    /// The watch as frames of a response body.
    pub(crate) fn into_stream(
        self,
    ) -> impl Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + 'static {
        stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((Ok(Frame::data(line)), watch))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.pending.pop_front() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.signal.mark_unchanged();
            self.read_changes();
            if !self.pending.is_empty() || self.ended {
                continue;
            }
            let timed_out = tokio::select! {
                biased;
                changed = self.signal.changed() => changed.is_err(),
                () = tokio::time::sleep_until(self.deadline) => true,
            };
            if timed_out {
                self.ended = true;
                if self.bookmarks {
                    self.pending.push_back(self.selection.bookmark(self.cursor, false));
                }
            }
        }
    }

    fn read_changes(&mut self) {
        let state = Arc::clone(&self.state);
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch != state.epoch {
            self.ended = true;
            return;
        }
        if self.cursor < state.compacted {
            let body = Failure::expired().body();
            self.pending.push_back(line(&json!({"type": "ERROR", "object": body})));
            self.ended = true;
            return;
        }
        let visible = state.frozen_at.unwrap_or(u64::MAX);
        let start = state.history.partition_point(|recorded| recorded.revision <= self.cursor);
        for recorded in state.history.range(start..) {
            if recorded.revision > visible {
                break;
            }
            self.cursor = recorded.revision;
            self.pending.extend(self.selection.event(recorded));
        }
    }
}
