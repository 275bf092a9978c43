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
//! looks at all of it and returns writes that the API server refuses if what they rest upon has
//! changed; whoever carried them out, or died, looks again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::jwks::Jwks;
use super::key_pair::{Algorithm, KeyShape, Kid, PublicKey};
use super::object::Version;
use super::obstacle::Obstacle;
use super::schedule::{Now, TOLERANCE, Trust, due_at, later};

pub mod ledger;
pub mod report;
mod step;

pub use self::ledger::Ledger;
use self::ledger::{Entry, Unreadable, Withdrawal};
pub use self::report::Verdict;
pub use self::step::{Change, Publication, Rest, Step, Write};

/// What live reads showed: the `SigningKey`, then every JWKS, then the ledger, then the key pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The `SigningKey`, unless it is gone or going.
    pub series: Option<Series>,
    /// The namespaces where the JWKS shall be, and what is there under its name.
    pub targets: BTreeMap<String, Target>,
    /// JWKS ConfigMaps of this series where none shall be any more.
    pub surplus: Vec<(Place, Version)>,
    /// The ledger.
    pub ledger: Held,
    /// The key pairs that exist: those of the ledger, and the next.
    pub key_pairs: BTreeMap<u32, KeyPair>,
}

/// A `SigningKey`, parsed: it cannot be wrong any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The generation of its spec.
    pub generation: i64,
    /// What its keys sign with.
    pub algorithm: Algorithm,
    /// What its next key pair is like.
    pub shape: KeyShape,
    /// How long each key signs.
    pub period: SignedDuration,
    /// How long a key is in every JWKS before it signs.
    pub pre_publish: SignedDuration,
    /// How long it stays there after it can have signed last.
    pub drain: SignedDuration,
    /// The namespace of the operator: its JWKS is the one that the token service serves.
    pub home: String,
    /// The name of the JWKS ConfigMap.
    pub config_map_name: String,
    /// Whether nothing signs and nothing is made.
    pub is_suspended: bool,
    /// The token of the request to rotate, if there is one.
    pub rotate_request: Option<String>,
    /// The kid that is to be revoked, if there is one.
    pub revoke_request: Option<String>,
}

/// What is under the name of the JWKS in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    Absent,
    /// A JWKS of this series.
    Ours(Published),
    /// Something of somebody else: left alone.
    Foreign,
    /// It cannot be written, or is on its way out.
    Blocked(Obstacle),
}

/// A JWKS ConfigMap of this series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its version.
    pub version: Version,
    /// The digest of its key set, if it is exactly as the operator writes it, labels included.
    pub digest: Option<String>,
    /// The keys that verifiers find in it.
    pub kids: BTreeSet<Kid>,
    /// Fields that the operator did not write.
    pub surplus_fields: BTreeSet<String>,
}

/// A ConfigMap by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The state of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// There is none.
    Absent,
    /// This one.
    Ledger(Version, Box<Ledger>),
    /// There is something that cannot be read. It is never written over.
    Unreadable(Unreadable),
}

/// A key pair that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The version of its Secret.
    pub version: Version,
    /// Its public half, if its private half was looked at and is of this series.
    pub public: Option<PublicKey>,
}

/// How long the clocks of two machines that are in order may differ.
pub const SKEW: SignedDuration = TOLERANCE;

/// How long the former key may still sign after the next one begins: room for a server that cannot
/// use the new one yet.
pub const HANDOVER: SignedDuration = SignedDuration::from_mins(10);

/// The time a key stays in the JWKS after it can have signed last (K2).
///
/// `view_age` is how old the views of a server may be for it to sign, `token_lifetime` how long a
/// token lives at most.
pub fn drain(
    grace: SignedDuration,
    view_age: SignedDuration,
    token_lifetime: SignedDuration,
) -> SignedDuration {
    let needed = view_age.saturating_add(token_lifetime).saturating_add(SKEW.saturating_mul(2));
    grace.max(needed)
}

/// Decides the next step.
///
/// # Guarantees
///
/// Safe to carry out whatever happened since the look: every write is refused when what it rests
/// upon has changed. From every state, repeated decisions reach rest once faults stop.
pub fn decide(observed: &Observed, now: Now) -> Step {
    let Some(series) = &observed.series else {
        return rest(Verdict::Gone, None);
    };
    let (version, ledger) = match &observed.ledger {
        Held::Ledger(version, ledger) => (version, ledger.as_ref()),
        Held::Absent => {
            let empty = Ledger::empty(&series.uid, &series.name);
            let ledger = recovered(&empty, observed, now).unwrap_or(empty);
            return Step::Write(Write::CreateLedger(Box::new(ledger)));
        }
        Held::Unreadable(reason) => {
            return rest(Verdict::LedgerUnreadable(*reason), Some(later(now.earliest(), RECHECK)));
        }
    };
    let view = View { series, observed, version, ledger, now };
    CHECKS.iter().find_map(|check| check(&view)).unwrap_or_else(|| view.settled())
}

/// Checks run in this order; the first that answers decides.
const CHECKS: &[fn(&View<'_>) -> Option<Step>] = &[
    ledger_was_lost,         // what exists is enough to know what must stay published
    revocation_requested,    // before anything that could hold it up
    key_is_needed,           // stage
    published_differs,       // publish, heal, unpublish: a pure projection of ledger and key pairs
    key_is_published,        // schedule, with the end of the former key
    end_was_seen,            // drain counts from when a live read showed the end
    key_is_drained,          // remove; the next look unpublishes
    key_pair_is_superfluous, // delete, after no JWKS has it any more
];

struct View<'a> {
    series: &'a Series,
    observed: &'a Observed,
    version: &'a Version,
    ledger: &'a Ledger,
    now: Now,
}

fn ledger_was_lost(view: &View<'_>) -> Option<Step> {
    let ledger = recovered(view.ledger, view.observed, view.now)?;
    Some(view.put(ledger, Change::Recover))
}

fn revocation_requested(view: &View<'_>) -> Option<Step> {
    let kid = view.series.revoke_request.as_deref()?;
    if view.ledger.revoked.includes(kid) {
        return None;
    }
    let next = view.next().filter(|(_, key)| key.kid().as_str() == kid);
    let mut ledger = view.ledger.clone();
    if let Some((index, key)) = next {
        let entry = Entry::never_used(key.clone(), view.now.latest());
        ledger.entries.insert(index, view.observed.paired(index, entry));
    }
    let found = ledger.entries.values_mut().find(|entry| entry.key.kid().as_str() == kid)?;
    found.withdrawal = Some(Withdrawal::Revoked);
    ledger.revoked = ledger.revoked.with(kid);
    // The former key takes over again where it can: every verifier still knows it.
    let heir = ledger.newest().filter(|(index, entry)| view.observed.has_pair_of(*index, entry));
    if let Some((index, _)) = heir
        && let Some(heir) = ledger.entries.get_mut(&index)
    {
        heir.until = None;
        heir.end_seen_at = None;
    }
    Some(view.put(ledger, Change::Revoke))
}

fn key_is_needed(view: &View<'_>) -> Option<Step> {
    let index = view.ledger.next_index();
    let exists = view.observed.key_pairs.contains_key(&index);
    (!exists && view.needs_a_key()).then_some(Step::Write(Write::Stage(index)))
}

fn published_differs(view: &View<'_>) -> Option<Step> {
    let wanted = view.wanted();
    // An empty set would have verifiers drop what they know.
    let jwks = wanted.bytes()?;
    let digest = wanted.digest();
    let targets = view.observed.targets.iter();
    let mut publications: Vec<Publication> = targets
        .filter_map(|(namespace, target)| match target {
            Target::Absent => Some(Publication::Create(namespace.clone())),
            Target::Ours(published) if published.digest.as_ref() == Some(&digest) => None,
            Target::Ours(published) => {
                let Published { version, surplus_fields, .. } = published.clone();
                Some(Publication::Replace(namespace.clone(), version, surplus_fields))
            }
            Target::Foreign | Target::Blocked(_) => None,
        })
        .collect();
    let surplus = view.observed.surplus.iter().cloned();
    publications.extend(surplus.map(|(place, version)| Publication::Delete(place, version)));
    let is_any = !publications.is_empty();
    is_any.then_some(Step::Write(Write::Publish(jwks, publications)))
}

fn key_is_published(view: &View<'_>) -> Option<Step> {
    let (index, key) = view.next()?;
    if !view.is_published_at_home() {
        return None;
    }
    let is_first = view.ledger.newest().is_none();
    if !is_first && view.now.trust() != Trust::Trusted {
        return None;
    }
    let Series { pre_publish, .. } = view.series;
    let activate_at = if is_first {
        // No token is out there, or none that is still meant to verify: nobody has to wait.
        view.now.earliest()
    } else {
        let ahead = pre_publish.saturating_add(SKEW.saturating_mul(2));
        later(view.now.latest(), ahead)
    };
    let mut ledger = view.ledger.clone();
    for entry in ledger.entries.values_mut().filter(|entry| entry.until.is_none()) {
        entry.until = Some(later(activate_at, HANDOVER));
    }
    let entry = Entry::scheduled(key.clone(), activate_at);
    ledger.entries.insert(index, view.observed.paired(index, entry));
    if let Some(token) = view.series.rotate_request.as_deref() {
        ledger.rotated = ledger.rotated.with(token);
    }
    let exists = |index: u32| view.observed.key_pairs.contains_key(&index);
    Some(view.put(ledger.forgetting(exists), Change::Schedule))
}

fn end_was_seen(view: &View<'_>) -> Option<Step> {
    if view.now.trust() != Trust::Trusted {
        return None;
    }
    let mut ledger = view.ledger.clone();
    let is_unseen = |entry: &&mut Entry| {
        entry.withdrawal.is_none() && entry.until.is_some() && entry.end_seen_at.is_none()
    };
    for entry in ledger.entries.values_mut().filter(is_unseen) {
        entry.end_seen_at = Some(view.now.latest());
    }
    (ledger != *view.ledger).then(|| view.put(ledger, Change::Drain))
}

fn key_is_drained(view: &View<'_>) -> Option<Step> {
    let mut ledger = view.ledger.clone();
    for entry in ledger.entries.values_mut().filter(|entry| entry.withdrawal.is_none()) {
        if entry.removal_at(view.series.drain).is_some_and(|at| view.now.has_passed(at)) {
            entry.withdrawal = Some(Withdrawal::Drained);
        }
    }
    (ledger != *view.ledger).then(|| view.put(ledger, Change::Remove))
}

fn key_pair_is_superfluous(view: &View<'_>) -> Option<Step> {
    let mut withdrawn = view.ledger.entries.iter().filter(|(_, entry)| entry.withdrawal.is_some());
    withdrawn.find_map(|(index, _)| {
        let key_pair = view.observed.key_pairs.get(index)?;
        Some(Step::Write(Write::DeleteKeyPair(*index, key_pair.version.clone())))
    })
}

/// The ledger as the key pairs tell it, if there are some that an empty ledger does not explain.
///
/// A key pair exists until its key is in no JWKS any more, so what exists is what must stay
/// published. The newest may not have been published long enough to sign; the one before it has.
fn recovered(ledger: &Ledger, observed: &Observed, now: Now) -> Option<Ledger> {
    let explained = observed.key_pairs.keys().all(|index| *index == FIRST);
    if !ledger.entries.is_empty() || explained {
        return None;
    }
    let series = observed.series.as_ref()?;
    let mut known: Vec<(u32, &PublicKey)> = observed
        .key_pairs
        .iter()
        .filter_map(|(index, key_pair)| Some((*index, key_pair.public.as_ref()?)))
        .collect();
    let is_everywhere = |key: &PublicKey| {
        let kid = key.kid();
        observed.targets.values().all(|target| match target {
            Target::Ours(published) => published.kids.contains(&kid),
            Target::Absent => false,
            Target::Foreign | Target::Blocked(_) => true,
        })
    };
    let is_second_safe = known.iter().rev().nth(1).is_some_and(|(_, key)| is_everywhere(key));
    if is_second_safe {
        known.pop();
    }
    let signer = known.last().filter(|(_, key)| is_everywhere(key)).map(|(index, _)| *index);
    let mut recovered = ledger.clone();
    for (index, key) in known {
        let mut entry = Entry::scheduled(key.clone(), now.earliest());
        if Some(index) != signer {
            entry.until = Some(now.latest());
        }
        recovered.entries.insert(index, observed.paired(index, entry));
    }
    // Answered or not, nobody knows: a rotation that nobody asked for is worse than one asked twice.
    if let Some(token) = series.rotate_request.as_deref() {
        recovered.rotated = recovered.rotated.with(token);
    }
    Some(recovered)
}

// === impl View ===

impl View<'_> {
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
        matches!(self.observed.targets.get(&self.series.home), Some(Target::Ours(_)))
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
        if newest.until.is_some() || !self.observed.has_pair_of(index, newest) {
            return true;
        }
        // One rotation at a time.
        let may_rotate = self.now.has_reached(newest.activate_at) && self.has_room();
        may_rotate && (self.is_requested() || self.now.has_reached(self.stage_at(newest)))
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
        let ahead = self.series.pre_publish.saturating_add(SKEW.saturating_mul(2));
        let takeover = self.series.takeover_after(newest.activate_at);
        let stage_at = takeover.checked_sub(ahead).unwrap_or(newest.activate_at);
        stage_at.max(newest.activate_at)
    }

    fn put(&self, ledger: Ledger, change: Change) -> Step {
        Step::Write(Write::PutLedger(self.version.clone(), Box::new(ledger), change))
    }

    /// Nothing to do: says so, and when time alone will change that.
    fn settled(&self) -> Step {
        let verdict = report::verdict(self.series, self.observed, self.ledger, self.now);
        let drained = self
            .ledger
            .live()
            .filter_map(|(_, entry)| entry.removal_at(self.series.drain))
            .map(|at| later(at, SignedDuration::from_secs(1)));
        let begins = self.ledger.live().map(|(_, entry)| entry.activate_at);
        let staging = self.ledger.newest().map(|(_, newest)| self.stage_at(newest));
        let staging = staging.filter(|_| !self.series.is_suspended && self.has_room());
        let to_come = drained.chain(begins).chain(staging);
        let wake_at = match self.now.trust() {
            Trust::Trusted => to_come.filter(|at| !self.now.has_reached(*at)).min(),
            // What is due by a clock that cannot be trusted waits until it can.
            Trust::Apart(_) | Trust::Jumped => Some(later(self.now.earliest(), RECHECK)),
        };
        let is_complete = self.observed.targets.values().all(|it| matches!(it, Target::Ours(_)));
        let retry = (!is_complete).then(|| later(self.now.earliest(), RETRY));
        rest(verdict, wake_at.into_iter().chain(retry).min())
    }
}

// === impl Observed ===

impl Observed {
    /// Whether the pair of that entry exists. A late request, or a user, can put another one in its
    /// place: no JWKS has the public half of that, so no server signs with it.
    fn has_pair_of(&self, index: u32, entry: &Entry) -> bool {
        let found = self.key_pairs.get(&index).map(|key_pair| &key_pair.version.uid);
        found.is_some_and(|found| entry.pair_uid.as_ref().is_none_or(|uid| uid == found))
    }

    /// The entry of the pair that exists under that index.
    fn paired(&self, index: u32, entry: Entry) -> Entry {
        let pair_uid = self.key_pairs.get(&index).map(|key_pair| key_pair.version.uid.clone());
        Entry { pair_uid, ..entry }
    }
}

// === impl Series ===

impl Series {
    /// When the successor of a key that began at `activate_at` is to take over.
    pub fn takeover_after(&self, activate_at: Timestamp) -> Timestamp {
        due_at(activate_at, self.period, self.pre_publish, &self.uid)
    }
}

fn rest(verdict: Verdict, wake_at: Option<Timestamp>) -> Step {
    Step::Rest(Rest { verdict, wake_at })
}

/// The first index of a series.
pub const FIRST: u32 = 1;

const RECHECK: SignedDuration = SignedDuration::from_secs(30);

/// How often a namespace that could not be written is tried again.
const RETRY: SignedDuration = SignedDuration::from_mins(5);

#[cfg(test)]
mod tests;
