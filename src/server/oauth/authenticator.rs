//! Checks the credentials of clients.
//!
//! Only the first use of a client secret on this replica costs a hash. What is malformed, unknown
//! or guessed costs none: it is refused by its checksum, by its id, or by the keyed hash of the
//! right one.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};

use super::hashing::{Full, Hashing};
use super::reason::{AuthFailureReason, Reason};
use super::ttl_set::{TtlSet, network_of};
use crate::directory::{
    ClientLookup, Directory, LookupError, RegisteredClient, Share, VerifiedSecretCache,
};
use crate::domain::crypto::client_secret::{ClientId, ClientSecret, CredentialId, Verifier};
use crate::domain::oauth::client_authentication::ClientCredentials;
use crate::environment::{Clock, Entropy, EntropyError};
use crate::server::http::rate_limit::Rate;

/// Authenticates clients.
#[derive(Debug)]
pub struct Authenticator {
    directory: Arc<Directory>,
    live: ClientLookup,
    hashing: Hashing,
    clock: Arc<dyn Clock>,
    proofs: SecretMac,
    misses: Mutex<TtlSet<NegativeKey>>,
    repeaters: Mutex<TtlSet<IpAddr>>,
    dummy: Arc<RegisteredClient>,
    failures: AtomicU64,
    first_lookups: AtomicU64,
    repeated_lookups: AtomicU64,
    rates: Rates,
}

/// A client secret that the API server does not know, by its id. In the order of these ids, which a
/// request makes up: the order of client ids would have some of them found sooner than others.
type NegativeKey = (CredentialId, ClientId);

/// How often clients may fail.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Hashes for wrong client secrets of one client.
    pub failures_of_one: Rate,
    /// Failures of all clients together.
    pub failures_of_all: Rate,
    /// Lookups at the API server, for each [`Share`] of them.
    pub lookups: Rate,
}

impl Rates {
    /// The rates of a token service. Tests have the same.
    pub const DEFAULT: Self = Self {
        // A client that tries both methods of authentication fails twice each time.
        failures_of_one: Rate::a_second(1, 10),
        failures_of_all: Rate::a_second(1000, 2000),
        // The watches tell of all other clients: requests of strangers must not keep the API server
        // busy.
        lookups: Rate::a_second(10, 20),
    };
}

/// Why a client is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The credentials are not those of the client. The reason goes to the audit record alone.
    Invalid(AuthFailureReason),
    /// Too many wrong client secrets.
    TooOften(Duration),
    /// The check was not possible.
    Unchecked(Reason, Duration),
}

/// A client that is not authenticated.
#[derive(Clone, Debug)]
pub struct AuthFailure {
    /// Why.
    pub reason: AuthError,
    /// The client that it names, if that client exists.
    pub known: Option<Arc<RegisteredClient>>,
}

impl Authenticator {
    /// Knows clients by `directory`, and asks `live` for those that it does not know yet.
    ///
    /// # Errors
    ///
    /// No random key could be drawn.
    pub fn new(
        directory: Arc<Directory>,
        live: ClientLookup,
        hashing: Hashing,
        (clock, entropy): (Arc<dyn Clock>, &dyn Entropy),
        rates: Rates,
    ) -> Result<Self, EntropyError> {
        Ok(Self {
            directory,
            live,
            hashing,
            clock,
            proofs: SecretMac::draw(entropy)?,
            misses: Mutex::new(TtlSet::new(NEGATIVE_TTL, MAX_NEGATIVE)),
            repeaters: Mutex::new(TtlSet::new(NEGATIVE_TTL, MAX_NEGATIVE)),
            dummy: Arc::new(RegisteredClient::dummy()),
            failures: AtomicU64::new(0),
            first_lookups: AtomicU64::new(0),
            repeated_lookups: AtomicU64::new(0),
            rates,
        })
    }

    /// The client that presented its own client secret, from `source`.
    ///
    /// # Errors
    ///
    /// [`AuthFailure`]. Whether the client exists makes no difference, neither in the answer nor in its
    /// time: one lookup, and a dummy client for an unknown one.
    pub async fn authenticate(
        &self,
        presented: &ClientCredentials,
        source: Option<IpAddr>,
    ) -> Result<Arc<RegisteredClient>, AuthFailure> {
        let (client_id, secret) = presented.id_and_secret();
        let named = self.directory.client(client_id);
        let known = Arc::clone(named.as_ref().unwrap_or(&self.dummy));
        let found = self.verified(known, (client_id, secret), source).await;
        found.map_err(|reason| match reason {
            AuthError::Invalid(AuthFailureReason::SecretEnded) if named.is_none() => AuthFailure {
                reason: AuthError::Invalid(AuthFailureReason::UnknownClient),
                known: None,
            },
            reason
            @ (AuthError::Invalid(_) | AuthError::TooOften(_) | AuthError::Unchecked(..)) => {
                AuthFailure { reason, known: named }
            }
        })
    }

    /// Counts a client that failed.
    ///
    /// # Errors
    ///
    /// How long to wait, when there were too many.
    pub fn fail(&self) -> Result<(), Duration> {
        self.rates.failures_of_all.take(&self.failures, self.clock.elapsed())
    }

    /// How many lookups at the API server are under way.
    pub fn lookups_in_flight(&self) -> usize {
        self.live.in_flight()
    }

    /// How many client secrets are hashed or wait for it.
    pub fn queued_hashes(&self) -> usize {
        self.hashing.in_line()
    }

    async fn verified(
        &self,
        known: Arc<RegisteredClient>,
        (client_id, secret): (&ClientId, &ClientSecret),
        source: Option<IpAddr>,
    ) -> Result<Arc<RegisteredClient>, AuthError> {
        let id = secret.id();
        let is_in_view = known.verifier(&id, self.clock.now()).is_some();
        let known = if is_in_view { known } else { self.look_up(client_id, &id, source).await? };
        self.check(&known, &id, secret).await?;
        Ok(known)
    }

    /// Asks the API server once for what the watches do not know. The id of a client secret is
    /// stored before the secret is shown, and never comes again: what is not there now never will
    /// be.
    async fn look_up(
        &self,
        client_id: &ClientId,
        id: &CredentialId,
        source: Option<IpAddr>,
    ) -> Result<Arc<RegisteredClient>, AuthError> {
        let elapsed = self.clock.elapsed();
        let missing = (id.clone(), client_id.clone());
        if lock(&self.misses).contains(&missing, elapsed) {
            return Err(AuthError::Invalid(AuthFailureReason::SecretEnded));
        }
        let network = source.map(network_of);
        let share = self.share_of(network.as_ref(), elapsed);
        let count = match share {
            Share::First => &self.first_lookups,
            Share::Repeated => &self.repeated_lookups,
        };
        let admit = || {
            let elapsed = self.clock.elapsed();
            self.rates.lookups.take(count, elapsed)?;
            // Until its lookup has found a client: a source that hangs up does not stay a first one.
            if let Some(network) = network {
                lock(&self.repeaters).insert(network, elapsed);
            }
            Ok(())
        };
        let now = self.clock.now();
        let has_id = |known: &RegisteredClient| known.verifier(id, now).is_some();
        match self.live.client(&missing, share, has_id, admit).await {
            Ok(Some(known)) if has_id(&known) => {
                if let Some(network) = network {
                    lock(&self.repeaters).remove(&network);
                }
                Ok(known)
            }
            Ok(_) => {
                lock(&self.misses).insert(missing, elapsed);
                // The API server needs longer for an object that exists than for a 404.
                let took = self.clock.elapsed().saturating_sub(elapsed);
                tokio::time::sleep(until_quantum(took)).await;
                Err(AuthError::Invalid(AuthFailureReason::SecretEnded))
            }
            Err(reason @ LookupError::Limited(wait)) => {
                Err(AuthError::Unchecked(Reason::Lookup(reason), wait))
            }
            Err(reason) => Err(AuthError::Unchecked(Reason::Lookup(reason), RETRY_AFTER)),
        }
    }

    /// The share of the lookups that a source draws from.
    fn share_of(&self, network: Option<&IpAddr>, elapsed: Duration) -> Share {
        let is_first = |it| !lock(&self.repeaters).contains(it, elapsed);
        if network.is_some_and(is_first) { Share::First } else { Share::Repeated }
    }

    async fn check(
        &self,
        known: &RegisteredClient,
        id: &CredentialId,
        secret: &ClientSecret,
    ) -> Result<(), AuthError> {
        let proof = self.proofs.of(secret);
        let Some((verifier, memory)) = known.verifier(id, self.clock.now()) else {
            return Err(AuthError::Invalid(AuthFailureReason::SecretEnded));
        };
        let is_right = if let Some(right) = memory.proof() {
            SecretMac::agree(right, &proof)
        } else {
            self.hash(known, (verifier, memory), secret, proof).await?
        };
        if is_right { Ok(()) } else { Err(AuthError::Invalid(AuthFailureReason::WrongSecret)) }
    }

    /// Hashes, unless another request did while this one waited for its turn.
    ///
    /// The hash runs to its end in a task of its own, and its result is remembered there: a client
    /// that hangs up early finds it when it comes back. Failures count, not attempts: any number of
    /// requests may wait with the right client secret.
    async fn hash(
        &self,
        known: &RegisteredClient,
        (verifier, memory): (&Verifier, &Arc<VerifiedSecretCache>),
        secret: &ClientSecret,
        proof: [u8; 32],
    ) -> Result<bool, AuthError> {
        let turn = tokio::time::timeout(TIMEOUT, memory.hash_lock()).await;
        // Time is up: there is no other cause.
        let turn = turn.map_err(|_| AuthError::Unchecked(Reason::HashingSlow, RETRY_AFTER))?;
        if let Some(right) = memory.proof() {
            return Ok(SecretMac::agree(right, &proof));
        }
        let (rate, traces) = (self.rates.failures_of_one, Arc::clone(&known.traces));
        rate.check(&traces.failures, self.clock.elapsed()).map_err(AuthError::TooOften)?;
        let (verifier, memory, secret) = (verifier.clone(), Arc::clone(memory), secret.clone());
        let (hashing, namespace) = (self.hashing.clone(), known.client.tenant.clone());
        let clock = Arc::clone(&self.clock);
        let hashed = tokio::spawn(async move {
            let is_right = hashing.accepts(&namespace, &verifier, &secret).await?;
            if is_right {
                memory.remember(proof);
            } else {
                // Counted by the next check: one more than allowed was hashed at worst.
                let _ = rate.take(&traces.failures, clock.elapsed());
            }
            drop(turn);
            Ok(is_right)
        });
        let hashed = hashed.await.unwrap_or(Err(Full(RETRY_AFTER)));
        hashed.map_err(|Full(wait)| AuthError::Unchecked(Reason::HashingQueueFull, wait))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keyed hashes of client secrets, by a key that no other process has.
struct SecretMac(hmac::Key);

impl SecretMac {
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

impl fmt::Debug for SecretMac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

fn until_quantum(took: Duration) -> Duration {
    let beats = took.as_millis() / RESPONSE_QUANTUM.as_millis() + 1;
    RESPONSE_QUANTUM.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX)).saturating_sub(took)
}

/// Long enough to spare the API server, short enough for a cluster that was restored.
const NEGATIVE_TTL: Duration = Duration::from_mins(1);
const MAX_NEGATIVE: usize = 10_000;

/// How long to wait for a turn: a few hashes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Failed lookups answer at multiples of this, so that timing does not reveal whether a client exists.
const RESPONSE_QUANTUM: Duration = Duration::from_millis(50);

const RETRY_AFTER: Duration = Duration::from_secs(1);
