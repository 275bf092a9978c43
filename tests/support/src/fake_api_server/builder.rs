//! Setting up a fake API server.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    FakeApiServer,
    resource::Resource,
    storage::{Clock, Objects, State},
};

/// Sets up a [`FakeApiServer`]. A clone costs little: a test that starts many servers reads a CRD once.
#[derive(Clone)]
pub struct Builder {
    resources: Vec<Arc<Resource>>,
    namespaces: Vec<String>,
    clock: Clock,
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        let custom =
            [("technicalusers", "TechnicalUser", true), ("signingkeys", "SigningKey", false)].map(
                |(plural, kind, namespaced)| Resource::without_definition(plural, kind, namespaced),
            );
        let start = Timestamp::new(1_767_225_600, 0).expect("2026-01-01 is a time");
        Self {
            resources: Resource::built_ins().into_iter().chain(custom).map(Arc::new).collect(),
            namespaces: vec!["default".to_owned()],
            clock: Arc::new(move || start),
        }
    }

    /// Serves the kind of a `CustomResourceDefinition`: its defaults and its status.
    #[must_use]
    pub fn crd(mut self, definition: &Value) -> Self {
        for resource in Resource::of_definition(definition) {
            self.resources.retain(|known| known.qualified() != resource.qualified());
            self.resources.push(Arc::new(resource));
        }
        self
    }

    /// Starts with this namespace beside `default`.
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        self.namespaces.push(name.to_owned());
        self
    }

    /// The clock behind `Date`, `creationTimestamp` and every other time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// The server, without objects but the namespaces.
    pub fn build(self) -> FakeApiServer {
        let mut state = State {
            resources: self.resources,
            objects: Objects::new(),
            revision: 1,
            history: VecDeque::new(),
            compacted: 0,
            frozen_at: None,
            epoch: 0,
            signal: tokio::sync::watch::Sender::new(0),
            clock: self.clock,
            hooks: Vec::new(),
            quotas: BTreeMap::new(),
            forbidden: Vec::new(),
            log: Vec::new(),
            uids_drawn: 0,
        };
        for name in &self.namespaces {
            state.add_namespace(name);
        }
        FakeApiServer { state: Arc::new(Mutex::new(state)) }
    }
}
