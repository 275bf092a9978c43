//! Takes a request to the verb that answers it, and dresses the answer.

use std::sync::{Arc, Mutex};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Response, header, request::Parts};
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::{
    RequestRecord, ResponseBody,
    failure::Failure,
    full_body,
    request::{Call, Verb},
    storage::State,
    watch::{Selection, Watch, metadata_of},
};

/// What a verb answers.
pub(crate) enum Answer {
    /// One object; the code is 200 or 201.
    Object(u16, Arc<Value>),
    /// A list, or a Status, as it stands.
    Plain(Value),
    /// A stream of events.
    Watch(Box<Watch>),
}

/// Answers one request. A request is atomic: the caller holds the lock on `state`.
pub(crate) fn answer(
    state: &mut State,
    shared: &Arc<Mutex<State>>,
    parts: &Parts,
    body: Bytes,
) -> Response<ResponseBody> {
    let call = Call::parse(parts, body, &state.resources);
    let answer = call.as_ref().map_err(Clone::clone).and_then(|call| {
        check_rights(state, call)?;
        dispatch(state, shared, call)
    });
    let mut response = match answer {
        Ok(answer) => {
            let metadata_only = call.as_ref().is_ok_and(|call| call.metadata_only);
            dress(answer, metadata_only)
        }
        Err(failure) => {
            let mut response = Response::new(full_body(&failure.body()));
            *response.status_mut() =
                http::StatusCode::from_u16(failure.code).expect("codes of failures are valid");
            response
        }
    };
    let date = (state.clock)().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::DATE, HeaderValue::from_str(&date).expect("a date is ASCII"));
    if let Ok(call) = call {
        state.log.push(RequestRecord {
            agent: call.agent,
            verb: call.verb,
            plural: call.resource.plural.clone(),
            subresource: call.subresource,
            namespace: call.namespace,
            name: call.name,
            code: response.status().as_u16(),
        });
    }
    response
}

fn check_rights(state: &State, call: &Call) -> Result<(), Failure> {
    let forbidden = state.forbidden.iter().any(|(agent, verb, plural)| {
        *agent == call.agent && *verb == call.verb && *plural == call.resource.plural
    });
    if !forbidden {
        return Ok(());
    }
    let verb = call.verb.to_string();
    Err(Failure::no_right(&call.resource, &call.agent, &verb, &call.namespace))
}

fn dispatch(state: &mut State, shared: &Arc<Mutex<State>>, call: &Call) -> Result<Answer, Failure> {
    match call.verb {
        Verb::Get => state.existing(call).map(|object| Answer::Object(200, object)),
        Verb::List => list(state, call).map(Answer::Plain),
        Verb::Watch => Watch::open(call, state, shared).map(Box::new).map(Answer::Watch),
        Verb::Create => state.create(call),
        Verb::Update => state.replace(call),
        Verb::Patch => state.patch(call),
        Verb::Delete => state.delete(call),
    }
}

fn dress(answer: Answer, metadata_only: bool) -> Response<ResponseBody> {
    match answer {
        Answer::Object(code, object) => {
            let body =
                if metadata_only { full_body(&metadata_of(&object)) } else { full_body(&object) };
            let mut response = Response::new(body);
            *response.status_mut() = http::StatusCode::from_u16(code).expect("200 or 201");
            response
        }
        Answer::Plain(value) => Response::new(full_body(&value)),
        Answer::Watch(watch) => {
            Response::new(BodyExt::boxed_unsync(StreamBody::new(watch.into_stream())))
        }
    }
}

fn list(state: &State, call: &Call) -> Result<Value, Failure> {
    let page = Page::of(call)?;
    // A list at resourceVersion 0 is answered from the server's watch cache, which may lag.
    let cached = state.frozen_at.filter(|_| call.parameter("resourceVersion") == Some("0"));
    let revision = page.revision.or(cached).unwrap_or(state.revision);
    if revision < state.compacted {
        return Err(Failure::expired());
    }
    let objects = state.objects_at(revision);
    let all = Selection::of(call).of_objects(&objects);
    let rest: Vec<_> = all.into_iter().filter(|object| page.is_after(object)).collect();
    let shown = &rest[..page.limit.unwrap_or(rest.len()).min(rest.len())];
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(last) = shown.last().filter(|_| shown.len() < rest.len()) {
        metadata["continue"] = Page::token(revision, last).into();
    }
    let (api_version, kind) = if call.metadata_only {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (call.resource.api_version(), format!("{}List", call.resource.kind))
    };
    let items: Vec<Value> = shown.iter().map(|object| item(call, object)).collect();
    // Go writes an empty list of metadata as null.
    let items = if items.is_empty() && call.metadata_only { Value::Null } else { items.into() };
    Ok(json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}))
}

/// Items of built-in lists do not repeat their kind.
fn item(call: &Call, object: &Value) -> Value {
    if call.metadata_only {
        return metadata_of(object);
    }
    let mut item = object.clone();
    if let (false, Some(fields)) = (call.resource.custom, item.as_object_mut()) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

/// Which part of a list is asked for.
struct Page {
    limit: Option<usize>,
    revision: Option<u64>,
    after: Option<(String, String)>,
}

impl Page {
    fn of(call: &Call) -> Result<Self, Failure> {
        let limit = call.number("limit").filter(|limit| *limit > 0);
        let mut page = Self {
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            revision: None,
            after: None,
        };
        if let Some(token) = call.parameter("continue") {
            let refused = || Failure::bad_request("continue key is not valid");
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
            let (revision, namespace, name): (u64, String, String) =
                serde_json::from_slice(&bytes).map_err(|_| refused())?;
            page.revision = Some(revision);
            page.after = Some((namespace, name));
        }
        Ok(page)
    }

    fn position(object: &Value) -> (&str, &str) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        (text("namespace"), text("name"))
    }

    fn token(revision: u64, last: &Value) -> String {
        let (namespace, name) = Self::position(last);
        BASE64_URL_SAFE_NO_PAD.encode(json!([revision, namespace, name]).to_string())
    }

    fn is_after(&self, object: &Value) -> bool {
        let after = self.after.as_ref();
        after.is_none_or(|(namespace, name)| Self::position(object) > (namespace, name))
    }
}
