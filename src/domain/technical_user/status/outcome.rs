//! One sentence for each way a decision can rest: condition, reason and words together, so that
//! they cannot drift apart.

use jiff::{SignedDuration, Timestamp};

use crate::api::condition::ConditionStatus;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::readiness::{Progress, Readiness, ready_status, seconds};
use crate::domain::invalid_field::InvalidField;
use crate::domain::policy::Excess;
use crate::domain::technical_user::verifier_record::{Owner, Unreadable};

/// How things stand when there is nothing to do, or nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The user is gone: there is no status to write.
    Gone,
    /// The client secret is in the Secret and works.
    Delivered,
    /// As that, and the Secret goes at that instant, unless its reader deletes it before.
    Uncollected(Timestamp),
    /// The client secret was delivered once and is gone from the cluster.
    ReadOnce,
    /// The Secret that was to be read once had that time, and no reader was seen to delete it.
    NotCollected(SignedDuration),
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
        /// The roles and audiences that the installation does not allow.
        excess: Box<Excess>,
    },
    /// Another `TechnicalUser` holds the client id.
    ClientIdTaken,
    /// The verifier record cannot be read.
    Unreadable(Unreadable),
    /// The Secret of a predecessor is still there.
    AwaitingGarbageCollection,
    /// A Secret of that name belongs to another owner.
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
    InvalidSpec(InvalidField),
    /// The API server did not let the operator do its work.
    Blocked(BlockedReason),
}

/// The objects and values that the sentences name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) user: &'a Owner,
    pub(super) client_id: &'a str,
    /// The delivered Secret, in the namespace of the user.
    pub(super) secret: &'a str,
    /// The Secret with the verifier record, as `namespace/name`.
    pub(super) record: &'a str,
    /// When the first of the client secrets that were replaced ends.
    pub(super) first_end: Option<Timestamp>,
}

// === impl Outcome ===

impl Outcome {
    /// The content of `Ready`. `works` is true if a delivered client secret works in the meantime.
    pub(super) fn readiness(&self, names: &Names<'_>, works: bool) -> Readiness {
        let (status, progress) = self.status(works);
        Readiness { status, reason: self.reason(), message: self.message(names), progress }
    }

    /// Whether waiting helps.
    pub fn progress(&self) -> Progress {
        self.status(false).1
    }

    fn status(&self, works: bool) -> (ConditionStatus, Progress) {
        use Progress::{Done, Reconciling, Stalled};
        match self {
            Self::Delivered
            | Self::Uncollected(_)
            | Self::ReadOnce
            | Self::NotCollected(_)
            | Self::DeletionIgnored
            | Self::AlterationIgnored
            // The declared state is reached: kstatus and Helm would wait for it without end.
            | Self::Suspended => (ConditionStatus::True, Done),
            Self::Gone => (ConditionStatus::False, Done),
            Self::AwaitingGarbageCollection | Self::SecretTerminating | Self::TooManyCredentials => {
                (ready_status(works), Reconciling)
            }
            Self::ClientIdTaken
            | Self::Unreadable(_)
            | Self::SecretConflict
            | Self::SecretImmutable
            | Self::NotAllowed { .. }
            | Self::InvalidSpec(_) => (ConditionStatus::False, Stalled),
            Self::LossesPaced { .. } => (ConditionStatus::False, Reconciling),
            Self::Blocked(blocked_reason) => (ready_status(works), blocked_reason.progress()),
        }
    }

    /// One word for machines: the `reason` of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "Deleted",
            Self::Delivered => "Issued",
            Self::Uncollected(_) => "AwaitingReader",
            Self::ReadOnce => "DeliveredOnce",
            Self::NotCollected(_) => "NotCollected",
            Self::DeletionIgnored => "DeletionIgnored",
            Self::AlterationIgnored => "AlterationIgnored",
            Self::Suspended => "Suspended",
            Self::NotAllowed { excess, .. } => excess.reason(),
            Self::ClientIdTaken => "ClientIDTaken",
            Self::Unreadable(_) => "RecordUnreadable",
            Self::AwaitingGarbageCollection => "AwaitingGarbageCollection",
            Self::SecretConflict => "SecretConflict",
            Self::SecretTerminating => "SecretTerminating",
            Self::SecretImmutable => "SecretImmutable",
            Self::TooManyCredentials => "TooManyCredentials",
            Self::LossesPaced { .. } => "SecretLostRepeatedly",
            Self::InvalidSpec(_) => "InvalidSpec",
            Self::Blocked(blocked_reason) => blocked_reason.reason(),
        }
    }

    fn message(&self, names: &Names<'_>) -> String {
        let Names { user, secret, .. } = names;
        let (object, secret) = (user.object(), format!("Secret {}/{secret}", user.namespace));
        match self {
            Self::Gone | Self::Suspended => self.sentence(user),
            Self::Delivered => format!("The client secret of {object} is in {secret} and works."),
            Self::Uncollected(ends_at) => format!(
                "The client secret of {object} is in {secret} and works. The operator deletes that \
                 Secret at {}, unless its reader does so before.",
                seconds(*ends_at)
            ),
            Self::ReadOnce => format!(
                "The client secret of {object} works. It was delivered once, in {secret}, which is \
                 gone. {ANOTHER}"
            ),
            Self::NotCollected(ttl) => format!(
                "No reader deleted {secret} within spec.delivery.ttl of {object} ({}), so the \
                 operator deleted it. If a reader has the client secret, it works. {ANOTHER}",
                formatted(*ttl)
            ),
            Self::DeletionIgnored => format!(
                "The client secret of {object} works, but {secret} was deleted and \
                 spec.delivery.onDeleted is Ignore: the next rotation creates it again. {ANOTHER}"
            ),
            Self::AlterationIgnored => format!(
                "The client secret of {object} works, but another program changed it in {secret} \
                 and spec.delivery.onDeleted is Ignore: the next rotation corrects it. {ANOTHER}"
            ),
            Self::Blocked(blocked_reason) => {
                format!("{object} is not up to date. {}", blocked_reason.message())
            }
            Self::NotAllowed { user, excess } => excess.message(&user.namespace, &user.name),
            Self::LossesPaced { replaced, resumes_at } => format!(
                "{secret} of {object} was deleted or altered again and again: {replaced} client \
                 secrets were replaced and still work. A program in the cluster acts in a loop, \
                 often a GitOps tool that prunes the Secret. The next client secret is issued at \
                 {}. Stop the loop. {ANOTHER}",
                seconds(*resumes_at)
            ),
            Self::ClientIdTaken
            | Self::Unreadable(_)
            | Self::AwaitingGarbageCollection
            | Self::SecretConflict
            | Self::SecretTerminating
            | Self::SecretImmutable
            | Self::TooManyCredentials
            | Self::InvalidSpec(_) => self.remedy(names, &object, &secret),
        }
    }

    /// Of a user whose client secret does not matter any more.
    pub(super) fn sentence(&self, user: &Owner) -> String {
        let object = user.object();
        if *self == Self::Gone {
            return format!("{object} is gone.");
        }
        format!(
            "{object} is suspended (spec.suspend is true): nothing is issued or rotated, and every \
             request for a token is refused. Set spec.suspend to false to end that."
        )
    }

    /// The remedy for users, with the object and the fault.
    fn remedy(&self, names: &Names<'_>, object: &str, secret: &str) -> String {
        let Names { client_id, record, first_end, .. } = names;
        match self {
            Self::ClientIdTaken => format!(
                "Client id {client_id} (spec.clientID of {object}) belongs to another TechnicalUser \
                 of this cluster. It cannot be changed: create a new TechnicalUser in place of \
                 {object}, with another spec.clientID or without one."
            ),
            Self::Unreadable(reason) => format!(
                "Secret {record}, the verifier record of client id {client_id} ({object}), cannot \
                 be read: {reason}. It is not overwritten, since it may hold the only verifiers. An \
                 administrator has to restore it, or delete it: then a new client secret is issued."
            ),
            Self::AwaitingGarbageCollection => format!(
                "{secret}, in which the client secret of {object} is to be delivered, still belongs \
                 to a deleted TechnicalUser of the same name. The operator deletes it if the \
                 garbage collector of Kubernetes does not."
            ),
            Self::SecretConflict => format!(
                "{secret} exists and is not owned by {object}. It was not changed. Delete or rename \
                 it, or create a new TechnicalUser with another spec.secretTemplate.name."
            ),
            Self::SecretTerminating => format!(
                "{secret} of {object} is being deleted and waits for a finalizer of another \
                 program: its metadata.finalizers names it. A new Secret is created once that one \
                 is gone."
            ),
            Self::SecretImmutable => format!(
                "{secret} of {object} is immutable (immutable: true), so that no new client secret \
                 can be written into it. Delete it: the operator creates it again."
            ),
            Self::TooManyCredentials => {
                let first = first_end.map(|at| format!(", at {}", seconds(at)));
                format!(
                    "Eight client secrets of {object} are still valid, which is the maximum. The \
                     next one is issued when the first of them ends{}. To end all of them now, set \
                     the annotation iam.cyoda.com/revoke-requested-at to a new value.",
                    first.unwrap_or_default()
                )
            }
            Self::InvalidSpec(field) => field.message(object, "tu"),
            Self::Gone
            | Self::Delivered
            | Self::Uncollected(_)
            | Self::ReadOnce
            | Self::NotCollected(_)
            | Self::DeletionIgnored
            | Self::AlterationIgnored
            | Self::Suspended
            | Self::NotAllowed { .. }
            | Self::LossesPaced { .. }
            | Self::Blocked(_) => String::new(),
        }
    }
}

/// The duration as a spec spells it.
fn formatted(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let units = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts = units.iter().filter(|(amount, _)| *amount > 0);
    parts.fold(String::new(), |text, (amount, unit)| text + &format!("{amount}{unit}"))
}

const ANOTHER: &str = "For a new client secret, set the annotation \
    iam.cyoda.com/rotate-requested-at to a new value.";
