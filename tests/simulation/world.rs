//! The world of technical users: a cluster, and what happens to it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Method;
use jiff::SignedDuration;
use serde_json::Value;
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::{Context, TokenLimits, technical_user};
use technical_user_operator::environment::{Clock as _, System};
use tokio::sync::watch;

use crate::disturbance::Own;
use crate::environment::Seeded;
use crate::harness::cluster::{Cluster, Replica, locked};
use crate::harness::stored::{owner_of, uid_of};
use crate::mutant::Mutant;
use crate::oracle::{OPERATOR, Oracle, entries, is_open, record_of_user};

pub(crate) use crate::harness::cluster::LEASE;
pub(crate) use technical_user_operator::api::technical_user::crd;

/// Where the users of the flows live.
pub(crate) const NAMESPACE: &str = "orders";

/// Everything in a run.
pub(crate) struct World {
    cluster: Cluster,
    pub(crate) entropy: Arc<Seeded>,
    oracle: Arc<Mutex<Oracle>>,
    leftovers: AtomicBool,
}

impl Deref for World {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        let cluster = Cluster::new(OPERATOR, mutant);
        cluster.server.add_namespace(NAMESPACE);
        cluster.server.put_raw("signingkeys", signing_key());
        let oracle = Oracle::new(cluster.local.clone(), cluster.served.clone());
        let oracle = Arc::new(Mutex::new(oracle));
        let seeing = Arc::clone(&oracle);
        cluster.server.on_change(Box::new(move |change| locked(&seeing).see(change)));
        let entropy = Arc::new(Seeded::new(seed));
        let world = Arc::new(Self { cluster, entropy, oracle, leftovers: AtomicBool::new(false) });
        world.bind();
        let weak = Arc::downgrade(&world);
        world.plan.on_late(Arc::new(move |method, _, body| {
            let world = weak.upgrade();
            world.is_none_or(|world| *method != Method::POST || world.arrives(body))
        }));
        world
    }

    /// Whether a creation that comes late still arrives: before its verifier has ended, which is one
    /// overlap after the fence at the earliest. No version could stop it afterwards.
    fn arrives(&self, body: &[u8]) -> bool {
        let object: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = object["metadata"]["annotations"]["iam.cyoda.com/credential-id"].as_str();
        let (Some(id), Some(uid)) = (id, owner_of(&object)) else { return true };
        let now = self.served.now();
        let arrives = self.server.read(|state| {
            let users = state.list("technicalusers");
            let lives = users.into_iter().any(|user| uid_of(user) == uid);
            let entry = record_of_user(state, &uid).and_then(|it| entries(&it).remove(id));
            !lives || entry.is_some_and(|entry| is_open(&entry, now))
        });
        if !arrives {
            self.proxy.note("=== a creation came after the end of its verifier, and was dropped");
        }
        arrives
    }

    /// What the cluster does by itself.
    pub(crate) fn tick(&self) {
        self.collect_garbage();
    }

    /// Replaced client secrets may be left for a year.
    pub(crate) fn keep_leftovers(&self) {
        self.leftovers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keeps_leftovers(&self) -> bool {
        self.leftovers.load(Ordering::Relaxed)
    }

    /// Everything that must not leak.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        self.entropy.secrets()
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        locked(&self.oracle)
    }

    /// Starts an operator; one that takes another lease leads beside the first.
    pub(crate) fn start(self: &Arc<Self>, lease: &str) {
        self.start_in(OPERATOR, lease);
    }

    /// Starts the operator of the installation in that namespace.
    pub(crate) fn start_in(self: &Arc<Self>, namespace: &str, lease: &str) {
        let replica = Replica {
            namespace,
            limits: TokenLimits::default(),
            bootstrap: false,
            entropy: Arc::clone(&self.entropy) as _,
            key_pairs: Arc::new(System::start()),
        };
        self.run(replica, lease);
    }

    pub(crate) fn disturb_own(&self, own: Own) {
        match own {
            Own::SecretDeleted => {
                let delivered = self.server.get("secrets", NAMESPACE, SECRET);
                if delivered.is_some_and(|secret| owner_of(&secret).is_some()) {
                    self.oracle().interfere();
                    self.server.delete_raw("secrets", NAMESPACE, SECRET);
                }
            }
        }
    }

    /// Creates or deletes the `SigningKey` that every user refers to.
    pub(crate) fn set_signing_key(&self, exists: bool) {
        if exists {
            self.server.put_raw("signingkeys", signing_key());
        } else {
            self.server.delete_raw("signingkeys", "", "default");
        }
    }
}

/// The oracle of this kind reads the clocks.
pub(crate) fn clocks_set(_world: &World, _by: SignedDuration) {}

/// The controller that is simulated.
pub(crate) fn controller(
    client: kube::Client,
    context: Arc<Context>,
    synced: watch::Sender<Synced>,
) -> BoxFuture<'static, ()> {
    technical_user::run(client, context, synced, std::future::pending()).boxed()
}

/// The `SigningKey` that every user refers to, as it is while it signs.
fn signing_key() -> Value {
    serde_json::json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
        "metadata": {"name": "default"}, "spec": {}, "status": {"activeKid": "kid"},
    })
}

/// The plural of the kind.
pub(crate) const PLURAL: &str = "technicalusers";

/// The Secret of the user of the flows.
pub(crate) const SECRET: &str = "billing-credentials";
