//! What a user is told: one sentence for each way a decision can rest, and the status around it.
//!
//! Status is never an input of a decision. Whatever is lost of it is written again.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Claim, Observed, User};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::technical_user::{Binding, CredentialState, CredentialStatus, TechnicalUserStatus};
use crate::domain::credential::record::{Record, State, Unreadable};
use crate::domain::schedule::{Now, Trust, due_at};

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
            Self::AwaitingCollection | Self::SecretTerminating => (working(works), Reconciling),
            Self::TooManyCredentials => (working(works), Reconciling),
            Self::ClientIdTaken
            | Self::Unreadable(_)
            | Self::SecretConflict
            | Self::SecretImmutable
            | Self::InvalidSpec => (ConditionStatus::False, Stalled),
            Self::Blocked(obstacle) => (working(works), obstacle.progress()),
        };
        Readiness {
            status,
            reason: self.reason(),
            message: self.message(),
            progress,
        }
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
            Self::ClientIdTaken => {
                "The client id in spec.clientID belongs to another TechnicalUser of this cluster. \
                 It cannot be changed: create a new TechnicalUser with another clientID, or \
                 without one."
            }
            Self::Unreadable(reason) => {
                return format!(
                    "The verifier record cannot be read: {reason}. It is not written over, since \
                     its verifiers may be all there is. An administrator has to restore the \
                     Secret in the operator's namespace, or delete it: then a new client secret is \
                     issued."
                );
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
            Self::Blocked(obstacle) => return obstacle.message(),
        };
        text.to_owned()
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
            Self::Forbidden {
                verb,
                resource,
                namespace,
            } => format!(
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
            Self::Refused {
                verb,
                resource,
                reason,
            } => format!(
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

/// The status to write for what was observed, with the times of `former` where nothing changed.
pub fn status(
    observed: &Observed,
    verdict: &Verdict,
    former: Option<&TechnicalUserStatus>,
    now: Now,
) -> Option<TechnicalUserStatus> {
    let user = observed.user.as_ref()?;
    let record = match &observed.record {
        Claim::Held(_, record) => Some(record.as_ref()),
        Claim::Free | Claim::Taken(..) | Claim::Unreadable(_) => None,
    };
    let is_shown = observed.delivered.as_ref().is_some_and(|delivered| {
        delivered.belongs == super::Belongs::Ours && delivered.credential_id.is_some()
    });
    let current = record.and_then(Record::current).map(|(_, entry)| entry);
    let former_conditions = former
        .map(|former| former.conditions.as_slice())
        .unwrap_or_default();
    let next = current.and_then(|current| {
        Some(due_at(
            current.issued_at,
            user.period?,
            user.overlap,
            &user.owner.uid,
        ))
    });
    Some(TechnicalUserStatus {
        observed_generation: user.generation,
        client_id: Some(user.client_id.to_string()),
        binding: is_shown.then(|| Binding {
            name: user.secret_name.clone(),
        }),
        legal_entity_id: former.and_then(|former| former.legal_entity_id.clone()),
        serial: record.map(|record| record.serial),
        credentials: record.map(credentials).unwrap_or_default(),
        last_rotation_time: current.map(|current| time(current.issued_at)),
        next_rotation_time: next.filter(|_| !user.is_suspended).map(time),
        last_handled_rotate_at: record
            .and_then(|record| record.rotated.shown(user.rotate_request.as_deref())),
        last_handled_revoke_at: record
            .and_then(|record| record.revoked.shown(user.revoke_request.as_deref())),
        conditions: conditions(observed, user, verdict, now)
            .into_iter()
            .map(|condition| keep_transition(condition, former_conditions))
            .collect(),
    })
}

/// The status of a `TechnicalUser` whose spec cannot be read: the mistake, and what was known before.
pub fn invalid_spec(
    generation: i64,
    former: Option<&TechnicalUserStatus>,
    now: Now,
) -> TechnicalUserStatus {
    let readiness = Verdict::InvalidSpec.readiness(false);
    let former = former.cloned().unwrap_or_default();
    let conditions = [
        ("Ready", readiness.status),
        ("Stalled", ConditionStatus::True),
    ];
    let conditions = conditions.map(|(type_, status)| Condition {
        type_: type_.to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: time(now.latest()),
        reason: readiness.reason.to_owned(),
        message: readiness.message.clone(),
    });
    let conditions = conditions.map(|condition| keep_transition(condition, &former.conditions));
    TechnicalUserStatus {
        observed_generation: generation,
        conditions: conditions.into(),
        ..former
    }
}

/// Whether two statuses say the same: the API server may keep the items of a list in another order.
pub fn is_same(one: &TechnicalUserStatus, other: &TechnicalUserStatus) -> bool {
    sorted(one) == sorted(other)
}

fn sorted(status: &TechnicalUserStatus) -> TechnicalUserStatus {
    let mut sorted = status.clone();
    sorted.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    sorted.credentials.sort_by(|a, b| a.id.cmp(&b.id));
    sorted
}

/// Whether a client secret that was delivered works now.
pub fn works(observed: &Observed) -> bool {
    let Claim::Held(_, record) = &observed.record else {
        return false;
    };
    let Some((id, _)) = record.current() else {
        return false;
    };
    match &observed.delivered {
        None => true,
        Some(delivered) => delivered.unaltered_id() == Some(id),
    }
}

fn credentials(record: &Record) -> Vec<CredentialStatus> {
    let entries = record.entries.iter();
    let mut credentials: Vec<_> = entries
        .map(|(id, entry)| {
            let (state, expires_at) = match &entry.state {
                State::Pending(_) => (CredentialState::Pending, None),
                State::Current => (CredentialState::Current, None),
                State::Old(not_after) => (CredentialState::Old, Some(time(*not_after))),
            };
            let issued_at = time(entry.issued_at);
            CredentialStatus {
                id: id.to_string(),
                serial: entry.serial,
                state,
                issued_at,
                expires_at,
            }
        })
        .collect();
    credentials
        .sort_by(|a, b| (b.serial, &b.issued_at.0, &b.id).cmp(&(a.serial, &a.issued_at.0, &a.id)));
    credentials
}

fn conditions(observed: &Observed, user: &User, verdict: &Verdict, now: Now) -> Vec<Condition> {
    let readiness = verdict.readiness(works(observed));
    let condition = |type_: &str, status, reason: &str, message: String| Condition {
        type_: type_.to_owned(),
        status,
        observed_generation: user.generation,
        last_transition_time: time(now.latest()),
        reason: reason.to_owned(),
        message,
    };
    let holds = |type_: &str, reason: &str, message: String| {
        condition(type_, ConditionStatus::True, reason, message)
    };
    let mut conditions = vec![condition(
        "Ready",
        readiness.status,
        readiness.reason,
        readiness.message.clone(),
    )];
    match readiness.progress {
        Progress::Done => {}
        Progress::Reconciling => {
            conditions.push(holds("Reconciling", readiness.reason, readiness.message));
        }
        Progress::Stalled => conditions.push(holds("Stalled", readiness.reason, readiness.message)),
    }
    if let Some(ends_at) = overlap_end(observed) {
        let message = format!(
            "The previous client secret works until {}.",
            seconds(ends_at)
        );
        conditions.push(holds("RotationInProgress", "OverlapActive", message));
    }
    let aliases = observed
        .delivered
        .as_ref()
        .map(|it| user.content.pending_aliases(it));
    if let Some(aliases) = aliases.filter(|aliases| !aliases.is_empty()) {
        let message = format!(
            "The field {} appears with the next client secret: nobody holds the present one any \
             more. Request a rotation to have it now.",
            aliases.join(", ")
        );
        conditions.push(holds("AliasesPending", "NextRotation", message));
    }
    if let Some((reason, message)) = doubt(now.trust()) {
        conditions.push(holds("ClockSkew", reason, message));
    }
    conditions
}

fn overlap_end(observed: &Observed) -> Option<Timestamp> {
    let Claim::Held(_, record) = &observed.record else {
        return None;
    };
    record.current()?;
    let ends = record
        .entries
        .values()
        .filter_map(|entry| match entry.state {
            State::Old(not_after) => Some(not_after),
            State::Pending(_) | State::Current => None,
        });
    ends.max()
}

fn doubt(trust: Trust) -> Option<(&'static str, String)> {
    match trust {
        Trust::Trusted => None,
        Trust::Apart(_) => Some((
            "ClocksApart",
            "The clocks of the operator and of the API server differ by more than 5 seconds. \
             Nothing that is due by the clock happens until they agree; rotation on request does."
                .to_owned(),
        )),
        Trust::Jumped => Some((
            "ClockJumped",
            "The clocks jumped. Nothing that is due by the clock happens until they have held \
             still for 10 minutes; rotation on request does."
                .to_owned(),
        )),
    }
}

fn keep_transition(condition: Condition, former: &[Condition]) -> Condition {
    let same = former
        .iter()
        .find(|it| it.type_ == condition.type_ && it.status == condition.status);
    let last_transition_time = same.map_or(condition.last_transition_time, |it| {
        it.last_transition_time.clone()
    });
    Condition {
        last_transition_time,
        ..condition
    }
}

fn working(works: bool) -> ConditionStatus {
    if works {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    }
}

/// Times in a status are whole seconds, so that they compare equal after a round trip.
fn time(instant: Timestamp) -> Time {
    Time(seconds(instant))
}

fn seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
