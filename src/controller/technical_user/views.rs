//! What the watches told of technical users, their records and their Secrets.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Key, observation};
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::controller::Settings;
use crate::controller::installation::{Held as _, Installations, Standing};
use crate::controller::ownership::Ownership;
use crate::controller::views::{Check, slim};
use crate::domain::credential::record::{Owner, Record, Unreadable, Version};
use crate::domain::delivery::Delivered;
use crate::domain::object::Belongs;
use crate::domain::schedule::Now;
use crate::domain::technical_user::report::{self, Ability, Situation};
use crate::domain::technical_user::{Claim, Holder, Observed, Step, User, decide, needs_namespace};
use crate::watch::View;

/// Everything that the watches told.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) users: View<Key, Box<TechnicalUser>>,
    pub(super) records: View<String, Readable>,
    pub(super) secrets: View<Key, Seen>,
    pub(super) signing_keys: View<String, Ability>,
}

/// A verifier record, if it can be read.
pub(super) type Readable = Result<(Version, Record), Unreadable>;

/// A delivered Secret, and whose it says it is.
#[derive(Debug)]
pub(super) struct Seen {
    namespace: String,
    delivered: Delivered,
    ownership: Option<Ownership>,
}

// === reading objects ===

/// The user without what only the API server needs.
pub(super) fn read_user(mut user: TechnicalUser) -> Option<(Key, Box<TechnicalUser>)> {
    slim(&mut user.metadata);
    let owner = observation::owner(&user.metadata)?;
    Some((Key { namespace: owner.namespace, name: owner.name }, Box::new(user)))
}

/// Whether the `SigningKey` can sign, by its name.
pub(super) fn read_signing_key(key: &SigningKey, is_served: bool) -> Option<(String, Ability)> {
    let ability = if is_served { Ability::of(Some(key)) } else { Ability::Elsewhere };
    Some((key.metadata.name.clone()?, ability))
}

/// The record by the name of its Secret.
pub(super) fn read_record(secret: &Secret) -> Option<(String, Readable)> {
    let name = secret.metadata.name.clone()?;
    Some((name, observation::record(secret, None)))
}

/// The delivered Secret by its own place. Anybody may put our label on a Secret, so one that no
/// `TechnicalUser` owns is not kept.
pub(super) fn read_secret(metadata: &ObjectMeta) -> Option<(Key, Option<Seen>)> {
    let key = Key { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
    let delivered = observation::delivered(metadata, Belongs::Foreign)?;
    let ownership = observation::ownership(metadata);
    let is_owned = ownership.as_ref().is_some_and(|it| it.name.is_some());
    let namespace = key.namespace.clone();
    Some((key, is_owned.then_some(Seen { namespace, delivered, ownership })))
}

impl Seen {
    /// The user that has to be looked at when this Secret changes.
    pub(super) fn user(&self) -> Option<Key> {
        let name = self.ownership.as_ref()?.name.clone()?;
        Some(Key { namespace: self.namespace.clone(), name })
    }
}

// === impl Views ===

impl Views {
    /// Whether every watch has told everything once. That of signing keys holds up nobody: until it
    /// has, a status keeps what it says of them.
    pub(super) fn are_synced(&self) -> bool {
        self.users.is_synced() && self.records.is_synced() && self.secrets.is_synced()
    }

    /// Whether the user is at rest as far as the watches know.
    pub(super) fn check(
        &self,
        key: &Key,
        (settings, installations): (&Settings, &Installations),
        now: Now,
    ) -> Check {
        let Some(object) = self.users.get(key) else {
            installations.forget(TechnicalUser::CONTROLLER, &key.to_string());
            return Check::Absent;
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Check::AtRest(None);
        }
        match installations.standing(&**object) {
            Standing::Ours => {}
            Standing::Left => return Check::Left,
            Standing::Unknown => return Check::Unsettled,
        }
        let Some(user) = observation::user(object, settings) else {
            return invalid(object, now);
        };
        let record = self.claim(&user);
        if needs_namespace(&user, &record) {
            return Check::Unsettled;
        }
        let observed = Observed { record, delivered: self.delivered(&user), user: Some(user) };
        let Step::Rest(rest) = decide(&observed, now) else {
            return Check::Unsettled;
        };
        let name = &object.spec.signing_key_ref.name;
        let situation = Situation {
            verdict: &rest.verdict,
            signing_key: &observation::referred_key(object, self.ability(name)),
            home: &settings.namespace,
            now,
        };
        let status = report::status(&observed, &situation, object.status.as_ref());
        let (Some(wanted), Some(present)) = (&status, &object.status) else {
            return Check::Unsettled;
        };
        if report::is_same(wanted, present) {
            Check::AtRest(rest.wake_at)
        } else if report::follows_key(&observed, &situation, present) {
            Check::Follows(name.clone())
        } else {
            Check::Unsettled
        }
    }

    /// Whether the `SigningKey` of that name can sign.
    pub(super) fn ability(&self, name: &String) -> Ability {
        match self.signing_keys.get(name) {
            Some(ability) => *ability,
            None if self.signing_keys.is_synced() => Ability::Missing,
            None => Ability::Unknown,
        }
    }

    /// The users that refer to the `SigningKey` of that name.
    pub(super) fn followers(&self, key: &str) -> impl Iterator<Item = &Key> {
        let users = self.users.iter();
        users.filter(move |(_, user)| user.spec.signing_key_ref.name == key).map(|(key, _)| key)
    }

    /// All users.
    pub(super) fn everybody(&self) -> Vec<Key> {
        self.users.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Records of users that the watches do not know: the sweep looks whether they are gone.
    pub(super) fn ownerless(&self) -> Vec<(String, Owner)> {
        let records = self.records.iter();
        let owned = records.filter_map(|(name, record)| {
            record.as_ref().ok().map(|(_, record)| (name.clone(), record.owner.clone()))
        });
        owned.filter(|(_, owner)| !self.lives(owner)).collect()
    }

    fn claim(&self, user: &User) -> Claim {
        match self.records.get(&user.client_id.record_name()) {
            None => Claim::Free,
            Some(Err(reason)) => Claim::Unreadable(*reason),
            Some(Ok((version, record))) if record.owner.uid == user.owner.uid => {
                Claim::Held(version.clone(), Box::new(record.clone()))
            }
            Some(Ok((version, record))) => {
                let holder = if self.lives(&record.owner) { Holder::Lives } else { Holder::Gone };
                Claim::Taken(version.clone(), record.owner.clone(), holder)
            }
        }
    }

    fn delivered(&self, user: &User) -> Option<Delivered> {
        let namespace = user.owner.namespace.clone();
        let seen = self.secrets.get(&Key { namespace, name: user.secret_name.clone() })?;
        let Owner { uid, name, .. } = &user.owner;
        let ownership = seen.ownership.as_ref();
        let belongs = ownership.map_or(Belongs::Foreign, |it| it.seen_by(uid, name));
        Some(Delivered { belongs, ..seen.delivered.clone() })
    }

    fn lives(&self, owner: &Owner) -> bool {
        let key = Key { namespace: owner.namespace.clone(), name: owner.name.clone() };
        let user = self.users.get(&key);
        user.is_some_and(|user| user.metadata.uid.as_ref() == Some(&owner.uid))
    }
}

/// Whether the mistake in the spec has been told.
fn invalid(object: &TechnicalUser, now: Now) -> Check {
    let Some(owner) = observation::owner(&object.metadata) else {
        return Check::AtRest(None);
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let field = observation::invalid_field(object);
    let (status, _) =
        report::invalid_spec((&owner, generation), field, object.status.as_ref(), now);
    if object.status.as_ref() == Some(&status) { Check::AtRest(None) } else { Check::Unsettled }
}
