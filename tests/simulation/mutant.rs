//! Wrong operators: the right one behind a layer that changes what it says and hears. Each must be
//! caught by an invariant, or the simulation proves nothing.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::response::Parts;
use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use support::fake_api_server::ResponseBody;

use crate::harness::proxy::{whole, writes};
use crate::world::NAMESPACE;

/// A mistake that an operator could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Writes carry neither uid nor resourceVersion.
    WriteAnyVersion,
    /// A refused write is taken for done.
    RefusedIsSuccess,
    /// The record is written without the verifier that is about to be needed.
    RevealUnregistered,
    /// The Secret first, the verifier afterwards.
    RevealBeforeRegister,
    /// The replaced secret ends at once.
    PromoteForgetsFormer,
    /// The replaced secret stays current.
    PromoteKeepsFormer,
    /// A Secret of another owner is taken for ours.
    ConflictIgnored,
    /// The last writer of the client secret is not checked.
    AlterationUnseen,
    /// The record does not say which requests were answered.
    RequestForgotten,
    /// Records of users that are gone stay.
    NotSwept,
    /// The status is never written.
    StatusUnwritten,
}

impl Mutant {
    pub(crate) const ALL: [Self; 11] = [
        Self::WriteAnyVersion,
        Self::RefusedIsSuccess,
        Self::RevealUnregistered,
        Self::RevealBeforeRegister,
        Self::PromoteForgetsFormer,
        Self::PromoteKeepsFormer,
        Self::ConflictIgnored,
        Self::AlterationUnseen,
        Self::RequestForgotten,
        Self::NotSwept,
        Self::StatusUnwritten,
    ];
}

/// A mutant at work.
pub(crate) struct Spoiler {
    mutant: Mutant,
    user: Value,
    versions: BTreeMap<String, Value>,
    record: Value,
    held_back: Option<(String, Bytes)>,
}

impl Spoiler {
    pub(crate) fn new(mutant: Mutant) -> Self {
        let versions = BTreeMap::new();
        Self { mutant, user: Value::Null, versions, record: Value::Null, held_back: None }
    }

    /// What it says instead of the right request.
    pub(crate) fn request(&mut self, method: &Method, path: &str, body: Bytes) -> Bytes {
        let Ok(mut object) = serde_json::from_slice::<Value>(&body) else { return body };
        let forgets = self.mutant == Mutant::WriteAnyVersion && path.contains("/secrets/");
        if let Some(metadata) = object["metadata"].as_object_mut().filter(|_| forgets) {
            metadata.remove("uid");
            metadata.remove("resourceVersion");
        }
        if *method == Method::PUT && is_record(path) {
            self.spoil_record(&mut object);
        }
        Bytes::from(object.to_string())
    }

    /// What it takes for the answer of a request that it never sends.
    pub(crate) fn answers(
        &mut self,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Option<Response<ResponseBody>> {
        let fine = |value: &Value| Some(Response::new(whole(Bytes::from(value.to_string()))));
        match self.mutant {
            Mutant::NotSwept if *method == Method::DELETE && is_record(path) => fine(&json!({})),
            Mutant::StatusUnwritten if path.ends_with("/status") => fine(&json!({})),
            Mutant::RevealBeforeRegister if *method == Method::PUT && is_record(path) => {
                let object: Value = serde_json::from_slice(body).ok()?;
                let is_registering = record_of(&object)["entries"]
                    .as_object()?
                    .values()
                    .any(|entry| entry["state"] == "pending");
                if !is_registering {
                    return None;
                }
                self.held_back = Some((path.to_owned(), body.clone()));
                fine(&json!({"metadata": object["metadata"]}))
            }
            _ => None,
        }
    }

    /// What it sends once something else was sent.
    pub(crate) fn afterwards(&mut self, method: &Method, path: &str) -> Option<Request<Body>> {
        let reveals = match *method {
            Method::PATCH => path.contains("/secrets/"),
            Method::POST => path.ends_with(&format!("/namespaces/{NAMESPACE}/secrets")),
            _ => false,
        };
        if !reveals {
            return None;
        }
        let (path, body) = self.held_back.take()?;
        let request = Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header("content-type", "application/json")
            .header("user-agent", "technical-user-operator");
        request.body(Body::from(body)).ok()
    }

    /// What it hears.
    pub(crate) fn response(
        &mut self,
        method: &Method,
        path: &str,
        mut head: Parts,
        body: &Bytes,
    ) -> Response<ResponseBody> {
        let mut object = serde_json::from_slice::<Value>(body).unwrap_or_default();
        if head.status.is_success() {
            self.remember(method, path, &object);
        }
        let is_secret = path.contains("/secrets/") && !is_record(path);
        match self.mutant {
            Mutant::RefusedIsSuccess if writes(method) && !head.status.is_success() => {
                head.status = http::StatusCode::OK;
                object = json!({"metadata": self.versions.get(path)});
            }
            Mutant::ConflictIgnored if is_secret && head.status.is_success() => {
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": self.user["apiVersion"], "kind": "TechnicalUser",
                    "name": self.user["metadata"]["name"], "uid": self.user["metadata"]["uid"],
                    "controller": true,
                }]);
            }
            Mutant::AlterationUnseen if is_secret => {
                for entry in
                    object["metadata"]["managedFields"].as_array_mut().into_iter().flatten()
                {
                    entry["manager"] = "technical-user-operator".into();
                }
            }
            _ => {}
        }
        head.headers.remove(http::header::CONTENT_LENGTH);
        Response::from_parts(head, whole(Bytes::from(object.to_string())))
    }

    fn remember(&mut self, method: &Method, path: &str, object: &Value) {
        if path.contains("/technicalusers/") && *method == Method::GET {
            self.user = object.clone();
        }
        if is_record(path) && *method == Method::GET {
            self.record = record_of(object);
        }
        self.versions.insert(path.to_owned(), object["metadata"].clone());
    }

    fn spoil_record(&self, object: &mut Value) {
        let mut record = record_of(object);
        let before = self.record["entries"].as_object().cloned().unwrap_or_default();
        let Some(entries) = record["entries"].as_object_mut() else { return };
        match self.mutant {
            Mutant::RevealUnregistered => entries.retain(|_, entry| entry["state"] != "pending"),
            Mutant::PromoteForgetsFormer => entries.retain(|_, entry| entry["state"] != "old"),
            Mutant::PromoteKeepsFormer => {
                for (id, entry) in before.iter().filter(|(_, entry)| entry["state"] == "current") {
                    entries.insert(id.clone(), entry.clone());
                }
            }
            Mutant::RequestForgotten => record["rotated"] = json!({"digests": [], "last": null}),
            _ => return,
        }
        object["data"]["record.json"] = STANDARD.encode(record.to_string()).into();
    }
}

/// The record that a Secret carries.
pub(crate) fn record_of(secret: &Value) -> Value {
    let encoded = secret["data"]["record.json"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn is_record(path: &str) -> bool {
    path.contains("/secrets/verifier-")
}
