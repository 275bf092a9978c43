//! Whether a client is who it says it is.
//!
//! Only the first use of a client secret on this replica costs a hash. What is malformed, unknown
//! or guessed costs none: it is refused by its checksum, by its id, or by the keyed hash of the
//! right one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};

use super::hashing::{Full, Hashing};
use super::limits::Rate;
use super::reason::Reason;
use crate::directory::{Directory, Known, Live, Verified};
use crate::domain::credential::{ClientId, ClientSecret, CredentialId, Verifier};
use crate::domain::token::presented::Presented;
use crate::environment::{Clock, Entropy, EntropyError};

/// Authenticates clients.
#[derive(Debug)]
pub struct Authenticator {
    directory: Arc<Directory>,
    live: Live,
    hashing: Hashing,
    clock: Arc<dyn Clock>,
    proofs: Proofs,
    misses: Mutex<Misses>,
    nobody: Arc<Known>,
    failures: AtomicU64,
    lookups: AtomicU64,
    rates: Rates,
}

/// How often clients may fail.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Hashes for wrong client secrets of one client.
    pub failures_of_one: Rate,
    /// Failures of all clients together.
    pub failures_of_all: Rate,
    /// Lookups at the API server.
    pub lookups: Rate,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is not who it says it is.
    Invalid,
    /// Too many wrong client secrets.
    TooOften(Duration),
    /// Nobody could say.
    Unchecked(Reason, Duration),
}

/// A client that is not let in.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub reason: Denied,
    /// Who it says it is, when there is such a client.
    pub known: Option<Arc<Known>>,
}

impl Authenticator {
    /// Knows clients by `directory`, and asks `live` for those that it does not know yet.
    ///
    /// # Errors
    ///
    /// No random key could be drawn.
    pub fn new(
        directory: Arc<Directory>,
        live: Live,
        hashing: Hashing,
        (clock, entropy): (Arc<dyn Clock>, &dyn Entropy),
        rates: Rates,
    ) -> Result<Self, EntropyError> {
        Ok(Self {
            directory,
            live,
            hashing,
            clock,
            proofs: Proofs::draw(entropy)?,
            misses: Mutex::default(),
            nobody: Arc::new(Known::nobody()),
            failures: AtomicU64::new(0),
            lookups: AtomicU64::new(0),
            rates,
        })
    }

    /// The client that presented its own client secret.
    ///
    /// # Errors
    ///
    /// [`Failed`]. Whether the client exists makes no difference, neither in the answer nor in its
    /// time: it is looked for once, and whoever is not there has a stand-in.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Arc<Known>, Failed> {
        let named = self.directory.client(&presented.client_id);
        let known = Arc::clone(named.as_ref().unwrap_or(&self.nobody));
        let found = self.proven(known, presented).await;
        found.map_err(|reason| Failed { reason, known: named })
    }

    /// Counts a client that failed.
    ///
    /// # Errors
    ///
    /// How long to wait, when there were too many.
    pub fn fail(&self) -> Result<(), Duration> {
        self.rates.failures_of_all.take(&self.failures, self.clock.elapsed())
    }

    /// How many client secrets are hashed or wait for it.
    pub fn hashes_in_line(&self) -> usize {
        self.hashing.in_line()
    }

    async fn proven(&self, known: Arc<Known>, presented: &Presented) -> Result<Arc<Known>, Denied> {
        let id = presented.secret.id();
        let is_told = known.verifier(&id, self.clock.now()).is_some();
        let known = if is_told { known } else { self.look_up(presented, &id).await? };
        self.check(&known, &id, &presented.secret).await?;
        Ok(known)
    }

    /// Asks the API server once for what the watches do not know. The id of a client secret is
    /// stored before the secret is shown, and never comes again: what is not there now never will
    /// be.
    async fn look_up(
        &self,
        presented: &Presented,
        id: &CredentialId,
    ) -> Result<Arc<Known>, Denied> {
        let elapsed = self.clock.elapsed();
        let missing = (id.clone(), presented.client_id.clone());
        if self.misses().contains(&missing, elapsed) {
            return Err(Denied::Invalid);
        }
        let free = self.rates.lookups.take(&self.lookups, elapsed);
        free.map_err(|wait| Denied::Unchecked(Reason::LookupRate, wait))?;
        let now = self.clock.now();
        let has_id = |known: &Known| known.verifier(id, now).is_some();
        match self.live.client(&missing, has_id).await {
            Ok(Some(known)) if has_id(&known) => Ok(known),
            Ok(_) => {
                self.misses().insert(missing, elapsed);
                // What the API server has takes it longer to say than that it has nothing.
                let took = self.clock.elapsed().saturating_sub(elapsed);
                tokio::time::sleep(until_beat(took)).await;
                Err(Denied::Invalid)
            }
            Err(reason) => Err(Denied::Unchecked(Reason::Lookup(reason), SOON)),
        }
    }

    async fn check(
        &self,
        known: &Known,
        id: &CredentialId,
        secret: &ClientSecret,
    ) -> Result<(), Denied> {
        let proof = self.proofs.of(secret);
        let Some((verifier, memory)) = known.verifier(id, self.clock.now()) else {
            return Err(Denied::Invalid);
        };
        let is_right = if let Some(right) = memory.proof() {
            Proofs::agree(right, &proof)
        } else {
            self.hash(known, (verifier, memory), secret, proof).await?
        };
        if is_right { Ok(()) } else { Err(Denied::Invalid) }
    }

    /// Hashes, unless somebody else did while this request waited for its turn.
    async fn hash(
        &self,
        known: &Known,
        (verifier, memory): (&Verifier, &Verified),
        secret: &ClientSecret,
        proof: [u8; 32],
    ) -> Result<bool, Denied> {
        let (rate, count) = (self.rates.failures_of_one, &known.traces.failures);
        rate.take(count, self.clock.elapsed()).map_err(Denied::TooOften)?;
        let turn = tokio::time::timeout(PATIENCE, memory.turn.lock()).await;
        let _turn = turn.map_err(|_| Denied::Unchecked(Reason::HashingSlow, SOON))?;
        let is_right = if let Some(right) = memory.proof() {
            Proofs::agree(right, &proof)
        } else {
            let hashed = self.hashing.accepts(verifier, secret).await;
            hashed.map_err(|Full(wait)| Denied::Unchecked(Reason::HashingQueueFull, wait))?
        };
        if is_right {
            memory.remember(proof);
            rate.give_back(count);
        }
        Ok(is_right)
    }

    fn misses(&self) -> std::sync::MutexGuard<'_, Misses> {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keyed hashes of client secrets, by a key that no other process has.
struct Proofs(hmac::Key);

impl Proofs {
    fn draw(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        entropy.fill("proofs", key.as_mut())?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())))
    }

    fn of(&self, secret: &ClientSecret) -> [u8; 32] {
        let tag = hmac::sign(&self.0, secret.reveal().as_bytes());
        tag.as_ref().try_into().unwrap_or_default()
    }

    fn agree(one: &[u8; 32], other: &[u8; 32]) -> bool {
        constant_time::verify_slices_are_equal(one, other).is_ok()
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// Ids of client secrets that the API server was asked for in vain. In the order of these ids, which
/// whoever asks makes up: that of client ids would have some of them found sooner than others.
#[derive(Debug, Default)]
struct Misses {
    until: BTreeMap<(CredentialId, ClientId), Duration>,
    order: VecDeque<(CredentialId, ClientId)>,
}

impl Misses {
    fn contains(&self, missing: &(CredentialId, ClientId), elapsed: Duration) -> bool {
        self.until.get(missing).is_some_and(|until| elapsed < *until)
    }

    fn insert(&mut self, missing: (CredentialId, ClientId), elapsed: Duration) {
        if self.until.insert(missing.clone(), elapsed + REMEMBERED).is_none() {
            self.order.push_back(missing);
        }
        while self.order.len() > MOST_MISSES {
            if let Some(oldest) = self.order.pop_front() {
                self.until.remove(&oldest);
            }
        }
    }
}

fn until_beat(took: Duration) -> Duration {
    let beats = took.as_millis() / BEAT.as_millis() + 1;
    BEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX)).saturating_sub(took)
}

/// Long enough to spare the API server, short enough for a cluster that was restored.
const REMEMBERED: Duration = Duration::from_mins(1);
const MOST_MISSES: usize = 10_000;

/// How long to wait for a turn: a few hashes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is looked up in vain is told so after a whole number of these: longer than most lookups take.
const BEAT: Duration = Duration::from_millis(50);

const SOON: Duration = Duration::from_secs(1);
