//! When a new client secret is needed and has to wait, and what happens to the Secret meanwhile.

use jiff::Timestamp;

use super::step::{Change, Step, Write};
use super::upkeep::secret_has_drifted;
use super::verifier_record::Record;
use super::{Cause, ClockState, Context, ObservedSecret, Outcome, done, recheck};
use crate::domain::schedule::saturating_add;

/// A Secret that is deleted or altered again and again is replaced at a measured pace. Requested and
/// scheduled rotations are not held up: losses never use the last place in the record.
pub(super) fn losses_are_paced(view: &Context<'_>) -> Option<Step> {
    let cause = view.cause()?;
    let resumes_at = view.loss_resumes_at(cause)?;
    let held = view.pruned(view.record).entries.len();
    let outcome = Outcome::LossesPaced { replaced: held.saturating_sub(1), resumes_at };
    (!view.now.has_reached(resumes_at)).then(|| view.waiting(outcome, Some(resumes_at)))
}

/// Waits rather than forgets a client secret that still works.
pub(super) fn record_is_full(view: &Context<'_>) -> Option<Step> {
    view.cause()?;
    let tidy = view.pruned(view.record);
    if tidy.has_room() {
        return None;
    }
    Some(view.waiting(Outcome::TooManyCredentials, tidy.ends().min()))
}

/// A Secret without a client secret is there only between two writes.
pub(super) fn secret_is_empty(view: &Context<'_>) -> Option<Step> {
    let delivered = view.delivered.filter(|delivered| delivered.is_empty())?;
    Some(Step::Write(Write::Discard(delivered.version.clone())))
}

impl Context<'_> {
    /// Rests until then, once all that needs no new client secret is done.
    fn waiting(&self, outcome: Outcome, until: Option<Timestamp>) -> Step {
        let tidy = self.pruned(self.record);
        // Entries that can be pruned get their end first: without one they would fill the record.
        if tidy != *self.record {
            return self.put(tidy, Change::Prune);
        }
        let wake_at = match self.now.clock_state() {
            ClockState::Trusted => until,
            ClockState::Apart(_) | ClockState::Jumped => Some(recheck(self.now)),
        };
        let step = secret_is_empty(self).or_else(|| secret_has_drifted(self));
        step.unwrap_or_else(|| done(outcome, wake_at))
    }

    /// When the next client secret may follow a loss, if it may not at once.
    fn loss_resumes_at(&self, cause: Cause) -> Option<Timestamp> {
        let (_, current) = self.record.current()?;
        let is_loss = match cause {
            Cause::Deleted | Cause::Altered => true,
            // A client secret that is shown and still accepted has to be replaced before its end.
            Cause::Unknown => !self.delivered.is_some_and(|it| self.accepts_shown(it)),
            Cause::Unissued | Cause::Due | Cause::Requested => false,
        };
        let tidy = self.pruned(self.record);
        match tidy.entries.len() {
            _ if !is_loss => None,
            0..FREE_LOSSES => None,
            RESERVED.. => tidy.ends().min(),
            held => {
                let part = PARTS.get(held.saturating_sub(FREE_LOSSES)).copied().unwrap_or(1);
                Some(saturating_add(current.issued_at, self.user.overlap / part))
            }
        }
    }

    fn accepts_shown(&self, delivered: &ObservedSecret) -> bool {
        let entry = delivered.unaltered_id().and_then(|id| self.record.entries.get(id));
        entry.is_some_and(|entry| !entry.has_ended(self.now))
    }
}

/// With fewer client secrets than this, a loss is replaced at once: three of them in one overlap.
const FREE_LOSSES: usize = 4;

/// Then after this part of the overlap: half an hour, 90 minutes and 6 hours if it is a day.
const PARTS: [i32; RESERVED - FREE_LOSSES] = [48, 16, 4];

/// The last place is for requests and for the schedule.
const RESERVED: usize = Record::CAPACITY - 1;
