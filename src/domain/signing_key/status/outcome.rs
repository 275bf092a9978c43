//! One sentence for each way a decision can rest: condition, reason and words together, so that
//! they cannot drift apart.

use jiff::Timestamp;

use super::scheduled;
use crate::api::condition::ConditionStatus;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::readiness::{Progress, Readiness, ready_status, seconds};
use crate::domain::crypto::public_key::Kid;
use crate::domain::invalid_field::InvalidField;
use crate::domain::schedule::Now;
use crate::domain::signing_key::ledger::{Entry, Unreadable};
use crate::domain::signing_key::observed::object;
use crate::domain::signing_key::{
    ConfigMapRef, ConfigMapState, Ledger, LedgerState, Observed, Series,
};

/// How things stand when there is nothing to do, or nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The series is gone: there is no status to write.
    Gone,
    /// This key signs.
    Signing(Kid),
    /// Nothing signs and nothing is made.
    Suspended,
    /// No key signs, until the next begins.
    NoActiveKey(Option<Timestamp>),
    /// The private half of the key that signs was deleted. The next begins at that instant.
    KeyLost(Kid, Option<Timestamp>),
    /// The next key pair cannot be read.
    KeyUnreadable {
        /// Its Secret, as `namespace/name`.
        secret: String,
        /// Whether another signs meanwhile.
        signs: bool,
    },
    /// As many keys are published as may be.
    TooManyKeys,
    /// The ledger cannot be read.
    LedgerUnreadable {
        /// Its Secret, as `namespace/name`.
        secret: String,
        /// Why.
        reason: Unreadable,
    },
    /// This ConfigMap has the name of the JWKS and belongs to another owner.
    JwksConflict(ConfigMapRef),
    /// The spec passed admission but cannot be read.
    InvalidSpec(InvalidField),
    /// The API server did not let the operator do its work.
    Blocked {
        /// The reason.
        blocked_reason: BlockedReason,
        /// Whether a key signs meanwhile.
        signs: bool,
    },
}

/// How things stand, once nothing is left to do.
pub(in crate::domain::signing_key) fn outcome(
    series: &Series,
    observed: &Observed,
    ledger: &Ledger,
    now: Now,
) -> Outcome {
    let active = ledger.active(now.likely());
    let signs = signs(series, observed, now);
    match observed.targets.get(&series.operator_namespace) {
        Some(ConfigMapState::Conflict) => {
            return Outcome::JwksConflict(series.place_in(&series.operator_namespace));
        }
        Some(ConfigMapState::Unwritable(blocked_reason, _)) => {
            return Outcome::Blocked { blocked_reason: blocked_reason.clone(), signs };
        }
        Some(ConfigMapState::Orphaned(_)) => {
            let object = series.place_in(&series.operator_namespace).config_map();
            return Outcome::Blocked {
                blocked_reason: BlockedReason::AwaitingGarbageCollection { object },
                signs,
            };
        }
        Some(ConfigMapState::Absent | ConfigMapState::Owned(_)) | None => {}
    }
    let next = ledger.next_index();
    if observed.key_pairs.get(&next).is_some_and(|key_pair| key_pair.public.is_none()) {
        return Outcome::KeyUnreadable { secret: series.key_pair(next), signs };
    }
    if series.is_suspended {
        return Outcome::Suspended;
    }
    let successor = scheduled(ledger, now).map(|entry| entry.activate_at);
    match active {
        None => Outcome::NoActiveKey(successor),
        Some((index, active)) if !observed.has_pair(index, active) => {
            Outcome::KeyLost(active.key.kid().clone(), successor)
        }
        Some(_) if ledger.live().count() >= Ledger::CAPACITY => Outcome::TooManyKeys,
        Some((_, active)) => Outcome::Signing(active.key.kid().clone()),
    }
}

/// Whether a key of this series signs, by what is there now.
pub fn signs(series: &Series, observed: &Observed, now: Now) -> bool {
    let LedgerState::Ledger(_, ledger) = &observed.ledger else { return false };
    let active = ledger.active(now.likely());
    let is_able =
        |(index, entry): (u32, &Entry)| observed.can_sign(&series.operator_namespace, index, entry);
    !series.is_suspended && active.is_some_and(is_able)
}

impl Outcome {
    /// The words for it, about the `SigningKey` of that name.
    pub fn readiness(&self, name: &str) -> Readiness {
        use Progress::{Done, Reconciling, Stalled};
        let (status, progress) = match self {
            // The state of the spec is reached, so there is nothing to wait for.
            Self::Signing(_) | Self::Suspended => (ConditionStatus::True, Done),
            Self::Gone => (ConditionStatus::False, Done),
            Self::TooManyKeys => (ConditionStatus::True, Reconciling),
            Self::NoActiveKey(_) | Self::KeyLost(..) => (ConditionStatus::False, Reconciling),
            Self::KeyUnreadable { signs, .. } => (ready_status(*signs), Stalled),
            Self::LedgerUnreadable { .. } | Self::JwksConflict(_) | Self::InvalidSpec(_) => {
                (ConditionStatus::False, Stalled)
            }
            Self::Blocked { blocked_reason, signs } => {
                (ready_status(*signs), blocked_reason.progress())
            }
        };
        Readiness { status, reason: self.reason(), message: self.message(name), progress }
    }

    /// One word for machines: the `reason` of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "Deleted",
            Self::Signing(_) => "KeyActive",
            Self::Suspended => "Suspended",
            Self::NoActiveKey(_) => "NoActiveKey",
            Self::KeyLost(..) => "KeyLost",
            Self::KeyUnreadable { .. } => "KeyUnreadable",
            Self::TooManyKeys => "TooManyKeys",
            Self::LedgerUnreadable { .. } => "LedgerUnreadable",
            Self::JwksConflict(_) => "ConfigMapConflict",
            Self::InvalidSpec(_) => "InvalidSpec",
            Self::Blocked { blocked_reason, .. } => blocked_reason.reason(),
        }
    }

    fn message(&self, name: &str) -> String {
        let object = object(name);
        match self {
            Self::Gone => format!("{object} is gone."),
            Self::Signing(kid) => format!("Key {kid} of {object} signs."),
            Self::Suspended => format!(
                "{object} is suspended (spec.suspend is true): none of its keys signs and none is \
                 made. Its JWKS stays published. Set spec.suspend to false to end that."
            ),
            Self::NoActiveKey(next) => {
                let until =
                    next.map_or_else(|| " yet".to_owned(), |at| format!(" before {}", seconds(at)));
                format!("No key of {object} signs{until}. The operator goes on by itself.")
            }
            Self::KeyLost(kid, next) => lost(kid, *next, name),
            Self::TooManyKeys => format!(
                "{} keys of {object} are in the JWKS, which is the maximum. The next one is made \
                 when the first of them has left. A longer spec.rotation.period keeps them few.",
                Ledger::CAPACITY
            ),
            Self::InvalidSpec(field) => field.message(&object, "sk"),
            Self::Blocked { blocked_reason, .. } => {
                format!("{object} is not up to date. {}", blocked_reason.message())
            }
            Self::KeyUnreadable { .. } | Self::LedgerUnreadable { .. } | Self::JwksConflict(_) => {
                self.remedy(&object)
            }
        }
    }

    /// The remedy that an administrator applies to a faulty object.
    fn remedy(&self, object: &str) -> String {
        match self {
            Self::KeyUnreadable { secret, .. } => format!(
                "Secret {secret} shall hold the next key pair of {object}, and the operator cannot \
                 use it. It was not changed. An administrator has to delete it: then the operator \
                 makes another one."
            ),
            Self::LedgerUnreadable { secret, reason } => format!(
                "Secret {secret}, the ledger of {object}, cannot be read: {reason}. It was not \
                 changed, since servers sign by it. An administrator has to restore it, or delete \
                 it: then the operator makes it from the key pairs."
            ),
            Self::JwksConflict(place) => format!(
                "{} has the name of the JWKS and is not owned by {object}. It was not changed. \
                 Delete it, or set spec.jwks.configMapName of {object} to another name.",
                place.config_map()
            ),
            Self::Gone
            | Self::Signing(_)
            | Self::Suspended
            | Self::NoActiveKey(_)
            | Self::KeyLost(..)
            | Self::TooManyKeys
            | Self::InvalidSpec(_)
            | Self::Blocked { .. } => String::new(),
        }
    }
}

/// Of a key whose private half is gone. The public half stays, so that its tokens verify.
fn lost(kid: &Kid, next: Option<Timestamp>, name: &str) -> String {
    let lost = format!(
        "The private half of key {kid} of {} is gone, so that no token can be signed",
        object(name)
    );
    match next {
        Some(at) => format!(
            "{lost} before {}: then the next key takes over. Token servers that still hold the \
             lost one sign with it until then.",
            seconds(at)
        ),
        None => format!(
            "{lost}. No time is set for the next key to take over: kubectl describe signingkey \
             {name} shows what is in the way. Token servers that still hold the lost one sign with \
             it."
        ),
    }
}
