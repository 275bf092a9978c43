//! What the server remembers: one map, one revision, and the changes that led here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    ChangeHook, RequestRecord,
    change::{Change, View},
    failure::Failure,
    resource::Resource,
};

/// Resource (plural and group), namespace, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A change that watches can replay.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) old: Option<Arc<Value>>,
    pub(crate) new: Option<Arc<Value>>,
}

/// Every stored object, as readers see it.
pub(crate) type Objects = BTreeMap<Key, Arc<Value>>;
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many changes watches can replay.
const HISTORY: usize = 10_000;

/// The whole server, under one lock.
pub(crate) struct State {
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) objects: Objects,
    pub(crate) revision: u64,
    pub(crate) history: VecDeque<Recorded>,
    /// Changes up to this revision can no longer be replayed.
    pub(crate) compacted: u64,
    /// Watches show nothing newer than this.
    pub(crate) frozen_at: Option<u64>,
    /// Watches opened in an earlier epoch end.
    pub(crate) epoch: u64,
    pub(crate) signal: watch::Sender<u64>,
    pub(crate) clock: Clock,
    pub(crate) hooks: Vec<ChangeHook>,
    pub(crate) quotas: BTreeMap<(String, String), usize>,
    pub(crate) forbidden: Vec<(String, super::Verb, String)>,
    pub(crate) log: Vec<RequestRecord>,
    pub(crate) uids_drawn: u64,
}

impl State {
    pub(crate) fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
        Key {
            resource: resource.qualified(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { objects: &self.objects }
    }

    pub(crate) fn resource(&self, plural: &str) -> Arc<Resource> {
        let found = self.resources.iter().find(|resource| resource.plural == plural);
        Arc::clone(found.unwrap_or_else(|| panic!("no resource is called {plural}")))
    }

    pub(crate) fn now(&self) -> String {
        (self.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// A uid that was never given out before, also not before a restore.
    pub(crate) fn draw_uid(&mut self) -> String {
        self.uids_drawn += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.uids_drawn)
    }

    pub(crate) fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Stores the object under the next revision, tells watches and hooks, and returns it.
    pub(crate) fn store(&mut self, key: Key, mut object: Value, agent: &str) -> Arc<Value> {
        let revision = self.next_revision();
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        let object = Arc::new(object);
        let old = self.objects.insert(key.clone(), Arc::clone(&object));
        self.record(Recorded { revision, key, old, new: Some(Arc::clone(&object)) }, agent);
        object
    }

    /// Removes the object and returns what was stored.
    pub(crate) fn remove(&mut self, key: &Key, agent: &str) -> Option<Arc<Value>> {
        let old = self.objects.remove(key)?;
        let revision = self.next_revision();
        let recorded =
            Recorded { revision, key: key.clone(), old: Some(Arc::clone(&old)), new: None };
        self.record(recorded, agent);
        Some(old)
    }

    fn record(&mut self, recorded: Recorded, agent: &str) {
        let mut hooks = std::mem::take(&mut self.hooks);
        let change = Change {
            revision: recorded.revision,
            plural: recorded.key.resource.split('.').next().unwrap_or_default(),
            namespace: &recorded.key.namespace,
            name: &recorded.key.name,
            old: recorded.old.as_deref(),
            new: recorded.new.as_deref(),
            agent,
            state: self.view(),
        };
        for hook in &mut hooks {
            hook(&change);
        }
        self.hooks = hooks;
        self.history.push_back(recorded);
        if self.history.len() > HISTORY
            && let Some(dropped) = self.history.pop_front()
        {
            self.compacted = dropped.revision;
        }
        self.signal.send_modify(|count| *count += 1);
    }

    /// The objects as they were at an earlier revision that is not compacted.
    pub(crate) fn objects_at(&self, revision: u64) -> Objects {
        let mut objects = self.objects.clone();
        for recorded in self.history.iter().rev().take_while(|past| past.revision > revision) {
            match &recorded.old {
                Some(old) => {
                    objects.insert(recorded.key.clone(), Arc::clone(old));
                }
                None => {
                    objects.remove(&recorded.key);
                }
            }
        }
        objects
    }

    /// Refuses content in a namespace that is absent.
    pub(crate) fn check_namespace(
        &self,
        resource: &Resource,
        namespace: &str,
    ) -> Result<(), Failure> {
        let namespaces = self.resource("namespaces");
        if resource.namespaced && !self.objects.contains_key(&Self::key(&namespaces, "", namespace))
        {
            return Err(Failure::not_found(&namespaces, namespace));
        }
        Ok(())
    }

    pub(crate) fn check_quota(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let Some(&hard) = self.quotas.get(&(namespace.to_owned(), resource.plural.clone())) else {
            return Ok(());
        };
        let counted = resource.qualified();
        let used = self
            .objects
            .keys()
            .filter(|key| key.resource == counted && key.namespace == namespace)
            .count();
        if used >= hard {
            return Err(Failure::over_quota(resource, name, used, hard));
        }
        Ok(())
    }

    pub(crate) fn add_namespace(&mut self, name: &str) {
        let namespaces = self.resource("namespaces");
        let uid = self.draw_uid();
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": name, "uid": uid, "creationTimestamp": self.now(),
                "labels": {"kubernetes.io/metadata.name": name}
            },
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}
        });
        self.store(Self::key(&namespaces, "", name), object, "");
    }
}
