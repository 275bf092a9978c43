//! What keeps the operator from its work, in words that say what to do about it.

use super::readiness::Progress;

/// What keeps the operator from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It lacks a right.
    Forbidden {
        /// The verb, as RBAC spells it.
        verb: &'static str,
        /// The resource, as RBAC spells it.
        resource: &'static str,
        /// The namespace.
        namespace: String,
    },
    /// A quota of the namespace is used up.
    Quota {
        /// The resource that the quota counts.
        resource: &'static str,
        /// The namespace.
        namespace: String,
    },
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// An admission policy or a webhook forbids it.
    Denied {
        /// The verb.
        verb: &'static str,
        /// The resource.
        resource: &'static str,
        /// The namespace.
        namespace: String,
        /// The name of the policy or webhook.
        policy: String,
    },
    /// The API server refused an object, and did not say which policy forbids it.
    Refused {
        /// The verb.
        verb: &'static str,
        /// The resource.
        resource: &'static str,
        /// The namespace.
        namespace: String,
        /// The reason of the API server, one word.
        reason: String,
    },
    /// Something of that name still belongs to a predecessor of the same name, which was deleted.
    AwaitingCollection,
    /// The API server cannot be reached, is overloaded, or failed.
    Unavailable,
    /// Somebody changes what the operator writes, again and again.
    Contended,
}

// === impl Obstacle ===

impl Obstacle {
    /// Whether waiting helps.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Forbidden { .. }
            | Self::Quota { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => Progress::Stalled,
            Self::NamespaceTerminating
            | Self::AwaitingCollection
            | Self::Unavailable
            | Self::Contended => Progress::Reconciling,
        }
    }

    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "Forbidden",
            Self::Quota { .. } => "QuotaExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::Denied { .. } | Self::Refused { .. } => "Refused",
            Self::AwaitingCollection => "AwaitingCollection",
            Self::Unavailable => "ApiServerUnavailable",
            Self::Contended => "Contended",
        }
    }

    /// What is wrong, and what can be done about it.
    pub fn message(&self) -> String {
        match self {
            Self::Forbidden { verb, resource, namespace } => format!(
                "The operator may not {verb} {resource} in namespace {namespace}. Grant that right \
                 to its service account."
            ),
            Self::Quota { resource, namespace } => format!(
                "A quota of namespace {namespace} leaves no room for another one of {resource}. \
                 Raise the quota or delete something."
            ),
            Self::NamespaceTerminating => {
                "The namespace is being deleted: nothing new can be made in it.".to_owned()
            }
            Self::Denied { verb, resource, namespace, policy } => format!(
                "The admission policy {policy} does not let the operator {verb} {resource} in \
                 namespace {namespace}. Except its service account, or change the resource so \
                 that the policy takes it."
            ),
            Self::Refused { verb, resource, namespace, reason } => format!(
                "The API server refused to {verb} {resource} in namespace {namespace} ({reason}). \
                 An admission policy may forbid it: look at the policies of that namespace."
            ),
            Self::AwaitingCollection => {
                "What has that name still belongs to a resource of the same name that was deleted. \
                 The operator deletes it if the garbage collector of Kubernetes does not."
                    .to_owned()
            }
            Self::Unavailable => {
                "The API server does not answer as it should. The operator tries again.".to_owned()
            }
            Self::Contended => {
                "Somebody else keeps changing what the operator writes. Find out who manages the \
                 same objects beside the operator."
                    .to_owned()
            }
        }
    }
}
