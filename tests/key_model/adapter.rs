//! Between the small numbers of the model and the types that the operator and its servers decide
//! upon.
//!
//! Nothing is decided here: what was observed is spelt out, the production code is asked, and what
//! it says is turned back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use technical_user_operator::domain::crypto::jwks::{self, Jwks};
use technical_user_operator::domain::crypto::public_key::{Algorithm, KeyType, PublicKey};
use technical_user_operator::domain::oauth::signer::{Aged, SignerInputs, SigningState, signer};
use technical_user_operator::domain::object::Version;
use technical_user_operator::domain::policy::Policy;
use technical_user_operator::domain::schedule::{ClockMonitor, Now};
use technical_user_operator::domain::signing_key::ledger::{self, Withdrawal};
use technical_user_operator::domain::signing_key::{
    self, Change, ConfigMapState, KeyPair, LedgerState, Observed, Origin, Publication, Published,
    Series, Step, Write, retention,
};

use crate::cluster::{Entry, Ledger, Life, Map, Pairs, Requests, TICK, Time, Why};
use crate::kids::{Kid, Kids, MOST_KIDS, NOBODY};
use crate::state::Sight;

/// The durations of a series, and of what is signed with its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) pre_publish: Time,
    /// How old the views of a server may be.
    pub(crate) view_age: Time,
    /// How long a token lives.
    pub(crate) token: Time,
    /// How long a key signs, unless rotation is only on request.
    pub(crate) period: Option<Time>,
}

/// What the clocks of a replica show, compared with the time that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Clock {
    /// Exactly that.
    Right,
    /// Both are ahead by all that clocks in order may differ.
    Ahead,
    /// Its own is right, that of the API server is ahead by as much.
    Between,
    /// Its own is an hour ahead, and it knows that something is wrong.
    Doubtful,
}

/// All that a decision looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Look {
    pub(crate) requests: Requests,
    /// At home, and in the other namespace if there is one.
    pub(crate) maps: Vec<Sight<Map>>,
    pub(crate) ledger: Sight<Ledger>,
    pub(crate) pairs: Pairs,
    pub(crate) clock: Clock,
    /// Whether no rotation falls due, so that there can be rest.
    pub(crate) is_patient: bool,
}

/// A step, in small numbers. What names a version says whether it is the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Rest,
    CreateLedger(Ledger),
    PutLedger { ledger: Ledger, why: Why, is_current: bool },
    Stage(usize),
    Publish(Kids, Vec<Publishing>),
    DeletePair(usize, Kid),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publishing {
    Create(usize),
    Replace { namespace: usize, is_current: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) timing: Timing,
    keys: Vec<PublicKey>,
}

impl Adapter {
    pub(crate) fn new(timing: Timing) -> Self {
        let point = |byte: u8| [vec![4], vec![byte; 64]].concat();
        let key = |byte: u8| PublicKey::ec(Algorithm::ES256, &point(byte)).unwrap();
        Self { timing, keys: (0..=MOST_KIDS).map(key).collect() }
    }

    /// Longer ago than this is the same as this long ago.
    pub(crate) fn horizon(&self) -> Time {
        let kept = self.drain().as_secs() / UNIT;
        let longest = kept.max(i64::from(self.timing.period.unwrap_or(0)));
        Time::try_from(longest).unwrap().max(self.timing.pre_publish) + 2 * TICK
    }

    pub(crate) fn now(clock: Clock) -> Now {
        let alone = Duration::ZERO;
        match clock {
            Clock::Right => Now::at(instant(0)),
            Clock::Ahead => Now::at(instant(1)),
            Clock::Between => ClockMonitor::default().sample(instant(0), Some(instant(1)), alone),
            Clock::Doubtful => {
                ClockMonitor::default().sample(instant(TICK), Some(instant(0)), alone)
            }
        }
    }

    pub(crate) fn observed(&self, look: &Look) -> Observed {
        let targets = NAMESPACES.iter().zip(&look.maps);
        let ledger = look.ledger.seen.as_ref();
        // The operator looks at the pairs of the ledger and at the next one, or else at all; the
        // private half it reads only of those that the ledger does not know.
        let is_known = |index: u8| ledger.is_some_and(|ledger| ledger.entry(index).is_some());
        let spelt = ledger.map(|ledger| self.ledger(ledger));
        let next = spelt.as_ref().filter(|ledger| !ledger.entries.is_empty());
        let next = next.map(signing_key::Ledger::next_index);
        let pairs = (1..).zip(look.pairs).filter(|(index, kid)| {
            let is_looked_at =
                next.is_none_or(|next| u32::from(*index) == next) || is_known(*index);
            *kid != NOBODY && is_looked_at
        });
        let pairs = pairs.map(|(index, kid)| {
            let public = (!is_known(index)).then(|| self.key(kid).clone());
            (u32::from(index), KeyPair { version: version(&kid.to_string(), true), public })
        });
        Observed {
            series: Some(self.series(look)),
            targets: targets
                .map(|(name, it)| ((*name).to_owned(), self.target(name, it)))
                .collect(),
            surplus: BTreeMap::new(),
            sight: signing_key::Scope::AllNamespaces,
            ledger: spelt.map_or(LedgerState::Absent, |spelt| {
                LedgerState::Ledger(version(LEDGER, look.ledger.is_current), Box::new(spelt))
            }),
            key_pairs: pairs.collect(),
        }
    }

    /// Turns a step back.
    pub(crate) fn outcome(&self, step: Step) -> Outcome {
        match step {
            Step::Done(_) => Outcome::Rest,
            Step::Write(Write::CreateLedger(ledger)) => {
                Outcome::CreateLedger(self.small_ledger(&ledger))
            }
            Step::Write(Write::PutLedger(version, ledger, change)) => Outcome::PutLedger {
                ledger: self.small_ledger(&ledger),
                why: match change {
                    Change::Schedule => Why::Schedule,
                    Change::Recover => Why::Recover,
                    Change::Drain
                    | Change::Remove
                    | Change::Revoke
                    | Change::RevokeAll
                    | Change::Fence
                    | Change::Agree => Why::Other,
                },
                is_current: version == self::version(LEDGER, true),
            },
            Step::Write(Write::Stage(index)) => Outcome::Stage(usize::try_from(index).unwrap()),
            Step::Write(Write::Publish(jwks, publications)) => {
                let kids = jwks::kids_of(&jwks).iter().map(|kid| self.small_kid(kid)).collect();
                let publications = publications.into_iter().map(|publication| match publication {
                    Publication::Create(namespace) => Publishing::Create(place(&namespace)),
                    Publication::Replace(namespace, version, _) => Publishing::Replace {
                        namespace: place(&namespace),
                        is_current: version == self::version(&namespace, true),
                    },
                    Publication::Delete(..) => unreachable!("there is no JWKS too many"),
                });
                Outcome::Publish(kids, publications.collect())
            }
            Step::Write(Write::DeleteKeyPair(index, version)) => {
                Outcome::DeletePair(usize::try_from(index).unwrap(), version.uid.parse().unwrap())
            }
        }
    }

    /// The kid that a server signs with which has that in view: the JWKS, the private halves, its
    /// clock, and how many ticks ago the oldest of it was current.
    pub(crate) fn signer(
        &self,
        ledger: &Ledger,
        (map, pairs, clock, age): (Kids, Kids, Time, u8),
    ) -> Kid {
        let ledger = self.ledger(ledger);
        let (jwks, private) = (self.kids(map), self.kids(pairs));
        let age = Duration::from_secs(u64::from(TICK.unsigned_abs()) * 5) * u32::from(age);
        let views = SignerInputs {
            series: Aged { seen: Some(SigningState::Signing), age: Duration::ZERO },
            ledger: Aged { seen: Some(&ledger), age },
            jwks: Aged { seen: &jwks, age },
            private: Aged { seen: &private, age },
        };
        let most_age = span(self.timing.view_age).unsigned_abs();
        let signer = signer(&views, instant(clock), most_age);
        signer.map_or(NOBODY, |entry| self.small_kid(entry.key.kid()))
    }

    fn series(&self, look: &Look) -> Series {
        let period = self.timing.period.filter(|_| !look.is_patient);
        let Requests { rotate, revoke, revoke_all } = look.requests;
        Series {
            uid: "u".to_owned(),
            name: "default".to_owned(),
            created_at: instant(0),
            generation: 1,
            algorithm: Algorithm::ES256,
            shape: KeyType::P256,
            period: period.map_or(LONG, span),
            pre_publish: span(self.timing.pre_publish),
            retention: self.drain(),
            operator_namespace: NAMESPACES[0].to_owned(),
            config_map_name: "default-jwks".to_owned(),
            is_suspended: false,
            rotate_request: (rotate > 0).then(|| token(rotate)),
            revoke_request: (revoke != NOBODY).then(|| self.key(revoke).kid().to_string()),
            revoke_all_request: (revoke_all > 0).then(|| token(revoke_all)),
            ignored_requests: Vec::new(),
            origin: Origin::Declared,
            agreement: self.agreement(),
        }
    }

    fn agreement(&self) -> ledger::SharedSettings {
        ledger::SharedSettings::of(
            span(self.timing.view_age),
            span(self.timing.token),
            "https://iam.example.com",
            &Policy::default(),
        )
    }

    fn drain(&self) -> SignedDuration {
        retention(SignedDuration::ZERO, span(self.timing.view_age), span(self.timing.token))
    }

    fn target(&self, namespace: &str, sight: &Sight<Map>) -> ConfigMapState {
        let Some(map) = sight.seen else { return ConfigMapState::Absent };
        let set: Jwks = map.kids.iter().map(|kid| self.key(kid).clone()).collect();
        ConfigMapState::Owned(Published {
            version: version(namespace, sight.is_current),
            digest: map.is_exact.then(|| set.digest()),
            kids: self.kids(map.kids),
            surplus_fields: BTreeSet::new(),
        })
    }

    fn ledger(&self, ledger: &Ledger) -> signing_key::Ledger {
        let entry = |entry: &Entry| {
            let spelt = ledger::Entry {
                key: self.key(entry.kid).clone(),
                pair_uid: Some(entry.kid.to_string()),
                activate_at: instant(entry.activate_at),
                until: entry.until.map(instant),
                end_seen_at: entry.end_seen_at.map(instant),
                // No setting changes here: what was settled follows from the rest.
                kept_until: None,
                withdrawal: match entry.life {
                    Life::Live => None,
                    Life::Drained => Some(Withdrawal::Drained),
                    Life::Revoked => Some(Withdrawal::Revoked),
                },
                // For the status alone.
                revoked_at: None,
            };
            (u32::from(entry.index), spelt)
        };
        let mut spelt = signing_key::Ledger::empty("u", "default");
        spelt.entries = ledger.entries.iter().map(entry).collect::<BTreeMap<_, _>>();
        spelt.next_from = u32::from(ledger.next_from);
        // It never changes here: a writer of a ledger would write it as well.
        spelt.agreement = Some(self.agreement());
        for number in (1..TOKENS).filter(|number| ledger.rotated & (1 << number) != 0) {
            spelt.rotated = spelt.rotated.with(&token(number));
        }
        for kid in ledger.revoked.iter() {
            spelt.revoked = spelt.revoked.with(self.key(kid).kid().as_str());
        }
        if ledger.revoked_all > 0 {
            spelt.revoked_all = spelt.revoked_all.with(&token(ledger.revoked_all));
        }
        for kid in ledger.vanished.iter() {
            spelt.vanished = spelt.vanished.with(self.key(kid).kid().as_str());
        }
        spelt
    }

    fn small_ledger(&self, ledger: &signing_key::Ledger) -> Ledger {
        let kid = |entry: &ledger::Entry| {
            let kid = self.small_kid(entry.key.kid());
            assert_eq!(entry.pair_uid, Some(kid.to_string()), "the pair of another key");
            kid
        };
        let entry = |(index, entry): (&u32, &ledger::Entry)| Entry {
            index: u8::try_from(*index).unwrap(),
            kid: kid(entry),
            activate_at: small(entry.activate_at),
            until: entry.until.map(small),
            end_seen_at: entry.end_seen_at.map(small),
            life: match entry.withdrawal {
                None => Life::Live,
                Some(Withdrawal::Drained) => Life::Drained,
                Some(Withdrawal::Revoked) => Life::Revoked,
            },
        };
        let is_rotated = |number: &u8| ledger.rotated.includes(&token(*number));
        let is_revoked = |kid: &Kid| ledger.revoked.includes(self.key(*kid).kid().as_str());
        let has_vanished = |kid: &Kid| ledger.vanished.includes(self.key(*kid).kid().as_str());
        Ledger {
            entries: ledger.entries.iter().map(entry).collect(),
            rotated: (1..TOKENS).filter(is_rotated).fold(0, |bits, number| bits | (1 << number)),
            revoked: (1..=MOST_KIDS).filter(is_revoked).collect(),
            revoked_all: (1..TOKENS)
                .find(|number| ledger.revoked_all.includes(&token(*number)))
                .unwrap_or_default(),
            vanished: (1..=MOST_KIDS).filter(has_vanished).collect(),
            next_from: u8::try_from(ledger.next_from).unwrap(),
        }
    }

    fn key(&self, kid: Kid) -> &PublicKey {
        &self.keys[usize::from(kid)]
    }

    fn kids(&self, kids: Kids) -> BTreeSet<jwks::Kid> {
        kids.iter().map(|kid| self.key(kid).kid().clone()).collect()
    }

    fn small_kid(&self, kid: &jwks::Kid) -> Kid {
        let number = self.keys.iter().position(|key| key.kid() == kid).unwrap();
        u8::try_from(number).unwrap()
    }
}

/// Versions of an object that are not current are all the same: none can be written at.
fn version(uid: &str, is_current: bool) -> Version {
    let resource_version = if is_current { "current" } else { "old" };
    Version { uid: uid.to_owned(), resource_version: resource_version.to_owned() }
}

fn place(namespace: &str) -> usize {
    NAMESPACES.iter().position(|it| *it == namespace).unwrap()
}

fn token(number: u8) -> String {
    format!("rotate{number}")
}

fn instant(time: Time) -> Timestamp {
    let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    now + span(time)
}

fn span(time: Time) -> SignedDuration {
    SignedDuration::from_secs(i64::from(time) * UNIT)
}

fn small(instant_: Timestamp) -> Time {
    let from_now = instant_.duration_since(instant(0));
    let time = Time::try_from(from_now.as_secs() / UNIT).unwrap();
    assert_eq!(span(time), from_now, "the steps of time are too coarse");
    time
}

const NAMESPACES: [&str; 2] = ["home", "shop"];
const LEDGER: &str = "ledger";
/// Seconds in a step of time.
const UNIT: i64 = 5;
/// Tokens are numbered below this.
const TOKENS: u8 = 5;
/// Longer than anything takes.
const LONG: SignedDuration = SignedDuration::from_hours(10_000);
