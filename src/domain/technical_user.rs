//! Register, then reveal: the protocol that brings a client secret into a Secret.
//!
//! ```text
//!             PUT record        CREATE Secret            PUT record
//!  (nothing) ------------> pending ------------> shown ---------------> current
//!               bcrypt      |  ^    or PATCH            promote           |
//!                     fence |  | register again                           | next promotion
//!                           v  |                                          v
//!                          dead ----------------------------------------> old --> gone
//!                               perhaps seen: ends after the overlap          past its end
//! ```
//!
//! The verifier is stored before the client secret is shown, an old one ends only after its
//! successor is shown, and a delivery that may still be in flight is made impossible (the fence)
//! before another is tried. The fence of a PATCH is a new version. The fence of a CREATE is a Secret
//! without a client secret, which is made only if the answer to the CREATE was lost. [`decide`] takes
//! the three objects and returns one conditional write. A replica that carried it out, or crashed,
//! reconciles again.

use jiff::{SignedDuration, Timestamp};

use self::delivered_secret::{DesiredSecret, ObservedSecret};
use self::verifier_record::{EntryState, Owner, Record, Unreadable, Version};
use super::crypto::client_secret::ClientId;
use super::object::{Belongs, gc_had_time};
use super::policy::Excess;
use super::schedule::{ClockState, Now, due_at, saturating_add};

pub mod delivered_secret;
mod pacing;
pub mod status;
mod step;
mod upkeep;
pub mod verifier_record;

use self::pacing::{losses_are_paced, record_is_full, secret_is_empty};
pub use self::status::{InvalidField, Outcome};
pub use self::step::{Cause, Change, Done, Issue, Step, Write};
use self::upkeep::{secret_has_drifted, secret_is_immutable};

/// The results of live reads: the `TechnicalUser` first, then the record, then the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The `TechnicalUser`, unless it is gone or going.
    pub user: Option<User>,
    /// The verifier record of its client id.
    pub record: ClientIdReservation,
    /// The Secret of the name that it asks for.
    pub delivered: Option<ObservedSecret>,
}

/// A `TechnicalUser`, parsed: it cannot be wrong any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Which one.
    pub owner: Owner,
    /// When the API server made it.
    pub created_at: Timestamp,
    /// The generation of its spec.
    pub generation: i64,
    /// Its client id.
    pub client_id: ClientId,
    /// The name of its delivered Secret.
    pub secret_name: String,
    /// The desired content of its Secret.
    pub content: DesiredSecret,
    /// Whether nothing is to be issued.
    pub is_suspended: bool,
    /// Its roles and audiences that the installation does not allow in tokens.
    pub excess: Option<Excess>,
    /// How the client secret reaches its user.
    pub delivery: Delivery,
    /// How often a client secret is replaced.
    pub period: Option<SignedDuration>,
    /// How long the replaced one stays valid.
    pub overlap: SignedDuration,
    /// The token of the request to rotate, if there is one.
    pub rotate_request: Option<String>,
    /// The token of the request to revoke, if there is one.
    pub revoke_request: Option<String>,
    /// The annotations of requests whose values are empty, so that they ask for nothing.
    pub ignored_requests: Vec<&'static str>,
}

/// The life of the delivered Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It stays; lost or altered, it is replaced with a new client secret.
    Retained,
    /// It stays; lost or altered, it is replaced at the next rotation.
    Lenient,
    /// It goes after this time, or when its reader deletes it.
    OneTime(SignedDuration),
}

/// The state of the claim to a client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdReservation {
    /// It is free.
    Free,
    /// This user does.
    Held(Version, Box<Record>),
    /// Another does. The last field shows whether that other still exists.
    Taken(Version, Owner, Holder),
    /// It is held, and its record cannot be read.
    Unreadable(Unreadable),
}

/// Whether the holder of a claim still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A `TechnicalUser` of that uid exists, or it is unknown.
    Exists,
    /// There is none of that uid.
    Gone,
}

/// Whether the record needs the uid of the namespace, which the metadata of the user does not have.
///
/// A revocation does not wait for it.
pub fn needs_namespace(user: &User, record: &ClientIdReservation) -> bool {
    match record {
        ClientIdReservation::Free => true,
        ClientIdReservation::Held(_, record) => {
            let token = user.revoke_request.as_deref();
            let is_answered = token.is_none_or(|token| record.revoked.includes(token));
            record.owner.namespace_uid.is_none() && is_answered
        }
        ClientIdReservation::Taken(..) | ClientIdReservation::Unreadable(_) => false,
    }
}

/// Decides the next step.
///
/// # Guarantees
///
/// The result is safe to carry out at any later time: every write is refused when an object that it
/// depends on has changed. From every state, repeated decisions reach rest once faults stop.
pub fn decide(observed: &Observed, now: Now) -> Step {
    let Some(user) = &observed.user else {
        return done(Outcome::Gone, None);
    };
    let (version, record) = match &observed.record {
        ClientIdReservation::Held(version, record) => (version, record.as_ref()),
        ClientIdReservation::Free => {
            let record = Record::empty(user.client_id.clone(), user.owner.clone());
            return Step::Write(Write::CreateRecord(Box::new(record)));
        }
        ClientIdReservation::Taken(version, _, Holder::Gone) => {
            return Step::Write(Write::DeleteRecord(version.clone()));
        }
        ClientIdReservation::Taken(_, _, Holder::Exists) => {
            return done(Outcome::ClientIdTaken, Some(recheck(now)));
        }
        ClientIdReservation::Unreadable(reason) => {
            return done(Outcome::Unreadable(*reason), Some(recheck(now)));
        }
    };
    let delivered = observed.delivered.as_ref();
    let view = Context { user, version, record, delivered, now };
    CHECKS.iter().find_map(|check| check(&view)).unwrap_or_else(|| view.converged())
}

/// Checks run in this order; the first that answers decides.
const CHECKS: &[fn(&Context<'_>) -> Option<Step>] = &[
    revocation_requested,    // before anything that a blocked delivery could hold up
    namespace_is_unrecorded, // servers compare it before they issue a token
    secret_is_not_ours,      // never taken over, never written; what a predecessor left goes
    secret_is_going,         // a finalizer holds it: nothing can be made of it
    creation_may_be_in_flight, // the placeholder is the fence
    pending_is_shown,        // the client secret was revealed: its verifier becomes current
    secret_is_immutable,     // nothing can be delivered into it
    delivery_may_be_in_flight, // fence before replace
    losses_are_paced,        // a Secret that is deleted again and again has a loop
    record_is_full,          // wait rather than forget
    client_secret_is_needed, // register, then reveal
    read_once_is_over,       // a one-time Secret goes
    secret_has_drifted,      // labels, annotations, URLs
    record_needs_pruning,    // what has ended goes
    secret_is_empty,         // a reader would start without a client secret
];

struct Context<'a> {
    user: &'a User,
    version: &'a Version,
    record: &'a Record,
    delivered: Option<&'a ObservedSecret>,
    now: Now,
}

fn revocation_requested(view: &Context<'_>) -> Option<Step> {
    let token = view.user.revoke_request.as_deref()?;
    let is_answered = view.record.revoked.includes(token);
    (!is_answered).then(|| view.put(view.record.revoke_all(token, view.now), Change::Revoke))
}

fn namespace_is_unrecorded(view: &Context<'_>) -> Option<Step> {
    let namespace_uid = view.user.owner.namespace_uid.as_ref()?;
    if view.record.owner.namespace_uid.is_some() {
        return None;
    }
    let mut record = view.record.clone();
    record.owner.namespace_uid = Some(namespace_uid.clone());
    Some(view.put(record, Change::Complete))
}

fn secret_is_not_ours(view: &Context<'_>) -> Option<Step> {
    let delivered = view.delivered?;
    match delivered.belongs {
        Belongs::Ours => None,
        Belongs::Predecessor if delivered.is_terminating => None,
        Belongs::Predecessor if gc_had_time(view.user.created_at, view.now) => {
            Some(Step::Write(Write::Collect(delivered.version.clone())))
        }
        Belongs::Predecessor => {
            let soon = saturating_add(view.now.earliest(), GC_RECHECK);
            Some(done(Outcome::AwaitingGarbageCollection, Some(soon)))
        }
        Belongs::Foreign => Some(done(Outcome::SecretConflict, Some(recheck(view.now)))),
    }
}

fn secret_is_going(view: &Context<'_>) -> Option<Step> {
    view.delivered?
        .is_terminating
        .then(|| done(Outcome::SecretTerminating, Some(recheck(view.now))))
}

fn creation_may_be_in_flight(view: &Context<'_>) -> Option<Step> {
    if view.delivered.is_some() || view.user.is_suspended || !view.record.awaits_creation() {
        return None;
    }
    let tidy = view.pruned(view.record);
    // Nothing could be delivered into it while the record is full, unless that never ends.
    let has_use = tidy.has_room() || tidy.ends().next().is_none();
    has_use.then_some(Step::Write(Write::CreatePlaceholder))
}

fn pending_is_shown(view: &Context<'_>) -> Option<Step> {
    let id = view.delivered?.unaltered_id()?;
    let entry = view.record.entries.get(id)?;
    if !matches!(entry.state, EntryState::Pending(_)) {
        return None;
    }
    let promoted = view.record.promote(id, view.user.overlap, view.now);
    Some(view.put(view.pruned(&promoted), Change::Promote))
}

fn delivery_may_be_in_flight(view: &Context<'_>) -> Option<Step> {
    let delivered = view.delivered?;
    view.cause()?;
    let write = Write::Fence(delivered.version.clone(), delivered.attempt.saturating_add(1));
    view.record.awaits(&delivered.version).then_some(Step::Write(write))
}

fn client_secret_is_needed(view: &Context<'_>) -> Option<Step> {
    let cause = view.cause()?;
    let mut record = view.pruned(view.record);
    record.serial = view.next_serial();
    if let Some(token) = view.user.rotate_request.as_deref() {
        record.rotated = record.rotated.with(token);
    }
    Some(Step::Write(Write::Issue(Box::new(Issue {
        record_version: view.version.clone(),
        record,
        placeholder: view.delivered.map(|delivered| delivered.version.clone()),
        placeholder_is_empty: view.delivered.is_some_and(ObservedSecret::is_empty),
        cause,
    }))))
}

fn read_once_is_over(view: &Context<'_>) -> Option<Step> {
    // A fence goes only after what it stops has got its end.
    let delivered = view.delivered.filter(|delivered| !delivered.is_empty())?;
    let ends_at = view.withdrawal_at()?;
    let is_over = view.now.has_reached(ends_at) && !view.user.is_suspended;
    is_over.then(|| Step::Write(Write::Withdraw(delivered.version.clone())))
}

fn record_needs_pruning(view: &Context<'_>) -> Option<Step> {
    let tidy = view.pruned(view.record);
    (tidy != *view.record).then(|| view.put(tidy, Change::Prune))
}

// === impl Context ===

impl Context<'_> {
    /// Why a new client secret is needed, if it is.
    fn cause(&self) -> Option<Cause> {
        if self.user.is_suspended {
            return None;
        }
        let Some((id, current)) = self.record.current() else {
            return Some(Cause::Unissued);
        };
        if current.serial < self.record.serial {
            return Some(Cause::Unissued);
        }
        if self.is_requested() {
            return Some(Cause::Requested);
        }
        if self.due_at().is_some_and(|due_at| self.now.has_reached(due_at)) {
            return Some(Cause::Due);
        }
        let is_lenient = self.user.delivery != Delivery::Retained;
        match self.delivered {
            None => (!is_lenient).then_some(Cause::Deleted),
            // A Secret without a client secret was made again, or late for a delivery that is over.
            Some(delivered) if delivered.credential_id.is_none() => {
                (!is_lenient).then_some(Cause::Deleted)
            }
            Some(delivered) if delivered.credential_id.as_ref() != Some(id) => Some(Cause::Unknown),
            Some(delivered) if delivered.is_altered() => (!is_lenient).then_some(Cause::Altered),
            Some(_) => None,
        }
    }

    fn is_requested(&self) -> bool {
        let token = self.user.rotate_request.as_deref();
        token.is_some_and(|token| !self.record.rotated.includes(token))
    }

    fn due_at(&self) -> Option<Timestamp> {
        let (_, current) = self.record.current()?;
        let User { period, overlap, owner, .. } = self.user;
        Some(due_at(current.issued_at, (*period)?, *overlap, &owner.uid))
    }

    /// A serial is spent once a client secret of it is current.
    fn next_serial(&self) -> i64 {
        let is_spent =
            self.record.current().is_some_and(|(_, current)| current.serial >= self.record.serial);
        if is_spent { self.record.serial.saturating_add(1) } else { self.record.serial.max(1) }
    }

    fn withdrawal_at(&self) -> Option<Timestamp> {
        let Delivery::OneTime(ttl) = self.user.delivery else {
            return None;
        };
        let (_, current) = self.record.current()?;
        Some(saturating_add(current.issued_at, ttl))
    }

    fn pruned(&self, record: &Record) -> Record {
        record.prune(self.delivered.map(ObservedSecret::credential), self.user.overlap, self.now)
    }

    fn put(&self, record: Record, change: Change) -> Step {
        Step::Write(Write::PutRecord(self.version.clone(), Box::new(record), change))
    }

    /// Nothing to do: says so, and when time alone will change that.
    fn converged(&self) -> Step {
        let ends = self.record.ends();
        let withdrawal = self.delivered.and_then(|_| self.withdrawal_at());
        let acts = self.due_at().into_iter().chain(withdrawal).filter(|_| !self.user.is_suspended);
        // An action that is due by an untrusted clock waits until the clock is trusted.
        let wake_at = match self.now.clock_state() {
            ClockState::Trusted => ends.chain(acts).min(),
            ClockState::Apart(_) | ClockState::Jumped => Some(recheck(self.now)),
        };
        let outcome = match &self.user.excess {
            _ if self.user.is_suspended => Outcome::Suspended,
            Some(excess) => {
                let (user, excess) = (Box::new(self.user.owner.clone()), Box::new(excess.clone()));
                Outcome::NotAllowed { user, excess }
            }
            None => self.delivered_verdict(),
        };
        done(outcome, wake_at)
    }

    fn delivered_verdict(&self) -> Outcome {
        match self.delivered {
            Some(delivered) if delivered.is_altered() => Outcome::AlterationIgnored,
            Some(delivered) if delivered.credential_id.is_some() => Outcome::Delivered,
            Some(_) | None if matches!(self.user.delivery, Delivery::OneTime(_)) => {
                Outcome::ReadOnce
            }
            Some(_) | None => Outcome::DeletionIgnored,
        }
    }
}

fn done(outcome: Outcome, wake_at: Option<Timestamp>) -> Step {
    Step::Done(Done { outcome, requeue_at: wake_at })
}

/// No watch delivers changes of a Secret without our label, so a reconcile checks it again.
fn recheck(now: Now) -> Timestamp {
    saturating_add(now.earliest(), RECHECK)
}

const RECHECK: SignedDuration = SignedDuration::from_secs(30);

/// The garbage collector of Kubernetes usually needs less; an event of the watch shows it.
const GC_RECHECK: SignedDuration = SignedDuration::from_secs(2);

#[cfg(test)]
mod tests;
