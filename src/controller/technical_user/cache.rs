//! The cache of technical users, their records and their Secrets.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use self::chosen_names::ChosenNames;
use self::memory_budget::MemoryBudget;
use super::{UserRef, observation};
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::controller::ownership::Ownership;
use crate::controller::runtime::cache::{Resources, prune_metadata};
use crate::domain::object::Belongs;
use crate::domain::technical_user::delivered_secret::ObservedSecret;
use crate::domain::technical_user::status::SigningKeyState;
use crate::domain::technical_user::verifier_record::{Owner, Record, Unreadable, Version};
use crate::domain::technical_user::{ClientIdReservation, Holder, Observed, User, needs_namespace};
use crate::kubernetes::codec::client_id;
use crate::kubernetes::watch::{Store, WatchEvent};

mod chosen_names;
mod memory_budget;

/// Everything that the watches received.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) users: Resources<UserRef, TechnicalUser>,
    pub(super) records: Store<String, Readable>,
    pub(super) secrets: Store<UserRef, CachedSecret>,
    pub(super) signing_keys: Store<String, SigningKeyState>,
    chosen: ChosenNames,
    room: MemoryBudget,
}

/// A verifier record, if it can be read.
pub(super) type Readable = Result<(Version, Record), Unreadable>;

/// A delivered Secret, and whose it says it is.
#[derive(Debug)]
pub(super) struct CachedSecret {
    namespace: String,
    delivered: ObservedSecret,
    ownership: Option<Ownership>,
    size: usize,
}

// === reading objects ===

/// The user without what no decision needs.
pub(super) fn read_user(mut user: TechnicalUser) -> Option<(UserRef, Box<TechnicalUser>)> {
    prune_metadata(&mut user.metadata);
    user.spec.description = None;
    let owner = observation::owner(&user.metadata)?;
    Some((UserRef { namespace: owner.namespace, name: owner.name }, Box::new(user)))
}

/// Whether the `SigningKey` can sign, by its name.
pub(super) fn read_signing_key(
    key: &SigningKey,
    is_served: bool,
) -> Option<(String, SigningKeyState)> {
    let ability =
        if is_served { SigningKeyState::of(Some(key)) } else { SigningKeyState::Elsewhere };
    Some((key.metadata.name.clone()?, ability))
}

/// The record by the name of its Secret.
pub(super) fn read_record(secret: &Secret) -> Option<(String, Readable)> {
    let name = secret.metadata.name.clone()?;
    Some((name, observation::record(secret, None)))
}

/// The delivered Secret by its own place. Anybody may put our label on a Secret, so one that no
/// `TechnicalUser` owns is not kept.
pub(super) fn read_secret(metadata: &ObjectMeta) -> Option<(UserRef, Option<CachedSecret>)> {
    let key = UserRef { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
    let delivered = observation::delivered(metadata, Belongs::Foreign)?;
    let ownership = observation::ownership(metadata);
    let is_owned = ownership.as_ref().is_some_and(|it| it.name.is_some());
    let namespace = key.namespace.clone();
    let size = memory_budget::size(&delivered);
    Some((key, is_owned.then_some(CachedSecret { namespace, delivered, ownership, size })))
}

impl CachedSecret {
    /// The user that is checked when this Secret changes.
    pub(super) fn user(&self) -> Option<UserRef> {
        let name = self.ownership.as_ref()?.name.clone()?;
        Some(UserRef { namespace: self.namespace.clone(), name })
    }
}

// === impl Cache ===

impl Cache {
    /// Whether every watch is synced. The watch of signing keys holds up no user: until it
    /// has, a status keeps what it says of them.
    pub(super) fn are_synced(&self) -> bool {
        self.users.is_synced() && self.records.is_synced() && self.secrets.is_synced()
    }

    /// Takes in a user, and returns whom to check.
    pub(super) fn apply_user(
        &mut self,
        watch: usize,
        event: WatchEvent<UserRef, Box<TechnicalUser>>,
    ) -> Vec<UserRef> {
        let was_there = event.key().map(|key| self.users.get(key).is_some());
        let keys = self.users.apply_event(watch, event);
        for key in &keys {
            let user = self.users.get(key);
            self.chosen.note(key, user.and_then(|it| it.spec.secret_template.name.as_ref()));
            // One that vanished with a list was there.
            self.room.note_user(&key.namespace, was_there.unwrap_or(true), user.is_some());
        }
        keys
    }

    /// Takes in a verifier record, and returns whom to check: its former and its present owner. One that
    /// names no user may be that of any user with its client id.
    pub(super) fn apply_record(&mut self, event: WatchEvent<String, Readable>) -> Vec<UserRef> {
        let name = event.key().cloned();
        let former = name.as_ref().and_then(|name| self.owner_of(name));
        let names = self.records.apply_event(0, event);
        let Some(name) = name else { return self.keys_if(!names.is_empty()) };
        let owners: Vec<UserRef> = self.owner_of(&name).into_iter().chain(former).collect();
        if owners.is_empty() { self.claimants(&name) } else { owners }
    }

    /// Takes in a delivered Secret, and returns whom to check: its former and its present owner, and the
    /// users whose delivered Secret has its name. Tenants write labelled Secrets as they like, so one of
    /// them concerns no other user.
    pub(super) fn apply_secret(
        &mut self,
        watch: usize,
        event: WatchEvent<UserRef, CachedSecret>,
    ) -> Vec<UserRef> {
        let place = event.key().cloned();
        let seen = place.as_ref().and_then(|place| self.secrets.get(place));
        let (former, size) = (seen.and_then(CachedSecret::user), seen.map_or(0, |it| it.size));
        let present = event.object().and_then(CachedSecret::user);
        let event = match event {
            WatchEvent::Apply(place, seen) if !self.room.has(&place.namespace, size, seen.size) => {
                tracing::debug!(
                    namespace = place.namespace,
                    name = place.name,
                    "Secret passed over"
                );
                WatchEvent::Delete(place)
            }
            WatchEvent::Apply(..)
            | WatchEvent::Delete(_)
            | WatchEvent::Init
            | WatchEvent::InitDone
            | WatchEvent::Forbidden => event,
        };
        let places = self.secrets.apply_event(watch, event);
        let Some(place) = place else {
            let kept = self.secrets.iter();
            self.room.recount(kept.map(|(place, seen)| (place.namespace.as_str(), seen.size)));
            return self.keys_if(!places.is_empty());
        };
        let kept = self.secrets.get(&place).map_or(0, |it| it.size);
        self.room.note_secret(&place.namespace, size, kept);
        let owners = former.into_iter().chain(present).chain(self.chosen.users(&place));
        let default = observation::default_user(&place.name)
            .map(|name| UserRef { namespace: place.namespace.clone(), name: name.to_owned() });
        let default = default.filter(|key| !self.chosen.has(key));
        let touched: BTreeSet<UserRef> = owners.chain(default).collect();
        // A later event of the user wakes it as well.
        touched.into_iter().filter(|key| self.users.get(key).is_some()).collect()
    }

    /// Observes a user; nothing when its namespace has to be read.
    pub(super) fn observe(&self, user: User) -> Option<Observed> {
        let record = self.claim(&user);
        if needs_namespace(&user, &record) {
            return None;
        }
        Some(Observed { record, delivered: self.delivered(&user), user: Some(user) })
    }

    /// Whether the `SigningKey` of that name can sign.
    pub(super) fn ability(&self, name: &String) -> SigningKeyState {
        match self.signing_keys.get(name) {
            Some(ability) => *ability,
            None if self.signing_keys.is_synced() => SigningKeyState::Missing,
            None => SigningKeyState::Unknown,
        }
    }

    /// The users that refer to the `SigningKey` of that name.
    pub(super) fn followers(&self, key: &str) -> impl Iterator<Item = &UserRef> {
        let users = self.users.iter();
        users.filter(move |(_, user)| user.spec.signing_key_ref.name == key).map(|(key, _)| key)
    }

    /// A Secret that vanished with a list names no user: any user may miss it.
    fn keys_if(&self, has_lost: bool) -> Vec<UserRef> {
        if has_lost { self.users.keys() } else { Vec::new() }
    }

    fn owner_of(&self, record: &String) -> Option<UserRef> {
        let (_, record) = self.records.get(record)?.as_ref().ok()?;
        let owner = &record.owner;
        Some(UserRef { namespace: owner.namespace.clone(), name: owner.name.clone() })
    }

    /// The users whose client id has the record of that name.
    fn claimants(&self, record: &str) -> Vec<UserRef> {
        let claims = |user: &TechnicalUser| {
            let uid = user.metadata.uid.as_deref().unwrap_or_default();
            client_id(user, uid).is_some_and(|id| id.record_name() == record)
        };
        let users = self.users.iter().filter(|(_, user)| claims(user));
        users.map(|(key, _)| key.clone()).collect()
    }

    /// Records of users that the watches do not know: the sweep reads whether they are gone.
    pub(super) fn ownerless(&self) -> Vec<(String, Owner)> {
        let records = self.records.iter();
        let owned = records.filter_map(|(name, it)| Some((name, &it.as_ref().ok()?.1.owner)));
        let ownerless = owned.filter(|(_, owner)| !self.lives(owner));
        ownerless.map(|(name, owner)| (name.clone(), owner.clone())).collect()
    }

    fn claim(&self, user: &User) -> ClientIdReservation {
        match self.records.get(&user.client_id.record_name()) {
            None => ClientIdReservation::Free,
            Some(Err(reason)) => ClientIdReservation::Unreadable(*reason),
            Some(Ok((version, record))) if record.owner.uid == user.owner.uid => {
                ClientIdReservation::Held(version.clone(), Box::new(record.clone()))
            }
            Some(Ok((version, record))) => {
                let holder = if self.lives(&record.owner) { Holder::Exists } else { Holder::Gone };
                ClientIdReservation::Taken(version.clone(), record.owner.clone(), holder)
            }
        }
    }

    fn delivered(&self, user: &User) -> Option<ObservedSecret> {
        let namespace = user.owner.namespace.clone();
        let seen = self.secrets.get(&UserRef { namespace, name: user.secret_name.clone() })?;
        let Owner { uid, name, .. } = &user.owner;
        let ownership = seen.ownership.as_ref();
        let belongs = ownership.map_or(Belongs::Foreign, |it| it.relation_to(uid, name));
        Some(ObservedSecret { belongs, ..seen.delivered.clone() })
    }

    fn lives(&self, owner: &Owner) -> bool {
        let key = UserRef { namespace: owner.namespace.clone(), name: owner.name.clone() };
        let user = self.users.get(&key);
        user.is_some_and(|user| user.metadata.uid.as_ref() == Some(&owner.uid))
    }
}
