//! What keeps the operator from its work, in words that say what to do about it.

use std::fmt;

use super::readiness::Progress;
use super::unavailable::Unavailable;

/// One request to the API server, in the words of RBAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `get`, `list`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The namespace; empty for all namespaces, and for an object that has none.
    pub namespace: String,
    /// The name of the object; empty for a list.
    pub name: String,
}

/// What keeps the operator from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockedReason {
    /// It lacks a right.
    Forbidden {
        /// The request that needs it.
        operation: Operation,
        /// The `ServiceAccount` that lacks it, as `namespace/name`, if the API server said so.
        account: Option<String>,
    },
    /// A quota of the namespace is used up.
    QuotaExceeded {
        /// The request that it refused.
        operation: Operation,
        /// The name of the `ResourceQuota`, if the API server said so.
        quota: Option<String>,
    },
    /// The namespace is being deleted.
    NamespaceTerminating {
        /// Its name.
        namespace: String,
    },
    /// An admission policy or a webhook forbids it.
    Denied {
        /// The request that it forbids.
        operation: Operation,
        /// The name of the policy or webhook.
        policy: String,
    },
    /// The API server refused an object, and did not say which policy forbids it.
    Refused {
        /// The request that it refused.
        operation: Operation,
        /// The reason of the API server, one word.
        reason: String,
    },
    /// An object still belongs to a predecessor of the same name, which was deleted.
    AwaitingGarbageCollection {
        /// Its kind, namespace and name.
        object: String,
    },
    /// The API server cannot be reached, is overloaded, or failed.
    ApiServerUnavailable(Unavailable),
    /// Another program changes what the operator writes, again and again.
    WriteConflict {
        /// The kind, namespace and name of what is changed, unless it is one of several objects.
        object: Option<String>,
    },
}

// === impl BlockedReason ===

impl BlockedReason {
    /// Whether waiting helps.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Forbidden { .. }
            | Self::QuotaExceeded { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => Progress::Stalled,
            Self::NamespaceTerminating { .. }
            | Self::AwaitingGarbageCollection { .. }
            | Self::ApiServerUnavailable(_)
            | Self::WriteConflict { .. } => Progress::Reconciling,
        }
    }

    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "Forbidden",
            Self::QuotaExceeded { .. } => "QuotaExceeded",
            Self::NamespaceTerminating { .. } => "NamespaceTerminating",
            Self::Denied { .. } | Self::Refused { .. } => "AdmissionDenied",
            Self::AwaitingGarbageCollection { .. } => "AwaitingGarbageCollection",
            Self::ApiServerUnavailable(_) => "ApiServerUnavailable",
            Self::WriteConflict { .. } => "WriteConflict",
        }
    }

    /// What is wrong with which object, and what can be done about it.
    pub fn message(&self) -> String {
        match self {
            Self::Forbidden { operation, account } => {
                let account = account.as_ref().map(|it| format!("ServiceAccount {it}"));
                let account = account.as_deref().unwrap_or("The ServiceAccount of the operator");
                format!(
                    "{account} may not {}. Grant it that right: config/rbac.yaml has all of them.",
                    operation.sentence()
                )
            }
            Self::QuotaExceeded { operation, quota } => {
                let namespace = &operation.namespace;
                let quota = quota.as_ref().map(|it| format!("ResourceQuota {namespace}/{it}"));
                let quota = quota.unwrap_or_else(|| format!("A quota of namespace {namespace}"));
                format!(
                    "{quota} does not allow another object like {}. Raise the quota, or delete something that it \
                     counts.",
                    operation.object()
                )
            }
            Self::NamespaceTerminating { namespace } => {
                format!("Namespace {namespace} is being deleted: nothing new can be made in it.")
            }
            Self::Denied { operation, policy } => format!(
                "The admission policy {policy} does not let the operator {}. Exempt the \
                 ServiceAccount of the operator, or change the policy.",
                operation.sentence()
            ),
            Self::Refused { operation, reason } => format!(
                "The API server refused to {} ({reason}). An admission policy may forbid it: check \
                 the policies of that namespace.",
                operation.sentence()
            ),
            Self::AwaitingGarbageCollection { object } => format!(
                "{object} still belongs to a deleted resource of the same name. The operator \
                 deletes it if the garbage collector of Kubernetes does not."
            ),
            Self::ApiServerUnavailable(why) => format!(
                "The API server does not answer as it should ({why}). The operator tries again."
            ),
            Self::WriteConflict { object: Some(object) } => format!(
                "Another program keeps changing {object}, which the operator writes. Find that \
                 program: metadata.managedFields names it."
            ),
            Self::WriteConflict { object: None } => {
                "Another program keeps changing the objects that the operator writes for this resource. Find \
                 that program: their metadata.managedFields name it."
                    .to_owned()
            }
        }
    }
}

// === impl Operation ===

impl Operation {
    /// A request on one object.
    pub fn on(verb: &'static str, resource: &'static str, namespace: &str, name: &str) -> Self {
        Self { verb, resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The object, by its kind and name.
    pub fn object(&self) -> String {
        let Self { resource, namespace, name, .. } = self;
        let at = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        match resource.split('/').next() {
            Some("configmaps") => format!("ConfigMap {at}"),
            Some("secrets") => format!("Secret {at}"),
            Some("signingkeys") => format!("SigningKey {at}"),
            Some("technicalusers") => format!("TechnicalUser {at}"),
            Some(_) | None => format!("{resource} {at}"),
        }
    }

    /// The request as a sentence about rights goes on: the right first, the object after it.
    fn sentence(&self) -> String {
        let Self { verb, resource, namespace, name } = self;
        match (namespace.as_str(), name.as_str()) {
            ("", "") => format!("{verb} {resource}"),
            ("", name) => format!("{verb} {resource} ({name})"),
            (namespace, "") => format!("{verb} {resource} in namespace {namespace}"),
            (namespace, name) => {
                format!("{verb} {resource} in namespace {namespace} ({namespace}/{name})")
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, namespace, name } = self;
        match (namespace.as_str(), name.as_str()) {
            ("", "") => write!(formatter, "{verb} {resource}"),
            ("", name) => write!(formatter, "{verb} {resource} {name}"),
            (namespace, "") => write!(formatter, "{verb} {resource} in namespace {namespace}"),
            (namespace, name) => write!(formatter, "{verb} {resource} {namespace}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(namespace: &str, name: &str) -> Operation {
        Operation::on("create", "secrets", namespace, name)
    }

    #[test]
    fn every_message_about_an_object_names_it() {
        let operation = || operation("shop", "billing-credentials");
        let account = Some("system/operator".to_owned());
        let (policy, reason) = ("no-secrets".to_owned(), "Invalid".to_owned());
        let table = [
            (BlockedReason::Forbidden { operation: operation(), account }, "system/operator"),
            (
                BlockedReason::QuotaExceeded {
                    operation: operation(),
                    quota: Some("few".to_owned()),
                },
                "shop/few",
            ),
            (BlockedReason::Denied { operation: operation(), policy }, "no-secrets"),
            (BlockedReason::Refused { operation: operation(), reason }, "Invalid"),
        ];
        for (blocked_reason, culprit) in table {
            let message = blocked_reason.message();

            assert!(message.contains("shop/billing-credentials"), "{message}");
            assert!(message.contains(culprit), "{message}");
        }
        let object = || "ConfigMap shop/default-jwks".to_owned();
        for blocked_reason in [
            BlockedReason::AwaitingGarbageCollection { object: object() },
            BlockedReason::WriteConflict { object: Some(object()) },
        ] {
            let message = blocked_reason.message();

            assert!(message.contains(&object()), "{message}");
        }
        let terminating = BlockedReason::NamespaceTerminating { namespace: "shop".to_owned() };
        assert!(terminating.message().contains("Namespace shop "));
    }

    #[test]
    fn an_operation_reads_as_kubectl_would_have_it() {
        let table = [
            (operation("", ""), "create secrets"),
            (operation("", "default"), "create secrets default"),
            (operation("shop", ""), "create secrets in namespace shop"),
            (operation("shop", "billing"), "create secrets shop/billing"),
        ];
        for (operation, expected) in table {
            assert_eq!(operation.to_string(), expected);
        }
    }

    #[test]
    fn the_object_of_an_operation_has_its_kind() {
        let status = Operation::on("patch", "signingkeys/status", "", "default");

        assert_eq!(operation("shop", "billing").object(), "Secret shop/billing");
        assert_eq!(status.object(), "SigningKey default");
    }
}
