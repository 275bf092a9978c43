//! What the watches told of signing keys, their ledgers, key pairs and JWKS, and of namespaces.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::SelectorExt;

use super::Memory;
use super::observation::{self, Names, Namespaces, placed};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::Settings;
use crate::controller::views::{Check, View};
use crate::domain::object::Version;
use crate::domain::schedule::Now;
use crate::domain::signing_key::ledger::Unreadable;
use crate::domain::signing_key::{
    Held, KeyPair, Ledger, Observed, Place, Series, Step, Target, decide, report,
};

/// Everything that the watches told.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) series: View<String, Box<SigningKey>>,
    pub(super) ledgers: View<String, Box<Readable>>,
    pub(super) key_pairs: View<String, Belonging>,
    pub(super) maps: View<MapKey, Seen>,
    pub(super) namespaces: View<String, Namespace>,
}

/// A ledger, if it can be read, and the series that its label names.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) series: String,
    pub(super) ledger: Result<(Version, Ledger), Unreadable>,
}

/// A key pair that exists, and the series that its label names.
#[derive(Debug)]
pub(super) struct Belonging {
    pub(super) series: String,
    version: Version,
}

/// A JWKS ConfigMap by its series first, so that those of one series are neighbours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MapKey {
    pub(super) series: String,
    place: Place,
}

/// What a JWKS ConfigMap is to the series of a uid.
#[derive(Debug)]
pub(super) struct Seen {
    uid: String,
    target: Target,
}

/// A namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    labels: BTreeMap<String, String>,
    is_going: bool,
}

// === reading objects ===

/// The series without what only the API server needs.
pub(super) fn read_series(mut series: SigningKey) -> Option<(String, Box<SigningKey>)> {
    series.metadata.managed_fields = None;
    if let Some(annotations) = &mut series.metadata.annotations {
        annotations.retain(|name, _| name.starts_with(api::RESERVED_PREFIX));
    }
    Some((series.metadata.name.clone()?, Box::new(series)))
}

/// The ledger by the name of its Secret, which tells the uid of the series.
pub(super) fn read_ledger(secret: &Secret) -> Option<(String, Box<Readable>)> {
    let name = secret.metadata.name.clone()?;
    let uid = name.strip_prefix("sk-").unwrap_or_default();
    let series = labelled(&secret.metadata).unwrap_or_default();
    let ledger = observation::ledger(secret, uid);
    Some((name, Box::new(Readable { series, ledger })))
}

/// The key pair by the name of its Secret.
pub(super) fn read_key_pair(metadata: &ObjectMeta) -> Option<(String, Belonging)> {
    let version = observation::existing(metadata)?;
    let series = labelled(metadata).unwrap_or_default();
    Some((metadata.name.clone()?, Belonging { series, version }))
}

/// The ConfigMap by its series and place.
pub(super) fn read_map(map: &ConfigMap) -> Option<(MapKey, Seen)> {
    let series = labelled(&map.metadata)?;
    let references = map.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = references.iter().find(|reference| reference.controller == Some(true));
    let uid = controller.map(|it| it.uid.clone()).unwrap_or_default();
    let (place, mut target) = observation::jwks_map(map, &series, &uid)?;
    if let Target::Ours(published) = &mut target {
        // A check compares digests alone.
        published.kids = BTreeSet::new();
    }
    Some((MapKey { series, place }, Seen { uid, target }))
}

/// The namespace by its name.
pub(super) fn read_namespace(metadata: &ObjectMeta) -> Option<(String, Namespace)> {
    let labels = metadata.labels.clone().unwrap_or_default();
    let is_going = metadata.deletion_timestamp.is_some();
    Some((metadata.name.clone()?, Namespace { labels, is_going }))
}

fn labelled(metadata: &ObjectMeta) -> Option<String> {
    metadata.labels.as_ref()?.get(api::SIGNING_KEY).cloned()
}

// === impl Views ===

impl Views {
    /// Whether every watch has told everything once.
    pub(super) fn are_synced(&self) -> bool {
        self.series.is_synced()
            && self.ledgers.is_synced()
            && self.key_pairs.is_synced()
            && self.maps.is_synced()
            && self.namespaces.is_synced()
    }

    /// Whether the series is at rest as far as the watches know.
    pub(super) fn check(
        &self,
        name: &String,
        memory: &Memory,
        settings: &Settings,
        now: Now,
    ) -> Check {
        let Some(object) = self.series.get(name) else {
            return Check::Absent;
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Check::AtRest(None);
        }
        let Some(series) = observation::series(object, settings) else {
            return Check::Unsettled;
        };
        let (targets, surplus) = self.published(object, &series, memory, settings);
        let ledger = self.ledger(&series);
        let key_pairs = self.key_pairs(&series, memory);
        let observed = Observed { series: Some(series), targets, surplus, ledger, key_pairs };
        let Step::Rest(rest) = decide(&observed, now) else {
            return Check::Unsettled;
        };
        let status = report::status(&observed, &rest.verdict, object.status.as_ref(), now);
        match (&status, &object.status) {
            (Some(wanted), Some(present)) if report::is_same(wanted, present) => {
                Check::AtRest(rest.wake_at)
            }
            (Some(_) | None, _) => Check::Unsettled,
        }
    }

    /// The names of all series.
    pub(super) fn everybody(&self) -> Vec<String> {
        self.series.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The names of the series that publish beyond the operator's namespace.
    pub(super) fn selecting(&self) -> Vec<String> {
        let series = self.series.iter();
        let selecting = series.filter(|(_, it)| it.spec.jwks.namespace_selector.is_some());
        selecting.map(|(name, _)| name.clone()).collect()
    }

    fn published(
        &self,
        object: &SigningKey,
        series: &Series,
        memory: &Memory,
        settings: &Settings,
    ) -> (BTreeMap<String, Target>, Vec<(Place, Version)>) {
        let mut namespaces =
            Namespaces { wanted: BTreeSet::from([series.home.clone()]), going: BTreeSet::new() };
        if let Some(selector) = observation::selector(object) {
            let selected = self.namespaces.iter().filter(|(name, namespace)| {
                settings.publishes_in(name) && selector.matches(&namespace.labels)
            });
            for (name, namespace) in selected {
                let set =
                    if namespace.is_going { &mut namespaces.going } else { &mut namespaces.wanted };
                set.insert(name.clone());
            }
        }
        let mut found = BTreeMap::new();
        for (key, seen) in self.maps_of(&series.name) {
            let is_ours = seen.uid == series.uid;
            let target = if is_ours { seen.target.clone() } else { Target::Foreign };
            found.insert(key.place.clone(), target);
        }
        for namespace in &memory.unlabelled {
            let place =
                Place { namespace: namespace.clone(), name: series.config_map_name.clone() };
            found.entry(place).or_insert(Target::Foreign);
        }
        placed(found, series, &namespaces, memory)
    }

    fn maps_of(&self, series: &str) -> impl Iterator<Item = (&MapKey, &Seen)> {
        let first = Place { namespace: String::new(), name: String::new() };
        let series = series.to_owned();
        let from = MapKey { series: series.clone(), place: first };
        self.maps.from(from).take_while(move |(key, _)| key.series == series)
    }

    fn ledger(&self, series: &Series) -> Held {
        match self.ledgers.get(&Names::of(&series.uid).ledger()).map(|it| &it.ledger) {
            None => Held::Absent,
            Some(Err(reason)) => Held::Unreadable(*reason),
            Some(Ok((version, ledger))) => Held::Ledger(version.clone(), Box::new(ledger.clone())),
        }
    }

    /// The public half of the next one is what the last look learnt: without it, a key that waits to
    /// be scheduled would look as if it had to be unpublished.
    fn key_pairs(&self, series: &Series, memory: &Memory) -> BTreeMap<u32, KeyPair> {
        let names = Names::of(&series.uid);
        let from = names.key_pair_prefix();
        let neighbours = self.key_pairs.from(from.clone());
        let ours = neighbours.take_while(|(name, _)| name.starts_with(&from));
        ours.filter_map(|(name, key_pair)| {
            let (index, version) = (names.index(name)?, key_pair.version.clone());
            let known = memory.next.as_ref();
            let known = known.filter(|(next, it)| *next == index && it.version == version);
            let public = known.and_then(|(_, next)| next.public.clone());
            Some((index, KeyPair { version, public }))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::views::Told;
    use crate::domain::key_pair::{Algorithm, KeyShape, PublicKey};
    use jiff::SignedDuration;

    fn series() -> Series {
        let hour = SignedDuration::from_hours(1);
        Series {
            uid: "u".to_owned(),
            name: "default".to_owned(),
            generation: 1,
            algorithm: Algorithm::EdDsa,
            shape: KeyShape::Ed25519,
            period: hour * 2160,
            pre_publish: hour,
            drain: hour,
            home: "iam-system".to_owned(),
            config_map_name: "default-jwks".to_owned(),
            is_suspended: false,
            rotate_request: None,
            revoke_request: None,
        }
    }

    fn version(resource_version: &str) -> Version {
        Version { uid: "s".to_owned(), resource_version: resource_version.to_owned() }
    }

    #[test]
    fn the_public_half_of_the_next_key_pair_is_known_from_the_last_look() {
        let mut views = Views::default();
        views.key_pairs.expect(0);
        let told = Belonging { series: "default".to_owned(), version: version("2") };
        views.key_pairs.take(0, Told::Is("sk-u-1".to_owned(), told));
        let public = PublicKey::ed25519(&[7; 32]);
        let learnt = |resource_version: &str| {
            let next = KeyPair { version: version(resource_version), public: public.clone() };
            Memory { next: Some((1, next)), ..Memory::default() }
        };
        let known = |memory: &Memory| views.key_pairs(&series(), memory)[&1].public.clone();

        assert_eq!(known(&learnt("2")), public);
        assert_eq!(known(&learnt("1")), None);
        assert_eq!(known(&Memory::default()), None);
    }
}
