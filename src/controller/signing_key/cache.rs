//! The cache of signing keys, their ledgers, key pairs and JWKS, and of namespaces.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::SelectorExt;

use super::Memory;
use super::observation;
use super::observed_config_map::ObservedConfigMap;
use super::placement::{self, Namespaces, placed};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::Settings;
use crate::controller::runtime::cache::{Resources, prune_metadata};
use crate::domain::object::Version;
use crate::domain::signing_key::ledger::Unreadable;
use crate::domain::signing_key::{
    ConfigMapRef, ConfigMapState, KeyPair, Ledger, LedgerState, Observed, Scope, Series, StaleCopy,
};
use crate::kubernetes::codec::{self, SecretNames};
use crate::kubernetes::watch::{Store, WatchEvent};

/// Everything that the watches received.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) series: Resources<String, SigningKey>,
    pub(super) ledgers: Store<String, Box<Readable>>,
    pub(super) key_pairs: Store<String, Belonging>,
    pub(super) maps: Store<MapKey, Box<ObservedConfigMap>>,
    labelled: BTreeMap<ConfigMapRef, String>,
    pub(super) namespaces: Store<String, Namespace>,
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
    place: ConfigMapRef,
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
    // The field manager of the algorithm says whether a user has declared it.
    let fields = series.metadata.managed_fields.take();
    prune_metadata(&mut series.metadata);
    series.metadata.managed_fields = fields;
    Some((series.metadata.name.clone()?, Box::new(series)))
}

/// The ledger by the name of its Secret, which tells the uid of the series.
pub(super) fn read_ledger(secret: &Secret) -> Option<(String, Box<Readable>)> {
    let name = secret.metadata.name.clone()?;
    let uid = name.strip_prefix("sk-").unwrap_or_default();
    let series = labelled(&secret.metadata).unwrap_or_default();
    let ledger = codec::ledger(secret, uid);
    Some((name, Box::new(Readable { series, ledger })))
}

/// The key pair by the name of its Secret.
pub(super) fn read_key_pair(metadata: &ObjectMeta) -> Option<(String, Belonging)> {
    let version = observation::existing(metadata)?;
    let series = labelled(metadata).unwrap_or_default();
    Some((metadata.name.clone()?, Belonging { series, version }))
}

/// The ConfigMap by the series that its label names, and its place. Anybody may set that label: what
/// no `SigningKey` owns matters in the operator's namespace alone.
pub(super) fn read_map(
    metadata: &ObjectMeta,
    operator_namespace: &str,
) -> Option<(MapKey, Option<Box<ObservedConfigMap>>)> {
    let series = labelled(metadata)?;
    let map = ObservedConfigMap::of_metadata(metadata)?;
    let is_of_interest = map.place.namespace == operator_namespace || map.is_of_a_series();
    let key = MapKey { series, place: map.place.clone() };
    Some((key, is_of_interest.then(|| Box::new(map))))
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

// === impl Cache ===

impl Cache {
    /// Whether every watch is synced.
    pub(super) fn are_synced(&self) -> bool {
        self.series.is_synced()
            && self.ledgers.is_synced()
            && self.key_pairs.is_synced()
            && self.maps.is_synced()
            && self.namespaces.is_synced()
    }

    /// Observes a series, with the memory of its last reconcile.
    pub(super) fn observe(
        &self,
        object: &SigningKey,
        series: Series,
        memory: &Memory,
        settings: &Settings,
    ) -> Observed {
        let (targets, surplus) = self.published(object, &series, memory, settings);
        let ledger = self.ledger(&series);
        let key_pairs = self.key_pairs(&series, memory);
        let sight = Scope::AllNamespaces;
        Observed { series: Some(series), targets, surplus, sight, ledger, key_pairs }
    }

    /// Applies an event of a ConfigMap; returns the series that its label names, and the
    /// one that it named before.
    pub(super) fn apply_config_map(
        &mut self,
        watch: usize,
        event: WatchEvent<MapKey, Box<ObservedConfigMap>>,
    ) -> Vec<String> {
        let event = match event {
            WatchEvent::Apply(key, map) if self.is_crowded(&key) => {
                tracing::debug!(namespace = key.place.namespace, "ConfigMap passed over");
                drop(map);
                return Vec::new();
            }
            // Tenants label ConfigMaps as they like: one that is not kept, and was not, concerns no series.
            WatchEvent::Delete(key) if !self.labelled.contains_key(&key.place) => {
                return Vec::new();
            }
            WatchEvent::Apply(..)
            | WatchEvent::Delete(_)
            | WatchEvent::Init
            | WatchEvent::InitDone
            | WatchEvent::Forbidden => event,
        };
        let key = event.key().cloned();
        let former = key.as_ref().and_then(|key| {
            let series = self.labelled.get(&key.place)?.clone();
            Some(MapKey { series, place: key.place.clone() })
        });
        let moved = former.filter(|former| key.as_ref() != Some(former));
        let moved = moved.into_iter().flat_map(|former| {
            self.labelled.remove(&former.place);
            self.maps.apply_event(watch, WatchEvent::Delete(former))
        });
        let moved: Vec<MapKey> = moved.collect();
        let touched = self.maps.apply_event(watch, event);
        for key in &touched {
            match self.maps.get(key) {
                Some(_) => self.labelled.insert(key.place.clone(), key.series.clone()),
                None => self.labelled.remove(&key.place),
            };
        }
        moved.into_iter().chain(touched).map(|key| key.series).collect()
    }

    /// Whether the namespace has more ConfigMaps with our label than it can have series.
    fn is_crowded(&self, key: &MapKey) -> bool {
        if self.labelled.contains_key(&key.place) {
            return false;
        }
        let first = ConfigMapRef { namespace: key.place.namespace.clone(), name: String::new() };
        let neighbours = self.labelled.range(first..);
        let neighbours = neighbours.take_while(|(it, _)| it.namespace == key.place.namespace);
        neighbours.take(MAX_PER_NAMESPACE).count() >= MAX_PER_NAMESPACE
    }

    /// Whether there is a series of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.series.get(&name.to_owned()).is_some()
    }

    /// Secrets of series that the watches do not know: the sweep reads whether they are gone.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let uids = self.series.iter().filter_map(|(_, it)| it.metadata.uid.as_deref());
        let uids: BTreeSet<&str> = uids.collect();
        let ledgers = self.ledgers.iter().map(|(name, _)| name);
        let names = ledgers.chain(self.key_pairs.iter().map(|(name, _)| name));
        let is_left = |name: &&String| codec::uid_of(name).is_some_and(|it| !uids.contains(it));
        names.filter(is_left).cloned().collect()
    }

    /// The names of the series that publish beyond the operator's namespace.
    pub(super) fn selecting(&self) -> Vec<String> {
        let series = self.series.iter();
        let selecting = series.filter(|(_, it)| it.spec.jwks.namespace_selector.is_some());
        selecting.map(|(name, _)| name.clone()).collect()
    }

    /// ConfigMaps that the series of that name seems to own where none shall be: a few for each
    /// namespace, since users can create some there that look so.
    pub(super) fn surplus(
        &self,
        name: &str,
        memory: &Memory,
        settings: &Settings,
    ) -> BTreeSet<ConfigMapRef> {
        let object = self.series.get(&name.to_owned());
        let Some((object, series)) =
            object.and_then(|it| Some((it, observation::series(it, settings)?)))
        else {
            return BTreeSet::new();
        };
        let (_, surplus) = self.published(object, &series, memory, settings);
        let mut counts = BTreeMap::new();
        let few = surplus.into_keys().filter(|place| {
            let count: &mut usize = counts.entry(place.namespace.clone()).or_default();
            *count += 1;
            *count <= MAX_HINTS_PER_NAMESPACE
        });
        few.take(MAX_HINTS).collect()
    }

    fn published(
        &self,
        object: &SigningKey,
        series: &Series,
        memory: &Memory,
        settings: &Settings,
    ) -> (BTreeMap<String, ConfigMapState>, BTreeMap<ConfigMapRef, StaleCopy>) {
        let selector = placement::selector(object);
        let matches = |labels| selector.as_ref().is_some_and(|selector| selector.matches(labels));
        let selected = self
            .namespaces
            .iter()
            .filter(|(name, namespace)| settings.publishes_in(name) && matches(&namespace.labels));
        let selected = selected.map(|(name, namespace)| (name.clone(), namespace.is_going));
        let namespaces = Namespaces::of(series, selected);
        let mut found = BTreeMap::new();
        for (key, map) in self.maps_of(&series.name) {
            found.insert(key.place.clone(), map.with(&memory.contents).seen_by(series));
        }
        for place in &memory.foreign {
            found.entry(place.clone()).or_insert(ConfigMapState::Conflict);
        }
        placed(found, series, &namespaces, memory)
    }

    fn maps_of(&self, series: &str) -> impl Iterator<Item = (&MapKey, &Box<ObservedConfigMap>)> {
        let first = ConfigMapRef { namespace: String::new(), name: String::new() };
        let series = series.to_owned();
        let from = MapKey { series: series.clone(), place: first };
        self.maps.from(from).take_while(move |(key, _)| key.series == series)
    }

    fn ledger(&self, series: &Series) -> LedgerState {
        match self.ledgers.get(&SecretNames::of(&series.uid).ledger()).map(|it| &it.ledger) {
            None => LedgerState::Absent,
            Some(Err(reason)) => LedgerState::Unreadable(*reason),
            Some(Ok((version, ledger))) => {
                LedgerState::Ledger(version.clone(), Box::new(ledger.clone()))
            }
        }
    }

    fn key_pairs(&self, series: &Series, memory: &Memory) -> BTreeMap<u32, KeyPair> {
        let names = SecretNames::of(&series.uid);
        let from = names.key_pair_prefix();
        let neighbours = self.key_pairs.from(from.clone());
        let ours = neighbours.take_while(|(name, _)| name.starts_with(&from));
        ours.filter_map(|(name, key_pair)| {
            let version = key_pair.version.clone();
            let known = memory.next.as_ref().filter(|(known, _)| *known == version);
            let public = known.map(|(_, public)| public.clone());
            Some((names.index(name)?, KeyPair { version, public }))
        })
        .collect()
    }
}

/// So many unwanted ConfigMaps a reconcile reads, in all and in each namespace. The next reconcile
/// has others.
const MAX_HINTS: usize = 64;
const MAX_HINTS_PER_NAMESPACE: usize = 4;

/// More than there are series in any cluster: to make more of them has no effect.
const MAX_PER_NAMESPACE: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_labelled_config_map_that_no_series_owns_touches_none() {
        let mut views = Cache::default();
        views.maps.register_watch(0);
        let mut take = |owners: &serde_json::Value| {
            let metadata = json!({
                "namespace": "tenant", "name": "jwks", "uid": "map", "resourceVersion": "1",
                "labels": {(api::SIGNING_KEY): "default"}, "ownerReferences": owners,
            });
            let (key, map) = read_map(&serde_json::from_value(metadata).unwrap(), "home").unwrap();
            views.apply_config_map(0, WatchEvent::Apply(key, map).filtered())
        };
        let owned = json!([{
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey", "controller": true,
            "name": "default", "uid": "uid",
        }]);

        assert!(take(&json!([])).is_empty());
        assert_eq!(take(&owned), ["default"]);
        assert_eq!(take(&json!([])), ["default"]);
        assert!(take(&json!([])).is_empty());
    }
}
