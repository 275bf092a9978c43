//! What must hold after every single change of what the API server stores: K1 to K4.
//!
//! The oracle reads the stored JSON by itself: nothing that the operator believes is believed here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use support::fake_api_server::{Change, View};
use technical_user_operator::domain::crypto::jwks::kids_of;
use technical_user_operator::domain::crypto::public_key::{Algorithm, Kid};
use technical_user_operator::domain::signing_key::Ledger;
use technical_user_operator::domain::signing_key::ledger::Withdrawal;
use technical_user_operator::environment::Clock as _;
use technical_user_operator::environment::private_key::PrivateKey;

use crate::allowed_violations::{Excuses, last_token_of};
use crate::harness::clock::WallClock;
use crate::harness::stored::{is_operator, owner_of};
use crate::servers::{Servers, token_life};
use crate::stored::{JWKS, NAME, OPERATOR, is_selected, jwks_of, ledger_of, ledgers, name_of};
use crate::stored::{namespace_of, pairs_of, read_series};

/// Remembers what was signed, and by when it has expired.
pub(crate) struct Oracle {
    served: WallClock,
    servers: Servers,
    algorithm: Algorithm,
    pre_publish: SignedDuration,
    /// Since when the JWKS of the token service has had a key.
    published: BTreeMap<Kid, Duration>,
    allowed_violations: Excuses,
    /// Keys that may sign at once: the first, and the successor of a revoked last one.
    immediate: BTreeSet<Kid>,
    revoked: BTreeSet<Kid>,
    /// The one material of an index.
    material: BTreeMap<(String, u32), Kid>,
    /// When the last token of a key has expired, by the uid of its series.
    expiries: BTreeMap<(String, Kid), Timestamp>,
    targets: BTreeMap<String, BTreeSet<Kid>>,
    selected: BTreeSet<String>,
    /// JWKS that another writer changed, or that are new: until every key is in them.
    excused: BTreeSet<String>,
    /// Keys that signed at once while a namespace could not be written: until they are there.
    awaited: BTreeSet<(String, Kid)>,
    kids: BTreeMap<String, Kid>,
    made: BTreeSet<(String, u32)>,
    pub(crate) violations: Vec<String>,
}

impl Oracle {
    pub(crate) fn new(served: WallClock) -> Self {
        Self {
            served,
            servers: Servers::new(),
            algorithm: Algorithm::EdDsa,
            pre_publish: SignedDuration::ZERO,
            published: BTreeMap::new(),
            allowed_violations: Excuses::default(),
            immediate: BTreeSet::new(),
            revoked: BTreeSet::new(),
            material: BTreeMap::new(),
            expiries: BTreeMap::new(),
            targets: BTreeMap::new(),
            selected: BTreeSet::new(),
            excused: BTreeSet::new(),
            awaited: BTreeSet::new(),
            kids: BTreeMap::new(),
            made: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    /// How many keys came into ledgers.
    pub(crate) fn made(&self) -> usize {
        self.made.len()
    }

    /// Every clock was set by so much.
    pub(crate) fn set(&mut self, by: SignedDuration) {
        let elapsed = self.served.elapsed();
        let were_ahead = self.allowed_violations.ahead().is_positive();
        self.allowed_violations.set(elapsed, by);
        if were_ahead && !self.allowed_violations.ahead().is_positive() {
            // Tokens with times of a future that is no more would be good until it comes again.
            let latest = self.served.now() - self.allowed_violations.ahead() + token_life();
            self.expiries.values_mut().for_each(|expiry| *expiry = (*expiry).min(latest));
        }
        self.allowed_violations.see(elapsed, &self.servers.ledgers, &mut self.revoked);
    }

    /// Looks at one change: right before it, and right after.
    pub(crate) fn see(&mut self, change: &Change<'_>) {
        self.look();
        match change.plural {
            "signingkeys" => self.see_series(change),
            "secrets" if change.namespace == OPERATOR => {
                self.nothing_foreign_is_written(change);
                self.see_ledger(change);
                self.see_key_pairs(change.state);
                if !is_operator(change) {
                    self.forget_what_nothing_tells();
                }
            }
            "configmaps" => {
                self.nothing_foreign_is_written(change);
                self.see_jwks(change);
            }
            "namespaces" => {}
            _ => return,
        }
        self.see_namespaces(change.state);
        self.look();
    }

    /// Has every token server sign, and every verifier verify.
    pub(crate) fn look(&mut self) {
        let (elapsed, now) = (self.served.elapsed(), self.served.now());
        let home = self.targets.get(OPERATOR).cloned().unwrap_or_default();
        let alive = self.servers.series.current().as_ref().map(|(uid, _)| uid.clone());
        for (uid, kid) in self.servers.sign(elapsed, now) {
            // A user who revokes a key, or deletes the series, says that its tokens be refused.
            if self.revoked.contains(&kid) || alive.as_ref() != Some(&uid) {
                continue;
            }
            if !home.contains(&kid) && !self.excused.contains(OPERATOR) {
                self.violate("K1", &format!("{kid} signs and is not in the JWKS"));
            }
            let since = self.published.get(&kid).copied().unwrap_or(elapsed);
            let known_for = SignedDuration::try_from(elapsed.saturating_sub(since)).unwrap();
            let is_excused =
                self.immediate.contains(&kid) || self.allowed_violations.is_hurried(&kid);
            if known_for < self.pre_publish && !is_excused {
                self.violate("K3", &format!("{kid} signs, in the JWKS for {known_for:#}"));
            }
            if self.immediate.contains(&kid) {
                let lacking = self.selected.iter().filter(|it| !self.holds(it, &kid));
                let lacking: Vec<_> = lacking.map(|it| (it.clone(), kid.clone())).collect();
                let is_new = !self.expiries.contains_key(&(uid.clone(), kid.clone()));
                self.awaited.extend(lacking.into_iter().filter(|_| is_new));
            }
            let expiry = self.expiries.entry((uid, kid)).or_insert(now);
            *expiry = (*expiry).max(now + token_life());
        }
        self.verify(alive.as_deref(), now);
    }

    /// K2: every token that has not expired verifies against every JWKS.
    fn verify(&mut self, alive: Option<&str>, now: Timestamp) {
        self.expiries.retain(|(uid, _), expiry| Some(uid.as_str()) == alive && *expiry > now);
        let kids: BTreeSet<Kid> = self.expiries.keys().map(|(_, kid)| kid.clone()).collect();
        let kids: Vec<&Kid> = kids.iter().filter(|kid| !self.revoked.contains(kid)).collect();
        let wanted: Vec<String> =
            self.selected.iter().cloned().chain([OPERATOR.to_owned()]).collect();
        for namespace in wanted {
            let lacking: Vec<&Kid> =
                kids.iter().copied().filter(|kid| !self.holds(&namespace, kid)).collect();
            let is_there = self.targets.get(&namespace).is_some_and(|kids| !kids.is_empty());
            if lacking.is_empty() && is_there {
                self.excused.remove(&namespace);
            }
            if self.excused.contains(&namespace) {
                continue;
            }
            for kid in lacking {
                if !self.awaited.contains(&(namespace.clone(), kid.clone())) {
                    self.violate("K2", &format!("tokens of {kid} do not verify in {namespace}"));
                }
            }
        }
        let targets = &self.targets;
        self.awaited.retain(|(namespace, kid)| {
            targets.get(namespace).is_none_or(|kids| !kids.contains(kid))
        });
    }

    /// Everything went back to an earlier state: what was signed since by keys or by ends that are no
    /// more does not matter, and token servers start again as they do after a restore.
    pub(crate) fn restored(&mut self, state: View<'_>) {
        let series = state.get("signingkeys", "", NAME).map(read_series);
        self.servers.series.reset(series);
        let ledgers = ledgers(state);
        let live = ledgers.values().flat_map(|ledger| ledger.live().map(|(_, entry)| entry));
        let last_tokens: BTreeMap<Kid, Option<Timestamp>> =
            live.map(|entry| (entry.key.kid().clone(), last_token_of(entry))).collect();
        self.servers.ledgers.reset(ledgers);
        self.targets = state
            .list("configmaps")
            .into_iter()
            .map(|map| (namespace_of(map), kids_of(&jwks_of(map).unwrap_or_default())))
            .collect();
        self.servers.jwks.reset(self.targets.get(OPERATOR).cloned().unwrap_or_default());
        self.servers.private.reset(BTreeSet::new());
        self.see_key_pairs(state);
        let home = self.servers.jwks.current();
        self.published.retain(|kid, _| last_tokens.contains_key(kid) || home.contains(kid));
        self.expiries.retain(|(_, kid), expiry| {
            let last = last_tokens.get(kid).copied().flatten();
            *expiry = last.map_or(*expiry, |last| last.min(*expiry));
            last_tokens.contains_key(kid)
        });
        self.revoked.retain(|kid| !last_tokens.contains_key(kid));
        self.material.clear();
        self.excused.extend(self.selected.iter().cloned().chain([OPERATOR.to_owned()]));
        self.see_namespaces(state);
        self.look();
    }

    fn see_series(&mut self, change: &Change<'_>) {
        let series = change.new.map(read_series);
        if let Some(object) = change.new {
            let spec = &object["spec"];
            let algorithm = serde_json::from_value(spec["algorithm"].clone());
            self.algorithm = algorithm.unwrap_or_default();
            let ahead = spec["rotation"]["prePublish"].as_str();
            let ahead = ahead.and_then(technical_user_operator::domain::schedule::parse_duration);
            self.pre_publish = ahead.unwrap_or(SignedDuration::from_hours(1));
        }
        let former = self.servers.series.current().as_ref().map(|(uid, _)| uid.clone());
        if former != series.as_ref().map(|(uid, _)| uid.clone()) {
            self.excused.extend(self.selected.iter().cloned().chain([OPERATOR.to_owned()]));
        }
        self.servers.series.push(self.served.elapsed(), series);
    }

    fn see_ledger(&mut self, change: &Change<'_>) {
        let (Some(old), new) = (change.old.and_then(ledger_of), change.new.and_then(ledger_of))
        else {
            self.take_ledgers(change.state);
            if let Some(new) = change.new.and_then(ledger_of) {
                let came = Came::Anew { pairs: pairs_of(change.state, &new.uid) };
                self.see_entries(&Ledger::empty(&new.uid, &new.name), &new, came);
            }
            return;
        };
        self.take_ledgers(change.state);
        match new {
            Some(new) => self.see_entries(&old, &new, Came::Next),
            // It is not known any more which index had which material.
            None => self.material.retain(|(uid, _), _| *uid != old.uid),
        }
    }

    fn see_entries(&mut self, old: &Ledger, new: &Ledger, came: Came) {
        let was_last = old.live().next().is_none();
        let revoked = |ledger: &Ledger| {
            let entries = ledger.entries.values();
            entries.filter(|it| it.withdrawal == Some(Withdrawal::Revoked)).count()
        };
        let is_revocation = revoked(new) > revoked(old);
        for (index, entry) in &new.entries {
            let kid = entry.key.kid().clone();
            let place = (new.uid.clone(), *index);
            self.made.insert(place.clone());
            let known = self.material.entry(place).or_insert_with(|| kid.clone()).clone();
            if known != kid {
                self.violate("K4", &format!("index {index} was {known} and is {kid}"));
            }
            if entry.withdrawal == Some(Withdrawal::Revoked) {
                self.revoked.insert(kid);
            } else if came == Came::Next && was_last && !old.entries.contains_key(index) {
                self.immediate.insert(kid);
            } else if came == (Came::Anew { pairs: new.entries.len() }) && new.live().count() == 1 {
                // The only key pair of a lost ledger that is left in the JWKS: nothing else could sign.
                self.immediate.insert(kid);
            } else if let Some(former) = old.entries.get(index)
                && is_revocation
                && entry.activate_at < former.activate_at
            {
                // It waited for its time, and the key that signed till then was revoked.
                self.immediate.insert(kid);
            }
        }
    }

    fn take_ledgers(&mut self, state: View<'_>) {
        self.servers.ledgers.push(self.served.elapsed(), ledgers(state));
        let elapsed = self.served.elapsed();
        self.allowed_violations.see(elapsed, &self.servers.ledgers, &mut self.revoked);
    }

    fn see_key_pairs(&mut self, state: View<'_>) {
        let mut private = BTreeSet::new();
        for secret in state.list("secrets") {
            let Some(encoded) = secret["data"]["private-key.der"].as_str() else { continue };
            let Some(kid) = self.kid_of(encoded) else { continue };
            let index = secret["metadata"]["labels"]["iam.cyoda.com/key-index"].as_str();
            let index = index.and_then(|index| index.parse::<u32>().ok());
            let uid = owner_of(secret).unwrap_or_default();
            let ledger = self.servers.ledgers.current().get(&uid);
            let entry = index.and_then(|index| ledger?.entries.get(&index));
            // A request that comes late may make the pair of a key once more that is gone: nobody
            // signs with it.
            let live = entry.filter(|entry| entry.withdrawal.is_none());
            if live.is_some_and(|entry| *entry.key.kid() != kid) {
                self.violate("K4", "the ledger and the key pair of an index differ");
            }
            private.insert(kid);
        }
        self.servers.private.push(self.served.elapsed(), private);
    }

    /// A user who takes both the ledger and the key pair leaves no record that could know of the key: that
    /// revokes it.
    fn forget_what_nothing_tells(&mut self) {
        let ledgers = self.servers.ledgers.current();
        let event: BTreeSet<&Kid> = ledgers
            .values()
            .flat_map(|ledger| ledger.entries.values().map(|entry| entry.key.kid()))
            .chain(self.servers.private.current())
            .collect();
        let signing = self.expiries.keys().map(|(_, kid)| kid);
        let known = signing.chain(self.servers.jwks.current());
        let forgotten = known.filter(|kid| !event.contains(kid)).cloned();
        self.revoked.extend(forgotten.collect::<Vec<_>>());
    }

    fn see_jwks(&mut self, change: &Change<'_>) {
        if change.name != JWKS {
            return;
        }
        let namespace = change.namespace.to_owned();
        let ours = change.new.filter(|map| owner_of(map).is_some());
        let text = ours.and_then(jwks_of).unwrap_or_default();
        let kids = kids_of(&text);
        if is_operator(change) {
            if ours.is_some() && kids.is_empty() {
                self.violate("K2", "an empty key set was written");
            }
        } else {
            self.excused.insert(namespace.clone());
        }
        if namespace == OPERATOR {
            self.servers.jwks.push(self.served.elapsed(), kids.clone());
            let now = self.served.elapsed();
            for kid in &kids {
                self.published.entry(kid.clone()).or_insert(now);
            }
        }
        self.targets.insert(namespace, kids);
    }

    fn see_namespaces(&mut self, state: View<'_>) {
        let series = state.get("signingkeys", "", NAME);
        let namespaces = state.list("namespaces").into_iter();
        let selected = namespaces.filter(|it| series.is_some_and(|key| is_selected(key, it)));
        let selected: BTreeSet<String> = selected.map(name_of).collect();
        self.excused.extend(selected.difference(&self.selected).cloned());
        self.selected = selected;
    }

    fn nothing_foreign_is_written(&mut self, change: &Change<'_>) {
        let Some(old) = change.old.filter(|_| is_operator(change)) else { return };
        if owner_of(old).is_none() {
            self.violate("I3", &format!("foreign {} {} written", change.plural, change.name));
        }
    }

    fn holds(&self, namespace: &str, kid: &Kid) -> bool {
        self.targets.get(namespace).is_some_and(|kids| kids.contains(kid))
    }

    fn kid_of(&mut self, encoded: &str) -> Option<Kid> {
        if let Some(kid) = self.kids.get(encoded) {
            return Some(kid.clone());
        }
        let der = STANDARD.decode(encoded).ok()?;
        let kid = PrivateKey::from_pkcs8(self.algorithm, &der).ok()?.public().kid().clone();
        self.kids.insert(encoded.to_owned(), kid.clone());
        Some(kid)
    }

    fn violate(&mut self, invariant: &str, what: &str) {
        let at = self.served.elapsed().as_secs_f64();
        self.violations.push(format!("{invariant}: {what}, at {at:.3}"));
    }
}

/// How a ledger came about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It follows another one.
    Next,
    /// There was none: its content comes from so many key pairs, and has no privilege.
    Anew { pairs: usize },
}
