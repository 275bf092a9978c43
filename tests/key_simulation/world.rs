//! A cluster with the operator in it, all in memory and in virtual time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request};
use jiff::SignedDuration;
use kube::client::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use support::fake_api_server::{Builder, FakeApiServer, Snapshot};
use support::faults::{FaultLayer, FaultPlan, Point};
use technical_user_operator::api::signing_key::crd;
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics;
use technical_user_operator::controller::{Context, Settings, TokenLimits, signing_key};
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::{Clock as _, System};
use technical_user_operator::kubernetes::client::ConditionalClient;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _};

use crate::clock::WallClock;
use crate::disturbance::Disturbance;
use crate::faults::{Case, Trouble};
use crate::key_pairs::Seeded;
use crate::leases::Leases;
use crate::mutant::Mutant;
use crate::oracle::Oracle;
use crate::proxy::Gate;
use crate::servers::{TOKEN_LIFETIME, VIEW_AGE};
use crate::stored::{JWKS, NAME, OPERATOR, owner_of};

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
    pub(crate) server: FakeApiServer,
    leases: Leases,
    pub(crate) local: WallClock,
    pub(crate) served: WallClock,
    pub(crate) key_pairs: Arc<Seeded>,
    pub(crate) plan: FaultPlan,
    pub(crate) proxy: Gate,
    setting: Setting,
    oracle: Arc<Mutex<Oracle>>,
    replicas: Mutex<Replicas>,
    backup: Mutex<Option<Snapshot>>,
    is_collecting: AtomicBool,
    has_lost_ledger: AtomicBool,
}

#[derive(Default)]
struct Replicas {
    tasks: Vec<JoinHandle<()>>,
    started: usize,
}

impl World {
    pub(crate) fn new(setting: Setting) -> Arc<Self> {
        let (local, remote) = (WallClock::start(), WallClock::start());
        let time = remote.clone();
        let server = KINDS.clone().namespace(OPERATOR).clock(Arc::new(move || time.now())).build();
        for (name, team) in [("orders", "sales"), ("shop", "front"), ("late", "none")] {
            server.add_namespace(name);
            let mut namespace = server.get("namespaces", "", name).unwrap();
            namespace["metadata"]["labels"]["team"] = team.into();
            server.put_raw("namespaces", namespace);
        }
        let oracle = Arc::new(Mutex::new(Oracle::new(remote.clone())));
        let seeing = Arc::clone(&oracle);
        server.on_change(Box::new(move |change| locked(&seeing).see(change)));
        let plan = FaultPlan::transparent();
        let proxy = Gate::new(plan.clone(), setting.mutant);
        let leases = Leases::new(proxy.clone());
        let world = Arc::new(Self {
            server,
            leases,
            local,
            served: remote,
            key_pairs: Arc::new(Seeded::new(setting.seed)),
            plan,
            proxy,
            setting,
            oracle,
            replicas: Mutex::default(),
            backup: Mutex::default(),
            is_collecting: AtomicBool::new(true),
            has_lost_ledger: AtomicBool::new(false),
        });
        world.bind();
        world
    }

    /// Lets the layers act upon the world.
    fn bind(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        self.plan.on_kill(Arc::new(move || {
            with(&weak, |world| world.restart(Duration::from_secs(1)));
        }));
        let weak = Arc::downgrade(self);
        self.proxy.on_disturbance(Arc::new(move |disturbance| {
            with(&weak, |world| world.disturb(disturbance));
        }));
    }

    /// What the cluster does by itself.
    pub(crate) fn tick(&self) {
        if self.is_collecting() {
            self.server.collect_garbage();
        }
        self.oracle().look();
    }

    /// From now on nobody else deletes what has lost its owner.
    pub(crate) fn stop_collecting(&self) {
        self.is_collecting.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_collecting(&self) -> bool {
        self.is_collecting.load(Ordering::Relaxed)
    }

    /// Arms what goes wrong in the case.
    pub(crate) fn arm(&self, case: &Case) {
        for (index, condition) in &case.conditions {
            match condition {
                Trouble::Fault(fault) => self.plan.arm(Point::Request(*index), *fault),
                Trouble::Disturbance(disturbance) => self.proxy.arm(*index, *disturbance),
            }
        }
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        locked(&self.oracle)
    }

    /// Keeps a backup.
    pub(crate) fn back_up(&self) {
        *locked(&self.backup) = Some(self.server.snapshot());
    }

    // === replicas ===

    /// Starts an operator; one that takes another lease leads beside the first.
    pub(crate) fn start(self: &Arc<Self>, lease: &str) {
        self.start_with(lease, self.setting.limits);
    }

    /// Starts an operator that may have been told otherwise than the others.
    pub(crate) fn start_with(self: &Arc<Self>, lease: &str, limits: TokenLimits) {
        let mut replicas = locked(&self.replicas);
        replicas.started += 1;
        let settings = Settings {
            namespace: OPERATOR.to_owned(),
            controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
            watch_namespaces: Vec::new(),
            endpoints: Endpoints { issuer: "https://iam.example.com".to_owned() },
            policy: technical_user_operator::domain::policy::Policy::unbounded(),
            bcrypt_cost: 4,
            identity: format!("replica-{}", replicas.started),
            limits,
            bootstrap_signing_key: self.setting.bootstrap,
        };
        let clock = Arc::new(self.local.clone());
        let service =
            self.proxy.before(FaultLayer::new(self.plan.clone()).layer(self.server.service()));
        let client = kube::Client::new(service, "default");
        let lease_client = kube::Client::new(self.leases.clone(), "default");
        let (candidate, leadership) =
            LeaderElector::new(lease_client, &settings, lease, Arc::clone(&clock) as _);
        let context = Context {
            cluster: ConditionalClient::new(client.clone(), clock),
            // Nothing of a signing key is drawn from it.
            entropy: Arc::new(System::start()),
            key_pairs: Arc::clone(&self.key_pairs) as _,
            leadership,
            settings,
            hashing: Arc::new(Semaphore::new(1)),
            metrics: Metrics::register(&mut Registry::default()),
            installations: Arc::default(),
        };
        let (synced, _) = watch::channel(Synced(false));
        let run = signing_key::run(client, Arc::new(context), synced, std::future::pending());
        let run = async move {
            tokio::select! {
                () = run => {}
                () = candidate.run() => {}
            }
        };
        replicas.tasks.push(tokio::spawn(run));
    }

    /// Kills every replica.
    pub(crate) fn kill(&self) {
        for task in std::mem::take(&mut locked(&self.replicas).tasks) {
            task.abort();
        }
    }

    /// Kills every replica; one comes back later.
    pub(crate) fn restart(self: &Arc<Self>, after: Duration) {
        if !self.is_running() {
            return;
        }
        self.proxy.note("*** killed");
        self.kill();
        self.later(after, |world| world.start(LEASE));
    }

    /// Whether an operator lives.
    pub(crate) fn is_running(&self) -> bool {
        !locked(&self.replicas).tasks.is_empty()
    }

    // === disturbances ===

    fn disturb(self: &Arc<Self>, disturbance: Disturbance) {
        match disturbance {
            Disturbance::SecondReplica => self.start("second"),
            Disturbance::FrozenWatches => {
                self.server.freeze_watches(true);
                self.later(FIVE_MINUTES, |world| world.server.freeze_watches(false));
            }
            Disturbance::ClosedWatches => self.server.close_watches(),
            Disturbance::Compaction => {
                self.server.compact();
                self.server.close_watches();
            }
            Disturbance::LocalClock(by) => {
                self.local.jump(by);
                self.later(MENDED, move |world| world.local.jump(-by));
            }
            Disturbance::BothClocks(by) => self.set_all(by),
            Disturbance::Restore => self.restore(),
            Disturbance::MonthOff => self.restart(MONTH),
            Disturbance::StatusWiped => self.wipe_status(),
            Disturbance::Away => {
                self.proxy.shut(true);
                self.server.close_watches();
                self.later(FIVE_MINUTES, |world| world.proxy.shut(false));
            }
            Disturbance::JwksDeleted => self.lose("configmaps", OPERATOR, JWKS),
            Disturbance::JwksEdited => self.edit("shop"),
            Disturbance::LedgerDeleted => self.lose_ledger(),
            Disturbance::KeyPairDeleted => self.lose_key_pair(),
        }
    }

    fn set_all(self: &Arc<Self>, by: SignedDuration) {
        self.local.jump(by);
        self.served.jump(by);
        self.oracle().set(by);
        if by.is_negative() {
            // What ends by a clock that went back ends late: nobody waits a year for it here.
            self.later(MENDED, move |world| world.set_all(-by));
        }
    }

    fn restore(self: &Arc<Self>) {
        let backup = locked(&self.backup).clone();
        let Some(backup) = backup else { return };
        // Its API servers stand still meanwhile: nothing sent before arrives after.
        self.proxy.cut();
        self.restart(Duration::from_secs(30));
        self.server.restore(&backup);
        self.server.read(|state| self.oracle().restored(state));
    }

    fn wipe_status(&self) {
        for mut series in self.server.list("signingkeys") {
            series["status"] = json!({"observedGeneration": 0, "conditions": []});
            self.server.put_raw("signingkeys", series);
        }
    }

    fn later(self: &Arc<Self>, wait: Duration, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            with(&weak, act);
        });
    }

    // === users ===

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

    /// Whether somebody has deleted the ledger.
    pub(crate) fn has_lost_ledger(&self) -> bool {
        self.has_lost_ledger.load(Ordering::Relaxed)
    }

    pub(crate) fn lose_ledger(&self) {
        self.has_lost_ledger.store(true, Ordering::Relaxed);
        if let Some(series) = self.server.get("signingkeys", "", NAME) {
            let name = format!("sk-{}", crate::stored::uid_of(&series));
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

    /// A request of somebody who is not the operator.
    pub(crate) fn ask(&self, method: &Method, path: &str, body: &Value) {
        let is_patch = *method == Method::PATCH;
        let content_type =
            if is_patch { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("content-type", content_type)
            .body(Body::from(body))
            .unwrap();
        let answer = self.server.service_as("kubectl").oneshot(request).now_or_never();
        let status = answer.unwrap().unwrap().status();
        self.proxy.note(&format!("--- kubectl {method} {path} -> {}", status.as_u16()));
        assert!(status.is_success() || status.as_u16() == 404, "{method} {path}: {status}");
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the operator and the token servers of the flows agree upon.
pub(crate) fn limits() -> TokenLimits {
    TokenLimits {
        max_staleness: SignedDuration::try_from(VIEW_AGE).unwrap(),
        token_lifetime: SignedDuration::try_from(TOKEN_LIFETIME).unwrap(),
    }
}

fn with(world: &Weak<World>, act: impl FnOnce(&Arc<World>)) {
    if let Some(world) = world.upgrade() {
        act(&world);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that knows the kinds.
static KINDS: LazyLock<Builder> =
    LazyLock::new(|| FakeApiServer::builder().crd(&serde_json::to_value(crd()).unwrap()));

/// The lease that the first replica takes.
pub(crate) const LEASE: &str = "first";

const FIVE_MINUTES: Duration = Duration::from_mins(5);
/// When somebody notices that a clock is wrong.
const MENDED: Duration = Duration::from_mins(20);
const MONTH: Duration = Duration::from_hours(30 * 24);
