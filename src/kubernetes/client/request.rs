//! Requests: what is asked of whom, and in which form the answer shall come.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};

use super::{ApiError, ApiErrorKind, ObjectRef, Operation, Redacted};
use crate::api::MANAGER;
use crate::api::kind::Kind;
use crate::api::signing_key::SigningKey;

/// A resource of the API server.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    prefix: &'static str,
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    plural: &'static str,
    status: &'static str,
}

const CORE: Resource =
    Resource { prefix: "/api/v1", api_version: "v1", kind: "", plural: "", status: "" };
const OURS: Resource = Resource {
    prefix: "/apis/iam.cyoda.com/v1alpha1",
    api_version: "iam.cyoda.com/v1alpha1",
    ..CORE
};

impl Resource {
    /// The resource of a kind of this API group.
    pub(super) const fn of<K: Kind>() -> Self {
        Self { kind: K::KIND, plural: K::PLURAL, status: K::STATUS, ..OURS }
    }
}

pub(super) const SECRETS: Resource = Resource { kind: "Secret", plural: "secrets", ..CORE };
pub(super) const CONFIG_MAPS: Resource =
    Resource { kind: "ConfigMap", plural: "configmaps", ..CORE };
pub(super) const NAMESPACES: Resource =
    Resource { kind: "Namespace", plural: "namespaces", ..CORE };
pub(super) const SIGNING_KEYS: Resource = Resource::of::<SigningKey>();
pub(super) const EVENTS: Resource = Resource { kind: "Event", plural: "events", ..CORE };

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// One request to come.
#[derive(Clone, Copy)]
pub(super) struct ApiRequest<'a> {
    resource: Resource,
    at: ObjectRef<'a>,
    verb: &'static str,
    accept: &'static str,
    is_status: bool,
}

impl<'a> ApiRequest<'a> {
    pub(super) fn on(resource: Resource, at: ObjectRef<'a>, verb: &'static str) -> Self {
        Self { resource, at, verb, accept: "application/json", is_status: false }
    }

    pub(super) fn metadata_only(self) -> Self {
        Self { accept: METADATA_ONLY, ..self }
    }

    pub(super) fn metadata_list(self) -> Self {
        Self { accept: METADATA_LIST, ..self }
    }

    pub(super) fn of_status(self) -> Self {
        Self { is_status: true, ..self }
    }

    pub(super) fn failure(&self, kind: ApiErrorKind) -> ApiError {
        let resource = if self.is_status { self.resource.status } else { self.resource.plural };
        let operation = Operation::on(self.verb, resource, self.at.namespace, self.at.name);
        ApiError { operation, kind, culprit: None }
    }

    /// Where objects of the resource are; of all namespaces, or of none, when that is empty.
    fn collection(&self) -> String {
        let Resource { prefix, plural, .. } = self.resource;
        match self.at.namespace {
            "" => format!("{prefix}/{plural}"),
            namespace => format!("{prefix}/namespaces/{namespace}/{plural}"),
        }
    }

    /// One page of a list, from where the last one ended.
    pub(super) fn page(&self, selector: (&str, &str), limit: usize, next: &str) -> Request<Body> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &limit.to_string());
        query.append_pair(selector.0, selector.1);
        if !next.is_empty() {
            query.append_pair("continue", next);
        }
        let mut request = self.request(Method::GET);
        let uri = format!("{}?{}", self.collection(), query.finish());
        *request.uri_mut() = uri.parse().unwrap_or_default();
        request
    }

    fn uri(&self, method: &Method) -> String {
        let collection = self.collection();
        let object = match (method, self.is_status) {
            (&Method::POST, _) => collection,
            (_, true) => format!("{collection}/{}/status", self.at.name),
            (_, false) => format!("{collection}/{}", self.at.name),
        };
        match (method, self.is_status) {
            (&Method::GET | &Method::DELETE, _) => object,
            (_, true) => format!("{object}?fieldManager={MANAGER}&force=true"),
            (_, false) => format!("{object}?fieldManager={MANAGER}"),
        }
    }

    pub(super) fn request(&self, method: Method) -> Request<Body> {
        self.body(method, "application/json", Bytes::new())
    }

    pub(super) fn body(
        &self,
        method: Method,
        content_type: &'static str,
        body: Bytes,
    ) -> Request<Body> {
        let uri = self.uri(&method);
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        // Names and namespaces come from the API server, which takes DNS names alone.
        *request.uri_mut() = uri.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, http::HeaderValue::from_static(self.accept));
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        headers.insert(USER_AGENT, http::HeaderValue::from_static(MANAGER));
        request
    }

    /// The object with its kind and its place. The memory of all of it is zeroed once it is sent.
    pub(super) fn created(&self, object: &Value) -> Bytes {
        let mut object = Redacted(object.clone());
        if let Some(fields) = object.0.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!(self.resource.api_version));
            fields.insert("kind".to_owned(), json!(self.resource.kind));
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("name".to_owned(), json!(self.at.name));
                if !self.at.namespace.is_empty() {
                    metadata.insert("namespace".to_owned(), json!(self.at.namespace));
                }
            }
        }
        object.to_bytes()
    }
}
