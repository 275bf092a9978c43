//! One of the two servers, with the content of its responses so far.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt as _;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::{
    comparison::Names,
    content::strip_nulls,
    exchange,
    sequence::{KINDS, Kind, Pick, Step},
};
use crate::fake_api_server::put;

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A server and the names that it gave to things.
pub(super) struct Side {
    client: kube::Client,
    namespace: String,
    namespace_uid: String,
    known: BTreeMap<(Kind, String), Known>,
    names: Names,
    started_at: BTreeMap<Kind, String>,
}

#[derive(Default)]
struct Known {
    uids: Vec<String>,
    versions: Vec<String>,
    last: Option<Value>,
}

impl Side {
    pub(super) fn new(client: kube::Client, namespace: &str, namespace_uid: &str) -> Self {
        let mut names = Names::default();
        names.uid(namespace_uid);
        Self {
            client,
            namespace: namespace.to_owned(),
            namespace_uid: namespace_uid.to_owned(),
            known: BTreeMap::new(),
            names,
            started_at: BTreeMap::new(),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn collection(&self, kind: Kind) -> String {
        format!("{}/namespaces/{}/{}", kind.prefix, self.namespace, kind.plural)
    }

    /// Removes what an earlier sequence left behind.
    pub(super) async fn clear(&mut self) {
        for kind in KINDS {
            let path = self.collection(kind);
            let (_, list) = exchange(&self.client, Method::GET, &path, &Value::Null).await;
            for item in list["items"].as_array().into_iter().flatten() {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                if name == "kube-root-ca.crt" {
                    continue;
                }
                let path = format!("{path}/{name}");
                if !item["metadata"]["finalizers"].is_null() {
                    let body = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
                    let request = Request::patch(&path)
                        .header(header::CONTENT_TYPE, "application/json-patch+json")
                        .body(Body::from(body.to_string().into_bytes()))
                        .expect("a valid request");
                    self.client.send(request).await.expect("the server answers");
                }
                exchange(&self.client, Method::DELETE, &path, &Value::Null).await;
            }
        }
    }

    /// Sends a request and returns its answer, comparable between servers.
    pub(super) async fn send(&mut self, step: &Step) -> Value {
        let answer = self.ask(step).await;
        self.learn(step, &answer)
    }

    /// Sends a request and returns the code and the body of its answer.
    pub(super) async fn ask(&mut self, step: &Step) -> (u16, Value) {
        for kind in KINDS {
            if !self.started_at.contains_key(&kind) {
                let path = self.collection(kind);
                let (_, list) = exchange(&self.client, Method::GET, &path, &Value::Null).await;
                let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                self.started_at.insert(kind, version.to_owned());
            }
        }
        let response = self.client.send(self.request(step)).await.expect("the server answers");
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.expect("the answer is whole");
        let answer = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        (code, answer)
    }

    /// Takes an answer in, and returns it comparable between servers.
    pub(super) fn learn(&mut self, step: &Step, (code, answer): &(u16, Value)) -> Value {
        self.remember(step, answer);
        json!({"code": code, "body": self.names.normalise(answer)})
    }

    /// Whether a write succeeded without making a version.
    pub(super) fn has_lagged(&self, (code, answer): &(u16, Value)) -> bool {
        let version = answer["metadata"]["resourceVersion"].as_str();
        *code == 200 && version.is_some_and(|version| self.names.knows_version(version))
    }

    /// The request as text, for people.
    pub(super) fn shown(&self, step: &Step) -> String {
        let request = self.request(step);
        format!(
            "{} {} agent={:?} type={} metadata_only={} body={}",
            request.method(),
            request.uri(),
            step.agent,
            step.content_type,
            step.metadata_only,
            self.body(step)
        )
    }

    fn request(&self, step: &Step) -> Request<Body> {
        let mut path = self.collection(step.kind);
        if !step.name.is_empty() {
            path = format!("{path}/{}", step.name);
        }
        if step.status {
            path.push_str("/status");
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(step.query.iter().map(|(name, value)| (*name, value.as_str())))
            .finish();
        let accept = match (step.metadata_only, step.method == Method::GET && step.name.is_empty())
        {
            (true, true) => METADATA_LIST,
            (true, false) => METADATA,
            (false, _) => "application/json",
        };
        let body = self.body(step);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Request::builder()
            .method(&step.method)
            .uri(format!("{path}?{query}"))
            .header(header::USER_AGENT, step.agent)
            .header(header::CONTENT_TYPE, step.content_type)
            .header(header::ACCEPT, accept)
            .body(Body::from(body))
            .expect("a valid request")
    }

    fn body(&self, step: &Step) -> Value {
        let known = self.known.get(&(step.kind, step.name.to_owned()));
        let uid = self.pick(step, step.uid, |known| &known.uids);
        let version = self.pick(step, step.version, |known| &known.versions);
        if step.method == Method::DELETE {
            let mut preconditions = json!({});
            set(&mut preconditions, "uid", uid);
            set(&mut preconditions, "resourceVersion", version);
            return if preconditions == json!({}) {
                Value::Null
            } else {
                json!({
                    "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions
                })
            };
        }
        let mut body = step.body.clone();
        if let (true, Some(last)) = (step.on_top_of_last, known.and_then(|it| it.last.as_ref())) {
            let mut object = last.clone();
            overlay(&mut object, &body);
            // The operator sends back none but those of the newest version.
            put(&mut object["metadata"], "managedFields", Value::Null);
            body = object;
        }
        if step.on_top_of_last {
            strip_nulls(&mut body);
            body["apiVersion"] = step.kind.api_version.into();
            body["kind"] = step.kind.kind.into();
            if body["metadata"]["name"].is_null() {
                body["metadata"]["name"] = step.name.into();
            }
        }
        if body.is_object() {
            if !(uid.is_none() && version.is_none()) && body["metadata"].is_null() {
                body["metadata"] = json!({});
            }
            set(&mut body["metadata"], "uid", uid);
            set(&mut body["metadata"], "resourceVersion", version);
            if body["metadata"].is_null()
                && let Some(fields) = body.as_object_mut()
            {
                fields.remove("metadata");
            }
        }
        let text = body
            .to_string()
            .replace("$NAMESPACE_UID", &self.namespace_uid)
            .replace("$NAMESPACE", &self.namespace);
        serde_json::from_str(&text).expect("still valid JSON")
    }

    fn pick(
        &self,
        step: &Step,
        pick: Pick,
        values: impl Fn(&Known) -> &Vec<String>,
    ) -> Option<String> {
        let name = step.body["metadata"]["name"].as_str().unwrap_or(step.name);
        let of = |name: &str| {
            let known = self.known.get(&(step.kind, name.to_owned()));
            known.map(|known| values(known).clone()).unwrap_or_default()
        };
        let own = of(if step.name.is_empty() { name } else { step.name });
        match pick {
            Pick::Absent => None,
            Pick::Current => own.last().cloned(),
            Pick::Stale => Some(own.first().cloned().unwrap_or_else(|| "1".to_owned())),
            Pick::Foreign => Some(
                of(if step.name == "a" { "b" } else { "a" })
                    .last()
                    .cloned()
                    .unwrap_or_else(|| "00000000-0000-4000-8000-00000000ffff".to_owned()),
            ),
        }
    }

    /// Remembers the uid, the version and the shape of an object that was answered.
    fn remember(&mut self, step: &Step, answer: &Value) {
        let metadata = &answer["metadata"];
        let (Some(name), Some(uid)) = (metadata["name"].as_str(), metadata["uid"].as_str()) else {
            return;
        };
        let known = self.known.entry((step.kind, name.to_owned())).or_default();
        if known.uids.last().map(String::as_str) != Some(uid) {
            known.uids.push(uid.to_owned());
        }
        let version = metadata["resourceVersion"].as_str().unwrap_or_default();
        if known.versions.last().map(String::as_str) != Some(version) {
            known.versions.push(version.to_owned());
        }
        if !step.metadata_only {
            known.last = Some(answer.clone());
        }
    }

    /// The events of a kind since the sequence began: `wanted` many, or all that come at once.
    pub(super) async fn watch(&mut self, kind: Kind, wanted: Option<usize>) -> Vec<Value> {
        let version = self.started_at.get(&kind).cloned().unwrap_or_default();
        let uri = format!(
            "{}?watch=true&resourceVersion={version}&timeoutSeconds=20&fieldSelector=\
             metadata.name%21%3Dkube-root-ca.crt",
            self.collection(kind)
        );
        let request = Request::get(uri).body(Body::empty()).expect("a valid request");
        let response = self.client.send(request).await.expect("the server answers");
        let mut frames = response.into_body().into_data_stream();
        let patience = Duration::from_millis(if wanted.is_some() { 5000 } else { 5 });
        let (mut text, mut events) = (Vec::new(), Vec::new());
        while wanted.is_none_or(|wanted| events.len() < wanted) {
            match tokio::time::timeout(patience, frames.next()).await {
                Ok(Some(Ok(bytes))) => text.extend_from_slice(&bytes),
                _ => break,
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap_or(Value::Null);
                events.push(self.names.normalise(&event));
            }
        }
        events
    }
}

fn set(target: &mut Value, field: &str, value: Option<String>) {
    if let Some(value) = value {
        target[field] = value.into();
    }
}

/// Lays a change over an object; nulls remove.
fn overlay(target: &mut Value, change: &Value) {
    let (Some(fields), Some(changes)) = (target.as_object_mut(), change.as_object()) else {
        *target = change.clone();
        return;
    };
    for (name, value) in changes {
        if value.is_null() {
            fields.remove(name);
        } else {
            overlay(fields.entry(name.clone()).or_insert_with(|| json!({})), value);
        }
    }
}
