//! What the watches told, in the smallest form that a check needs.
//!
//! A view never decides. It answers one question: would a decision on what is known here come to
//! rest, with the status that is already written? If not, the API server is asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;

use crate::api::RESERVED_PREFIX;

/// One kind of object, by key, from one or more watches.
#[derive(Debug)]
pub(super) struct View<K, V> {
    objects: BTreeMap<K, V>,
    watches: BTreeMap<usize, Watch<K>>,
}

#[derive(Debug)]
struct Watch<K> {
    is_synced: bool,
    keys: BTreeSet<K>,
    listed: Option<BTreeSet<K>>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// At rest, until time alone changes that.
    AtRest(Option<Timestamp>),
    /// The API server has to be asked.
    Unsettled,
    /// There is no such resource.
    Absent,
}

impl<K, V> Default for View<K, V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), watches: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> View<K, V> {
    /// Expects one more watch to fill it.
    pub(super) fn expect(&mut self, watch: usize) {
        let keys = BTreeSet::new();
        self.watches.insert(watch, Watch { is_synced: false, keys, listed: None });
    }

    /// Whether every watch has told everything once.
    pub(super) fn is_synced(&self) -> bool {
        self.watches.values().all(|watch| watch.is_synced)
    }

    /// The objects.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.objects.iter()
    }

    /// The objects from that key on.
    pub(super) fn from(&self, key: K) -> impl Iterator<Item = (&K, &V)> {
        self.objects.range(key..)
    }

    /// How many objects.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// One object.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.objects.get(key)
    }

    /// Takes in what one watch told. Returns the keys that may have changed.
    ///
    /// A list that was cut short changes nothing: what it lacks is gone only once it is complete.
    pub(super) fn take(&mut self, watch: usize, told: Told<K, V>) -> Vec<K> {
        let Some(watch) = self.watches.get_mut(&watch) else {
            return Vec::new();
        };
        match told {
            Told::ListBegins => {
                watch.listed = Some(BTreeSet::new());
                Vec::new()
            }
            Told::Is(key, object) => {
                if let Some(listed) = &mut watch.listed {
                    listed.insert(key.clone());
                }
                watch.keys.insert(key.clone());
                self.objects.insert(key.clone(), object);
                vec![key]
            }
            Told::Gone(key) => {
                watch.keys.remove(&key);
                self.objects.remove(&key);
                vec![key]
            }
            Told::ListEnds => {
                watch.is_synced = true;
                let listed = watch.listed.take().unwrap_or_default();
                let gone: Vec<K> = watch.keys.difference(&listed).cloned().collect();
                for key in &gone {
                    watch.keys.remove(key);
                    self.objects.remove(key);
                }
                gone
            }
        }
    }
}

/// Drops from the metadata of a resource what only the API server and others need.
pub(super) fn slim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name.starts_with(RESERVED_PREFIX));
    }
}

/// What a watch told, with the object in its small form.
#[derive(Debug)]
pub(super) enum Told<K, V> {
    ListBegins,
    Is(K, V),
    Gone(K),
    ListEnds,
}

impl<K, V> Told<K, V> {
    /// The object that it is about.
    pub(super) fn key(&self) -> Option<&K> {
        match self {
            Self::Is(key, _) | Self::Gone(key) => Some(key),
            Self::ListBegins | Self::ListEnds => None,
        }
    }

    /// Reads an event of a watch; nothing when the object has no name.
    pub(super) fn from<T>(event: Event<T>, read: impl Fn(T) -> Option<(K, V)>) -> Option<Self> {
        Some(match event {
            Event::Init => Self::ListBegins,
            Event::InitDone => Self::ListEnds,
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, object) = read(object)?;
                Self::Is(key, object)
            }
            Event::Delete(object) => Self::Gone(read(object)?.0),
        })
    }
}
