//! The objects that the watches received, in the smallest form that is of use.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;

/// One kind of object, by key, from one or more watches.
#[derive(Debug)]
pub(crate) struct Store<K, V> {
    objects: BTreeMap<K, V>,
    watches: BTreeMap<usize, Watch<K>>,
}

#[derive(Debug)]
struct Watch<K> {
    is_synced: bool,
    is_refused: bool,
    keys: BTreeSet<K>,
    listed: Option<BTreeSet<K>>,
}

impl<K, V> Default for Store<K, V> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), watches: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> Store<K, V> {
    /// Expects one more watch to fill it.
    pub(crate) fn register_watch(&mut self, watch: usize) {
        let keys = BTreeSet::new();
        self.watches
            .insert(watch, Watch { is_synced: false, is_refused: false, keys, listed: None });
    }

    /// Whether every watch is synced, except those that are forbidden: a namespace whose
    /// rights are gone does not hold up the others.
    pub(crate) fn is_synced(&self) -> bool {
        let mut watches = self.watches.values();
        watches.clone().any(|watch| watch.is_synced)
            && watches.all(|watch| watch.is_synced || watch.is_refused)
    }

    /// The objects.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.objects.iter()
    }

    /// The objects from that key on.
    pub(crate) fn from(&self, key: K) -> impl Iterator<Item = (&K, &V)> {
        self.objects.range(key..)
    }

    /// How many objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// One object.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.objects.get(key)
    }

    /// Applies an event of one watch. Returns the keys that may have changed.
    ///
    /// A list that was cut short changes nothing: what it lacks is gone only once it is complete.
    pub(crate) fn apply_event(&mut self, watch: usize, event: WatchEvent<K, V>) -> Vec<K> {
        let Some(watch) = self.watches.get_mut(&watch) else {
            return Vec::new();
        };
        match event {
            WatchEvent::Forbidden => {
                watch.is_refused = true;
                Vec::new()
            }
            WatchEvent::Init => {
                watch.listed = Some(BTreeSet::new());
                Vec::new()
            }
            WatchEvent::Apply(key, object) => {
                if let Some(listed) = &mut watch.listed {
                    listed.insert(key.clone());
                }
                watch.keys.insert(key.clone());
                self.objects.insert(key.clone(), object);
                vec![key]
            }
            WatchEvent::Delete(key) => {
                watch.keys.remove(&key);
                self.objects.remove(&key);
                vec![key]
            }
            WatchEvent::InitDone => {
                watch.is_synced = true;
                watch.is_refused = false;
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

/// An event of a watch, with the object in its small form.
#[derive(Debug)]
pub(crate) enum WatchEvent<K, V> {
    Init,
    Apply(K, V),
    Delete(K),
    InitDone,
    /// The API server says that a right is missing. The objects in the store stay.
    Forbidden,
}

impl<K, V> WatchEvent<K, Option<V>> {
    /// An object that is no business of ours any more is gone.
    pub(crate) fn filtered(self) -> WatchEvent<K, V> {
        match self {
            Self::Apply(key, Some(object)) => WatchEvent::Apply(key, object),
            Self::Apply(key, None) | Self::Delete(key) => WatchEvent::Delete(key),
            Self::Init => WatchEvent::Init,
            Self::InitDone => WatchEvent::InitDone,
            Self::Forbidden => WatchEvent::Forbidden,
        }
    }
}

impl<K, V> WatchEvent<K, V> {
    /// The object that it is about.
    pub(crate) fn key(&self) -> Option<&K> {
        match self {
            Self::Apply(key, _) | Self::Delete(key) => Some(key),
            Self::Init | Self::InitDone | Self::Forbidden => None,
        }
    }

    /// The object itself, if it is there.
    pub(crate) fn object(&self) -> Option<&V> {
        match self {
            Self::Apply(_, object) => Some(object),
            Self::Delete(_) | Self::Init | Self::InitDone | Self::Forbidden => None,
        }
    }

    /// Reads an event of a watch; nothing when the object has no name.
    pub(crate) fn from<T>(event: Event<T>, read: impl Fn(T) -> Option<(K, V)>) -> Option<Self> {
        Some(match event {
            Event::Init => Self::Init,
            Event::InitDone => Self::InitDone,
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, object) = read(object)?;
                Self::Apply(key, object)
            }
            Event::Delete(object) => Self::Delete(read(object)?.0),
        })
    }
}
