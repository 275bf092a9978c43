//! One sentence for each way a decision can rest: condition, reason and words together, so that
//! they cannot drift apart.

use jiff::Timestamp;

use super::scheduled;
use crate::api::condition::ConditionStatus;
use crate::domain::key_pair::Kid;
use crate::domain::obstacle::Obstacle;
use crate::domain::readiness::{Progress, Readiness, seconds, working};
use crate::domain::schedule::Now;
use crate::domain::signing_key::ledger::{Entry, Unreadable};
use crate::domain::signing_key::{Held, Ledger, Observed, Place, Series, Target};

/// How things stand when there is nothing to do, or nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The series is gone: there is nobody to tell.
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
    /// This ConfigMap has the name of the JWKS and belongs to somebody else.
    JwksConflict(Place),
    /// The spec passed admission but cannot be read.
    InvalidSpec,
    /// The API server did not let the operator do its work.
    Blocked {
        /// What it met.
        obstacle: Obstacle,
        /// Whether a key signs meanwhile.
        signs: bool,
    },
}

/// How things stand, once nothing is left to do.
pub(in crate::domain::signing_key) fn verdict(
    series: &Series,
    observed: &Observed,
    ledger: &Ledger,
    now: Now,
) -> Verdict {
    let active = ledger.active(now.likely());
    let signs = signs(series, observed, now);
    match observed.targets.get(&series.home) {
        Some(Target::Foreign) => {
            let (namespace, name) = (series.home.clone(), series.config_map_name.clone());
            return Verdict::JwksConflict(Place { namespace, name });
        }
        Some(Target::Blocked(obstacle, _)) => {
            return Verdict::Blocked { obstacle: obstacle.clone(), signs };
        }
        Some(Target::Left(_)) => {
            return Verdict::Blocked { obstacle: Obstacle::AwaitingCollection, signs };
        }
        Some(Target::Absent | Target::Ours(_)) | None => {}
    }
    let next = ledger.next_index();
    if observed.key_pairs.get(&next).is_some_and(|key_pair| key_pair.public.is_none()) {
        return Verdict::KeyUnreadable { secret: series.key_pair(next), signs };
    }
    if series.is_suspended {
        return Verdict::Suspended;
    }
    let successor = scheduled(ledger, now).map(|entry| entry.activate_at);
    match active {
        None => Verdict::NoActiveKey(successor),
        Some((index, active)) if !observed.has_pair(index, active) => {
            Verdict::KeyLost(active.key.kid().clone(), successor)
        }
        Some(_) if ledger.live().count() >= Ledger::CAPACITY => Verdict::TooManyKeys,
        Some((_, active)) => Verdict::Signing(active.key.kid().clone()),
    }
}

/// Whether a key of this series signs, by what is there now.
pub fn signs(series: &Series, observed: &Observed, now: Now) -> bool {
    let Held::Ledger(_, ledger) = &observed.ledger else { return false };
    let active = ledger.active(now.likely());
    let is_able = |(index, entry): (u32, &Entry)| observed.can_sign(&series.home, index, entry);
    !series.is_suspended && active.is_some_and(is_able)
}

impl Verdict {
    /// The words for it.
    pub fn readiness(&self) -> Readiness {
        use Progress::{Done, Reconciling, Stalled};
        let (status, progress) = match self {
            // What the spec says is so: nothing is left to wait for.
            Self::Signing(_) | Self::Suspended => (ConditionStatus::True, Done),
            Self::Gone => (ConditionStatus::False, Done),
            Self::TooManyKeys => (ConditionStatus::True, Reconciling),
            Self::NoActiveKey(_) | Self::KeyLost(..) => (ConditionStatus::False, Reconciling),
            Self::KeyUnreadable { signs, .. } => (working(*signs), Stalled),
            Self::LedgerUnreadable { .. } | Self::JwksConflict(_) | Self::InvalidSpec => {
                (ConditionStatus::False, Stalled)
            }
            Self::Blocked { obstacle, signs } => (working(*signs), obstacle.progress()),
        };
        Readiness { status, reason: self.reason(), message: self.message(), progress }
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
            Self::InvalidSpec => "InvalidSpec",
            Self::Blocked { obstacle, .. } => obstacle.reason(),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Signing(kid) => format!("Key {kid} signs."),
            Self::NoActiveKey(next) => format!("No key of this series signs{}.", until(*next)),
            Self::KeyLost(kid, next) => format!(
                "The private key of {kid} was deleted, so that no token can be signed{}. Servers \
                 that still hold it go on.",
                until(*next)
            ),
            Self::KeyUnreadable { secret, .. } => format!(
                "Secret {secret} shall hold the next key pair of this series, and the operator \
                 cannot use it. It was not changed. An administrator has to delete it: then the \
                 operator makes another one."
            ),
            Self::LedgerUnreadable { secret, reason } => format!(
                "Secret {secret}, the ledger of this series, cannot be read: {reason}. It was not \
                 changed, since servers sign by it. An administrator has to restore it, or delete \
                 it: then the operator makes it from the key pairs."
            ),
            Self::JwksConflict(Place { namespace, name }) => format!(
                "ConfigMap {namespace}/{name} has the name of the JWKS and is not owned by this \
                 SigningKey. It was not changed. Delete it, or set spec.jwks.configMapName to \
                 another name."
            ),
            Self::Blocked { obstacle, .. } => obstacle.message(),
            Self::Gone | Self::Suspended | Self::TooManyKeys | Self::InvalidSpec => {
                self.sentence().to_owned()
            }
        }
    }

    fn sentence(&self) -> &'static str {
        match self {
            Self::Gone => "The SigningKey is gone.",
            Self::Suspended => {
                "spec.suspend is true. No key of this series signs and none is made. The JWKS \
                 stays published."
            }
            Self::TooManyKeys => {
                "As many keys are in the JWKS as may be. The next is made when the first of them \
                 has left; a longer rotation.period keeps them few."
            }
            Self::InvalidSpec => {
                "The spec cannot be read: a duration or the size of the key is not valid. Correct \
                 it; kubectl explain sk.spec tells the form."
            }
            Self::Signing(_)
            | Self::NoActiveKey(_)
            | Self::KeyLost(..)
            | Self::KeyUnreadable { .. }
            | Self::LedgerUnreadable { .. }
            | Self::JwksConflict(_)
            | Self::Blocked { .. } => "",
        }
    }
}

fn until(next: Option<Timestamp>) -> String {
    next.map_or_else(|| " yet".to_owned(), |at| format!(" before {}", seconds(at)))
}
