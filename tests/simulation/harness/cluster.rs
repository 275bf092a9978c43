//! A cluster with operators in it, all in memory and in virtual time.

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
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics;
use technical_user_operator::controller::{Context, Settings, TokenLimits};
use technical_user_operator::domain::policy::Policy;
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::private_key::KeyPairs;
use technical_user_operator::environment::{Clock as _, Entropy};
use technical_user_operator::kubernetes::client::ConditionalClient;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _};

use crate::harness::clock::WallClock;
use crate::harness::disturbance::Disturbance;
use crate::harness::faults::{Case, Trouble};
use crate::harness::leases::Leases;
use crate::harness::proxy::Gate;
use crate::mutant::Mutant;
use crate::world::{PLURAL, World, clocks_set, controller, crd};

/// The parts of a [`World`] that every kind has.
pub(crate) struct Cluster {
    pub(crate) server: FakeApiServer,
    leases: Leases,
    pub(crate) local: WallClock,
    pub(crate) served: WallClock,
    pub(crate) plan: FaultPlan,
    pub(crate) proxy: Gate,
    replicas: Mutex<Replicas>,
    backup: Mutex<Option<Snapshot>>,
    is_collecting: AtomicBool,
}

/// The settings in which operators of one kind differ.
pub(crate) struct Replica<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) limits: TokenLimits,
    pub(crate) bootstrap: bool,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) key_pairs: Arc<dyn KeyPairs>,
}

#[derive(Default)]
struct Replicas {
    tasks: Vec<JoinHandle<()>>,
    started: usize,
}

impl Cluster {
    /// A server of the kind with the namespace of the operator. Its clock can be set.
    pub(crate) fn new(operator_namespace: &str, mutant: Option<Mutant>) -> Self {
        let (local, remote) = (WallClock::start(), WallClock::start());
        let time = remote.clone();
        let kinds = KIND.clone().namespace(operator_namespace);
        let server = kinds.clock(Arc::new(move || time.now())).build();
        let plan = FaultPlan::transparent();
        let proxy = Gate::new(plan.clone(), mutant);
        Self {
            server,
            leases: Leases::new(proxy.clone()),
            local,
            served: remote,
            plan,
            proxy,
            replicas: Mutex::default(),
            backup: Mutex::default(),
            is_collecting: AtomicBool::new(true),
        }
    }

    /// Deletes what has lost its owner, as Kubernetes does.
    pub(crate) fn collect_garbage(&self) {
        if self.is_collecting() {
            self.server.collect_garbage();
        }
    }

    /// From now on only the operator deletes what has lost its owner.
    pub(crate) fn stop_collecting(&self) {
        self.is_collecting.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_collecting(&self) -> bool {
        self.is_collecting.load(Ordering::Relaxed)
    }

    /// Keeps a backup.
    pub(crate) fn back_up(&self) {
        *locked(&self.backup) = Some(self.server.snapshot());
    }

    /// The number of requests that the server answered.
    pub(crate) fn asked(&self) -> usize {
        self.server.reads() + self.server.writes()
    }

    /// Starts an operator; one that takes another lease leads beside the first.
    pub(crate) fn run(&self, replica: Replica<'_>, lease: &str) {
        let mut replicas = locked(&self.replicas);
        replicas.started += 1;
        let settings = Settings {
            namespace: replica.namespace.to_owned(),
            controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
            watch_namespaces: Vec::new(),
            endpoints: Endpoints { issuer: "https://iam.example.com".to_owned() },
            policy: Policy::unbounded(),
            bcrypt_cost: 4,
            identity: format!("replica-{}", replicas.started),
            limits: replica.limits,
            bootstrap_signing_key: replica.bootstrap,
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
            entropy: replica.entropy,
            key_pairs: replica.key_pairs,
            leadership,
            settings,
            hashing: Arc::new(Semaphore::new(1)),
            metrics: Metrics::register(&mut Registry::default()),
            installations: Arc::default(),
        };
        let (synced, _) = watch::channel(Synced(false));
        let run = controller(client, Arc::new(context), synced);
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

    /// Whether an operator lives.
    pub(crate) fn is_running(&self) -> bool {
        !locked(&self.replicas).tasks.is_empty()
    }

    /// A request of a user.
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

impl World {
    /// Lets kills and disturbances reach the world.
    pub(crate) fn bind(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        self.plan.on_kill(Arc::new(move || {
            with(&weak, |world| world.restart(Duration::from_secs(1)));
        }));
        let weak = Arc::downgrade(self);
        self.proxy.on_disturbance(Arc::new(move |disturbance| {
            with(&weak, |world| world.disturb(disturbance));
        }));
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

    /// Kills every replica; one comes back later.
    pub(crate) fn restart(self: &Arc<Self>, after: Duration) {
        if !self.is_running() {
            return;
        }
        self.proxy.note("*** killed");
        self.kill();
        self.later(after, |world| world.start(LEASE));
    }

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
            Disturbance::BothClocks(by) => self.set_clocks(by),
            Disturbance::Restore => self.restore(),
            Disturbance::MonthOff => self.restart(MONTH),
            Disturbance::StatusWiped => self.wipe_status(),
            Disturbance::Away => {
                self.proxy.shut(true);
                self.server.close_watches();
                self.later(FIVE_MINUTES, |world| world.proxy.shut(false));
            }
            Disturbance::Own(own) => self.disturb_own(own),
        }
    }

    fn set_clocks(self: &Arc<Self>, by: SignedDuration) {
        self.local.jump(by);
        self.served.jump(by);
        clocks_set(self, by);
        if by.is_negative() {
            // What ends by a clock that went back ends late: no story waits a year for it.
            self.later(MENDED, move |world| world.set_clocks(-by));
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
        for mut object in self.server.list(PLURAL) {
            object["status"] = json!({"observedGeneration": 0, "conditions": []});
            self.server.put_raw(PLURAL, object);
        }
    }

    fn later(self: &Arc<Self>, wait: Duration, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            with(&weak, act);
        });
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

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that knows the kind.
static KIND: LazyLock<Builder> =
    LazyLock::new(|| FakeApiServer::builder().crd(&serde_json::to_value(crd()).unwrap()));

/// The lease that the first replica takes.
pub(crate) const LEASE: &str = "first";

const FIVE_MINUTES: Duration = Duration::from_mins(5);
/// When a wrong clock is noticed and put right.
const MENDED: Duration = Duration::from_mins(20);
const MONTH: Duration = Duration::from_hours(30 * 24);
