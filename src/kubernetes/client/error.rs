//! What went wrong between the operator and the API server, without anything of a body: messages of
//! the API server can quote values.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::unavailable::{NoAnswer, Unavailable};

pub use crate::domain::conditions::blocked_reason::Operation;

/// A call that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {kind}")]
pub struct ApiError {
    /// What was tried.
    pub operation: Operation,
    /// What came of it.
    pub kind: ApiErrorKind,
    /// The quota that is used up, or the `ServiceAccount` that lacks a right, if the API server said.
    pub culprit: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// No answer, or none in time: the call may have been carried out.
    NoAnswer(NoAnswer),
    /// The answer was no JSON of the expected form. The call was carried out.
    InvalidResponse,
    /// The answer was larger than the caller takes.
    Oversized,
    /// There is no such object.
    NotFound,
    /// There is no such namespace.
    NamespaceGone,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The object exists, or has another version.
    Conflict,
    /// The object as written is not valid, or has another uid.
    Invalid,
    /// A right is missing.
    Forbidden,
    /// The admission policy or the webhook of that name forbids it.
    AdmissionDenied(String),
    /// A quota is used up.
    QuotaExceeded,
    /// Too many requests; come again after that time.
    TooManyRequests(Option<Duration>),
    /// The server failed: the call may have been carried out.
    Server(u16, Option<Duration>),
    /// Anything else, with the one-word reason of the server.
    Refused(u16, String),
}

impl ApiError {
    /// What to tell a user about it.
    pub fn blocked_reason(&self) -> BlockedReason {
        let operation = self.operation.clone();
        let refused = |reason: &str| {
            let operation = self.operation.clone();
            BlockedReason::Refused { operation, reason: reason.to_owned() }
        };
        let unavailable = BlockedReason::ApiServerUnavailable;
        match &self.kind {
            ApiErrorKind::Forbidden => {
                BlockedReason::Forbidden { operation, account: self.culprit.clone() }
            }
            ApiErrorKind::QuotaExceeded => {
                BlockedReason::QuotaExceeded { operation, quota: self.culprit.clone() }
            }
            ApiErrorKind::NamespaceGone | ApiErrorKind::NamespaceTerminating => {
                BlockedReason::NamespaceTerminating { namespace: operation.namespace }
            }
            ApiErrorKind::AdmissionDenied(policy) => {
                BlockedReason::Denied { operation, policy: policy.clone() }
            }
            ApiErrorKind::Invalid => refused("Invalid"),
            ApiErrorKind::Refused(_, reason) => refused(reason),
            ApiErrorKind::Conflict | ApiErrorKind::NotFound => {
                BlockedReason::WriteConflict { object: Some(operation.object()) }
            }
            ApiErrorKind::NoAnswer(cause) => unavailable(Unavailable::NoAnswer(*cause)),
            ApiErrorKind::InvalidResponse => unavailable(Unavailable::InvalidResponse),
            ApiErrorKind::Oversized => unavailable(Unavailable::Oversized),
            ApiErrorKind::TooManyRequests(_) => unavailable(Unavailable::TooManyRequests),
            ApiErrorKind::Server(code, _) => unavailable(Unavailable::Server(*code)),
        }
    }
}

impl ApiErrorKind {
    /// Whether the API server itself said that nothing was carried out.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NamespaceTerminating
            | Self::Invalid
            | Self::Forbidden
            | Self::AdmissionDenied(_)
            | Self::QuotaExceeded => true,
            Self::NoAnswer(_)
            | Self::InvalidResponse
            | Self::Oversized
            | Self::NotFound
            | Self::NamespaceGone
            | Self::Conflict
            | Self::TooManyRequests(_)
            | Self::Server(..)
            | Self::Refused(..) => false,
        }
    }

    /// Reads an answer that is not a success.
    pub fn of(code: StatusCode, status: &Status, retry_after: Option<Duration>) -> Self {
        let details = status.details.as_ref();
        let has_cause = |wanted: &str| {
            let causes = details.and_then(|details| details.causes.as_deref()).unwrap_or_default();
            causes.iter().any(|cause| cause.reason.as_deref() == Some(wanted))
        };
        let is_about =
            |kind: &str| details.and_then(|details| details.kind.as_deref()) == Some(kind);
        let message = status.message.as_deref().unwrap_or_default();
        let says = |text: &str| message.contains(text);
        // A proxy on the way has refusals of its own, and says nothing of what came of the call.
        let is_told = status.code == Some(i32::from(code.as_u16()));
        if let Some(policy) = denied_by(message).filter(|_| is_told && code.is_client_error()) {
            return Self::AdmissionDenied(policy.to_owned());
        }
        match code.as_u16() {
            403 if has_cause("NamespaceTerminating") => Self::NamespaceTerminating,
            403 if says("exceeded quota") => Self::QuotaExceeded,
            401 if is_told => Self::Forbidden,
            403 if is_told && says(" is forbidden: User \"") => Self::Forbidden,
            404 if is_about("namespaces") => Self::NamespaceGone,
            // Only an answer that names the object says that it is absent; a server that has not
            // loaded a resource yet answers 404 as well.
            404 if details.is_some_and(|details| details.name.is_some()) => Self::NotFound,
            404 => Self::Server(404, retry_after),
            409 => Self::Conflict,
            422 if is_told => Self::Invalid,
            429 => Self::TooManyRequests(retry_after),
            code @ 500.. => Self::Server(code, retry_after),
            code => Self::Refused(code, one_word(status.reason.as_deref())),
        }
    }
}

impl fmt::Display for ApiErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(cause) => write!(formatter, "no answer: {cause}"),
            Self::InvalidResponse => formatter.write_str("an answer that cannot be read"),
            Self::Oversized => formatter.write_str("an answer that is too large"),
            Self::NotFound => formatter.write_str("not found"),
            Self::NamespaceGone => formatter.write_str("the namespace does not exist"),
            Self::NamespaceTerminating => formatter.write_str("the namespace is being deleted"),
            Self::Conflict => formatter.write_str("changed in the meantime"),
            Self::Invalid => formatter.write_str("not valid"),
            Self::Forbidden => formatter.write_str("forbidden"),
            Self::AdmissionDenied(policy) => {
                write!(formatter, "forbidden by the admission policy {policy}")
            }
            Self::QuotaExceeded => formatter.write_str("quota exceeded"),
            Self::TooManyRequests(_) => formatter.write_str("too many requests"),
            Self::Server(code, _) => write!(formatter, "the API server failed with {code}"),
            Self::Refused(code, reason) => write!(formatter, "refused with {code} {reason}"),
        }
    }
}

/// The policy or webhook that a message of the API server begins with. What follows is the words of
/// that policy, which may quote anything.
fn denied_by(message: &str) -> Option<&str> {
    let by_webhook = || message.strip_prefix("admission webhook \"")?.split_once('"');
    let by_policy = || {
        let (_, why) = message.split_once(" is forbidden: ")?;
        why.strip_prefix("ValidatingAdmissionPolicy '")?.split_once('\'')
    };
    let (name, _) = by_webhook().or_else(by_policy)?;
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    (name.len() <= MAX_NAME && name.bytes().all(is_part)).then_some(name)
}

/// The `ResourceQuota` or the `ServiceAccount` (`namespace/name`) that a refusal is about. Nothing else of
/// the message is repeated.
pub(super) fn culprit(kind: &ApiErrorKind, status: &Status) -> Option<String> {
    let message = status.message.as_deref().unwrap_or_default();
    let is_name = |text: &str| {
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(is_part)
    };
    match kind {
        ApiErrorKind::QuotaExceeded => {
            let (_, rest) = message.split_once("exceeded quota: ")?;
            let (name, _) = rest.split_once(',')?;
            is_name(name).then(|| name.to_owned())
        }
        ApiErrorKind::Forbidden => {
            let (_, rest) = message.split_once(" is forbidden: User \"system:serviceaccount:")?;
            let (namespace, name) = rest.split_once('"')?.0.split_once(':')?;
            (is_name(namespace) && is_name(name)).then(|| format!("{namespace}/{name}"))
        }
        ApiErrorKind::NoAnswer(_)
        | ApiErrorKind::InvalidResponse
        | ApiErrorKind::Oversized
        | ApiErrorKind::NotFound
        | ApiErrorKind::NamespaceGone
        | ApiErrorKind::NamespaceTerminating
        | ApiErrorKind::Conflict
        | ApiErrorKind::Invalid
        | ApiErrorKind::AdmissionDenied(_)
        | ApiErrorKind::TooManyRequests(_)
        | ApiErrorKind::Server(..)
        | ApiErrorKind::Refused(..) => None,
    }
}

/// The longest name that Kubernetes takes.
const MAX_NAME: usize = 253;

/// A reason of the API server is one word in CamelCase; anything else is not repeated.
fn one_word(reason: Option<&str>) -> String {
    let is_word = |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    reason.filter(is_word).unwrap_or("Unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OF_RBAC: &str = "secrets \"a\" is forbidden: User \"system:serviceaccount:x:y\" cannot \
                           patch resource \"secrets\" in API group \"\" in the namespace \"b\"";
    const OF_POLICY: &str = "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'no-secrets' \
                             with binding 'all' denied request: client_secret is hunter2";
    const OF_WEBHOOK: &str = "admission webhook \"guard.example.com\" denied the request: hunter2";

    #[test]
    fn a_refusal_is_told_by_the_words_that_come_before_those_of_a_policy() {
        let table = [
            (403, OF_RBAC, ApiErrorKind::Forbidden),
            (422, OF_POLICY, ApiErrorKind::AdmissionDenied("no-secrets".to_owned())),
            (403, OF_POLICY, ApiErrorKind::AdmissionDenied("no-secrets".to_owned())),
            (400, OF_WEBHOOK, ApiErrorKind::AdmissionDenied("guard.example.com".to_owned())),
            (409, OF_WEBHOOK, ApiErrorKind::AdmissionDenied("guard.example.com".to_owned())),
            (422, "Secret \"a\" is invalid", ApiErrorKind::Invalid),
            (
                403,
                "pods \"a\" is forbidden: too plain",
                ApiErrorKind::Refused(403, "Some".to_owned()),
            ),
            (403, "admission webhook \"hunter 2\"", ApiErrorKind::Refused(403, "Some".to_owned())),
        ];
        for (code, message, expected) in &table {
            assert_eq!(of(*code, message, Some(*code)), *expected, "{message}");
        }
        for (code, message, _) in table {
            assert!(!of(code, message, None).is_refusal(), "{message}");
        }
    }

    #[test]
    fn nothing_that_a_policy_quotes_is_repeated() {
        for message in [OF_POLICY, OF_WEBHOOK] {
            let kind = of(403, message, Some(403));

            assert!(!format!("{kind} {kind:?}").contains("hunter"), "{kind}");
        }
    }

    #[test]
    fn a_refusal_names_the_quota_or_the_service_account_and_nothing_else() {
        let quota = "secrets \"a\" is forbidden: exceeded quota: few, requested: secrets=1, used: \
                     secrets=0, limited: secrets=0";
        let table = [
            (quota, Some("few")),
            (OF_RBAC, Some("x/y")),
            ("secrets \"a\" is forbidden: exceeded quota: hunter 2, requested", None),
            ("secrets \"a\" is forbidden: User \"hunter2\" cannot patch", None),
            (OF_POLICY, None),
            (OF_WEBHOOK, None),
        ];
        for (message, expected) in table {
            let kind = of(403, message, Some(403));

            assert_eq!(culprit(&kind, &status(message, Some(403))).as_deref(), expected);
        }
    }

    fn of(code: u16, message: &str, event: Option<u16>) -> ApiErrorKind {
        ApiErrorKind::of(StatusCode::from_u16(code).unwrap(), &status(message, event), None)
    }

    fn status(message: &str, event: Option<u16>) -> Status {
        let status = json!({"message": message, "reason": "Some", "code": event});
        serde_json::from_value(status).unwrap()
    }
}
