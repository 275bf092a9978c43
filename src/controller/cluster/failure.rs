//! What went wrong between the operator and the API server, without anything of a body: messages of
//! the API server can quote values.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::domain::obstacle::Obstacle;

/// A call that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct Failure {
    /// What was tried.
    pub operation: Operation,
    /// What came of it.
    pub kind: Kind,
}

/// What was tried, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `get`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The namespace.
    pub namespace: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No answer, or none in time: the call may have been carried out.
    Unanswered,
    /// The answer was no JSON of the expected form. The call was carried out.
    Garbled,
    /// There is no such object.
    NotFound,
    /// There is no such namespace.
    NamespaceGone,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The object exists, or has another version.
    Outdated,
    /// The object as written is not valid, or has another uid.
    Invalid,
    /// A right is missing.
    Forbidden,
    /// A quota is used up.
    Quota,
    /// Too many requests; come again after that time.
    TooManyRequests(Option<Duration>),
    /// The server failed: the call may have been carried out.
    Server(u16, Option<Duration>),
    /// Anything else, with the one-word reason of the server.
    Refused(u16, String),
}

impl Failure {
    /// What to tell a user about it.
    pub fn obstacle(&self) -> Obstacle {
        let operation = &self.operation;
        let (verb, resource) = (operation.verb, operation.resource);
        match &self.kind {
            Kind::Forbidden => {
                Obstacle::Forbidden { verb, resource, namespace: operation.namespace.clone() }
            }
            Kind::Quota => Obstacle::Quota { resource },
            Kind::NamespaceGone | Kind::NamespaceTerminating => Obstacle::NamespaceTerminating,
            Kind::Invalid => Obstacle::Refused { verb, resource, reason: "Invalid".to_owned() },
            Kind::Refused(_, reason) => {
                Obstacle::Refused { verb, resource, reason: reason.clone() }
            }
            Kind::Outdated | Kind::NotFound => Obstacle::Contended,
            Kind::Unanswered | Kind::Garbled | Kind::TooManyRequests(_) | Kind::Server(..) => {
                Obstacle::Unavailable
            }
        }
    }
}

impl Kind {
    /// Reads an answer that is not a success.
    pub fn of(code: StatusCode, status: &Status, retry_after: Option<Duration>) -> Self {
        let details = status.details.as_ref();
        let has_cause = |wanted: &str| {
            let causes = details.and_then(|details| details.causes.as_deref()).unwrap_or_default();
            causes.iter().any(|cause| cause.reason.as_deref() == Some(wanted))
        };
        let is_about =
            |kind: &str| details.and_then(|details| details.kind.as_deref()) == Some(kind);
        let says = |text: &str| status.message.as_deref().is_some_and(|it| it.contains(text));
        match code.as_u16() {
            403 if has_cause("NamespaceTerminating") => Self::NamespaceTerminating,
            403 if says("exceeded quota") => Self::Quota,
            403 | 401 => Self::Forbidden,
            404 if is_about("namespaces") => Self::NamespaceGone,
            // Only an answer that names the object says that it is absent; a server that has not
            // loaded a resource yet answers 404 as well.
            404 if details.is_some_and(|details| details.name.is_some()) => Self::NotFound,
            404 => Self::Server(404, retry_after),
            409 => Self::Outdated,
            422 => Self::Invalid,
            429 => Self::TooManyRequests(retry_after),
            code @ 500.. => Self::Server(code, retry_after),
            code => Self::Refused(code, one_word(status.reason.as_deref())),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} in namespace {}", self.verb, self.resource, self.namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered => formatter.write_str("no answer in time"),
            Self::Garbled => formatter.write_str("an answer that cannot be read"),
            Self::NotFound => formatter.write_str("not found"),
            Self::NamespaceGone => formatter.write_str("the namespace does not exist"),
            Self::NamespaceTerminating => formatter.write_str("the namespace is being deleted"),
            Self::Outdated => formatter.write_str("changed in the meantime"),
            Self::Invalid => formatter.write_str("not valid"),
            Self::Forbidden => formatter.write_str("forbidden"),
            Self::Quota => formatter.write_str("quota exceeded"),
            Self::TooManyRequests(_) => formatter.write_str("too many requests"),
            Self::Server(code, _) => write!(formatter, "the API server failed with {code}"),
            Self::Refused(code, reason) => write!(formatter, "refused with {code} {reason}"),
        }
    }
}

/// A reason of the API server is one word in CamelCase; anything else is not repeated.
fn one_word(reason: Option<&str>) -> String {
    let is_word = |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    reason.filter(is_word).unwrap_or("Unknown").to_owned()
}
