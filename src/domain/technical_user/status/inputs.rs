//! The inputs of `Ready`: the outcome of the decision, and whether the tokens of the client can be signed.

use super::outcome::{Names, Outcome};
use super::referred_key::{ReferredKey, SigningKeyState};
use super::{ends, works};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::technical_user::TechnicalUserStatus;
use crate::domain::conditions::readiness::{Progress, Readiness};
use crate::domain::schedule::{Now, saturating_add};
use crate::domain::technical_user::{ClientIdReservation, Delivery, Observed};

/// The inputs of a status beyond the observed objects.
#[derive(Clone, Copy, Debug)]
pub struct StatusInputs<'a> {
    /// The outcome of the decision.
    pub outcome: &'a Outcome,
    /// The `SigningKey` that signs the tokens of this client.
    pub signing_key: &'a ReferredKey,
    /// The operator's namespace.
    pub operator_namespace: &'a str,
    /// The instant of the observation.
    pub now: Now,
}

impl StatusInputs<'_> {
    /// The content of `Ready`, for the former status.
    pub(super) fn readiness(
        &self,
        observed: &Observed,
        former: Option<&TechnicalUserStatus>,
    ) -> Option<Readiness> {
        let user = observed.user.as_ref()?;
        let ready = former.and_then(ready_of);
        // A suspended client gets no token, in every state of its key.
        let fault = self.signing_key.fault(&user.owner, ready).filter(|_| !user.is_suspended);
        // A key that was not read may have made the user unready before.
        let is_in_doubt = self.signing_key.ability == SigningKeyState::Unknown
            && ready.is_some_and(|ready| ready.status == ConditionStatus::False);
        let record = format!("{}/{}", self.operator_namespace, user.client_id.record_name());
        let names = Names {
            user: &user.owner,
            client_id: user.client_id.as_str(),
            secret: &user.secret_name,
            record: &record,
            first_end: ends(observed).min(),
        };
        let works = works(observed) && fault.is_none() && !is_in_doubt;
        let readiness = self.refined(observed, former).readiness(&names, works);
        let Some(fault) = fault else { return Some(readiness) };
        let Readiness { reason, message, progress, .. } = readiness;
        let (reason, message, progress) = match progress {
            Progress::Done => (fault.reason, fault.message, Progress::Reconciling),
            Progress::Reconciling => {
                (fault.reason, format!("{} {message}", fault.message), progress)
            }
            Progress::Stalled => (reason, format!("{message} {}", fault.message), progress),
        };
        Some(Readiness { status: ConditionStatus::False, reason, message, progress })
    }

    /// The outcome with what only a status remembers: whether a Secret that was to be read once was
    /// still there when its time was over.
    fn refined(&self, observed: &Observed, former: Option<&TechnicalUserStatus>) -> Outcome {
        let (Some(user), ClientIdReservation::Held(_, record)) = (&observed.user, &observed.record)
        else {
            return self.outcome.clone();
        };
        let (Delivery::OneTime(ttl), Some((_, current))) = (user.delivery, record.current()) else {
            return self.outcome.clone();
        };
        let ends_at = saturating_add(current.issued_at, ttl);
        if *self.outcome == Outcome::Delivered {
            return Outcome::Uncollected(ends_at);
        }
        let known = former.filter(|former| former.serial == Some(record.serial));
        let is_said = known.and_then(ready_of).is_some_and(|ready| ready.reason == "NotCollected");
        let was_there = known.is_some_and(|known| known.binding.is_some());
        if *self.outcome == Outcome::ReadOnce
            && (is_said || was_there && self.now.has_reached(ends_at))
        {
            return Outcome::NotCollected(ttl);
        }
        self.outcome.clone()
    }
}

fn ready_of(status: &TechnicalUserStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready")
}
