//! What must hold after every single change of what the API server stores.
//!
//! The oracle reads the stored JSON by itself: nothing that the operator believes is believed here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::fake_api_server::{Change, View};
use technical_user_operator::domain::crypto::client_secret::{ClientSecret, Verifier};
use technical_user_operator::environment::Clock as _;

use crate::harness::clock::WallClock;
use crate::harness::stored::{is_operator, owner_of, uid_of};
use crate::mutant::record_of;

/// Where the operator keeps its records.
pub(crate) const OPERATOR: &str = "iam-system";

/// How long a replaced secret stays valid in every flow.
pub(crate) const OVERLAP: Duration = Duration::from_mins(2);

/// Clocks that differ by less than the operator's own tolerance are taken to agree, so an end may
/// come that much early; a second more is for times in whole seconds.
const TOLERANCE: Duration = Duration::from_secs(6);

/// Remembers what was revealed, and when.
pub(crate) struct Oracle {
    local: WallClock,
    served: WallClock,
    uids: BTreeSet<String>,
    reveals: BTreeMap<String, Reveal>,
    count: usize,
    acts: usize,
    /// Ends are believed at once by an operator that starts after every clock jumped together.
    pub(crate) trusts_ends: bool,
    /// Whether an end can be held against the instant of the write that sets it.
    pub(crate) dates_ends: bool,
    pub(crate) violations: Vec<String>,
}

/// A client secret that the operator showed.
struct Reveal {
    uid: String,
    serial: i64,
    secret: String,
    acts: usize,
    hidden_at: Option<Duration>,
    succeeded_at: Option<Duration>,
    was_current: bool,
    /// Revoked, or its record taken away by another writer.
    is_void: bool,
}

impl Reveal {
    /// Since when nobody has had a reason to use it: it is not shown any more, and if it was the
    /// current one, another is.
    fn overlaps_since(&self) -> Option<Duration> {
        let hidden_at = self.hidden_at?;
        if self.was_current { Some(hidden_at.max(self.succeeded_at?)) } else { Some(hidden_at) }
    }
}

impl Oracle {
    pub(crate) fn new(local: WallClock, served: WallClock) -> Self {
        Self {
            local,
            served,
            uids: BTreeSet::new(),
            reveals: BTreeMap::new(),
            count: 0,
            acts: 0,
            trusts_ends: true,
            dates_ends: true,
            violations: Vec::new(),
        }
    }

    /// How many client secrets were revealed.
    pub(crate) fn made(&self) -> usize {
        self.count
    }

    /// A user laid hands on what the operator made.
    pub(crate) fn interfere(&mut self) {
        self.acts += 1;
    }

    /// Looks at one change.
    pub(crate) fn see(&mut self, change: &Change<'_>) {
        match change.plural {
            "technicalusers" => self.uids.extend(change.new.map(uid_of)),
            "secrets" => {
                self.nothing_foreign_is_written(change);
                if change.namespace == OPERATOR {
                    self.see_record(change);
                } else {
                    self.see_delivered(change);
                }
            }
            _ => return,
        }
        self.what_is_visible_is_accepted(change.state);
    }

    /// Everything went back to an earlier state: what was revealed since does not matter.
    pub(crate) fn restored(&mut self, state: View<'_>) {
        self.acts += 1;
        let known: BTreeSet<String> = state
            .list("secrets")
            .into_iter()
            .flat_map(|secret| entries(&record_of(secret)).into_keys().collect::<Vec<_>>())
            .collect();
        self.reveals.retain(|id, _| known.contains(id));
        for secret in state.list("secrets") {
            if let Some(text) = shown(secret) {
                let reveal = self.reveals.values_mut().find(|reveal| reveal.secret == text);
                if let Some(reveal) = reveal {
                    (reveal.hidden_at, reveal.succeeded_at) = (None, None);
                }
            }
        }
    }

    fn nothing_foreign_is_written(&mut self, change: &Change<'_>) {
        let Some(old) = change.old.filter(|_| is_operator(change)) else { return };
        let is_ours = if change.namespace == OPERATOR {
            old["type"] == "iam.cyoda.com/verifier"
        } else {
            owner_of(old).is_some_and(|uid| self.uids.contains(&uid) && may_go(&uid, change))
        };
        if !is_ours {
            self.violate("I3", &format!("foreign Secret {} written", change.name));
        }
    }

    fn see_delivered(&mut self, change: &Change<'_>) {
        let before = change.old.and_then(shown);
        let after = change.new.and_then(shown);
        if before == after {
            return;
        }
        let now = self.local.elapsed();
        for reveal in self.reveals.values_mut() {
            if Some(&reveal.secret) == before.as_ref() {
                reveal.hidden_at = Some(now);
            }
            if Some(&reveal.secret) == after.as_ref() {
                reveal.hidden_at = None;
            }
        }
        let Some(new) = change.new.filter(|_| is_operator(change)) else { return };
        let Some(after) = after else { return };
        let uid = owner_of(new).unwrap_or_default();
        self.reveal(uid, &after, change.state);
    }

    fn reveal(&mut self, uid: String, text: &str, state: View<'_>) {
        let Ok(secret) = text.parse::<ClientSecret>() else {
            return self.violate("I1", "a text that is no client secret was revealed");
        };
        self.count += 1;
        let now = self.local.elapsed();
        for former in self.reveals.values_mut().filter(|reveal| reveal.uid == uid) {
            former.succeeded_at.get_or_insert(now);
        }
        let id = secret.id().to_string();
        let entry = record_of_user(state, &uid).and_then(|record| entries(&record).remove(&id));
        let serial = entry.and_then(|entry| entry["serial"].as_i64()).unwrap_or(-1);
        let is_twice = self
            .reveals
            .values()
            .any(|reveal| (&reveal.uid, reveal.serial, reveal.acts) == (&uid, serial, self.acts));
        if is_twice && serial >= 0 {
            self.violate("I6", &format!("serial {serial} was revealed twice"));
        }
        let reveal = Reveal {
            uid,
            serial,
            secret: text.to_owned(),
            acts: self.acts,
            hidden_at: None,
            succeeded_at: None,
            was_current: false,
            is_void: false,
        };
        self.reveals.insert(id, reveal);
    }

    fn see_record(&mut self, change: &Change<'_>) {
        let old = change.old.map(record_of).unwrap_or_default();
        let new = change.new.map(record_of).unwrap_or_default();
        let (before, after) = (entries(&old), entries(&new));
        let revokes = !new.is_null() && old["revoked"] != new["revoked"];
        let owner = old["owner"]["uid"].as_str().unwrap_or_default().to_owned();
        if !is_operator(change) || revokes {
            for (id, _) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
                if let Some(reveal) = self.reveals.get_mut(id) {
                    reveal.is_void = true;
                }
            }
        }
        for (id, entry) in &after {
            if let (Some(reveal), "current") = (self.reveals.get_mut(id), state_of(entry)) {
                reveal.was_current = true;
            }
        }
        if lives(change.state, &owner) {
            self.nothing_ends_early(&before, &after);
        }
        self.one_has_no_end(&after);
    }

    fn one_has_no_end(&mut self, entries: &BTreeMap<String, Value>) {
        let count = |wanted: &str| {
            let entries = entries.iter().filter(|(_, entry)| state_of(entry) == wanted);
            entries.filter(|(id, _)| wanted == "current" || self.reveals.contains_key(*id)).count()
        };
        let (current, pending) = (count("current"), count("pending"));
        if current > 1 || pending > 1 {
            self.violate("I2", &format!("{current} current, {pending} revealed and pending"));
        }
    }

    fn nothing_ends_early(
        &mut self,
        before: &BTreeMap<String, Value>,
        after: &BTreeMap<String, Value>,
    ) {
        let now = self.local.elapsed();
        let earliest = self.local.now().min(self.served.now());
        let signed = |duration| SignedDuration::try_from(duration).unwrap();
        let mut early = Vec::new();
        for (id, was) in before {
            let Some(reveal) = self.reveals.get(id).filter(|reveal| !reveal.is_void) else {
                continue;
            };
            let since = reveal.overlaps_since();
            let is_over = since.is_some_and(|since| now + TOLERANCE >= since + OVERLAP);
            match after.get(id) {
                None => {
                    if self.trusts_ends && !is_over {
                        early.push(format!("serial {} left the record early", reveal.serial));
                    }
                }
                Some(is) if state_of(is) == "old" && state_of(was) != "old" => {
                    // A write that comes late may bring an end that has passed, or one that is nearer
                    // than the overlap: it counts from when the successor was there to be used.
                    let past = now.saturating_sub(since.unwrap_or(now));
                    let least = earliest + signed(OVERLAP) - signed(TOLERANCE) - signed(past);
                    let is_early = not_after(is).is_none_or(|end| end < least);
                    if self.dates_ends && is_early && !is_over {
                        early.push(format!("serial {} was given an early end", reveal.serial));
                    }
                }
                Some(_) => {}
            }
        }
        for what in early {
            self.violate("I4", &what);
        }
    }

    /// I1, for every delivered Secret whose user lives.
    pub(crate) fn what_is_visible_is_accepted(&mut self, state: View<'_>) {
        for secret in state.list("secrets") {
            let Some(text) = shown(secret) else { continue };
            let uid = owner_of(secret).unwrap_or_default();
            if !lives(state, &uid) {
                continue;
            }
            let revealed = self.reveals.iter().find(|(_, reveal)| reveal.secret == text);
            let Some((id, reveal)) = revealed else { continue };
            if reveal.is_void {
                continue;
            }
            let (id, serial) = (id.clone(), reveal.serial);
            let entry = record_of_user(state, &uid).and_then(|record| entries(&record).remove(&id));
            let is_accepted = entry.is_some_and(|entry| self.accepts(&entry, &text));
            if !is_accepted {
                self.violate("I1", &format!("serial {serial} is visible and not accepted"));
            }
        }
    }

    fn accepts(&mut self, entry: &Value, text: &str) -> bool {
        let hash = entry["bcrypt"].as_str().unwrap_or_default();
        is_open(entry, self.served.now()) && agree(text, hash)
    }

    fn violate(&mut self, invariant: &str, what: &str) {
        let at = self.local.elapsed().as_secs_f64();
        self.violations.push(format!("{invariant}: {what}, at {at:.3}"));
    }
}

// === reading stored objects ===

/// The client secret that a delivered Secret shows.
pub(crate) fn shown(secret: &Value) -> Option<String> {
    field(secret, "client_secret")
}

/// A field of a Secret.
pub(crate) fn field(secret: &Value, name: &str) -> Option<String> {
    let encoded = secret["data"][name].as_str()?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

/// The record of a user, by its uid.
pub(crate) fn record_of_user(state: View<'_>, uid: &str) -> Option<Value> {
    let secrets = state.list("secrets").into_iter();
    secrets.map(record_of).find(|record| record["owner"]["uid"] == uid)
}

/// The entries of a record, by id.
pub(crate) fn entries(record: &Value) -> BTreeMap<String, Value> {
    let entries = record["entries"].as_object().into_iter().flatten();
    entries.map(|(id, entry)| (id.clone(), entry.clone())).collect()
}

/// The state of an entry.
pub(crate) fn state_of(entry: &Value) -> &str {
    entry["state"].as_str().unwrap_or_default()
}

/// Whether bcrypt agrees. The random bytes of all runs are the same, so each pair is hashed once.
pub(crate) fn agree(text: &str, hash: &str) -> bool {
    static AGREED: Mutex<BTreeMap<(String, String), bool>> = Mutex::new(BTreeMap::new());
    let mut agreed = AGREED.lock().unwrap_or_else(PoisonError::into_inner);
    *agreed.entry((text.to_owned(), hash.to_owned())).or_insert_with(|| {
        let secret = text.parse::<ClientSecret>();
        let verifier = hash.parse::<Verifier>();
        secret.is_ok_and(|secret| verifier.is_ok_and(|verifier| verifier.accepts(&secret)))
    })
}

fn lives(state: View<'_>, uid: &str) -> bool {
    state
        .list("technicalusers")
        .into_iter()
        .any(|user| uid_of(user) == uid && user["metadata"]["deletionTimestamp"].is_null())
}

/// Whether a delivered Secret may be what it is now: the operator deletes what is read once, and what
/// a user left who is gone.
fn may_go(uid: &str, change: &Change<'_>) -> bool {
    let users = change.state.list("technicalusers");
    let owner = users.into_iter().find(|user| uid_of(user) == uid);
    change.new.is_some() || owner.is_none_or(|it| it["spec"]["delivery"]["mode"] == "OneTime")
}

/// Whether the entry is accepted at that instant.
pub(crate) fn is_open(entry: &Value, now: Timestamp) -> bool {
    match state_of(entry) {
        "pending" | "current" => true,
        _ => not_after(entry).is_some_and(|end| now < end),
    }
}

fn not_after(entry: &Value) -> Option<Timestamp> {
    entry["notAfter"].as_str()?.parse().ok()
}
