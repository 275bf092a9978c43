//! The clients and keys that the token service knows: every client with its verifiers, and every key. It
//! is fed by
//! watches only, so that it answers while no operator runs and while the API server is away.
//!
//! Readers get a snapshot and hold nothing. Each store knows when a watch last received something, by the
//! clock that saw more time pass since: past the bound S nothing is signed any more.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::clients::Clients;
use self::heartbeat::{Moment, WatchHeartbeat};
use self::keys::Keys;
use crate::domain::crypto::client_secret::ClientId;
use crate::domain::crypto::public_key::{Kid, PublicKey};
use crate::domain::oauth::signer::SigningUnavailable;
use crate::domain::policy::Policy;
use crate::domain::signing_key::ledger::{SettingMismatch, SharedSettings};
use crate::environment::Clock;

pub use self::clients::{ClientCounters, Recorded, RegisteredClient, VerifiedSecretCache};
pub use self::keys::{Published, Signer};
pub use self::lookup::{ClientLookup, LookupError, Share};
pub use self::watches::run_watches;

mod clients;
mod heartbeat;
mod keys;
mod lookup;
mod watches;

/// The clients and keys of a token server.
#[derive(Debug)]
pub struct Directory {
    clients: RwLock<Clients>,
    keys: RwLock<Keys>,
    pulses: Heartbeats,
    clock: Arc<dyn Clock>,
    began_at: Moment,
    settings: Settings,
    /// The disagreements that are in the log.
    logged: RwLock<BTreeSet<SettingMismatch>>,
}

/// The scope of a directory, and its maximum staleness.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's namespace.
    pub namespace: String,
    /// The `SigningKey`s that are served are those that name this controller.
    pub controller_name: String,
    /// Where users are served; everywhere when empty.
    pub watch_namespaces: Vec<String>,
    /// S: how old the watches may be for anything to be signed.
    pub max_staleness: Duration,
    /// The longest lifetime of a token, also if a `TechnicalUser` asks for more.
    pub token_lifetime: SignedDuration,
    /// The issuer of the tokens.
    pub issuer: String,
    /// The allowed roles and audiences of access tokens.
    pub policy: Policy,
}

/// When each watch last received something.
#[derive(Debug)]
struct Heartbeats {
    /// One for each namespace that is watched, or one for all.
    users: Vec<WatchHeartbeat>,
    records: WatchHeartbeat,
    namespaces: WatchHeartbeat,
    series: WatchHeartbeat,
    ledgers: WatchHeartbeat,
    key_pairs: WatchHeartbeat,
    jwks: WatchHeartbeat,
}

impl Directory {
    /// A directory that knows nothing yet.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let (mut clients, mut keys) = (Clients::default(), Keys::default());
        clients.register_watches(&settings.watch_namespaces, &settings.namespace);
        keys.register_watches();
        Self {
            clients: RwLock::new(clients),
            keys: RwLock::new(keys),
            pulses: Heartbeats::of(settings.watch_namespaces.len().max(1)),
            began_at: Moment::of(&*clock),
            clock,
            settings,
            logged: RwLock::default(),
        }
    }

    /// A client that lives, with everything that proves a request to be its own.
    pub fn client(&self, id: &ClientId) -> Option<Arc<RegisteredClient>> {
        read(&self.clients).get(id)
    }

    /// The key that signs for that client at `now`.
    ///
    /// Nothing is signed for a client whose watches are too old: if it was deleted, suspended or revoked
    /// meanwhile, it would get tokens without end.
    ///
    /// # Errors
    ///
    /// [`SigningUnavailable`]: nothing is signed now, which passes.
    pub fn signer_of(
        &self,
        known: &RegisteredClient,
        now: Timestamp,
    ) -> Result<Arc<Signer>, SigningUnavailable> {
        let moment = Moment { elapsed: self.clock.elapsed(), wall: now };
        let pulse =
            self.pulses.users.get(known.scope).ok_or(SigningUnavailable::NotSynced(USERS))?;
        self.check_staleness(USERS, pulse, &moment)?;
        self.signer_at(&known.client.signing_key, &moment)
    }

    /// The key that signs for the `SigningKey` of that name at `now`, for any client.
    ///
    /// # Errors
    ///
    /// [`SigningUnavailable`]: nothing is signed now, which passes.
    pub fn signer(&self, series: &str, now: Timestamp) -> Result<Arc<Signer>, SigningUnavailable> {
        self.signer_at(series, &Moment { elapsed: self.clock.elapsed(), wall: now })
    }

    /// The keys of all series, as verifiers fetch them; nothing while there is none.
    pub fn published(&self) -> Option<Arc<Published>> {
        read(&self.keys).published()
    }

    /// The keys of the `SigningKey` of that name; nothing while it has none.
    ///
    /// # Errors
    ///
    /// [`SigningUnavailable::Absent`] when there is none of that name, another one while that is not known.
    pub fn published_of(&self, series: &str) -> Result<Option<Arc<Published>>, SigningUnavailable> {
        Ok(read(&self.keys).signing(series)?.published())
    }

    /// A key that tokens are verified with.
    pub fn key(&self, kid: &Kid) -> Option<PublicKey> {
        self.published()?.keys.get(kid).cloned()
    }

    /// Whether requests can be served: the watches have delivered everything once, and there is a
    /// public key to publish. Nothing that happens to a `SigningKey` later takes the JWKS, discovery and
    /// introspection away; [`Self::signing`] is the signal for that.
    ///
    /// # Errors
    ///
    /// A sentence that says what is missing.
    pub fn readiness(&self) -> Result<(), String> {
        let mut waiting = read(&self.clients).not_synced();
        waiting.extend(read(&self.keys).not_synced());
        if !waiting.is_empty() {
            let waiting = waiting.join(", ");
            return Err(format!("the watches of {waiting} are not synced yet"));
        }
        if self.published().is_none() {
            let text = "there is no SigningKey with a published key: create one, or start the operator, which creates `default`";
            return Err(text.to_owned());
        }
        Ok(())
    }

    /// Whether tokens can be signed for one `SigningKey` at least.
    ///
    /// # Errors
    ///
    /// A sentence that names a `SigningKey` and what is wrong with it.
    pub fn signing(&self) -> Result<(), String> {
        let series = self.series();
        let Some((name, outcome)) = series.first() else {
            return Err("no SigningKey is known: create one, or start the operator, which creates `default`".to_owned());
        };
        match outcome {
            Err(reason) if series.iter().all(|(_, outcome)| outcome.is_err()) => {
                Err(format!("no SigningKey can sign: {name}: {reason}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The name of each `SigningKey`, and whether it signs now for the clients of one namespace at
    /// least.
    pub fn series(&self) -> Vec<(String, Result<(), SigningUnavailable>)> {
        let moment = Moment::of(&*self.clock);
        let users =
            self.pulses.users.iter().map(|pulse| self.check_staleness(USERS, pulse, &moment));
        let in_touch =
            users.reduce(Result::or).unwrap_or(Err(SigningUnavailable::NotSynced(USERS)));
        let signs = |name: &str| in_touch.and(self.signer_at(name, &moment).map(drop));
        let names = read(&self.keys).names().into_iter();
        names.map(|name| (name.clone(), signs(&name))).collect()
    }

    /// The settings of this token server that do not agree with those of the operator, which writes
    /// its own into the ledgers.
    pub fn mismatches(&self) -> BTreeSet<SettingMismatch> {
        let Settings { max_staleness, token_lifetime, issuer, policy, .. } = &self.settings;
        let max_staleness = SignedDuration::try_from(*max_staleness).unwrap_or(SignedDuration::MAX);
        let own = SharedSettings::of(max_staleness, *token_lifetime, issuer, policy);
        let agreements = read(&self.keys).shared_settings();
        agreements.iter().flat_map(|operator| operator.mismatches(&own)).collect()
    }

    /// How many clients are known.
    pub fn count(&self) -> usize {
        read(&self.clients).count()
    }

    /// The age of the oldest watch. One that never was synced is as old as the directory, so that an
    /// alert on the age fires for a server that was never connected as well.
    pub fn staleness(&self) -> Duration {
        let now = Moment::of(&*self.clock);
        let never = now.since(&self.began_at);
        let pulses = self.pulses.shared().chain(&self.pulses.users);
        pulses.map(|pulse| pulse.age(&now).unwrap_or(never)).max().unwrap_or(never)
    }

    fn signer_at(&self, series: &str, moment: &Moment) -> Result<Arc<Signer>, SigningUnavailable> {
        for (view, pulse) in self.pulses.of_all_clients() {
            self.check_staleness(view, pulse, moment)?;
        }
        let signing = read(&self.keys).signing(series)?;
        let Settings { max_staleness, token_lifetime, .. } = self.settings;
        signing.signer(&self.ages(moment), moment.wall, max_staleness, token_lifetime)
    }

    fn check_staleness(
        &self,
        view: &'static str,
        pulse: &WatchHeartbeat,
        moment: &Moment,
    ) -> Result<(), SigningUnavailable> {
        let age = pulse.age(moment).ok_or(SigningUnavailable::NotSynced(view))?;
        if age >= self.settings.max_staleness {
            Err(SigningUnavailable::Stale(view))
        } else {
            Ok(())
        }
    }

    fn ages(&self, moment: &Moment) -> keys::Ages {
        let age = |pulse: &WatchHeartbeat| pulse.age(moment).unwrap_or(Duration::MAX);
        keys::Ages {
            series: age(&self.pulses.series),
            ledgers: age(&self.pulses.ledgers),
            jwks: age(&self.pulses.jwks),
            key_pairs: age(&self.pulses.key_pairs),
        }
    }
}

impl Heartbeats {
    fn of(scopes: usize) -> Self {
        Self {
            users: (0..scopes).map(|_| WatchHeartbeat::default()).collect(),
            records: WatchHeartbeat::default(),
            namespaces: WatchHeartbeat::default(),
            series: WatchHeartbeat::default(),
            ledgers: WatchHeartbeat::default(),
            key_pairs: WatchHeartbeat::default(),
            jwks: WatchHeartbeat::default(),
        }
    }

    fn of_all_clients(&self) -> [(&'static str, &WatchHeartbeat); 2] {
        [("the verifier records", &self.records), ("the namespaces", &self.namespaces)]
    }

    /// The watches that every token depends on.
    fn shared(&self) -> impl Iterator<Item = &WatchHeartbeat> {
        let of_keys = [&self.series, &self.ledgers, &self.key_pairs, &self.jwks];
        self.of_all_clients().into_iter().map(|(_, pulse)| pulse).chain(of_keys)
    }
}

const USERS: &str = "the technical users";

/// A panic while writing leaves the data as it was or with one more change: both can be read.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
