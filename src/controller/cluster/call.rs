//! Requests: what is asked of whom, and in which form the answer shall come.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};

use super::{Failure, Kind, Operation, Place};
use crate::api::MANAGER;

/// A resource of the API server.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    prefix: &'static str,
    plural: &'static str,
}

pub(super) const SECRETS: Resource = Resource { prefix: "/api/v1", plural: "secrets" };
pub(super) const TECHNICAL_USERS: Resource =
    Resource { prefix: "/apis/iam.cyoda.com/v1alpha1", plural: "technicalusers" };
pub(super) const EVENTS: Resource = Resource { prefix: "/apis/events.k8s.io/v1", plural: "events" };

const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// One request to come.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    resource: Resource,
    at: Place<'a>,
    verb: &'static str,
    accept: &'static str,
    is_status: bool,
}

impl<'a> Call<'a> {
    pub(super) fn on(resource: Resource, at: Place<'a>, verb: &'static str) -> Self {
        Self { resource, at, verb, accept: "application/json", is_status: false }
    }

    pub(super) fn metadata_only(self) -> Self {
        Self { accept: METADATA_ONLY, ..self }
    }

    pub(super) fn of_status(self) -> Self {
        Self { is_status: true, ..self }
    }

    pub(super) fn failure(&self, kind: Kind) -> Failure {
        let resource = match (self.resource.plural, self.is_status) {
            ("technicalusers", true) => "technicalusers/status",
            (plural, _) => plural,
        };
        let namespace = self.at.namespace.to_owned();
        let operation = Operation { verb: self.verb, resource, namespace };
        Failure { operation, kind }
    }

    fn uri(&self, method: &Method) -> String {
        let Resource { prefix, plural } = self.resource;
        let collection = format!("{prefix}/namespaces/{}/{plural}", self.at.namespace);
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

    /// The object with its kind and its place.
    pub(super) fn created(&self, object: &Value) -> Bytes {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), json!("v1"));
            fields.insert("kind".to_owned(), json!("Secret"));
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("name".to_owned(), json!(self.at.name));
                metadata.insert("namespace".to_owned(), json!(self.at.namespace));
            }
        }
        Bytes::from(object.to_string())
    }
}
