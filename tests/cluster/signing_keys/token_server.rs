//! A token service and its verifiers, as far as keys are concerned: the production `signer` over
//! views that it polls, and resource servers that keep a copy of the JWKS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use kube::api::ListParams;
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::api::{KEY_PAIR_FIELD, KEY_PAIR_TYPE, SIGNING_KEY};
use technical_user_operator::controller::TokenLimits;
use technical_user_operator::domain::crypto::jwks::kids_of;
use technical_user_operator::domain::crypto::public_key::{Kid, PublicKey};
use technical_user_operator::domain::oauth::signer::{Aged, SignerInputs, SigningState, signer};
use technical_user_operator::domain::schedule::saturating_add;
use technical_user_operator::domain::signing_key::Ledger;
use technical_user_operator::environment::private_key::{PrivateKey, verify};
use technical_user_operator::kubernetes::codec::{self, SecretNames};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::series::{Series, field, keys};
use crate::namespace::now;

/// How tokens are signed and verified in a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) limits: TokenLimits,
    /// How long a verifier keeps its copy of the JWKS.
    pub(crate) keeps: Duration,
    /// How far the time of the operator is ahead of that of this machine.
    pub(crate) ahead: SignedDuration,
}

/// What became of all tokens. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    live: Vec<Token>,
    signed: usize,
    kids: BTreeSet<Kid>,
    checks: usize,
    /// Keys that were revoked: their tokens need not verify.
    revoked: BTreeSet<Kid>,
    complaints: Vec<String>,
}

#[derive(Clone)]
struct Token {
    number: usize,
    kid: Kid,
    message: String,
    signature: Vec<u8>,
    expires_at: Instant,
}

/// A service and two verifiers at work; dropping it ends them.
pub(crate) struct TokenService {
    pub(crate) tokens: Tokens,
    _tasks: JoinSet<()>,
}

impl TokenService {
    pub(crate) fn start(series: &Series, terms: Terms) -> Self {
        let tokens = Tokens::default();
        let mut tasks = JoinSet::new();
        let server = Server::new(series.clone(), terms, tokens.clone());
        tasks.spawn(server.serve());
        for keeps in [Duration::ZERO, terms.keeps] {
            let verifier = Verifier::new(series.clone(), keeps, tokens.clone());
            tasks.spawn(verifier.verify_for_ever());
        }
        Self { tokens, _tasks: tasks }
    }
}

// === impl Tokens ===

impl Tokens {
    pub(crate) fn revoke(&self, kid: Kid) {
        self.inner.lock().unwrap().revoked.insert(kid);
    }

    /// How many tokens were signed, and how many times one was verified.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let inner = self.inner.lock().unwrap();
        (inner.signed, inner.checks)
    }

    /// The keys that signed.
    pub(crate) fn kids(&self) -> BTreeSet<Kid> {
        self.inner.lock().unwrap().kids.clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.inner.lock().unwrap().complaints.clone()
    }

    fn add(&self, private: &PrivateKey, lives_for: Duration) {
        let expires_at = Instant::now() + lives_for;
        let kid = private.public().kid().clone();
        let mut inner = self.inner.lock().unwrap();
        inner.signed += 1;
        let number = inner.signed;
        let message = format!("{kid}.{number}");
        let signature = private.sign(message.as_bytes()).unwrap();
        inner.kids.insert(kid.clone());
        inner.live.push(Token { number, kid, message, signature, expires_at });
        inner.live.retain(|token| Instant::now() < token.expires_at);
    }

    fn live(&self) -> Vec<Token> {
        let inner = self.inner.lock().unwrap();
        let live = inner.live.iter().filter(|token| !inner.revoked.contains(&token.kid));
        live.cloned().collect()
    }

    fn judge(&self, token: &Token, verifies: bool, words: impl FnOnce() -> String) {
        let is_late = Instant::now() >= token.expires_at;
        let mut inner = self.inner.lock().unwrap();
        inner.checks += 1;
        if !verifies && !is_late && !inner.revoked.contains(&token.kid) {
            inner.complaints.push(words());
        }
    }
}

// === the service ===

struct View<T> {
    seen: T,
    /// When the answer that showed it was asked for.
    asked_at: Instant,
}

struct Server {
    series: Series,
    terms: Terms,
    tokens: Tokens,
    object: View<Option<SigningKey>>,
    ledger: View<Option<Ledger>>,
    jwks: View<BTreeSet<Kid>>,
    private: View<BTreeMap<Kid, PrivateKey>>,
}

impl Server {
    fn new(series: Series, terms: Terms, tokens: Tokens) -> Self {
        let asked_at = Instant::now();
        Self {
            series,
            terms,
            tokens,
            object: View { seen: None, asked_at },
            ledger: View { seen: None, asked_at },
            jwks: View { seen: BTreeSet::new(), asked_at },
            private: View { seen: BTreeMap::new(), asked_at },
        }
    }

    /// Looks at one thing after the other, so that its views are never of one instant.
    async fn serve(mut self) {
        for step in 0_u32.. {
            let dice = crc32fast::hash(&step.to_be_bytes());
            let look = async {
                match dice % 4 {
                    0 => self.look_at_object().await,
                    1 => self.look_at_ledger().await,
                    2 => self.look_at_jwks().await,
                    _ => self.look_at_private_keys().await,
                }
            };
            // What could not be read stays as it is, and older.
            let _ = tokio::time::timeout(CALL, look).await;
            self.sign();
            tokio::time::sleep(BETWEEN).await;
        }
    }

    fn sign(&self) {
        let private: BTreeSet<Kid> = self.private.seen.keys().cloned().collect();
        let object = self.object.seen.as_ref();
        let use_ = |object: &SigningKey| {
            if object.spec.suspend { SigningState::Suspended } else { SigningState::Signing }
        };
        let views = SignerInputs {
            series: Aged { seen: object.map(use_), age: self.object.asked_at.elapsed() },
            ledger: Aged { seen: self.ledger.seen.as_ref(), age: self.ledger.asked_at.elapsed() },
            jwks: Aged { seen: &self.jwks.seen, age: self.jwks.asked_at.elapsed() },
            private: Aged { seen: &private, age: self.private.asked_at.elapsed() },
        };
        let TokenLimits { max_staleness: view_age, token_lifetime } = self.terms.limits;
        let most_age = view_age.unsigned_abs();
        let Ok(entry) = signer(&views, saturating_add(now(), self.terms.ahead), most_age) else {
            return;
        };
        self.tokens.add(&self.private.seen[entry.key.kid()], token_lifetime.unsigned_abs());
    }

    async fn look_at_object(&mut self) -> kube::Result<()> {
        let asked_at = Instant::now();
        let seen = self.series.api().get_opt(&self.series.name).await?;
        self.object = View { seen, asked_at };
        Ok(())
    }

    async fn look_at_ledger(&mut self) -> kube::Result<()> {
        let Some(uid) = self.uid() else { return Ok(()) };
        let asked_at = Instant::now();
        let secret = self.series.secrets().get_opt(&SecretNames::of(&uid).ledger()).await?;
        let seen = secret.and_then(|secret| Some(codec::ledger(&secret, &uid).ok()?.1));
        self.ledger = View { seen, asked_at };
        Ok(())
    }

    async fn look_at_jwks(&mut self) -> kube::Result<()> {
        let asked_at = Instant::now();
        let maps = self.series.maps(&self.series.system);
        let map = maps.get_opt(&self.series.map_name()).await?;
        let seen = map.map(|map| kids_of(field(&map, "jwks"))).unwrap_or_default();
        self.jwks = View { seen, asked_at };
        Ok(())
    }

    async fn look_at_private_keys(&mut self) -> kube::Result<()> {
        let Some(object) = &self.object.seen else { return Ok(()) };
        let algorithm = object.spec.algorithm;
        let asked_at = Instant::now();
        let ours = ListParams::default()
            .labels(&format!("{SIGNING_KEY}={}", self.series.name))
            .fields(&format!("type={KEY_PAIR_TYPE}"));
        let mut seen = BTreeMap::new();
        for secret in self.series.secrets().list(&ours).await? {
            let der = secret.data.unwrap_or_default().remove(KEY_PAIR_FIELD).unwrap_or_default();
            if let Ok(private) = PrivateKey::from_pkcs8(algorithm, &der.0) {
                seen.insert(private.public().kid().clone(), private);
            }
        }
        self.private = View { seen, asked_at };
        Ok(())
    }

    fn uid(&self) -> Option<String> {
        self.object.seen.as_ref()?.metadata.uid.clone()
    }
}

// === the verifiers ===

/// A resource server that verifies with its copy of the JWKS alone.
struct Verifier {
    series: Series,
    keeps: Duration,
    tokens: Tokens,
    copy: View<Vec<PublicKey>>,
    /// The first token that this copy was not tried on.
    next: usize,
}

impl Verifier {
    fn new(series: Series, keeps: Duration, tokens: Tokens) -> Self {
        let copy = View { seen: Vec::new(), asked_at: Instant::now() };
        Self { series, keeps, tokens, copy, next: 0 }
    }

    async fn verify_for_ever(mut self) {
        loop {
            // Those that were signed before the copy was asked for, and then all that come to it.
            let mut tokens = self.tokens.live();
            let is_old = self.copy.seen.is_empty() || self.copy.asked_at.elapsed() >= self.keeps;
            let fetched = async { !is_old || self.fetch().await.unwrap_or_default() };
            let is_current = tokio::time::timeout(CALL, fetched).await.unwrap_or_default();
            if !self.keeps.is_zero() {
                tokens = self.tokens.live();
            }
            let is_young = self.keeps.is_zero() || self.copy.asked_at.elapsed() < self.keeps;
            if is_current && is_young {
                self.verify(&tokens);
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Takes a new copy, if there is one to be had.
    async fn fetch(&mut self) -> kube::Result<bool> {
        let asked_at = Instant::now();
        let maps = self.series.maps(&self.series.system);
        let Some(map) = maps.get_opt(&self.series.map_name()).await? else { return Ok(false) };
        self.copy = View { seen: keys(&map), asked_at };
        self.next = 0;
        Ok(true)
    }

    /// Tries the copy on every token once.
    fn verify(&mut self, tokens: &[Token]) {
        for token in tokens.iter().filter(|token| token.number >= self.next) {
            let key = self.copy.seen.iter().find(|key| *key.kid() == token.kid);
            let (message, signature) = (token.message.as_bytes(), &token.signature);
            let verifies = key.is_some_and(|key| verify(key, message, signature));
            self.tokens.judge(token, verifies, || {
                let age = self.copy.asked_at.elapsed();
                let known: Vec<_> = self.copy.seen.iter().map(PublicKey::kid).collect();
                format!(
                    "token {} does not verify: the JWKS of {age:?} ago has {known:?}",
                    token.message
                )
            });
        }
        self.next = tokens.last().map_or(self.next, |token| token.number + 1);
    }
}

const BETWEEN: Duration = Duration::from_millis(100);
const CALL: Duration = Duration::from_secs(5);
