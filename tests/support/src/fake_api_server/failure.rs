//! Refusals, shaped as the API server shapes them: clients branch on code, reason and details. Only the
//! messages that the operator reads are worded as there.

use serde_json::{Value, json};

use super::resource::Resource;

/// What the API server answers instead of an object.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    /// A refusal about one object.
    fn about(resource: &Resource, name: &str, failure: Self) -> Self {
        Self { details: details(resource, name, &resource.plural), ..failure }
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::about(resource, name, Self::new(404, "NotFound", message))
    }

    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self { details: json!({}), ..Self::new(404, "NotFound", message) }
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::about(resource, name, Self::new(409, "AlreadyExists", message))
    }

    /// The answer to a write that was computed from another version of the object, or from another object.
    pub(crate) fn stale(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" has been modified", resource.qualified());
        Self::about(resource, name, Self::new(409, "Conflict", message))
    }

    /// The answer to a deletion of another object than meant: here the server speaks of the kind.
    pub(crate) fn other_object(resource: &Resource, name: &str) -> Self {
        let details = details(resource, name, &resource.kind);
        Self { details, ..Self::stale(resource, name) }
    }

    /// The answer to an apply that others object to.
    pub(crate) fn apply_conflict() -> Self {
        let details = json!({"causes": [{"reason": "FieldManagerConflict"}]});
        Self { details, ..Self::new(409, "Conflict", "Apply failed with a conflict") }
    }

    /// A refusal for what the object says: reasons and fields.
    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[(&str, &str)]) -> Self {
        let message = format!("{} \"{name}\" is invalid", resource.kind);
        let mut details = details(resource, name, &resource.kind);
        let causes = causes.iter().map(|(reason, field)| json!({"reason": reason, "field": field}));
        details["causes"] = causes.collect();
        Self { details, ..Self::new(422, "Invalid", message) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the resource does not have this method")
    }

    pub(crate) fn expired() -> Self {
        Self::new(410, "Expired", "the resourceVersion is too old")
    }

    pub(crate) fn over_quota(resource: &Resource, name: &str, used: usize, hard: usize) -> Self {
        let counted = format!("count/{}", resource.qualified());
        let message = format!(
            "{} \"{name}\" is forbidden: exceeded quota: quota, requested: {counted}=1, used: \
             {counted}={used}, limited: {counted}={hard}",
            resource.qualified()
        );
        Self::about(resource, name, Self::new(403, "Forbidden", message))
    }

    /// The answer of the RBAC authorizer to a request in a namespace.
    pub(crate) fn no_right(resource: &Resource, user: &str, verb: &str, namespace: &str) -> Self {
        let message = format!(
            "{} is forbidden: User \"{user}\" cannot {verb} resource \"{}\" in API group \"{}\" in the \
             namespace \"{namespace}\"",
            resource.qualified(),
            resource.plural,
            resource.group
        );
        Self::about(resource, "", Self::new(403, "Forbidden", message))
    }

    /// The refusal as the body of a response.
    pub(crate) fn body(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// `details` of a Status: name, group and what the server calls kind.
pub(crate) fn details(resource: &Resource, name: &str, kind: &str) -> Value {
    let mut details = json!({"kind": kind});
    for (field, text) in [("name", name), ("group", resource.group.as_str())] {
        if !text.is_empty() {
            details[field] = text.into();
        }
    }
    details
}
