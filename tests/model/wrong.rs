//! Wrong variants of the protocol. Each must be caught, or the model proves nothing.
//!
//! Those that err in the decision wrap the production code and change what it sees or says; those
//! that err in the execution are asked for by name in [`crate::replica`].

use technical_user_operator::domain::object::Belongs;
use technical_user_operator::domain::schedule::{Now, saturating_add};
use technical_user_operator::domain::technical_user::delivered_secret::SECRET_FIELDS;
use technical_user_operator::domain::technical_user::verifier_record::{
    EntryState, Record, Version,
};
use technical_user_operator::domain::technical_user::{
    self, Cause, Change, ClientIdReservation, Issue, Observed, Step, Write,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The Secret is read before the record, or comes from a cache.
    ReadSecretBeforeRecord,
    /// Pending entries of another id go, although a delivery may be in flight.
    PruneWithoutFence,
    /// The Secret first, the verifier afterwards.
    RevealBeforeRegister,
    /// The reveal is a forced apply.
    RevealAtAnyVersion,
    /// After a lost creation the next one follows at once, and the verifier of the first is dropped.
    NoPlaceholder,
    /// The creation arrives after its verifier has ended: the protocol is right, the network is not.
    LateCreation,
    /// No answer is taken for success.
    LostIsSuccess,
    /// A new pending entry replaces the former.
    OnePendingSlot,
    /// What a reader may have seen goes without an overlap.
    DropDeadPending,
    /// A delivery that may be in flight is taken for dead.
    FenceOmitted,
    /// A verifier is taken back without proof that its client secret was not revealed.
    TakenBackUnanswered,
    /// What is taken back is written without a version.
    TakenBackAtAnyVersion,
    /// A refused registration does not stop the reveal.
    RevealUnregistered,
    /// A refused reveal does not stop the promotion.
    PromoteUnrevealed,
    /// The record is written without a version.
    PutRecordAnyVersion,
    /// The former stays current.
    PromoteKeepsFormer,
    /// The former goes at once.
    PromoteForgetsFormer,
    /// Revocation spares what is being delivered.
    RevokeKeepsPending,
    /// The record does not say that the request to revoke was answered.
    RevokeTokenForgotten,
    /// The record does not say that the request to rotate was answered.
    RotateTokenForgotten,
    /// Replaced entries go before their end.
    TidyBeforeEnd,
    /// A Secret of another owner is written.
    ConflictIgnored,
    /// The Secret of a predecessor is written.
    PredecessorTakenOver,
    /// What has an owner of another uid is taken for a predecessor's without a second look at the
    /// user, although it may be the successor's.
    LeftIsTakenForSure,
    /// What a predecessor left is deleted by name alone.
    CollectAnyVersion,
    /// The last writer of the client secret is not checked.
    AlterationUnseen,
    /// A suspended user is served.
    SuspensionIgnored,
    /// The sweep deletes by name alone.
    SweepAnyVersion,
    /// The sweep looks for the user first and for the record afterwards.
    SweepReadsUserFirst,
    /// Another holder of a client id is taken for dead since its name has a new uid.
    HolderKnownByName,
    /// A one-time Secret is deleted by name alone.
    WithdrawAnyVersion,
    /// A reveal that was accepted is promoted only once it is seen: safe, but a reader who deletes
    /// the Secret before that gets a second client secret.
    PromoteAtNextLook,
}

impl Wrong {
    /// The production decision, spoilt.
    pub(crate) fn decide(wrong: Option<Self>, observed: &Observed, now: Now) -> Step {
        let Some(wrong) = wrong else {
            return technical_user::decide(observed, now);
        };
        let mut seen = observed.clone();
        wrong.mistake(&mut seen, now);
        let step = technical_user::decide(&seen, now);
        wrong.spoil(step, observed, now)
    }

    /// What a promotion writes, spoilt.
    pub(crate) fn promote(wrong: Option<Self>, before: &Record, mut after: Record) -> Record {
        if let Some(wrong) = wrong {
            wrong.spoil_record(before, &mut after, Some(Change::Promote));
        }
        after
    }

    fn mistake(self, seen: &mut Observed, now: Now) {
        if let (Self::SuspensionIgnored, Some(user)) = (self, &mut seen.user) {
            user.is_suspended = false;
        }
        let shown = seen.clone();
        let Some(delivered) = &mut seen.delivered else {
            return;
        };
        if let (Self::PruneWithoutFence, ClientIdReservation::Held(_, record)) =
            (self, &mut seen.record)
        {
            drop_pending(record, &shown);
        }
        match (self, delivered.belongs) {
            (Self::ConflictIgnored, Belongs::Foreign)
            | (Self::PredecessorTakenOver, Belongs::Predecessor) => {
                delivered.belongs = Belongs::Ours;
            }
            _ => {}
        }
        if self == Self::AlterationUnseen && delivered.credential_id.is_some() {
            let fields = SECRET_FIELDS.map(str::to_owned);
            delivered.ours.fields.extend(fields);
        }
        if let (Self::FenceOmitted, ClientIdReservation::Held(_, record)) = (self, &mut seen.record)
        {
            for entry in record.entries.values_mut() {
                if entry.state == EntryState::Pending(Some(delivered.version.clone())) {
                    entry.state = EntryState::Old(saturating_add(now.latest(), HOUR));
                }
            }
        }
    }

    fn spoil(self, step: Step, observed: &Observed, now: Now) -> Step {
        let ClientIdReservation::Held(version, before) = &observed.record else {
            return step;
        };
        match (self, step) {
            (Self::NoPlaceholder, Step::Write(Write::CreatePlaceholder)) => {
                without_placeholder(version, before, now)
            }
            (Self::OnePendingSlot, Step::Write(Write::Fence(..))) => {
                let mut seen = observed.clone();
                let mut record = before.clone();
                drop_pending(&mut record, observed);
                seen.record = ClientIdReservation::Held(version.clone(), record);
                technical_user::decide(&seen, now)
            }
            (_, Step::Write(Write::PutRecord(version, mut record, change))) => {
                self.spoil_record(before, &mut record, Some(change));
                Step::Write(Write::PutRecord(version, record, change))
            }
            (_, Step::Write(Write::Issue(mut issue))) => {
                if self == Self::OnePendingSlot {
                    drop_pending(&mut issue.record, observed);
                }
                self.spoil_record(before, &mut issue.record, None);
                Step::Write(Write::Issue(issue))
            }
            (_, step) => step,
        }
    }

    fn spoil_record(self, before: &Record, after: &mut Record, change: Option<Change>) {
        let was_pending = |state: &EntryState| matches!(state, EntryState::Pending(_));
        let was_current = |state: &EntryState| *state == EntryState::Current;
        match self {
            Self::DropDeadPending => drop_ended(before, after, was_pending),
            Self::PromoteForgetsFormer => drop_ended(before, after, was_current),
            Self::TidyBeforeEnd => {
                drop_ended(before, after, |state| matches!(state, EntryState::Old(_)));
            }
            Self::PromoteKeepsFormer => {
                for (id, entry) in &before.entries {
                    if entry.state == EntryState::Current {
                        after.entries.insert(id.clone(), entry.clone());
                    }
                }
            }
            Self::RevokeKeepsPending if change == Some(Change::Revoke) => {
                let pending = before.entries.iter();
                let pending = pending.filter(|(_, entry)| was_pending(&entry.state));
                after.entries.extend(pending.map(|(id, entry)| (id.clone(), entry.clone())));
            }
            Self::RevokeTokenForgotten => after.revoked = before.revoked.clone(),
            Self::RotateTokenForgotten => after.rotated = before.rotated.clone(),
            _ => {}
        }
    }
}

/// Entries that were like that before and are old now.
fn drop_ended(before: &Record, after: &mut Record, was: impl Fn(&EntryState) -> bool) {
    after.entries.retain(|id, entry| {
        let former = before.entries.get(id);
        let is_old = matches!(entry.state, EntryState::Old(_));
        !(is_old && former.is_some_and(|former| was(&former.state)))
    });
}

fn drop_pending(record: &mut Record, observed: &Observed) {
    let shown = observed.delivered.as_ref();
    let shown = shown.and_then(|delivered| delivered.unaltered_id());
    record
        .entries
        .retain(|id, entry| !matches!(entry.state, EntryState::Pending(_)) || Some(id) == shown);
}

fn without_placeholder(version: &Version, before: &Record, now: Now) -> Step {
    let mut record = before.clone();
    record.entries.retain(|_, entry| !matches!(entry.state, EntryState::Pending(_)));
    for entry in record.entries.values_mut() {
        if entry.state == EntryState::Current {
            entry.state = EntryState::Old(saturating_add(now.latest(), HOUR));
        }
    }
    record.serial += 1;
    Step::Write(Write::Issue(Box::new(Issue {
        record_version: version.clone(),
        record,
        placeholder: None,
        placeholder_is_empty: false,
        cause: Cause::Unissued,
    })))
}

const HOUR: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
