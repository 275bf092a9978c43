//! Refusals, worded and shaped as the API server words them: clients branch on code and reason, and
//! people read the message.

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::resource::Resource;

/// What the API server answers instead of an object.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
}

/// One thing that is wrong with an object, at one field.
#[derive(Debug, Clone)]
pub(crate) struct FieldError {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn invalid(field: &str, value: &Value, text: &str) -> Self {
        let shown = if value.is_null() { "\"\"".to_owned() } else { value.to_string() };
        Self {
            reason: "FieldValueInvalid",
            field: field.to_owned(),
            message: format!("Invalid value: {shown}: {text}"),
        }
    }

    pub(crate) fn forbidden(field: &str, text: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            field: field.to_owned(),
            message: format!("Forbidden: {text}"),
        }
    }

    pub(crate) fn required(field: &str, text: &str) -> Self {
        let message = if text.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {text}")
        };
        Self { reason: "FieldValueRequired", field: field.to_owned(), message }
    }
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: String, details: Option<Value>) -> Self {
        Self { code, reason, message, details }
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message, Some(details(resource, name, &resource.plural)))
    }

    pub(crate) fn no_such_path() -> Self {
        let details = json!({"causes": [{
            "reason": "UnexpectedServerResponse",
            "message": "404 page not found"
        }]});
        let message = "the server could not find the requested resource".to_owned();
        Self::new(404, "NotFound", message, Some(details))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str, is_going: bool) -> Self {
        let prefix = if is_going { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message, Some(details(resource, name, &resource.plural)))
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, text: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {text}", resource.qualified());
        Self::new(409, "Conflict", message, Some(details(resource, name, &resource.plural)))
    }

    /// The answer to a deletion of another object than meant: here the server speaks of the kind.
    pub(crate) fn other_object(resource: &Resource, name: &str, text: &str) -> Self {
        let group = &resource.group;
        let dot = if group.is_empty() { "" } else { "." };
        let message = format!(
            "Operation cannot be fulfilled on {}{dot}{group} \"{name}\": {text}",
            resource.kind
        );
        Self::new(409, "Conflict", message, Some(details(resource, name, &resource.kind)))
    }

    /// The answer to a write that was computed from another version of the object.
    pub(crate) fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    /// The answer to an apply that others object to: pairs of an owner and a field of its own.
    pub(crate) fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(owner, field)| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {owner}"),
                    "field": field
                })
            })
            .collect();
        let message = if let [(owner, field)] = conflicts {
            format!("Apply failed with 1 conflict: conflict with {owner}: {field}")
        } else {
            let mut owners: Vec<&String> = conflicts.iter().map(|(owner, _)| owner).collect();
            owners.sort();
            owners.dedup();
            let mut lines = Vec::new();
            for owner in owners {
                lines.push(format!("conflicts with {owner}:"));
                let fields = conflicts.iter().filter(|(of, _)| of == owner);
                lines.extend(fields.map(|(_, field)| format!("- {field}")));
            }
            format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
        };
        Self::new(409, "Conflict", message, Some(json!({ "causes": causes })))
    }

    /// A refusal for what the object says. `kind` is the kind, or the resource where the server
    /// itself mixes the two up.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = format!("{}: {}", error.field, error.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| {
                json!({"reason": error.reason, "message": error.message, "field": error.field})
            })
            .collect();
        let mut details = Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        }
        details.insert("causes".to_owned(), causes.into());
        let message = format!("{qualified} \"{name}\" is invalid: {text}");
        Self::new(422, "Invalid", message, Some(details.into()))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into(), None)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message.into(), None)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::new(405, "MethodNotAllowed", message, Some(json!({})))
    }

    pub(crate) fn unsupported_media_type(found: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, \
             application/apply-patch+yaml (got {found})"
        );
        Self::new(415, "UnsupportedMediaType", message, Some(json!({})))
    }

    pub(crate) fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message.to_owned(), None)
    }

    /// The answer to a read at a version that the server has not reached.
    pub(crate) fn too_large_version(wanted: u64, current: u64) -> Self {
        let details = json!({"retryAfterSeconds": 1, "causes": [{
            "reason": "ResourceVersionTooLarge",
            "message": "Too large resource version"
        }]});
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self::new(504, "Timeout", message, Some(details))
    }

    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let mut details = details(resource, name, &resource.plural);
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace"
        }]);
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} \
             because it is being terminated",
            resource.qualified()
        );
        Self::new(403, "Forbidden", message, Some(details))
    }

    pub(crate) fn over_quota(resource: &Resource, name: &str, used: usize, hard: usize) -> Self {
        let counted = format!("count/{}", resource.qualified());
        let message = format!(
            "{} \"{name}\" is forbidden: exceeded quota: quota, requested: {counted}=1, used: \
             {counted}={used}, limited: {counted}={hard}",
            resource.qualified()
        );
        Self::new(403, "Forbidden", message, Some(details(resource, name, &resource.plural)))
    }

    /// The answer of the RBAC authorizer.
    pub(crate) fn no_right(resource: &Resource, name: &str, what: &Attempt<'_>) -> Self {
        let subject = if name.is_empty() {
            resource.qualified()
        } else {
            format!("{} \"{name}\"", resource.qualified())
        };
        let scope = if what.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", what.namespace)
        };
        let subresource = if what.subresource.is_empty() {
            String::new()
        } else {
            format!("/{}", what.subresource)
        };
        let message = format!(
            "{subject} is forbidden: User \"{}\" cannot {} resource \"{}{subresource}\" in API \
             group \"{}\" {scope}",
            what.user, what.verb, resource.plural, resource.group
        );
        Self::new(403, "Forbidden", message, Some(details(resource, name, &resource.plural)))
    }

    /// The refusal as the body of a response.
    pub(crate) fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    /// Headers that go with the refusal.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let wait = self.details.as_ref().and_then(|details| details["retryAfterSeconds"].as_u64());
        if let Some(seconds) = wait {
            headers.insert(http::header::RETRY_AFTER, seconds.into());
        }
        headers
    }
}

/// Who tried what, for the words of the RBAC authorizer.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) user: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
}

/// `details` of a Status: name, group and what the server calls kind.
pub(crate) fn details(resource: &Resource, name: &str, kind: &str) -> Value {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".to_owned(), name.into());
    }
    if !resource.group.is_empty() {
        details.insert("group".to_owned(), resource.group.clone().into());
    }
    details.insert("kind".to_owned(), kind.into());
    details.into()
}
