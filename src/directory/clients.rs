//! The clients: users, their verifier records, and the namespaces, whose uids are the tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::crypto::client_secret::{ClientId, CredentialId, Verifier};
use crate::domain::oauth::Client;
use crate::domain::technical_user::verifier_record::{Entry, Owner, Record};
use crate::kubernetes::watch::{Store, WatchEvent};

pub(super) use self::user::User;

mod user;

/// A client with its verifiers.
#[derive(Debug)]
pub struct RegisteredClient {
    /// The client.
    pub client: Client,
    /// Its `TechnicalUser`.
    pub owner: Arc<Owner>,
    /// The counters of its requests.
    pub traces: Arc<ClientCounters>,
    /// The watch of users that delivers it.
    pub(super) scope: usize,
    verifiers: Box<[(CredentialId, Entry, Arc<VerifiedSecretCache>)]>,
}

/// The counters of the requests of one client. They survive every change of the client except its end.
#[derive(Debug, Default)]
pub struct ClientCounters {
    /// Wrong client secrets that cost a hash, as a limiter counts them.
    pub failures: AtomicU64,
    /// Tokens, as a limiter counts them.
    pub tokens: AtomicU64,
    /// Audit records of its refusals.
    pub refusals: Recorded,
    /// Audit records of the tokens that it had introspected.
    pub introspections: Recorded,
}

/// Audit records of one sort, within a bound.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The requests in the window, as a limiter counts them.
    pub kept: AtomicU64,
    /// How many were left out since the last that was kept.
    pub left_out: AtomicU64,
}

/// The keyed hash of the client secret that one verifier accepted, so that only the first use of it
/// costs a bcrypt. It goes with the verifier.
#[derive(Debug, Default)]
pub struct VerifiedSecretCache {
    proof: OnceLock<[u8; 32]>,
    /// Made by the first request that has to hash: most verifiers never need it again.
    turn: OnceLock<Arc<Mutex<()>>>,
}

/// All clients that the watches delivered.
#[derive(Debug, Default)]
pub(super) struct Clients {
    users: Store<Key, User>,
    records: Store<String, Option<Verifiers>>,
    namespaces: Store<String, String>,
    ids: BTreeMap<Key, ClientId>,
    claims: BTreeMap<String, ClientId>,
    known: BTreeMap<ClientId, Arc<RegisteredClient>>,
    /// Clients that were looked up lately, each until then: what their first use proved counts until
    /// a watch delivers them.
    looked_up: BTreeMap<ClientId, (Duration, Arc<RegisteredClient>)>,
    scopes: Vec<String>,
    operator_namespace: String,
    holders: BTreeSet<Arc<str>>,
}

/// The place of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A verifier record, as far as clients need it. There are many, and a map for a verifier or two
/// takes ten times as much.
#[derive(Clone, Debug)]
pub(super) struct Verifiers {
    pub(super) client_id: ClientId,
    pub(super) owner: Arc<Owner>,
    revoked_at: Option<Timestamp>,
    entries: Box<[(CredentialId, Entry)]>,
}

// === impl Known ===

impl RegisteredClient {
    /// The verifier of the client secret of that id, unless it has ended.
    pub fn verifier(
        &self,
        id: &CredentialId,
        now: Timestamp,
    ) -> Option<(&Verifier, &Arc<VerifiedSecretCache>)> {
        let (_, entry, verified) = self.verifiers.iter().find(|(known, ..)| known == id)?;
        entry.is_accepted(now).then_some((&entry.verifier, verified))
    }

    /// Whether it has the newest client secret of a former state of the same client.
    fn is_as_new_as(&self, former: &Self) -> bool {
        let newest = former.verifiers.iter().max_by_key(|(_, entry, _)| entry.serial);
        newest.is_none_or(|(newest, ..)| self.verifiers.iter().any(|(id, ..)| id == newest))
    }

    /// A dummy in place of an unknown client, so that both take the same time.
    pub fn dummy() -> Self {
        let client = Client {
            id: ClientId::derived_from("nobody"),
            uid: String::new(),
            tenant: String::new(),
            roles: Vec::new(),
            audiences: Vec::new(),
            lifetime: SignedDuration::ZERO,
            token_type: None,
            signing_key: String::new(),
            is_suspended: true,
            created_at: Timestamp::MAX,
            revoked_at: None,
        };
        let (uid, namespace, name) = (String::new(), String::new(), String::new());
        let owner = Owner { uid, namespace, name, namespace_uid: None };
        let (owner, traces) = (Arc::new(owner), Arc::default());
        Self { client, owner, traces, scope: 0, verifiers: Box::default() }
    }

    /// A client by its parts; what `former` proved stays proved as long as its verifier does.
    pub(super) fn of(
        user: &User,
        (tenant, scope): (&str, usize),
        record: &Verifiers,
        former: Option<&Self>,
    ) -> Self {
        let former = former.filter(|former| former.client.uid == user.0.uid);
        let known = former.map(|former| &*former.verifiers).unwrap_or_default();
        let verified = |id: &CredentialId, entry: &Entry| {
            let mut known = known.iter();
            let known = known.find(|(it, known, _)| it == id && known.verifier == entry.verifier);
            known.map(|(.., verified)| Arc::clone(verified)).unwrap_or_default()
        };
        let verifiers = record.entries.iter();
        let verifiers =
            verifiers.map(|(id, entry)| (id.clone(), entry.clone(), verified(id, entry)));
        Self {
            client: Client {
                tenant: tenant.to_owned(),
                revoked_at: record.revoked_at,
                ..user.0.clone()
            },
            owner: Arc::clone(&record.owner),
            traces: former.map(|former| Arc::clone(&former.traces)).unwrap_or_default(),
            scope,
            verifiers: verifiers.collect(),
        }
    }
}

// === impl Verified ===

impl VerifiedSecretCache {
    /// The keyed hash of the right client secret, once one was seen.
    pub fn proof(&self) -> Option<&[u8; 32]> {
        self.proof.get()
    }

    /// Waits for the turn to hash, which one request has at a time.
    pub async fn hash_lock(&self) -> OwnedMutexGuard<()> {
        Arc::clone(self.turn.get_or_init(Arc::default)).lock_owned().await
    }

    /// Remembers the right client secret by its keyed hash.
    pub fn remember(&self, proof: [u8; 32]) {
        // The first one has remembered the same.
        let _ = self.proof.set(proof);
    }
}

// === impl Verifiers ===

impl Verifiers {
    pub(super) fn has(&self, id: &CredentialId) -> bool {
        self.entries.iter().any(|(known, _)| known == id)
    }

    /// The uid of the namespace that the record belongs to, unless the namespace of that name has
    /// another uid: a name that was used again is another tenant. A record of an earlier version has no
    /// uid, and belongs to the namespace of its name until the operator has reconciled it again.
    pub(super) fn tenant<'a>(&self, namespace_uid: &'a str) -> Option<&'a str> {
        let recorded = self.owner.namespace_uid.as_deref();
        recorded.is_none_or(|uid| uid == namespace_uid).then_some(namespace_uid)
    }

    /// Whether the record itself says the uid of its namespace.
    pub(super) fn names_tenant(&self) -> bool {
        self.owner.namespace_uid.is_some()
    }
}

impl From<Record> for Verifiers {
    fn from(record: Record) -> Self {
        let Record { client_id, owner, entries, revoked_at, .. } = record;
        let owner = Arc::new(owner);
        Self { client_id, owner, revoked_at, entries: entries.into_iter().collect() }
    }
}

// === impl Clients ===

impl Clients {
    /// Registers the watches: one of users for each of these namespaces, or one for all.
    /// `operator_namespace` is the
    /// namespace of this installation.
    pub(super) fn register_watches(&mut self, scopes: &[String], operator_namespace: &str) {
        operator_namespace.clone_into(&mut self.operator_namespace);
        (0..scopes.len().max(1)).for_each(|watch| self.users.register_watch(watch));
        scopes.clone_into(&mut self.scopes);
        self.records.register_watch(0);
        self.namespaces.register_watch(0);
    }

    pub(super) fn get(&self, id: &ClientId) -> Option<Arc<RegisteredClient>> {
        self.known.get(id).cloned()
    }

    /// The client as it was known before, by a lookup or by the watches: for what it proved alone.
    pub(super) fn former(&self, id: &ClientId) -> Option<&Arc<RegisteredClient>> {
        let looked_up = self.looked_up.get(id).map(|(_, known)| known);
        looked_up.or_else(|| self.known.get(id))
    }

    /// Keeps what a looked-up client proves, for a while and within a bound.
    pub(super) fn keep_looked_up(&mut self, known: &Arc<RegisteredClient>, elapsed: Duration) {
        if self.looked_up.len() >= MAX_LOOKED_UP {
            self.looked_up.retain(|_, (until, _)| elapsed < *until);
        }
        if self.looked_up.len() >= MAX_LOOKED_UP {
            self.looked_up.pop_first();
        }
        let until = elapsed.saturating_add(LOOKED_UP_TTL);
        self.looked_up.insert(known.client.id.clone(), (until, Arc::clone(known)));
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// The kinds that are not synced yet.
    pub(super) fn not_synced(&self) -> Vec<&'static str> {
        let kinds = [
            ("technicalusers", self.users.is_synced()),
            ("verifier records", self.records.is_synced()),
            ("namespaces", self.namespaces.is_synced()),
        ];
        kinds.into_iter().filter(|(_, is_synced)| !is_synced).map(|(kind, _)| kind).collect()
    }

    /// The watch of users that covers that namespace.
    pub(super) fn scope(&self, namespace: &str) -> usize {
        self.scopes.iter().position(|scope| scope == namespace).unwrap_or_default()
    }

    /// The uid of this installation, once its namespace is known.
    pub(super) fn own(&self) -> Option<&str> {
        self.namespaces.get(&self.operator_namespace).map(String::as_str)
    }

    /// The uid of a namespace.
    pub(super) fn tenant(&self, namespace: &str) -> Option<&String> {
        self.namespaces.get(&namespace.to_owned())
    }

    pub(super) fn apply_user(&mut self, watch: usize, event: WatchEvent<Key, Option<User>>) {
        // A record that cannot be read counts as absent.
        let event = match event {
            WatchEvent::Apply(key, Some(user)) => WatchEvent::Apply(key, self.shared(user)),
            WatchEvent::Apply(key, None) | WatchEvent::Delete(key) => WatchEvent::Delete(key),
            WatchEvent::Init => WatchEvent::Init,
            WatchEvent::InitDone => WatchEvent::InitDone,
            WatchEvent::Forbidden => WatchEvent::Forbidden,
        };
        for key in self.users.apply_event(watch, event) {
            let is = self.users.get(&key).map(|user| user.0.id.clone());
            let was = match is.clone() {
                Some(id) => self.ids.insert(key, id),
                None => self.ids.remove(&key),
            };
            self.refresh_all(was.into_iter().chain(is));
        }
    }

    /// The user with the one copy of the uid of its holder: there are many users and few holders.
    fn shared(&mut self, User(client, holder): User) -> User {
        let holder = holder.map(|holder| {
            if let Some(known) = self.holders.get(&holder) {
                return Arc::clone(known);
            }
            self.holders.insert(Arc::clone(&holder));
            holder
        });
        User(client, holder)
    }

    pub(super) fn apply_record(&mut self, event: WatchEvent<String, Option<Verifiers>>) {
        for name in self.records.apply_event(0, event) {
            let record = self.records.get(&name).and_then(Option::as_ref);
            let is = record.map(|record| record.client_id.clone());
            let was = match is.clone() {
                Some(id) => self.claims.insert(name, id),
                None => self.claims.remove(&name),
            };
            self.refresh_all(was.into_iter().chain(is));
        }
    }

    pub(super) fn apply_namespace(&mut self, event: WatchEvent<String, String>) {
        if let WatchEvent::Apply(name, uid) = &event
            && self.namespaces.get(name) == Some(uid)
        {
            // Namespaces change all the time, and their uids do not.
            self.namespaces.apply_event(0, event);
            return;
        }
        let former = self.own().map(str::to_owned);
        for namespace in self.namespaces.apply_event(0, event) {
            let first = Key { namespace: namespace.clone(), name: String::new() };
            let ids = self.ids.range(first..).take_while(|(key, _)| key.namespace == namespace);
            let ids: BTreeSet<_> = ids.map(|(_, id)| id.clone()).collect();
            self.refresh_all(ids);
        }
        if self.own() != former.as_deref() {
            let all: BTreeSet<_> = self.ids.values().cloned().collect();
            self.refresh_all(all);
        }
    }

    fn refresh_all(&mut self, ids: impl IntoIterator<Item = ClientId>) {
        for id in ids {
            let Some(known) = self.compose(&id) else {
                self.known.remove(&id);
                continue;
            };
            let looked_up = self.looked_up.get(&id);
            if looked_up.is_some_and(|(_, former)| known.is_as_new_as(former)) {
                self.looked_up.remove(&id);
            }
            self.known.insert(id, Arc::new(known));
        }
    }

    fn compose(&self, id: &ClientId) -> Option<RegisteredClient> {
        let record = self.records.get(&id.record_name())?.as_ref()?;
        let (namespace, name) = (record.owner.namespace.clone(), record.owner.name.clone());
        let tenant = record.tenant(self.namespaces.get(&namespace)?)?;
        let scope = self.scope(&namespace);
        let user = self.users.get(&Key { namespace, name });
        let user = user.filter(|user| user.owns(record) && user.is_served_by(self.own()))?;
        Some(RegisteredClient::of(
            user,
            (tenant, scope),
            record,
            self.former(id).map(AsRef::as_ref),
        ))
    }
}

/// Longer than the usual delay of a watch.
const LOOKED_UP_TTL: Duration = Duration::from_mins(5);
const MAX_LOOKED_UP: usize = 1000;

/// The place of a user by its metadata.
pub(super) fn place(metadata: &ObjectMeta) -> Option<Key> {
    Some(Key { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? })
}
