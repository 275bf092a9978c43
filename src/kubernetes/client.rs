//! The conditional-write client: the only way the controllers reach the API server.
//!
//! There is no method for an unconditional write. Every write is create-only or carries uid and
//! resourceVersion; status alone goes by server-side apply. What comes back of a delivered Secret is
//! metadata, in every call. No body is ever logged or quoted in an error.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use kube::Client;
use kube::client::Body;
use kube::core::object::HasStatus;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::domain::conditions::unavailable::NoAnswer;
use crate::domain::schedule::{ClockMonitor, Now, saturating_add};
use crate::domain::technical_user::verifier_record::Version;
use crate::environment::Clock;

pub use self::error::{ApiError, ApiErrorKind, Operation};
pub(crate) use self::no_answer::{ProxyRefusal, no_answer};
use self::outage::Outage;
pub(crate) use self::redacted::Redacted;
use self::request::{ApiRequest, EVENTS, Resource, SECRETS};

mod error;
mod no_answer;
mod outage;
mod redacted;
mod request;
mod resources;

/// The API server, with conditional writes alone.
#[derive(Debug)]
pub struct ConditionalClient {
    client: DebuglessClient,
    clock: std::sync::Arc<dyn Clock>,
    time: Mutex<Time>,
    outage: Mutex<Outage>,
}

/// The `Client` of kube, which has nothing to print.
#[derive(Clone)]
struct DebuglessClient(Client);

/// What the answers of the API server said of the time.
#[derive(Debug, Default)]
struct Time {
    watchman: ClockMonitor,
    served: Option<(Timestamp, Duration)>,
}

/// What identifies an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRef<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl<'a> ObjectRef<'a> {
    /// An object without a namespace.
    pub fn cluster_scoped(name: &'a str) -> Self {
        Self { namespace: "", name }
    }

    /// The place of a custom resource.
    pub fn of(object: &'a impl Kind) -> Self {
        let ObjectMeta { namespace, name, .. } = object.meta();
        let text = |part: &'a Option<String>| part.as_deref().unwrap_or_default();
        Self { namespace: text(namespace), name: text(name) }
    }
}

/// An answer that carries the metadata of an object and nothing else of it.
#[derive(Deserialize)]
struct Metadata {
    metadata: ObjectMeta,
}

impl ConditionalClient {
    /// Takes over a client whose repeats are off: a repeated create reports its own success as a
    /// conflict.
    pub fn new(client: Client, clock: std::sync::Arc<dyn Clock>) -> Self {
        Self {
            client: DebuglessClient(client),
            clock,
            time: Mutex::default(),
            outage: Mutex::default(),
        }
    }

    /// What time it is, by the clock of this machine and by the answers of the API server.
    pub fn now(&self) -> Now {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = self.clock.elapsed();
        let served = time.served.map(|(served, at)| {
            let since = SignedDuration::try_from(elapsed.saturating_sub(at));
            saturating_add(served, since.unwrap_or_default())
        });
        time.watchman.sample(self.clock.now(), served, elapsed)
    }

    /// Reads a custom resource.
    ///
    /// # Errors
    ///
    /// As every method here: [`ApiError`], without anything of a body. A missing object is `None`.
    pub async fn resource<K: Kind>(&self, at: ObjectRef<'_>) -> Result<Option<K>, ApiError> {
        let call = ApiRequest::on(Resource::of::<K>(), at, "get");
        absent_as_none(self.object(call.request(Method::GET), &call).await)
    }

    /// Reads a Secret of the operator's own namespace, with its data.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn own_secret(&self, at: ObjectRef<'_>) -> Result<Option<Secret>, ApiError> {
        let call = ApiRequest::on(SECRETS, at, "get");
        absent_as_none(self.object(call.request(Method::GET), &call).await)
    }

    /// Reads the metadata of a Secret that users read.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn secret_metadata(&self, at: ObjectRef<'_>) -> Result<Option<ObjectMeta>, ApiError> {
        let call = ApiRequest::on(SECRETS, at, "get").metadata_only();
        absent_as_none(self.metadata(call.request(Method::GET), &call).await)
    }

    /// Creates a Secret, never replaces one.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn create_secret(
        &self,
        at: ObjectRef<'_>,
        secret: &Value,
    ) -> Result<Version, ApiError> {
        let call = ApiRequest::on(SECRETS, at, "create").metadata_only();
        let body = call.created(secret);
        self.version(call.body(Method::POST, "application/json", body), &call).await
    }

    /// Replaces a Secret at exactly that version.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn replace_secret(
        &self,
        at: ObjectRef<'_>,
        version: &Version,
        secret: &Value,
    ) -> Result<Version, ApiError> {
        let call = ApiRequest::on(SECRETS, at, "update").metadata_only();
        let body = call.created(&conditional(secret, version));
        self.version(call.body(Method::PUT, "application/json", body), &call).await
    }

    /// Merges a patch into a Secret at exactly that version.
    ///
    /// `patch` is made by the caller and may contain a client secret, together with the
    /// version: [`ConditionalPatch::new`] does that.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn patch_secret(
        &self,
        at: ObjectRef<'_>,
        patch: ConditionalPatch,
    ) -> Result<Version, ApiError> {
        let call = ApiRequest::on(SECRETS, at, "patch").metadata_only();
        let request = call.body(Method::PATCH, "application/merge-patch+json", patch.0);
        self.version(request, &call).await
    }

    /// Deletes a Secret at exactly that version.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn delete_secret(
        &self,
        at: ObjectRef<'_>,
        version: &Version,
    ) -> Result<(), ApiError> {
        let call = ApiRequest::on(SECRETS, at, "delete").metadata_only();
        self.delete(&call, version).await
    }

    /// Applies the status of a custom resource at exactly that version.
    ///
    /// The API server does not compare the uid of a status, so that the resourceVersion alone keeps
    /// the status of one object off another of the same name.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn apply_status<K: Kind>(
        &self,
        at: ObjectRef<'_>,
        version: &Version,
        status: &<K as HasStatus>::Status,
    ) -> Result<(), ApiError> {
        let call = ApiRequest::on(Resource::of::<K>(), at, "patch").of_status();
        let body = json!({
            "metadata": {"uid": version.uid, "resourceVersion": version.resource_version},
            "status": status,
        });
        let request = call.body(Method::PATCH, "application/apply-patch+yaml", call.created(&body));
        self.send(request, &call).await.map(drop)
    }

    /// Creates an Event.
    ///
    /// # Errors
    ///
    /// [`ApiError`]. Callers go on: an Event is a courtesy.
    pub async fn create_event(&self, at: ObjectRef<'_>, event: &Value) -> Result<(), ApiError> {
        let call = ApiRequest::on(EVENTS, at, "create");
        let body = Bytes::from(event.to_string());
        self.send(call.body(Method::POST, "application/json", body), &call).await.map(drop)
    }

    async fn object<T: DeserializeOwned>(
        &self,
        request: Request<Body>,
        call: &ApiRequest<'_>,
    ) -> Result<T, ApiError> {
        let bytes = self.send(request, call).await?;
        // A text of serde quotes the value that it could not read.
        serde_json::from_slice(&bytes).map_err(|_| call.failure(ApiErrorKind::InvalidResponse))
    }

    async fn metadata(
        &self,
        request: Request<Body>,
        call: &ApiRequest<'_>,
    ) -> Result<ObjectMeta, ApiError> {
        self.object::<Metadata>(request, call).await.map(|answer| answer.metadata)
    }

    async fn version(
        &self,
        request: Request<Body>,
        call: &ApiRequest<'_>,
    ) -> Result<Version, ApiError> {
        let metadata = self.metadata(request, call).await?;
        crate::kubernetes::codec::version_of(&metadata)
            .ok_or_else(|| call.failure(ApiErrorKind::InvalidResponse))
    }

    async fn send(&self, request: Request<Body>, call: &ApiRequest<'_>) -> Result<Bytes, ApiError> {
        self.send_within(MAX_RESPONSE_BYTES, request, call).await
    }

    /// The answer, if it has at most so many bytes.
    async fn send_within(
        &self,
        limit: usize,
        request: Request<Body>,
        call: &ApiRequest<'_>,
    ) -> Result<Bytes, ApiError> {
        let exchange = async {
            let response = self.client.0.send(request).await;
            let response =
                response.map_err(|error| (ApiErrorKind::NoAnswer(no_answer(&error)), None))?;
            let (head, body) = response.into_parts();
            self.record_server_time(&head.headers);
            let body = Limited::new(body, limit).collect().await;
            let kind = |error: BoxedError| {
                let is_too_large = error.is::<LengthLimitError>();
                let unanswered = || ApiErrorKind::NoAnswer(no_answer(&*error));
                if is_too_large { ApiErrorKind::Oversized } else { unanswered() }
            };
            let bytes = body.map_err(|error| (kind(error), None))?.to_bytes();
            if head.status.is_success() {
                return Ok(bytes);
            }
            let status: Status = serde_json::from_slice(&bytes).unwrap_or_default();
            let kind = ApiErrorKind::of(head.status, &status, retry_after(&head.headers));
            let culprit = error::culprit(&kind, &status);
            Err((kind, culprit))
        };
        let answer = tokio::time::timeout(TIMEOUT, exchange).await;
        let late = || Err((ApiErrorKind::NoAnswer(NoAnswer::Timeout), None));
        answer.unwrap_or_else(|_| late()).map_err(|(kind, culprit)| {
            let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = call.failure(outage.classify(kind, self.clock.elapsed()));
            ApiError { culprit, ..failure }
        })
    }

    fn record_server_time(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|value| value.to_str().ok());
        let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
            return;
        };
        // The header is cut to whole seconds.
        let served = saturating_add(date.timestamp(), SignedDuration::from_millis(500));
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        time.served = Some((served, self.clock.elapsed()));
    }
}

/// A patch that the API server refuses at any other version.
pub struct ConditionalPatch(Bytes);

impl ConditionalPatch {
    /// Adds the version to a merge patch. The memory of the patch is zeroed once it is sent.
    pub fn new(patch: Value, version: &Version) -> Self {
        let patch = Redacted(patch);
        Self(Redacted(conditional(&patch.0, version)).to_bytes())
    }
}

impl std::fmt::Debug for ConditionalPatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("<redacted>")
    }
}

impl std::fmt::Debug for DebuglessClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

/// What a body that is read within a limit can fail with.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

fn conditional(object: &Value, version: &Version) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), json!(version.uid));
            metadata.insert("resourceVersion".to_owned(), json!(version.resource_version));
        }
    }
    object
}

fn absent_as_none<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(failure) if failure.kind == ApiErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}

/// No single object is larger: etcd takes 1.5 MiB, and escaped characters make six times that. A page
/// of a list that is larger is asked for in smaller pages.
const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// No call may hang: an answer later than this is as good as lost.
const TIMEOUT: Duration = Duration::from_secs(10);
