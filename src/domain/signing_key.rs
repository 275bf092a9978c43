//! Stage, publish, schedule, drain: the protocol by which a key comes to sign and goes again.
//!
//! ```text
//!           CREATE key pair     PUT JWKS       PUT ledger       activateAt
//! (nothing) --------------> Staged -----> Published ------> scheduled ------> Active
//!                                                                               | the next is scheduled
//!                    DELETE key pair      PUT JWKS      PUT ledger: removed     v
//!            (gone) <--------------- Retired <---- (drained) <--------------- Grace
//! ```
//!
//! A key is in every JWKS for the whole `prePublish` before it signs, and stays there until the last
//! token of its own has expired; the ledger says when, and servers sign by the ledger. [`decide`]
//! looks at all of it and returns writes that the API server refuses if an object that they depend on has
//! changed; a replica that carried them out, or crashed, reconciles again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::conditions::blocked_reason::BlockedReason;
use super::crypto::jwks::Jwks;
use super::crypto::public_key::{Kid, PublicKey};
use super::object::{GC_TIME, Version, gc_had_time};
use super::schedule::{ClockState, Now, saturating_add};

pub mod dropped;
mod fallback;
pub mod ledger;
mod observed;
pub mod orphans;
mod requests;
mod retention;
mod scope;
pub mod status;
mod step;

use self::dropped::Dropped;
use self::fallback::{extend_previous, recovered};
pub use self::ledger::Ledger;
use self::ledger::{Entry, Withdrawal};
pub use self::observed::{
    ConfigMapRef, ConfigMapState, KeyPair, LedgerState, Observed, Origin, Published, Scope, Series,
    StaleCopy,
};
use self::requests::{revocation_of_all_requested, revocation_requested};
pub use self::retention::{HANDOVER, SKEW, retention};
pub use self::status::Outcome;
pub use self::step::{Change, Done, Publication, Step, Write};

/// Decides the next step.
///
/// # Guarantees
///
/// The result is safe to carry out at any later time: every write is refused when an object that it
/// depends on has changed. From every state, repeated decisions reach rest once faults stop.
pub fn decide(observed: &Observed, now: Now) -> Step {
    let Some(series) = &observed.series else {
        return done(Outcome::Gone, None);
    };
    let (version, ledger) = match &observed.ledger {
        LedgerState::Ledger(version, ledger) => (version, ledger.as_ref()),
        LedgerState::Unread => return done(Outcome::Gone, None),
        // What was published decides how a ledger is recovered, so all of it has to be in sight.
        LedgerState::Absent if observed.sight == Scope::OperatorNamespace => {
            return done(Outcome::NoActiveKey(None), Some(saturating_add(now.earliest(), RECHECK)));
        }
        LedgerState::Absent => {
            let mut empty = Ledger::empty(&series.uid, &series.name);
            empty.agreement = Some(series.agreement.clone());
            let ledger = recovered(&empty, observed, now).unwrap_or(empty);
            return Step::Write(Write::CreateLedger(Box::new(ledger)));
        }
        LedgerState::Unreadable(reason) => {
            let outcome = Outcome::LedgerUnreadable { secret: series.ledger(), reason: *reason };
            return done(outcome, Some(saturating_add(now.earliest(), RECHECK)));
        }
    };
    let view = Context { series, observed, version, ledger, now };
    let checks = match observed.sight {
        Scope::AllNamespaces => CHECKS,
        Scope::OperatorNamespace => scope::CHECKS_AT_HOME,
    };
    checks.iter().find_map(|check| check(&view)).unwrap_or_else(|| view.converged())
}

/// Checks run in this order; the first that answers decides.
const CHECKS: &[fn(&Context<'_>) -> Option<Step>] = &[
    ledger_was_lost,             // what exists is enough to know what must stay published
    revocation_of_all_requested, // before anything that could hold it up
    revocation_requested,        // the same
    key_has_vanished,            // before it is unpublished: its time may still be on its way
    published_differs, // publish, heal, unpublish: a pure projection of ledger and key pairs
    key_is_published,  // schedule, with the end of the former key
    end_was_seen,      // drain counts from when a live read showed the end
    key_is_drained,    // remove; the next reconcile unpublishes
    key_pair_is_superfluous, // delete, after no JWKS has it any more
    settings_differ,   // say which settings token servers have to share
    key_is_needed,     // stage, last: where nothing can be made, all the rest still happens
];

struct Context<'a> {
    series: &'a Series,
    observed: &'a Observed,
    version: &'a Version,
    ledger: &'a Ledger,
    now: Now,
}

fn ledger_was_lost(view: &Context<'_>) -> Option<Step> {
    let ledger = recovered(view.ledger, view.observed, view.now)?;
    Some(view.put(ledger, Change::Recover))
}

fn settings_differ(view: &Context<'_>) -> Option<Step> {
    let agreement = Some(view.series.agreement.clone());
    if view.ledger.agreement == agreement {
        return None;
    }
    let mut ledger = view.ledger.clone();
    ledger.agreement = agreement;
    Some(view.put(ledger, Change::Agree))
}

fn key_is_needed(view: &Context<'_>) -> Option<Step> {
    let index = view.ledger.next_index();
    let exists = view.observed.key_pairs.contains_key(&index);
    (!exists && view.needs_a_key()).then_some(Step::Write(Write::Stage(index)))
}

/// A delayed ledger write may still schedule a key whose key pair is gone, when an observation has not
/// seen that time. The ledger changes first, so that such a write is refused from then on.
fn key_has_vanished(view: &Context<'_>) -> Option<Step> {
    let Some(ConfigMapState::Owned(operator_namespace)) =
        view.observed.targets.get(&view.series.operator_namespace)
    else {
        return None;
    };
    let next = view.next().map(|(_, key)| key.kid());
    let known = view.ledger.entries.values().map(|entry| entry.key.kid()).chain(next);
    let known: BTreeSet<&Kid> = known.collect();
    // As many as are remembered: more of them in a JWKS are ignored.
    let vanished =
        operator_namespace.kids.iter().filter(|kid| !known.contains(kid)).take(Dropped::REMEMBERED);
    let mut ledger = view.ledger.clone();
    for kid in vanished.filter(|kid| !view.ledger.vanished.includes(kid.as_str())) {
        ledger.vanished = ledger.vanished.with(kid.as_str());
    }
    (ledger != *view.ledger).then(|| view.put(ledger, Change::Fence))
}

fn published_differs(view: &Context<'_>) -> Option<Step> {
    let wanted = view.wanted();
    // An empty set would have verifiers drop what they know.
    let jwks = wanted.bytes()?;
    let digest = wanted.digest();
    let targets = view.observed.targets.iter();
    let mut publications: Vec<Publication> = targets
        .filter_map(|(namespace, target)| match target {
            ConfigMapState::Absent => Some(Publication::Create(namespace.clone())),
            ConfigMapState::Owned(published) if published.digest.as_ref() == Some(&digest) => None,
            ConfigMapState::Owned(published) => {
                let Published { version, surplus_fields, .. } = published.clone();
                Some(Publication::Replace(namespace.clone(), version, surplus_fields))
            }
            ConfigMapState::Orphaned(version) if gc_had_time(view.series.created_at, view.now) => {
                let name = view.series.config_map_name.clone();
                let place = ConfigMapRef { namespace: namespace.clone(), name };
                Some(Publication::Delete(place, version.clone()))
            }
            ConfigMapState::Orphaned(_)
            | ConfigMapState::Conflict
            | ConfigMapState::Unwritable(..) => None,
        })
        .collect();
    // Where another is to take its place, the former goes after an observation has shown that one.
    let is_replaced = |place: &ConfigMapRef| match view.observed.targets.get(&place.namespace) {
        None => true,
        Some(ConfigMapState::Owned(published)) => published.digest.as_ref() == Some(&digest),
        Some(
            ConfigMapState::Absent
            | ConfigMapState::Orphaned(_)
            | ConfigMapState::Conflict
            | ConfigMapState::Unwritable(..),
        ) => false,
    };
    let surplus = view.observed.surplus.iter().filter(|(place, _)| is_replaced(place));
    publications.extend(surplus.filter_map(|(place, surplus)| match surplus {
        StaleCopy::Deletable(version) => Some(Publication::Delete(place.clone(), version.clone())),
        StaleCopy::Blocked(_) => None,
    }));
    let is_any = !publications.is_empty();
    is_any.then_some(Step::Write(Write::Publish(jwks, publications)))
}

fn key_is_published(view: &Context<'_>) -> Option<Step> {
    let (index, key) = view.next()?;
    if !view.is_published_at_home() {
        return None;
    }
    let is_first = view.ledger.newest().is_none();
    if !is_first && view.now.clock_state() != ClockState::Trusted {
        return None;
    }
    let activate_at = if is_first {
        // No token exists, or none that should still verify: there is nothing to wait for.
        view.now.earliest()
    } else {
        saturating_add(view.now.latest(), view.series.activation_delay())
    };
    let mut ledger = view.ledger.clone();
    let until = saturating_add(activate_at, HANDOVER);
    for entry in ledger.entries.values_mut().filter(|entry| entry.until.is_none()) {
        entry.until = Some(until);
    }
    extend_previous(&mut ledger, view.observed, view.now, until);
    let entry = Entry::scheduled(key.clone(), activate_at);
    ledger.entries.insert(index, view.observed.paired(index, entry));
    if let Some(token) = view.series.rotate_request.as_deref() {
        ledger.rotated = ledger.rotated.with(token);
    }
    let exists = |index: u32| view.observed.key_pairs.contains_key(&index);
    Some(view.put(ledger.without_vanished(exists), Change::Schedule))
}

fn end_was_seen(view: &Context<'_>) -> Option<Step> {
    if view.now.clock_state() != ClockState::Trusted {
        return None;
    }
    let mut ledger = view.ledger.clone();
    let is_unseen = |entry: &&mut Entry| {
        entry.withdrawal.is_none() && entry.until.is_some() && entry.end_seen_at.is_none()
    };
    for entry in ledger.entries.values_mut().filter(is_unseen) {
        entry.end_seen_at = Some(view.now.latest());
        // Settings may change; what was promised to tokens that are out there does not.
        entry.kept_until = entry.removal_at(view.series.retention);
    }
    (ledger != *view.ledger).then(|| view.put(ledger, Change::Drain))
}

fn key_is_drained(view: &Context<'_>) -> Option<Step> {
    let mut ledger = view.ledger.clone();
    for entry in ledger.entries.values_mut().filter(|entry| entry.withdrawal.is_none()) {
        // After a jump of all clocks a disconnected server signs on, and its tokens live by the new time.
        let is_over = |at| view.now.has_passed_on_stable_clock(at, view.series.retention);
        if entry.removal_at(view.series.retention).is_some_and(is_over) {
            entry.withdrawal = Some(Withdrawal::Drained);
        }
    }
    (ledger != *view.ledger).then(|| view.put(ledger, Change::Remove))
}

fn key_pair_is_superfluous(view: &Context<'_>) -> Option<Step> {
    if view.wanted().is_empty() {
        // The JWKS still shows it: an empty one is never written.
        return None;
    }
    let mut withdrawn = view.ledger.entries.iter().filter(|(_, entry)| entry.withdrawal.is_some());
    withdrawn.find_map(|(index, _)| {
        let key_pair = view.observed.key_pairs.get(index)?;
        Some(Step::Write(Write::DeleteKeyPair(*index, key_pair.version.clone())))
    })
}

// === impl Context ===

impl Context<'_> {
    /// The next key pair with its public half, if it exists and is not in the ledger yet.
    fn next(&self) -> Option<(u32, &PublicKey)> {
        let index = self.ledger.next_index();
        let key = self.observed.key_pairs.get(&index)?.public.as_ref()?;
        Some((index, key))
    }

    /// What every JWKS shall be: the keys of the ledger that were not removed, and the next.
    fn wanted(&self) -> Jwks {
        let live = self.ledger.live().map(|(_, entry)| entry.key.clone());
        live.chain(self.next().map(|(_, key)| key.clone())).collect()
    }

    fn is_published_at_home(&self) -> bool {
        matches!(
            self.observed.targets.get(&self.series.operator_namespace),
            Some(ConfigMapState::Owned(_))
        )
    }

    /// Whether a key is to be made that does not exist yet.
    fn needs_a_key(&self) -> bool {
        let Some((index, newest)) = self.ledger.newest() else {
            // The JWKS may still show what was revoked: another key takes its place.
            return !self.series.is_suspended || !self.ledger.entries.is_empty();
        };
        if self.series.is_suspended {
            return false;
        }
        if newest.until.is_some() || !self.observed.has_pair(index, newest) {
            return true;
        }
        // One rotation at a time.
        let may_rotate = self.now.has_reached(newest.activate_at) && self.has_room();
        let is_due = || self.now.has_reached(self.stage_at(newest));
        may_rotate && (self.is_requested() || !self.series.fits(&newest.key) || is_due())
    }

    /// How many places could not be written.
    fn blocked(&self) -> i32 {
        let targets = self.observed.targets.values();
        let targets = targets.filter(|it| matches!(it, ConfigMapState::Unwritable(..))).count();
        let surplus = self.observed.surplus.values();
        let surplus = surplus.filter(|it| matches!(it, StaleCopy::Blocked(_))).count();
        i32::try_from(targets.saturating_add(surplus)).unwrap_or(i32::MAX)
    }

    fn has_room(&self) -> bool {
        self.ledger.live().count() < Ledger::CAPACITY
    }

    fn is_requested(&self) -> bool {
        let token = self.series.rotate_request.as_deref();
        token.is_some_and(|token| !self.ledger.rotated.includes(token))
    }

    /// When the key after `newest` is to be made, so that it can take over in time.
    fn stage_at(&self, newest: &Entry) -> Timestamp {
        let takeover = self.series.promoted_at(newest.activate_at);
        let stage_at =
            takeover.checked_sub(self.series.activation_delay()).unwrap_or(newest.activate_at);
        stage_at.max(newest.activate_at)
    }

    fn put(&self, ledger: Ledger, change: Change) -> Step {
        Step::Write(Write::PutLedger(self.version.clone(), Box::new(ledger), change))
    }

    /// Nothing to do: says so, and when time alone will change that.
    fn converged(&self) -> Step {
        let outcome = status::outcome(self.series, self.observed, self.ledger, self.now);
        let drained = self
            .ledger
            .live()
            .filter_map(|(_, entry)| entry.removal_at(self.series.retention))
            .map(|at| at.max(self.now.passed_on_stable_clock_at(self.series.retention)))
            .map(|at| saturating_add(at, SignedDuration::from_secs(1)));
        let begins = self.ledger.live().map(|(_, entry)| entry.activate_at);
        let staging = self.ledger.newest().map(|(_, newest)| self.stage_at(newest));
        let staging = staging.filter(|_| !self.series.is_suspended && self.has_room());
        let to_come = drained.chain(begins).chain(staging);
        let wake_at = match self.now.clock_state() {
            ClockState::Trusted => to_come.filter(|at| !self.now.has_reached(*at)).min(),
            // What is due by a clock that cannot be trusted waits until it can.
            ClockState::Apart(_) | ClockState::Jumped => {
                Some(saturating_add(self.now.earliest(), RECHECK))
            }
        };
        let is_complete =
            self.observed.targets.values().all(|it| matches!(it, ConfigMapState::Owned(_)))
                && !self.observed.surplus.values().any(|it| matches!(it, StaleCopy::Blocked(_)));
        let is_outage = |it: &ConfigMapState| {
            matches!(it, ConfigMapState::Unwritable(BlockedReason::ApiServerUnavailable(_), _))
        };
        let is_urgent =
            !self.is_published_at_home() || self.observed.targets.values().any(is_outage);
        let is_left =
            self.observed.targets.values().any(|it| matches!(it, ConfigMapState::Orphaned(_)));
        let retry = match (is_left, is_urgent) {
            (true, _) => GC_TIME,
            (false, true) => RECHECK,
            (false, false) => RETRY.max(TRANSFER_TIME.saturating_mul(self.blocked())),
        };
        let retry = (!is_complete).then(|| saturating_add(self.now.earliest(), retry));
        done(outcome, wake_at.into_iter().chain(retry).min())
    }
}

fn done(outcome: Outcome, wake_at: Option<Timestamp>) -> Step {
    Step::Done(Done { outcome, requeue_at: wake_at })
}

/// The first index of a series.
pub const FIRST: u32 = 1;

const RECHECK: SignedDuration = SignedDuration::from_secs(30);

/// How often a namespace that could not be written is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(45);

/// The time that each of very many such namespaces adds: five of them are tried a second.
const TRANSFER_TIME: SignedDuration = SignedDuration::from_millis(200);

#[cfg(test)]
mod tests;
