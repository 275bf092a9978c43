//! A virtual year of a series that rotates every week: tokens are issued all the time, and every
//! consumer has to accept each at first sight, and again right before it expires.
//!
//! At rest the operator asks for nothing, so it is stopped there and started again before a key is
//! due: a year of renewals of its lease would take longer than everything else together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use support::in_virtual_time;
use technical_user_operator::controller::TokenLimits;
use technical_user_operator::domain::crypto::jwks::kids_of;
use technical_user_operator::domain::crypto::public_key::{Algorithm, Kid};
use technical_user_operator::domain::oauth::signer::{Aged, SignerInputs, SigningState, signer};
use technical_user_operator::domain::signing_key::{Ledger, SKEW};
use technical_user_operator::environment::Clock as _;
use technical_user_operator::environment::private_key::{PrivateKey, verify};
use tokio::time::sleep;

use crate::flow::Act;
use crate::goal::{Goal, ledger};
use crate::harness::figures::SEED;
use crate::stored::ledger_of;
use crate::stored::{JWKS, OPERATOR, jwks_of};
use crate::verifiers::{HABITS, Keys, LATE_KAFKA, Verifier};
use crate::world::{LEASE, Setting, World};

/// What a year came to.
#[derive(Debug, Default)]
pub(crate) struct Year {
    pub(crate) rotations: usize,
    pub(crate) tokens: usize,
    pub(crate) unsigned: usize,
    pub(crate) verifiers: usize,
    pub(crate) verifications: usize,
    pub(crate) unverifiable: BTreeMap<&'static str, usize>,
    /// The same for a Kafka whose fetches may be late.
    pub(crate) late_kafka: usize,
    pub(crate) violations: Vec<String>,
}

/// Everything that servers and verifiers can see, from an instant on.
#[derive(Clone)]
struct Seen {
    since: Duration,
    jwks: Keys,
    ledger: Option<Arc<Ledger>>,
    private: Keys,
}

struct Token {
    kid: Kid,
    issued_at: Duration,
}

struct Run {
    end: Duration,
    world: Arc<World>,
    seen: Arc<Mutex<Vec<Seen>>>,
    keys: BTreeMap<Kid, PrivateKey>,
    verifiers: Vec<Verifier>,
    late: Vec<Verifier>,
    tokens: VecDeque<Token>,
    year: Year,
}

/// Lives through so many days, with each key published that long before it signs.
pub(crate) fn live(pre_publish: &str, days: u64) -> Year {
    in_virtual_time(async {
        let limits = TokenLimits {
            max_staleness: SignedDuration::try_from(VIEW_AGE).unwrap(),
            token_lifetime: SignedDuration::try_from(TOKEN_LIFETIME).unwrap(),
        };
        let setting = Setting { seed: SEED, mutant: None, bootstrap: false, limits };
        let end = Duration::from_hours(24 * days);
        let mut run = Run::new(World::new(setting), end);
        run.live(pre_publish).await;
        run.year
    })
}

impl Run {
    fn new(world: Arc<World>, end: Duration) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (seeing, clock) = (Arc::clone(&seen), world.served.clone());
        world.server.on_change(Box::new(move |change| {
            if matches!(change.plural, "secrets" | "configmaps") {
                let state = change.state;
                let secrets = state.list("secrets");
                let map = state.get("configmaps", OPERATOR, JWKS);
                let text = map.and_then(jwks_of).unwrap_or_default();
                let pairs = secrets.iter().filter_map(|secret| private_key(secret));
                seeing.lock().unwrap().push(Seen {
                    since: clock.elapsed(),
                    jwks: Arc::new(kids_of(&text)),
                    ledger: secrets.iter().find_map(|secret| ledger_of(secret)).map(Arc::new),
                    private: Arc::new(pairs.map(|key| key.public().kid().clone()).collect()),
                });
            }
        }));
        let (verifiers, late, tokens) = (Vec::new(), Vec::new(), VecDeque::new());
        Self {
            end,
            world,
            seen,
            keys: BTreeMap::new(),
            verifiers,
            late,
            tokens,
            year: Year::default(),
        }
    }

    async fn live(&mut self, pre_publish: &str) {
        Act::Create(json!({
            "algorithm": "EdDSA",
            "rotation": {"period": "168h", "prePublish": pre_publish, "grace": "1h"},
            "jwks": {"namespaceSelector": {"matchExpressions": [
                {"key": "team", "operator": "In", "values": ["sales", "front"]}
            ]}},
        }))
        .perform(&self.world);
        self.operate(1).await;
        self.open();
        let ahead = technical_user_operator::domain::schedule::parse_duration(pre_publish).unwrap();
        for index in 2.. {
            let Ok(ledger) = ledger(&self.world) else { break };
            let Some((_, newest)) = ledger.newest() else { break };
            let begins = newest.activate_at;
            // The key is made so long before, give or take what spreads all series.
            let due = begins + SignedDuration::from_hours(168) - ahead - SPREAD;
            if self.until(due).await || !self.operate(index).await {
                break;
            }
            self.year.rotations += 1;
        }
        self.year.verifiers = self.verifiers.len();
        self.year.violations.extend(self.world.oracle().violations.clone());
    }

    /// Verifiers begin when there is something to fetch.
    fn open(&mut self) {
        let now = self.world.served.elapsed();
        let known = self.at(now).jwks;
        let verifier =
            |habit, number, all| Verifier::new(habit, number, all, now, Arc::clone(&known));
        for habit in HABITS {
            self.verifiers.extend((0..ALIKE).map(|number| verifier(habit, number, ALIKE)));
        }
        self.late = (0..60).map(|number| verifier(LATE_KAFKA, number, 60)).collect();
    }

    /// Runs the operator until the key of that index is the only one.
    async fn operate(&mut self, index: u32) -> bool {
        self.world.start(LEASE);
        let settled = Goal::Settled { index, namespaces: &["orders", "shop"] };
        let mut patience = PATIENCE;
        while settled.check(&self.world).is_err() {
            if patience == 0 {
                self.year.violations.push(format!("K5: {settled:?} not reached"));
                return false;
            }
            patience -= 1;
            self.step(index).await;
        }
        self.world.kill();
        true
    }

    /// Issues tokens until then; tells whether the year is over first.
    async fn until(&mut self, due: Timestamp) -> bool {
        while self.world.served.now() < due {
            if self.world.served.elapsed() >= self.end {
                return true;
            }
            self.step(0).await;
        }
        false
    }

    /// Waits for five minutes, or until the next key takes over: that is when it matters.
    async fn step(&mut self, index: u32) {
        let now = self.world.served.now();
        let next = ledger(&self.world).ok();
        let entry = next.as_ref().and_then(|ledger| ledger.entries.get(&index));
        let begins = entry.map(|entry| entry.activate_at.duration_since(now));
        let begins = begins.filter(SignedDuration::is_positive).map(|it| it.try_into().unwrap());
        sleep(STEP.min(begins.unwrap_or(STEP))).await;
        self.world.tick();
        if !self.verifiers.is_empty() {
            self.issue();
            self.present_again();
        }
    }

    /// One token, of a server whose views are fresh, or old, or almost too old.
    fn issue(&mut self) {
        let now = self.world.served.elapsed();
        let lag = LAGS[self.year.tokens % LAGS.len()];
        let skew = [-SKEW, SignedDuration::ZERO, SKEW][self.year.tokens / LAGS.len() % 3];
        let seen = self.at(now.saturating_sub(lag));
        let views = SignerInputs {
            series: Aged { seen: Some(SigningState::Signing), age: lag },
            ledger: Aged { seen: seen.ledger.as_deref(), age: lag },
            jwks: Aged { seen: &seen.jwks, age: lag },
            private: Aged { seen: &seen.private, age: lag },
        };
        let Ok(entry) = signer(&views, self.world.served.now() + skew, VIEW_AGE) else {
            // A server whose views are older than the series has nothing to sign by.
            self.year.unsigned += usize::from(now > VIEW_AGE);
            return;
        };
        let kid = entry.key.kid().clone();
        self.year.tokens += 1;
        let message = format!("{kid}.{}", self.year.tokens);
        let key = self.key(&kid);
        let signature = key.sign(message.as_bytes()).unwrap();
        assert!(verify(&entry.key, message.as_bytes(), &signature));
        let token = Token { kid, issued_at: now };
        self.present(&token);
        self.tokens.push_back(token);
    }

    fn present_again(&mut self) {
        let now = self.world.served.elapsed();
        while let Some(token) = self.tokens.front() {
            let age = now.saturating_sub(token.issued_at);
            if age + STEP < TOKEN_LIFETIME {
                return;
            }
            let Some(token) = self.tokens.pop_front() else { return };
            if age < TOKEN_LIFETIME {
                self.present(&token);
            }
        }
    }

    fn present(&mut self, token: &Token) {
        let now = self.world.served.elapsed();
        let seen = self.seen.lock().unwrap();
        let published = |at: Duration| Arc::clone(&at_instant(&seen, at).jwks);
        for verifier in &mut self.verifiers {
            self.year.verifications += 1;
            if !verifier.accepts(&token.kid, now, &published) {
                *self.year.unverifiable.entry(verifier.habit.name).or_default() += 1;
            }
        }
        for verifier in &mut self.late {
            self.year.late_kafka += usize::from(!verifier.accepts(&token.kid, now, &published));
        }
    }

    fn at(&self, instant: Duration) -> Seen {
        at_instant(&self.seen.lock().unwrap(), instant).clone()
    }

    fn key(&mut self, kid: &Kid) -> &PrivateKey {
        let server = &self.world.server;
        self.keys.entry(kid.clone()).or_insert_with(|| {
            let mut keys = server.list("secrets").into_iter().filter_map(|it| private_key(&it));
            keys.find(|key| key.public().kid() == kid).unwrap()
        })
    }
}

fn at_instant(seen: &[Seen], instant: Duration) -> &Seen {
    let after = seen.partition_point(|seen| seen.since <= instant);
    &seen[after.saturating_sub(1)]
}

fn private_key(secret: &Value) -> Option<PrivateKey> {
    let der = STANDARD.decode(secret["data"]["private-key.der"].as_str()?).ok()?;
    PrivateKey::from_pkcs8(Algorithm::EdDsa, &der).ok()
}

const STEP: Duration = Duration::from_mins(5);
const VIEW_AGE: Duration = Duration::from_mins(30);
const TOKEN_LIFETIME: Duration = Duration::from_mins(30);
const LAGS: [Duration; 3] =
    [Duration::ZERO, Duration::from_mins(10), Duration::from_secs(30 * 60 - 1)];

/// At most by that much a series is spread, and a little more to start the operator in.
const SPREAD: SignedDuration = SignedDuration::from_mins(15);

/// So many verifiers of each kind, with their fetches spread.
const ALIKE: u32 = 4;

/// More steps than a rotation takes, with its drain.
const PATIENCE: usize = 12 * 12;
