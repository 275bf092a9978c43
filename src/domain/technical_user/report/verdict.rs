//! One sentence for each way a decision can rest: condition, reason and words together, so that
//! they cannot drift apart.

use jiff::Timestamp;

use crate::api::condition::ConditionStatus;
use crate::domain::credential::record::{Owner, Unreadable};
use crate::domain::obstacle::Obstacle;
use crate::domain::policy::Excess;
use crate::domain::readiness::{Progress, Readiness, seconds, working};

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
    /// The client secret is delivered, and tokens do not say what the spec asks for.
    NotAllowed {
        /// The `TechnicalUser`.
        user: Box<Owner>,
        /// What the installation does not allow.
        excess: Box<Excess>,
    },
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
    /// The Secret was lost so often that its next client secret has to wait.
    LossesPaced {
        /// How many client secrets were replaced that still work.
        replaced: usize,
        /// When the next one follows.
        resumes_at: Timestamp,
    },
    /// The spec passed admission but cannot be read.
    InvalidSpec,
    /// The API server did not let the operator do its work.
    Blocked(Obstacle),
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
            | Self::NotAllowed { .. }
            | Self::InvalidSpec => (ConditionStatus::False, Stalled),
            Self::LossesPaced { .. } => (ConditionStatus::False, Reconciling),
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
            Self::NotAllowed { excess, .. } => excess.reason(),
            Self::ClientIdTaken => "ClientIDTaken",
            Self::Unreadable(_) => "RecordUnreadable",
            Self::AwaitingCollection => "AwaitingCollection",
            Self::SecretConflict => "SecretConflict",
            Self::SecretTerminating => "SecretTerminating",
            Self::SecretImmutable => "SecretImmutable",
            Self::TooManyCredentials => "TooManyCredentials",
            Self::LossesPaced { .. } => "SecretLostRepeatedly",
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
            Self::NotAllowed { user, excess } => {
                return excess.message(&user.namespace, &user.name);
            }
            Self::Blocked(obstacle) => return obstacle.message(),
            Self::LossesPaced { replaced, resumes_at } => {
                return format!(
                    "The delivered Secret was deleted or altered again and again: {replaced} \
                     client secrets were replaced and still work. Something in the cluster acts in \
                     a loop, often a GitOps tool that prunes the Secret. The next client secret is \
                     issued at {}. Stop the loop, then set the annotation \
                     iam.cyoda.com/rotate-requested-at to have it at once.",
                    seconds(*resumes_at)
                );
            }
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
                 The operator deletes it if the garbage collector of Kubernetes does not."
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
            | Self::NotAllowed { .. }
            | Self::Unreadable(_)
            | Self::LossesPaced { .. }
            | Self::Blocked(_) => "",
        }
    }
}
