//! The servers that sign, all there could be: in every state, every combination of views that is
//! young enough signs, and what was signed is remembered as an obligation.

use std::collections::BTreeMap;
use std::sync::RwLock;

use harness::model::{Memory, fingerprint};

use crate::adapter::{Adapter, Timing};
use crate::cluster::{Cluster, HOME, Ledger, TICK, Time};
use crate::kids::{Kid, Kids, NOBODY};
use crate::state::{State, World};
use crate::wrong::Wrong;

/// What once was current, and how many ticks ago it ceased to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct View<T> {
    pub(crate) seen: T,
    pub(crate) age: u8,
}

/// What servers may have in view besides what is current.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Views {
    pub(crate) ledgers: Vec<View<Ledger>>,
    pub(crate) maps: Vec<View<Kids>>,
    pub(crate) pairs: Vec<View<Kids>>,
}

/// What is not in the cluster, but decides what must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct History {
    /// Since when a kid is in the JWKS at home.
    pub(crate) published: Vec<(Kid, Time)>,
    /// When the last token of a kid expires, by the clock that is most behind.
    pub(crate) tokens: Vec<(Kid, Time)>,
    pub(crate) marks: Marks,
    /// A token was signed that could not be verified at that instant.
    pub(crate) signed_unpublished: bool,
    /// A token was signed with a key that some verifier need not know yet.
    pub(crate) signed_early: bool,
}

/// What users did to keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Marks {
    /// Taken out of the JWKS of a namespace, and not put back yet.
    pub(crate) gaps: [Kids; 2],
    /// Asked to be revoked.
    pub(crate) revoked: Kids,
    /// There when every key was asked to be revoked.
    pub(crate) leaked: Kids,
    /// Neither a ledger nor a pair tells of them.
    pub(crate) untold: Kids,
    /// Their pair was deleted.
    pub(crate) lost: Kids,
    /// Their pair was deleted before the ledger knew them.
    pub(crate) dropped: Kids,
    /// Brought back with a ledger that was deleted.
    pub(crate) restored: Kids,
}

#[derive(Debug)]
pub(crate) struct Servers {
    /// How far ahead of the others the clock of a server may be.
    lead: Time,
    token: Time,
    view_age: Time,
    wrong: Option<Wrong>,
    /// What the production code answered: it is a function.
    known: RwLock<BTreeMap<Ledger, Signers>>,
    /// Who signs, by the fingerprint of all that can be in view, and by the clock.
    seen: Memory<(u64, Time), Kids>,
}

type Signers = BTreeMap<(Kids, Kids, Time, u8), Kid>;

impl Servers {
    pub(crate) fn new(lead: Time, timing: Timing, wrong: Option<Wrong>) -> Self {
        let Timing { token, view_age, .. } = timing;
        Self { lead, token, view_age, wrong, known: RwLock::default(), seen: Memory::default() }
    }

    /// Everything that can be signed now is. `before` is the cluster before it changed, if it did.
    pub(crate) fn sign(&self, adapter: &Adapter, before: Option<&Cluster>, state: &mut State) {
        self.look(before, state);
        let mut signed = Kids::default();
        let World { cluster, views, .. } = &state.world;
        let seen = (&cluster.ledger, cluster.published(HOME), cluster.private(), views);
        let fingerprint = fingerprint(&seen);
        for clock in 0..=self.lead {
            let signers = || self.signers(adapter, state, clock);
            let kids = self.seen.get(&(fingerprint, clock), signers);
            for kid in kids.iter() {
                state.world.history.oblige(kid, clock + self.token);
            }
            signed = signed.union(kids);
        }
        let let_go = state.world.history.marks.let_go();
        let excused = state.world.history.marks.gaps[HOME].union(let_go);
        let published = state.world.cluster.published(HOME);
        if !signed.without(published).without(excused).is_empty() {
            state.world.history.signed_unpublished = true;
        }
        let is_new = |kid: &Kid| {
            let since = state.world.history.published.iter().find(|(it, _)| it == kid);
            since.is_some_and(|(_, since)| -since < adapter.timing.pre_publish)
        };
        if signed.without(let_go).iter().any(|kid| is_new(&kid)) {
            state.world.history.signed_early = true;
        }
    }

    /// Whether a server that sees all there is can sign.
    pub(crate) fn can_sign(&self, adapter: &Adapter, cluster: &Cluster) -> bool {
        let (published, private) = (cluster.published(HOME), cluster.private());
        let ledger = cluster.ledger.as_ref().map(Ledger::as_served);
        ledger.is_some_and(|it| self.signer(adapter, &it, (published, private, 0, 0)) != NOBODY)
    }

    /// What ceased to be current may be in view for a while.
    fn look(&self, before: Option<&Cluster>, state: &mut State) {
        let World { cluster, views, .. } = &mut state.world;
        if let Some(before) = before {
            if before.ledger != cluster.ledger {
                let former = before.ledger.as_ref().map(Ledger::as_served);
                let present = cluster.ledger.as_ref().map(Ledger::as_served);
                remember(&mut views.ledgers, former, present.as_ref(), |it| it.entries.is_empty());
            }
            let (former, present) = (before.published(HOME), cluster.published(HOME));
            remember(&mut views.maps, Some(former), Some(&present), |kids| kids.is_empty());
            let (former, present) = (before.private(), cluster.private());
            remember(&mut views.pairs, Some(former), Some(&present), |kids| kids.is_empty());
        }
        if self.wrong != Some(Wrong::NoStaleBound) {
            let is_young = |age: u8| Time::from(age) * TICK < self.view_age;
            views.ledgers.retain(|view| is_young(view.age));
            views.maps.retain(|view| is_young(view.age));
            views.pairs.retain(|view| is_young(view.age));
        }
    }

    fn signers(&self, adapter: &Adapter, state: &State, clock: Time) -> Kids {
        let World { cluster, views, .. } = &state.world;
        let ledger = cluster.ledger.as_ref().map(Ledger::as_served);
        let ledgers = with_current(&views.ledgers, ledger);
        let maps = with_current(&views.maps, Some(cluster.published(HOME)));
        let pairs = with_current(&views.pairs, Some(cluster.private()));
        let mut signers = Kids::default();
        for ledger in &ledgers {
            for map in &maps {
                for pair in &pairs {
                    let age = ledger.age.max(map.age).max(pair.age);
                    let views = (map.seen, pair.seen, clock, age);
                    signers.insert(self.signer(adapter, &ledger.seen, views));
                }
            }
        }
        signers
    }

    fn signer(
        &self,
        adapter: &Adapter,
        ledger: &Ledger,
        (map, pairs, clock, age): (Kids, Kids, Time, u8),
    ) -> Kid {
        let known: Kids = ledger.entries.iter().map(|entry| entry.kid).collect();
        let does_not_look =
            matches!(self.wrong, Some(Wrong::NoJwksCheck | Wrong::NoJwksCheckNorConfirmation));
        let map = if does_not_look { Kids::ALL } else { map }.intersection(known);
        let age = if self.wrong == Some(Wrong::NoStaleBound) { 0 } else { age };
        let views = (map, pairs.intersection(known), clock, age);
        let answered = |known: &BTreeMap<Ledger, Signers>| {
            known.get(ledger).and_then(|signers| signers.get(&views)).copied()
        };
        if let Some(kid) = answered(&self.known.read().unwrap()) {
            return kid;
        }
        let kid = adapter.signer(ledger, views);
        self.known.write().unwrap().entry(ledger.clone()).or_default().insert(views, kid);
        kid
    }
}

impl Views {
    pub(crate) fn grow_older(&mut self) {
        self.ledgers.iter_mut().for_each(|view| view.age = view.age.saturating_add(1));
        self.maps.iter_mut().for_each(|view| view.age = view.age.saturating_add(1));
        self.pairs.iter_mut().for_each(|view| view.age = view.age.saturating_add(1));
    }

    pub(crate) fn order(&mut self) {
        settle(&mut self.ledgers);
        settle(&mut self.maps);
        settle(&mut self.pairs);
    }
}

impl History {
    /// The operator wrote the JWKS at home.
    pub(crate) fn publish(&mut self, kids: Kids) {
        for kid in kids.iter() {
            if self.published.iter().all(|(it, _)| *it != kid) {
                self.published.push((kid, 0));
            }
        }
        let kept = kids.union(self.marks.gaps[HOME]);
        self.published.retain(|(kid, _)| kept.contains(*kid));
    }

    /// That key may sign at once.
    pub(crate) fn excuse(&mut self, kid: Kid, horizon: Time) {
        self.published.retain(|(it, _)| *it != kid);
        self.published.push((kid, -horizon));
    }

    pub(crate) fn tick(&mut self, horizon: Time) {
        self.published.iter_mut().for_each(|(_, since)| *since = (*since - TICK).max(-horizon));
        self.tokens.iter_mut().for_each(|(_, expiry)| *expiry -= TICK);
        self.tokens.retain(|(_, expiry)| *expiry > 0);
    }

    pub(crate) fn order(&mut self) {
        self.published.sort_unstable();
        self.tokens.sort_unstable();
    }

    fn oblige(&mut self, kid: Kid, expiry: Time) {
        match self.tokens.iter_mut().find(|(it, _)| *it == kid) {
            Some((_, latest)) => *latest = expiry.max(*latest),
            None => self.tokens.push((kid, expiry)),
        }
    }
}

impl Marks {
    /// Those whose tokens need not verify any more.
    pub(crate) fn let_go(&self) -> Kids {
        self.revoked.union(self.untold)
    }

    pub(crate) fn sets(&mut self, visitor: &mut impl FnMut(&mut Kids)) {
        self.gaps.iter_mut().for_each(&mut *visitor);
        visitor(&mut self.revoked);
        visitor(&mut self.leaked);
        visitor(&mut self.untold);
        visitor(&mut self.lost);
        visitor(&mut self.dropped);
        visitor(&mut self.restored);
    }

    pub(crate) fn intersection(self, present: Kids) -> Self {
        Self {
            gaps: self.gaps.map(|gap| gap.intersection(present)),
            revoked: self.revoked.intersection(present),
            leaked: self.leaked.intersection(present),
            untold: self.untold.intersection(present),
            lost: self.lost.intersection(present),
            dropped: self.dropped.intersection(present),
            restored: self.restored.intersection(present),
        }
    }
}

fn remember<T: PartialEq>(
    views: &mut Vec<View<T>>,
    former: Option<T>,
    present: Option<&T>,
    is_empty: impl Fn(&T) -> bool,
) {
    if former.as_ref() != present {
        views.extend(former.map(|seen| View { seen, age: 0 }));
    }
    // Who sees nothing signs nothing, and what is current needs no second mention.
    views.retain(|view| !is_empty(&view.seen) && Some(&view.seen) != present);
}

fn with_current<T: Clone>(views: &[View<T>], current: Option<T>) -> Vec<View<T>> {
    let current = current.map(|seen| View { seen, age: 0 });
    views.iter().cloned().chain(current).collect()
}

/// In order, and of views that show the same only the youngest.
fn settle<T: Ord>(views: &mut Vec<View<T>>) {
    views.sort_unstable_by(|a, b| (&a.seen, a.age).cmp(&(&b.seen, b.age)));
    views.dedup_by(|later, earlier| later.seen == earlier.seen);
}
