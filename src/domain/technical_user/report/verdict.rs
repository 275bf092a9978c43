//! One sentence for each way a decision can rest: condition, reason and words together, so that
//! they cannot drift apart.

use crate::api::condition::ConditionStatus;
use crate::domain::credential::record::Unreadable;

/// How things stand when there is nothing to do, or nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user is gone: there is nobody to tell.
    Gone,
    /// The client secret is in the Secret and works.
    Delivered,
    /// The client secret was delivered once and is gone from the cluster.
    ReadOnce,
    /// The Secret is gone, and the user wants nothing done about it.
    DeletionIgnored,
    /// The Secret was altered, and the user wants nothing done about it.
    AlterationIgnored,
    /// Nothing is issued.
    Suspended,
    /// Another `TechnicalUser` holds the client id.
    ClientIdTaken,
    /// The verifier record cannot be read.
    Unreadable(Unreadable),
    /// The Secret of a predecessor is still there.
    AwaitingCollection,
    /// A Secret of that name belongs to somebody else.
    SecretConflict,
    /// The Secret is being deleted and waits for a finalizer.
    SecretTerminating,
    /// Nothing can be delivered into an immutable Secret.
    SecretImmutable,
    /// The record is full of client secrets that still work.
    TooManyCredentials,
    /// The spec passed admission but cannot be read.
    InvalidSpec,
    /// The API server did not let the operator do its work.
    Blocked(Obstacle),
}

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
    },
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The API server refused an object, perhaps by an admission policy.
    Refused {
        /// The verb.
        verb: &'static str,
        /// The resource.
        resource: &'static str,
        /// The reason of the API server, one word.
        reason: String,
    },
    /// The API server cannot be reached, is overloaded, or failed.
    Unavailable,
    /// Somebody changes what the operator writes, again and again.
    Contended,
}

/// What the condition `Ready` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the delivered client secret works.
    pub status: ConditionStatus,
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Whether somebody is working on it, or a person has to.
    pub progress: Progress,
}

/// Whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// The operator goes on by itself.
    Reconciling,
    /// A person has to act.
    Stalled,
}

// === impl Verdict ===

impl Verdict {
    /// The words for it. `works` tells whether a delivered client secret works meanwhile.
    pub fn readiness(&self, works: bool) -> Readiness {
        use Progress::{Done, Reconciling, Stalled};
        let (status, progress) = match self {
            Self::Delivered | Self::ReadOnce | Self::DeletionIgnored | Self::AlterationIgnored => {
                (ConditionStatus::True, Done)
            }
            Self::Gone | Self::Suspended => (ConditionStatus::False, Done),
            Self::AwaitingCollection | Self::SecretTerminating | Self::TooManyCredentials => {
                (working(works), Reconciling)
            }
            Self::ClientIdTaken
            | Self::Unreadable(_)
            | Self::SecretConflict
            | Self::SecretImmutable
            | Self::InvalidSpec => (ConditionStatus::False, Stalled),
            Self::Blocked(obstacle) => (working(works), obstacle.progress()),
        };
        Readiness { status, reason: self.reason(), message: self.message(), progress }
    }

    /// One word for machines: the `reason` of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "Deleted",
            Self::Delivered => "Issued",
            Self::ReadOnce => "DeliveredOnce",
            Self::DeletionIgnored => "DeletionIgnored",
            Self::AlterationIgnored => "AlterationIgnored",
            Self::Suspended => "Suspended",
            Self::ClientIdTaken => "ClientIDTaken",
            Self::Unreadable(_) => "RecordUnreadable",
            Self::AwaitingCollection => "AwaitingCollection",
            Self::SecretConflict => "SecretConflict",
            Self::SecretTerminating => "SecretTerminating",
            Self::SecretImmutable => "SecretImmutable",
            Self::TooManyCredentials => "TooManyCredentials",
            Self::InvalidSpec => "InvalidSpec",
            Self::Blocked(obstacle) => obstacle.reason(),
        }
    }

    fn message(&self) -> String {
        let text = match self {
            Self::Gone => "The TechnicalUser is gone.",
            Self::Delivered => "The client secret is in the Secret and works.",
            Self::ReadOnce => {
                "The client secret was delivered once and works. It cannot be shown again: request \
                 a rotation with the annotation iam.cyoda.com/rotate-requested-at for a new one."
            }
            Self::DeletionIgnored => {
                "The client secret works, but its Secret was deleted and delivery.onDeleted is \
                 Ignore: a new one is written at the next rotation, which the annotation \
                 iam.cyoda.com/rotate-requested-at asks for."
            }
            Self::AlterationIgnored => {
                "The client secret works, but somebody changed it in the Secret and \
                 delivery.onDeleted is Ignore: a new one is written at the next rotation, which \
                 the annotation iam.cyoda.com/rotate-requested-at asks for."
            }
            Self::Suspended => {
                "spec.suspend is true: nothing is issued or rotated, and tokens are refused, until \
                 it is false again."
            }
            Self::Unreadable(reason) => {
                return format!(
                    "The verifier record cannot be read: {reason}. It is not written over, since \
                     its verifiers may be all there is. An administrator has to restore the \
                     Secret in the operator's namespace, or delete it: then a new client secret is \
                     issued."
                );
            }
            Self::Blocked(obstacle) => return obstacle.message(),
            Self::ClientIdTaken
            | Self::AwaitingCollection
            | Self::SecretConflict
            | Self::SecretTerminating
            | Self::SecretImmutable
            | Self::TooManyCredentials
            | Self::InvalidSpec => self.remedy(),
        };
        text.to_owned()
    }

    /// What is wrong, and what its user can do about it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::ClientIdTaken => {
                "The client id in spec.clientID belongs to another TechnicalUser of this cluster. \
                 It cannot be changed: create a new TechnicalUser with another clientID, or \
                 without one."
            }
            Self::AwaitingCollection => {
                "The Secret still belongs to a TechnicalUser of the same name that was deleted. \
                 Waiting for the garbage collector of Kubernetes."
            }
            Self::SecretConflict => {
                "A Secret of the name this TechnicalUser delivers to exists and does not belong to \
                 it. It is left alone. Delete or rename it, or create a new TechnicalUser with \
                 another secretTemplate.name."
            }
            Self::SecretTerminating => {
                "The Secret is being deleted and waits for a finalizer of somebody else. A new one \
                 is written once it is gone."
            }
            Self::SecretImmutable => {
                "Somebody made the Secret immutable, so that no new client secret can be written \
                 into it. Delete the Secret: it is made anew."
            }
            Self::TooManyCredentials => {
                "Eight client secrets still work, which is the most. The next is issued when the \
                 first of them ends; the annotation iam.cyoda.com/revoke-requested-at ends all of \
                 them now."
            }
            Self::InvalidSpec => {
                "The spec cannot be read: a duration or the client id is not valid. Correct it; \
                 kubectl explain tu.spec tells the form."
            }
            Self::Gone
            | Self::Delivered
            | Self::ReadOnce
            | Self::DeletionIgnored
            | Self::AlterationIgnored
            | Self::Suspended
            | Self::Unreadable(_)
            | Self::Blocked(_) => "",
        }
    }
}

// === impl Obstacle ===

impl Obstacle {
    fn progress(&self) -> Progress {
        match self {
            Self::Forbidden { .. } | Self::Quota { .. } | Self::Refused { .. } => Progress::Stalled,
            Self::NamespaceTerminating | Self::Unavailable | Self::Contended => {
                Progress::Reconciling
            }
        }
    }

    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "Forbidden",
            Self::Quota { .. } => "QuotaExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::Refused { .. } => "Refused",
            Self::Unavailable => "ApiServerUnavailable",
            Self::Contended => "Contended",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Forbidden { verb, resource, namespace } => format!(
                "The operator may not {verb} {resource} in namespace {namespace}. Grant that right \
                 to its service account."
            ),
            Self::Quota { resource } => format!(
                "A quota of this namespace leaves no room for another one of {resource}. Raise the \
                 quota or delete something."
            ),
            Self::NamespaceTerminating => {
                "The namespace is being deleted: nothing new can be made in it.".to_owned()
            }
            Self::Refused { verb, resource, reason } => format!(
                "The API server refused to {verb} {resource} ({reason}). An admission policy may \
                 forbid it: look at the policies of this namespace."
            ),
            Self::Unavailable => {
                "The API server does not answer as it should. The operator tries again.".to_owned()
            }
            Self::Contended => {
                "Somebody else keeps changing what the operator writes. Find out who \
                                manages the Secret beside the operator."
                    .to_owned()
            }
        }
    }
}

fn working(works: bool) -> ConditionStatus {
    if works { ConditionStatus::True } else { ConditionStatus::False }
}
