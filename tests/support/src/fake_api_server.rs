//! An in-memory Kubernetes API server for tests in virtual time. It answers what the real one
//! answers, request by request, for the kinds and verbs that the operator uses; the conformance
//! test holds it to that. It must never read the real clock or draw a random number.

mod builder;
mod change;
mod deletion;
mod failure;
mod handler;
mod managed_fields;
mod object;
mod patching;
mod request;
mod resource;
mod selector;
mod storage;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::Value;
use tower::{BoxError, Service};

pub(crate) use self::object::put;
use self::storage::{Objects, State};
pub use self::{
    builder::Builder,
    change::{Change, View},
    request::Verb,
};

/// Called after every stored change, while the server is locked: it must not call the server.
pub type ChangeHook = Box<dyn FnMut(&Change<'_>) + Send>;

/// Body of the answers of the fake, and of the fault layer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The server. Clones share one state.
#[derive(Clone)]
pub struct FakeApiServer {
    state: Arc<Mutex<State>>,
}

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The part of the User-Agent before the slash.
    pub agent: String,
    /// What was asked for.
    pub verb: Verb,
    /// Plural of the resource.
    pub plural: String,
    /// Empty, or `status`.
    pub subresource: String,
    /// Empty for cluster-scoped kinds and for reads across namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
}

/// Everything stored at one instant, as an etcd backup holds it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    objects: Objects,
    revision: u64,
}

impl fmt::Debug for FakeApiServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.locked();
        formatter
            .debug_struct("FakeApiServer")
            .field("revision", &state.revision)
            .field("objects", &state.objects.len())
            .finish_non_exhaustive()
    }
}

impl FakeApiServer {
    /// A server with the built-in kinds, the kinds of the operator's group without a schema, the
    /// namespace `default`, and a clock that stands still.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A client whose user agent, user and field manager is `technical-user-operator`.
    pub fn client(&self) -> kube::Client {
        self.client_as("technical-user-operator")
    }

    /// A client whose user agent, user and field manager is `agent`.
    pub fn client_as(&self, agent: &str) -> kube::Client {
        kube::Client::new(self.service_as(agent), "default")
    }

    /// The service behind [`Self::client`], for a layer around it.
    pub fn service(&self) -> FakeService {
        self.service_as("technical-user-operator")
    }

    /// The service behind [`Self::client_as`].
    pub fn service_as(&self, agent: &str) -> FakeService {
        FakeService { server: self.clone(), agent: agent.to_owned() }
    }

    /// One stored object; the namespace is empty for cluster-scoped kinds.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.locked().view().get(plural, namespace, name).cloned()
    }

    /// Every stored object of a resource, by namespace and name.
    pub fn list(&self, plural: &str) -> Vec<Value> {
        self.locked().view().list(plural).into_iter().cloned().collect()
    }

    /// Reads the state under one lock.
    pub fn read<T>(&self, reader: impl FnOnce(View<'_>) -> T) -> T {
        reader(self.locked().view())
    }

    /// Stores an object as it is, past every check: an administrator with etcdctl. A uid and a
    /// creation time are filled in where they are absent.
    pub fn put_raw(&self, plural: &str, mut object: Value) -> Value {
        let mut state = self.locked();
        let resource = state.resource(plural);
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = State::key(&resource, &text("namespace"), &text("name"));
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = state.draw_uid().into();
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = state.now().into();
        }
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind.clone().into();
        state.store(key, object, "etcdctl").as_ref().clone()
    }

    /// Removes an object past finalizers and every check.
    pub fn delete_raw(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut state = self.locked();
        let key = State::key(&state.resource(plural), namespace, name);
        state.remove(&key, "etcdctl").map(|object| object.as_ref().clone())
    }

    /// The newest resourceVersion.
    pub fn revision(&self) -> u64 {
        self.locked().revision
    }

    /// A backup.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.locked();
        Snapshot { objects: state.objects.clone(), revision: state.revision }
    }

    /// Restores a backup as etcd does without `--bump-revision`: the revision goes back too, so
    /// resourceVersions are given out twice. Watches end; uids stay unique.
    pub fn restore(&self, snapshot: &Snapshot) {
        let mut state = self.locked();
        state.objects.clone_from(&snapshot.objects);
        state.revision = snapshot.revision;
        state.compacted = snapshot.revision;
        state.history.clear();
        state.frozen_at = None;
        state.epoch += 1;
        state.signal.send_modify(|count| *count += 1);
    }

    /// Forgets the history: watches and list pages from earlier versions get 410.
    pub fn compact(&self) {
        let mut state = self.locked();
        state.compacted = state.revision;
        state.history.clear();
        state.signal.send_modify(|count| *count += 1);
    }

    /// Ends every open watch, as a restarted server does.
    pub fn close_watches(&self) {
        let mut state = self.locked();
        state.epoch += 1;
        state.signal.send_modify(|count| *count += 1);
    }

    /// Holds back watch events and reads at resourceVersion 0 (true), or releases them (false).
    pub fn freeze_watches(&self, frozen: bool) {
        let mut state = self.locked();
        state.frozen_at = frozen.then_some(state.frozen_at.unwrap_or(state.revision));
        state.signal.send_modify(|count| *count += 1);
    }

    /// Calls `hook` after every stored change, in the same instant.
    pub fn on_change(&self, hook: ChangeHook) {
        self.locked().hooks.push(hook);
    }

    /// Every request answered so far, in order.
    pub fn request_log(&self) -> Vec<RequestRecord> {
        self.locked().log.clone()
    }

    /// Number of gets and lists answered.
    pub fn reads(&self) -> usize {
        self.count(|verb| !verb.writes() && verb != Verb::Watch)
    }

    /// Number of writes answered, refused ones among them.
    pub fn writes(&self) -> usize {
        self.count(Verb::writes)
    }

    fn count(&self, wanted: impl Fn(Verb) -> bool) -> usize {
        self.locked().log.iter().filter(|record| wanted(record.verb)).count()
    }

    /// Refuses creations beyond `max` objects with 403 "exceeded quota".
    pub fn quota(&self, namespace: &str, plural: &str, max: usize) {
        self.locked().quotas.insert((namespace.to_owned(), plural.to_owned()), max);
    }

    /// Lifts every quota.
    pub fn clear_quotas(&self) {
        self.locked().quotas.clear();
    }

    /// Refuses a verb on a resource with the words of RBAC.
    pub fn forbid(&self, agent: &str, verb: Verb, plural: &str) {
        self.locked().forbidden.push((agent.to_owned(), verb, plural.to_owned()));
    }

    /// Grants every right again.
    pub fn clear_forbidden(&self) {
        self.locked().forbidden.clear();
    }

    /// Deletes, in the background, what has lost all its owners.
    pub fn collect_garbage(&self) {
        self.locked().collect_garbage();
    }

    /// Creates a namespace.
    pub fn add_namespace(&self, name: &str) {
        self.locked().add_namespace(name);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server as an HTTP service for one user agent.
#[derive(Debug, Clone)]
pub struct FakeService {
    server: FakeApiServer,
    agent: String,
}

impl Service<Request<Body>> for FakeService {
    type Response = Response<ResponseBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { server, agent } = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if !parts.headers.contains_key(header::USER_AGENT) {
                parts.headers.insert(header::USER_AGENT, HeaderValue::from_str(&agent)?);
            }
            let body = body.collect().await?.to_bytes();
            let mut state = server.locked();
            Ok(handler::answer(&mut state, &server.state, &parts, body))
        })
    }
}

/// A whole answer in one piece.
pub(crate) fn full_body(value: &Value) -> ResponseBody {
    http_body_util::Full::new(Bytes::from(value.to_string()))
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
