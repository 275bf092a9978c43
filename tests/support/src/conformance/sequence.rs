//! Random requests, in words that fit both servers: uids and versions are named, not written.

use http::Method;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};

/// A kind under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) prefix: &'static str,
    pub(super) api_version: &'static str,
    #[expect(clippy::struct_field_names, reason = "its name in the API")]
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

pub(super) const KINDS: [Kind; 3] = [
    Kind { prefix: "/api/v1", api_version: "v1", kind: "Secret", plural: "secrets" },
    Kind { prefix: "/api/v1", api_version: "v1", kind: "ConfigMap", plural: "configmaps" },
    PROBE,
];

const PROBE: Kind = Kind {
    prefix: "/apis/conformance.cyoda.com/v1",
    api_version: "conformance.cyoda.com/v1",
    kind: "Probe",
    plural: "probes",
};

/// Which of the known uids or versions a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    Absent,
    /// The newest known one of the object.
    Current,
    /// An earlier one of the object.
    Stale,
    /// One of another object, or a made-up one.
    Foreign,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) method: Method,
    /// Empty for collections.
    pub(super) name: &'static str,
    pub(super) status: bool,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) agent: &'static str,
    pub(super) content_type: &'static str,
    pub(super) metadata_only: bool,
    pub(super) body: Value,
    /// The body goes on top of the object as this side read it last.
    pub(super) on_top_of_last: bool,
    pub(super) uid: Pick,
    pub(super) version: Pick,
}

/// The requests of one seed.
pub(super) struct Sequence {
    pub(super) random: StdRng,
}

impl Iterator for Sequence {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let kind = *KINDS.choose(&mut self.random)?;
        let mut step = match self.random.random_range(0..100) {
            0..22 => self.create(kind),
            22..30 => self.read(kind),
            30..35 => self.list(kind),
            35..53 => self.replace(kind),
            53..74 => self.merge(kind),
            74..88 => self.apply(PROBE),
            _ => self.delete(kind),
        };
        self.sign(&mut step);
        Some(step)
    }
}

impl Sequence {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.random).expect("choices are not empty")
    }

    fn base(&mut self, kind: Kind, method: Method) -> Step {
        Step {
            kind,
            method,
            name: self.one_of(&["a", "a", "b"]),
            status: false,
            query: Vec::new(),
            agent: "first",
            content_type: "application/json",
            metadata_only: self.chance(20),
            body: Value::Null,
            on_top_of_last: false,
            uid: Pick::Absent,
            version: Pick::Absent,
        }
    }

    /// Sets the client and the field manager.
    fn sign(&mut self, step: &mut Step) {
        step.agent = self.one_of(&["first/1.0 (x)", "second", "third"]);
        let writes = step.method != Method::GET && step.method != Method::DELETE;
        let is_apply = step.content_type == "application/apply-patch+yaml";
        if is_apply || (writes && self.chance(40)) {
            let manager = self.one_of(&["first", "second", "fourth"]);
            step.query.push(("fieldManager", manager.to_owned()));
        }
    }

    fn create(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::POST);
        step.body = self.object(kind);
        step.body["metadata"]["name"] = step.name.into();
        if self.chance(4) {
            step.uid = Pick::Foreign;
        }
        step.name = "";
        step
    }

    fn read(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::GET);
        step.metadata_only = self.chance(40);
        step.status = kind.kind == "Probe" && self.chance(10);
        step
    }

    fn list(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::GET);
        step.name = "";
        if self.chance(50) {
            let selector = self.one_of(&["l=1", "l", "l in (1,2)", "l=2,m=1"]);
            step.query.push(("labelSelector", selector.to_owned()));
        }
        if self.chance(20) {
            let selector = match kind.kind {
                "Secret" => self.one_of(&["metadata.name=a", "metadata.name!=a", "type=Opaque"]),
                _ => self.one_of(&["metadata.name=a", "metadata.name!=a"]),
            };
            step.query.push(("fieldSelector", selector.to_owned()));
        }
        step
    }

    fn replace(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::PUT);
        step.status = kind.kind == "Probe" && self.chance(35);
        step.version = self.one_of(&[Pick::Current, Pick::Current, Pick::Stale]);
        step.uid = self.one_of(&[Pick::Absent, Pick::Current, Pick::Current, Pick::Foreign]);
        step.on_top_of_last = self.chance(50);
        if step.on_top_of_last {
            step.body = if self.chance(30) { json!({}) } else { self.change(kind) };
        } else {
            step.body = self.object(kind);
            step.body["metadata"]["name"] = step.name.into();
            if kind.kind == "Probe" && self.chance(60) {
                step.body["status"] = self.status();
            }
        }
        step
    }

    fn merge(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::PATCH);
        step.content_type = "application/merge-patch+json";
        step.status = kind.kind == "Probe" && self.chance(35);
        step.body = self.change(kind);
        step.version = self.one_of(&[Pick::Absent, Pick::Current, Pick::Current, Pick::Stale]);
        step.uid = self.one_of(&[Pick::Absent, Pick::Current, Pick::Current, Pick::Foreign]);
        step.metadata_only = self.chance(40);
        step
    }

    fn apply(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::PATCH);
        step.content_type = "application/apply-patch+yaml";
        step.status = self.chance(70);
        step.body = if step.status { json!({"status": self.status()}) } else { self.applied() };
        step.body["apiVersion"] = kind.api_version.into();
        step.body["kind"] = kind.kind.into();
        step.body["metadata"]["name"] = step.name.into();
        if step.status || self.chance(50) {
            step.query.push(("force", "true".to_owned()));
        }
        if step.status {
            step.version = self.one_of(&[Pick::Absent, Pick::Current, Pick::Stale]);
            step.uid = self.one_of(&[Pick::Absent, Pick::Current]);
        }
        step
    }

    fn delete(&mut self, kind: Kind) -> Step {
        let mut step = self.base(kind, Method::DELETE);
        step.version = self.one_of(&[Pick::Absent, Pick::Current, Pick::Stale]);
        step.uid = self.one_of(&[Pick::Absent, Pick::Current, Pick::Foreign]);
        step.metadata_only = false;
        step
    }
}
