//! Reads what a client asks for out of an HTTP request.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, header, request::Parts};
use serde_json::Value;

use super::{failure::Failure, resource::Resource};

/// What a client can ask for, in the words of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many objects.
    List,
    /// Follow changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of any kind, server-side apply among them.
    Patch,
    /// DELETE of one object.
    Delete,
}

impl Verb {
    /// Whether the verb can change something.
    pub fn writes(self) -> bool {
        match self {
            Self::Get | Self::List | Self::Watch => false,
            Self::Create | Self::Update | Self::Patch | Self::Delete => true,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        })
    }
}

/// One request, understood.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) resource: Arc<Resource>,
    /// Empty for cluster-scoped kinds and for reads across namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    /// Empty, or `status`.
    pub(crate) subresource: String,
    pub(crate) query: BTreeMap<String, String>,
    /// The part of the User-Agent before the slash.
    pub(crate) agent: String,
    pub(crate) metadata_only: bool,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn parse(
        parts: &Parts,
        body: Bytes,
        resources: &[Arc<Resource>],
    ) -> Result<Self, Failure> {
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let target = Target::parse(parts.uri.path(), resources)?;
        let one = !target.name.is_empty();
        let watches = matches!(query.get("watch").map(String::as_str), Some("true" | "1"));
        let verb = match (&parts.method, one) {
            (&Method::GET, true) => Verb::Get,
            (&Method::GET, false) if watches => Verb::Watch,
            (&Method::GET, false) => Verb::List,
            (&Method::POST, false) => Verb::Create,
            (&Method::PUT, true) => Verb::Update,
            (&Method::PATCH, true) => Verb::Patch,
            (&Method::DELETE, true) if target.subresource.is_empty() => Verb::Delete,
            _ => return Err(Failure::method_not_allowed()),
        };
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let agent = text(header::USER_AGENT).unwrap_or_default();
        let content_type = text(header::CONTENT_TYPE).unwrap_or("application/json");
        Ok(Self {
            verb,
            resource: target.resource,
            namespace: target.namespace,
            name: target.name,
            subresource: target.subresource,
            query,
            agent: agent.split('/').next().unwrap_or_default().to_owned(),
            metadata_only: text(header::ACCEPT)
                .is_some_and(|accepted| accepted.contains("as=PartialObjectMetadata")),
            content_type: content_type.split(';').next().unwrap_or_default().trim().to_owned(),
            body,
        })
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).and_then(|value| value.parse().ok())
    }

    pub(crate) fn is_status(&self) -> bool {
        self.subresource == "status"
    }

    /// The name under which changed fields are owned.
    pub(crate) fn manager(&self) -> String {
        self.parameter("fieldManager").unwrap_or(&self.agent).to_owned()
    }

    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::bad_request(format!("the body is no {}: {error}", self.resource.kind))
        })
    }
}

struct Target {
    resource: Arc<Resource>,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn parse(path: &str, resources: &[Arc<Resource>]) -> Result<Self, Failure> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Failure::no_such_path()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            other => ("", other),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Err(Failure::no_such_path()),
        };
        let resource = resources
            .iter()
            .find(|resource| {
                resource.group == group && resource.version == version && resource.plural == plural
            })
            .ok_or_else(Failure::no_such_path)?;
        let known = subresource.is_empty() || (subresource == "status" && resource.custom);
        let addressed = namespace.is_empty() || resource.namespaced;
        let complete = name.is_empty() || !resource.namespaced || !namespace.is_empty();
        if !known || !addressed || !complete {
            return Err(Failure::no_such_path());
        }
        Ok(Self {
            resource: Arc::clone(resource),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }
}
