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
use serde_json::Value;
use support::fake_api_server::{Builder, FakeApiServer, Snapshot};
use support::faults::{FaultLayer, FaultPlan};
use technical_user_operator::api::technical_user::crd;
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics;
use technical_user_operator::controller::technical_user;
use technical_user_operator::controller::{Context, Settings, TokenLimits};
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::Clock as _;
use technical_user_operator::kubernetes::client::ConditionalClient;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _};

use crate::clock::WallClock;
use crate::disturbance::Disturbance;
use crate::environment::Seeded;
use crate::faults::{Case, Trouble};
use crate::leases::Leases;
use crate::mutant::Mutant;
use crate::oracle::{OPERATOR, Oracle, entries, is_open, owner_of, record_of_user, uid_of};
use crate::proxy::Gate;

/// Where the users of the flows live.
pub(crate) const NAMESPACE: &str = "orders";

/// Everything in a run.
pub(crate) struct World {
    pub(crate) server: FakeApiServer,
    leases: Leases,
    pub(crate) local: WallClock,
    pub(crate) served: WallClock,
    pub(crate) entropy: Arc<Seeded>,
    pub(crate) plan: FaultPlan,
    pub(crate) proxy: Gate,
    oracle: Arc<Mutex<Oracle>>,
    replicas: Mutex<Replicas>,
    backup: Mutex<Option<Snapshot>>,
    leftovers: AtomicBool,
    is_collecting: AtomicBool,
}

#[derive(Default)]
struct Replicas {
    tasks: Vec<JoinHandle<()>>,
    started: usize,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>) -> Arc<Self> {
        let (local, remote) = (WallClock::start(), WallClock::start());
        let time = remote.clone();
        let cluster = KINDS
            .clone()
            .namespace(OPERATOR)
            .namespace(NAMESPACE)
            .clock(Arc::new(move || time.now()))
            .build();
        cluster.put_raw("signingkeys", signing_key());
        let oracle = Arc::new(Mutex::new(Oracle::new(local.clone(), remote.clone())));
        let seeing = Arc::clone(&oracle);
        cluster.on_change(Box::new(move |change| locked(&seeing).see(change)));
        let plan = FaultPlan::transparent();
        let proxy = Gate::new(plan.clone(), mutant);
        let leases = Leases::new(proxy.clone());
        let world = Arc::new(Self {
            server: cluster,
            leases,
            local,
            served: remote,
            entropy: Arc::new(Seeded::new(seed)),
            plan,
            proxy,
            oracle,
            replicas: Mutex::default(),
            backup: Mutex::default(),
            leftovers: AtomicBool::new(false),
            is_collecting: AtomicBool::new(true),
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
        self.plan.on_late(Arc::new(move |method, _, body| {
            let world = weak.upgrade();
            world.is_none_or(|world| *method != Method::POST || world.arrives(body))
        }));
        let weak = Arc::downgrade(self);
        self.proxy.on_disturbance(Arc::new(move |disturbance| {
            with(&weak, |world| world.disturb(disturbance));
        }));
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
        if self.is_collecting.load(Ordering::Relaxed) {
            self.server.collect_garbage();
        }
    }

    /// From now on nobody else deletes what has lost its owner.
    pub(crate) fn stop_collecting(&self) {
        self.is_collecting.store(false, Ordering::Relaxed);
    }

    /// Arms what goes wrong in the case.
    pub(crate) fn arm(&self, case: &Case) {
        for (index, condition) in &case.conditions {
            match condition {
                Trouble::Fault(fault) => {
                    self.plan.arm(support::faults::Point::Request(*index), *fault);
                }
                Trouble::Disturbance(disturbance) => {
                    self.leftovers.fetch_or(disturbance.prolongs(), Ordering::Relaxed);
                    self.proxy.arm(*index, *disturbance);
                }
            }
        }
    }

    pub(crate) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        locked(&self.oracle)
    }

    /// Whether replaced client secrets may be left for a year.
    pub(crate) fn keeps_leftovers(&self) -> bool {
        self.leftovers.load(Ordering::Relaxed)
    }

    /// Keeps a backup.
    pub(crate) fn back_up(&self) {
        *locked(&self.backup) = Some(self.server.snapshot());
    }

    // === replicas ===

    /// Starts an operator; one that takes another lease leads beside the first.
    pub(crate) fn start(self: &Arc<Self>, lease: &str) {
        self.start_in(OPERATOR, lease);
    }

    /// Starts the operator of the installation in that namespace.
    pub(crate) fn start_in(self: &Arc<Self>, namespace: &str, lease: &str) {
        let mut replicas = locked(&self.replicas);
        replicas.started += 1;
        let settings = Settings {
            namespace: namespace.to_owned(),
            controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
            watch_namespaces: Vec::new(),
            endpoints: Endpoints { issuer: "https://iam.example.com".to_owned() },
            policy: technical_user_operator::domain::policy::Policy::unbounded(),
            bcrypt_cost: 4,
            identity: format!("replica-{}", replicas.started),
            limits: TokenLimits::default(),
            bootstrap_signing_key: false,
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
            entropy: Arc::clone(&self.entropy) as _,
            key_pairs: Arc::new(technical_user_operator::environment::System::start()),
            leadership,
            settings,
            hashing: Arc::new(Semaphore::new(1)),
            metrics: Metrics::register(&mut Registry::default()),
            installations: Arc::default(),
        };
        let (synced, _) = watch::channel(Synced(false));
        let run = technical_user::run(client, Arc::new(context), synced, std::future::pending());
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
        let tasks = std::mem::take(&mut locked(&self.replicas).tasks);
        if tasks.is_empty() {
            return;
        }
        self.proxy.note("*** killed");
        for task in tasks {
            task.abort();
        }
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            with(&weak, |world| world.start(LEASE));
        });
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
            Disturbance::BothClocks(by) => self.set_both(by),
            Disturbance::Restore => self.restore(),
            Disturbance::MonthOff => self.restart(MONTH),
            Disturbance::StatusWiped => self.wipe_status(),
            Disturbance::Away => {
                self.proxy.shut(true);
                self.server.close_watches();
                self.later(FIVE_MINUTES, |world| world.proxy.shut(false));
            }
            Disturbance::SecretDeleted => {
                let delivered = self.server.get("secrets", NAMESPACE, SECRET);
                if delivered.is_some_and(|secret| owner_of(&secret).is_some()) {
                    self.oracle().interfere();
                    self.server.delete_raw("secrets", NAMESPACE, SECRET);
                }
            }
        }
    }

    fn set_both(self: &Arc<Self>, by: SignedDuration) {
        self.local.jump(by);
        self.served.jump(by);
        if by.is_negative() {
            // What ends by a clock that went back ends late: nobody waits a year for it here.
            self.later(MENDED, move |world| {
                world.local.jump(-by);
                world.served.jump(-by);
            });
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
        for mut user in self.server.list("technicalusers") {
            user["status"] = serde_json::json!({"observedGeneration": 0, "conditions": []});
            self.server.put_raw("technicalusers", user);
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

    /// Creates or deletes the `SigningKey` that every user refers to.
    pub(crate) fn set_signing_key(&self, exists: bool) {
        if exists {
            self.server.put_raw("signingkeys", signing_key());
        } else {
            self.server.delete_raw("signingkeys", "", "default");
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

fn with(world: &Weak<World>, act: impl FnOnce(&Arc<World>)) {
    if let Some(world) = world.upgrade() {
        act(&world);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `SigningKey` that every user refers to, as it is while it signs.
fn signing_key() -> Value {
    serde_json::json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
        "metadata": {"name": "default"}, "spec": {}, "status": {"activeKid": "kid"},
    })
}

/// A server that knows the kinds.
static KINDS: LazyLock<Builder> =
    LazyLock::new(|| FakeApiServer::builder().crd(&serde_json::to_value(crd()).unwrap()));

/// The lease that the first replica takes.
pub(crate) const LEASE: &str = "first";

/// The Secret of the user of the flows.
pub(crate) const SECRET: &str = "billing-credentials";

const FIVE_MINUTES: Duration = Duration::from_mins(5);
/// When somebody notices that a clock is wrong.
const MENDED: Duration = Duration::from_mins(20);
const MONTH: Duration = Duration::from_hours(30 * 24);
