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

/// A mistake that an operator could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Writes carry neither uid nor resourceVersion.
    WriteAnyVersion,
    /// A refused write is taken for done.
    RefusedIsSuccess,
    /// A key signs as soon as it is published.
    ActivateAtOnce,
    /// The key is scheduled and never published.
    NewestUnpublished,
    /// Other namespaces are never written again.
    CopiesForgotten,
    /// The former key is removed when the next one is scheduled.
    NoDrain,
    /// The time in which the key set is stale is not waited for.
    DrainTooShort,
    /// What is drained stays published.
    NeverRemoved,
    /// A removed key pair stays.
    PairKept,
    /// The key set is emptied with the last key.
    EmptySet,
    /// The ledger does not say which requests were answered.
    RequestForgotten,
    /// The status is never written.
    StatusUnwritten,
}

impl Mutant {
    pub(crate) const ALL: [Self; 12] = [
        Self::WriteAnyVersion,
        Self::RefusedIsSuccess,
        Self::ActivateAtOnce,
        Self::NewestUnpublished,
        Self::CopiesForgotten,
        Self::NoDrain,
        Self::DrainTooShort,
        Self::NeverRemoved,
        Self::PairKept,
        Self::EmptySet,
        Self::RequestForgotten,
        Self::StatusUnwritten,
    ];
}

/// A mutant at work.
pub(crate) struct Spoiler {
    mutant: Mutant,
    versions: BTreeMap<String, Value>,
    ledger: Value,
}

impl Spoiler {
    pub(crate) fn new(mutant: Mutant) -> Self {
        Self { mutant, versions: BTreeMap::new(), ledger: Value::Null }
    }

    /// What it says instead of the right request.
    pub(crate) fn request(&mut self, method: &Method, path: &str, body: Bytes) -> Bytes {
        let Ok(mut object) = serde_json::from_slice::<Value>(&body) else { return body };
        if self.mutant == Mutant::WriteAnyVersion {
            for fields in ["metadata", "preconditions"] {
                if let Some(fields) = object[fields].as_object_mut() {
                    fields.remove("uid");
                    fields.remove("resourceVersion");
                }
            }
            if object["metadata"].is_null() && *method != Method::DELETE {
                return body;
            }
        }
        if *method == Method::PUT && is_secret(path) {
            self.spoil_ledger(&mut object);
        }
        if path.contains("/configmaps") && *method != Method::DELETE {
            self.spoil_jwks(&mut object);
        }
        Bytes::from(object.to_string())
    }

    /// What it takes for the answer of a request that it never sends.
    pub(crate) fn answers(
        &mut self,
        method: &Method,
        path: &str,
        _body: &Bytes,
    ) -> Option<Response<ResponseBody>> {
        let is_copy = path.contains("/configmaps") && !path.contains("/iam-system/");
        let is_swallowed = match self.mutant {
            Mutant::CopiesForgotten => *method == Method::PATCH && is_copy,
            Mutant::PairKept => *method == Method::DELETE && is_secret(path),
            Mutant::StatusUnwritten => path.ends_with("/status"),
            _ => false,
        };
        let fine = || Response::new(whole(Bytes::from(json!({}).to_string())));
        is_swallowed.then(fine)
    }

    /// What it sends once something else was sent.
    #[expect(clippy::unused_self, reason = "the gate asks every kind of wrong operator")]
    pub(crate) fn afterwards(&mut self, _method: &Method, _path: &str) -> Option<Request<Body>> {
        None
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
            if *method == Method::GET && object["type"] == "iam.cyoda.com/signing-key-ledger" {
                self.ledger = ledger_of(&object);
            }
            self.versions.insert(path.to_owned(), object["metadata"].clone());
        }
        let is_refused = writes(method) && !head.status.is_success();
        if self.mutant == Mutant::RefusedIsSuccess && is_refused {
            head.status = http::StatusCode::OK;
            object = json!({"metadata": self.versions.get(path)});
        }
        head.headers.remove(http::header::CONTENT_LENGTH);
        Response::from_parts(head, whole(Bytes::from(object.to_string())))
    }

    fn spoil_ledger(&self, object: &mut Value) {
        let mut ledger = ledger_of(object);
        let before = self.ledger["entries"].as_object().cloned().unwrap_or_default();
        let Some(entries) = ledger["entries"].as_object_mut() else { return };
        match self.mutant {
            Mutant::ActivateAtOnce => {
                for (_, entry) in
                    entries.iter_mut().filter(|(index, _)| !before.contains_key(*index))
                {
                    entry["activateAt"] = "2027-01-01T00:00:00Z".into();
                }
            }
            Mutant::NoDrain => {
                for entry in entries.values_mut().filter(|entry| !entry["until"].is_null()) {
                    entry["withdrawal"] = "drained".into();
                }
            }
            Mutant::DrainTooShort => {
                for entry in entries.values_mut().filter(|entry| !entry["until"].is_null()) {
                    entry["until"] = "2027-01-01T00:00:00Z".into();
                    entry["endSeenAt"] = "2027-01-01T00:00:00Z".into();
                }
            }
            Mutant::NeverRemoved => {
                for entry in entries.values_mut().filter(|it| it["withdrawal"] == "drained") {
                    entry.as_object_mut().map(|entry| entry.remove("withdrawal"));
                }
            }
            Mutant::RequestForgotten => {
                ledger["rotated"] = json!({"digests": [], "last": null});
            }
            _ => return,
        }
        object["data"]["ledger.json"] = STANDARD.encode(ledger.to_string()).into();
    }

    fn spoil_jwks(&self, object: &mut Value) {
        let text = object["data"]["jwks"].as_str().unwrap_or_default();
        let mut jwks = serde_json::from_str::<Value>(text).unwrap_or_default();
        let Some(keys) = jwks["keys"].as_array_mut() else { return };
        let known: Vec<Value> = self.ledger["entries"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, entry)| entry["key"]["kid"].clone())
            .collect();
        match self.mutant {
            Mutant::NewestUnpublished if !known.is_empty() => {
                keys.retain(|key| known.contains(&key["kid"]));
            }
            Mutant::EmptySet if keys.len() == 1 => keys.clear(),
            _ => return,
        }
        for field in ["jwks", "jwks.json"] {
            object["data"][field] = jwks.to_string().into();
        }
    }
}

fn ledger_of(secret: &Value) -> Value {
    let encoded = secret["data"]["ledger.json"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn is_secret(path: &str) -> bool {
    path.contains("/secrets/sk-")
}
