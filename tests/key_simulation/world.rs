//! The world of signing keys: a cluster, and what happens to it.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use serde_json::json;
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::{Context, TokenLimits, signing_key};
use technical_user_operator::environment::System;
use tokio::sync::watch;

use crate::disturbance::Own;
use crate::harness::cluster::{Cluster, Replica, locked};
use crate::harness::stored::{owner_of, uid_of};
use crate::key_pairs::Seeded;
use crate::mutant::Mutant;
use crate::oracle::Oracle;
use crate::servers::{TOKEN_LIFETIME, VIEW_AGE};
use crate::stored::{JWKS, NAME, OPERATOR};

pub(crate) use crate::harness::cluster::LEASE;
pub(crate) use technical_user_operator::api::signing_key::crd;

/// What sets one world apart from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) mutant: Option<Mutant>,
    /// Whether the operator makes the first series.
    pub(crate) bootstrap: bool,
    pub(crate) limits: TokenLimits,
}

/// Everything in a run.
pub(crate) struct World {
    cluster: Cluster,
    pub(crate) key_pairs: Arc<Seeded>,
    setting: Setting,
    oracle: Arc<Mutex<Oracle>>,
    has_lost_ledger: AtomicBool,
}

impl Deref for World {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl World {
    pub(crate) fn new(setting: Setting) -> Arc<Self> {
        let cluster = Cluster::new(OPERATOR, setting.mutant);
        let server = &cluster.server;
        for (name, team) in [("orders", "sales"), ("shop", "front"), ("late", "none")] {
            server.add_namespace(name);
            let mut namespace = server.get("namespaces", "", name).unwrap();
            namespace["metadata"]["labels"]["team"] = team.into();
            server.put_raw("namespaces", namespace);
        }
        let oracle = Arc::new(Mutex::new(Oracle::new(cluster.served.clone())));
        let seeing = Arc::clone(&oracle);
        server.on_change(Box::new(move |change| locked(&seeing).see(change)));
        let (key_pairs, has_lost_ledger) =
            (Arc::new(Seeded::new(setting.seed)), AtomicBool::new(false));
        let world = Arc::new(Self { cluster, key_pairs, setting, oracle, has_lost_ledger });
        world.bind();
        world
    }

    /// What the cluster does by itself.
    pub(crate) fn tick(&self) {
        self.collect_garbage();
        self.oracle().look();
    }

    /// Everything that must not leak.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        self.key_pairs.private()
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        locked(&self.oracle)
    }

    /// Starts an operator; one that takes another lease leads beside the first.
    pub(crate) fn start(self: &Arc<Self>, lease: &str) {
        self.start_with(lease, self.setting.limits);
    }

    /// Starts an operator whose limits may differ from those of the others.
    pub(crate) fn start_with(self: &Arc<Self>, lease: &str, limits: TokenLimits) {
        let replica = Replica {
            namespace: OPERATOR,
            limits,
            bootstrap: self.setting.bootstrap,
            // Nothing of a signing key is drawn from it.
            entropy: Arc::new(System::start()),
            key_pairs: Arc::clone(&self.key_pairs) as _,
        };
        self.run(replica, lease);
    }

    pub(crate) fn disturb_own(&self, own: Own) {
        match own {
            Own::JwksDeleted => self.lose("configmaps", OPERATOR, JWKS),
            Own::JwksEdited => self.edit("shop"),
            Own::LedgerDeleted => self.lose_ledger(),
            Own::KeyPairDeleted => self.lose_key_pair(),
        }
    }

    /// Deletes what the operator made, if it is there.
    pub(crate) fn lose(&self, plural: &str, namespace: &str, name: &str) {
        let object = self.server.get(plural, namespace, name);
        if object.is_some_and(|object| owner_of(&object).is_some()) {
            self.server.delete_raw(plural, namespace, name);
        }
    }

    /// Empties the JWKS of a namespace, and leaves something there.
    pub(crate) fn edit(&self, namespace: &str) {
        let Some(mut map) = self.server.get("configmaps", namespace, JWKS) else { return };
        if owner_of(&map).is_some() {
            map["data"] = json!({"jwks": r#"{"keys":[]}"#, "mine": "1"});
            map["binaryData"] = json!({"more": "MQ=="});
            self.server.put_raw("configmaps", map);
        }
    }

    /// Whether a user has deleted the ledger.
    pub(crate) fn has_lost_ledger(&self) -> bool {
        self.has_lost_ledger.load(Ordering::Relaxed)
    }

    pub(crate) fn lose_ledger(&self) {
        self.has_lost_ledger.store(true, Ordering::Relaxed);
        if let Some(series) = self.server.get("signingkeys", "", NAME) {
            let name = format!("sk-{}", uid_of(&series));
            self.lose("secrets", OPERATOR, &name);
        }
    }

    pub(crate) fn lose_key_pair(&self) {
        let secrets = self.server.list("secrets").into_iter();
        let key_pairs = secrets.filter(|it| it["type"] == "iam.cyoda.com/signing-key-pair");
        let newest = key_pairs.max_by_key(|it| {
            let index = it["metadata"]["labels"]["iam.cyoda.com/key-index"].as_str();
            index.and_then(|index| index.parse::<u32>().ok())
        });
        if let Some(name) = newest.as_ref().and_then(|it| it["metadata"]["name"].as_str()) {
            self.lose("secrets", OPERATOR, name);
        }
    }
}

/// Tokens and verifiers go by these clocks too.
pub(crate) fn clocks_set(world: &World, by: SignedDuration) {
    world.oracle().set(by);
}

/// The controller that is simulated.
pub(crate) fn controller(
    client: kube::Client,
    context: Arc<Context>,
    synced: watch::Sender<Synced>,
) -> BoxFuture<'static, ()> {
    signing_key::run(client, context, synced, std::future::pending()).boxed()
}

/// What the operator and the token servers of the flows agree on.
pub(crate) fn limits() -> TokenLimits {
    TokenLimits {
        max_staleness: SignedDuration::try_from(VIEW_AGE).unwrap(),
        token_lifetime: SignedDuration::try_from(TOKEN_LIFETIME).unwrap(),
    }
}

/// The plural of the kind.
pub(crate) const PLURAL: &str = "signingkeys";
