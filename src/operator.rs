//! The process: builds the real world around the controllers and ends when any part of it does.
//!
//! The lease and the health endpoints have a runtime of their own, so that hashing never costs the
//! lease, and the process ends when the lease task does: a controller that nobody elects must not
//! look alive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, Config, ResourceExt};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use crate::api::schema::crds;
use crate::args::{ControllerArguments, IssuerError, host_name};
use crate::controller::cluster::Cluster;
use crate::controller::engine::Synced;
use crate::controller::lease::Candidate;
use crate::controller::metrics::Metrics;
use crate::controller::{Context, Limits, Settings, signing_key, technical_user};
use crate::domain::delivery::Endpoints;
use crate::environment::{Entropy, EntropyError, System};
use crate::server::{admin, unavailable};

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The issuer is not one.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// No way to the cluster is known.
    #[error(
        "no cluster is configured: set KUBECONFIG to a kubeconfig file, or run in a cluster ({0})"
    )]
    NoCluster(String),
    /// The cluster cannot be used.
    #[error("the API server cannot be used: {0}")]
    Unusable(String),
    /// An address is taken or not ours.
    #[error("cannot listen on {0}: {1}. Choose another address with --{2}")]
    Listen(SocketAddr, std::io::Error, &'static str),
    /// No runtime, no signals, no randomness.
    #[error("the system refused what the operator needs: {0}")]
    System(#[from] std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A part of the process ended that never should.
    #[error("{0} ended, which it never should: the operator stops, so that it is started anew")]
    Ended(&'static str),
}

/// Runs the operator until SIGTERM or SIGINT; with `listen`, everything in one process.
///
/// # Errors
///
/// [`OperatorError`], one sentence that says what to do.
pub fn run(
    arguments: &ControllerArguments,
    listen: Option<SocketAddr>,
) -> Result<(), OperatorError> {
    let issuer = arguments.checked_issuer()?;
    keep_memory_private();
    // An error means that somebody chose a provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Settings {
        namespace: arguments.namespace.clone(),
        watch_namespaces: arguments.watch_namespaces.clone(),
        endpoints: Endpoints { issuer },
        bcrypt_cost: arguments.bcrypt_cost,
        identity: identity()?,
        limits: Limits {
            view_age: arguments.max_view_age,
            token_lifetime: arguments.max_access_token_ttl,
        },
        bootstrap_signing_key: arguments.bootstrap_signing_key,
    };
    let works = Builder::new_multi_thread().enable_all().build()?;
    works.block_on(operate(arguments, settings, listen))
}

async fn operate(
    arguments: &ControllerArguments,
    settings: Settings,
    listen: Option<SocketAddr>,
) -> Result<(), OperatorError> {
    let mut stopped = Signals::new()?;
    let config = Config::infer().await;
    let config = config.map_err(|error| OperatorError::NoCluster(error.to_string()))?;
    let client = client(&config, SILENCE)?;
    if listen.is_some() {
        make_what_is_missing(&client, &settings.namespace).await?;
    }
    let clock = Arc::new(System::start());
    let lease_client = self::client(&config, LEASE_READ)?;
    let (candidate, leadership) =
        Candidate::new(lease_client, &settings, LEASE, Arc::clone(&clock) as _);
    let mut registry = Registry::default();
    let context = Arc::new(Context {
        cluster: Cluster::new(client.clone(), Arc::clone(&clock) as _),
        entropy: Arc::clone(&clock) as _,
        key_pairs: clock,
        leadership,
        settings,
        hashing: Arc::new(Semaphore::new(hashing_room())),
        metrics: Metrics::register(&mut registry),
    });
    let (users_synced, are_users_synced) = watch::channel(Synced(false));
    let (keys_synced, are_keys_synced) = watch::channel(Synced(false));
    let mut parts = listeners(arguments, listen, registry)?;
    let health = bind(arguments.health_listen, "health-listen")?;
    let mut vital =
        Vital::start(health, readiness(are_users_synced, are_keys_synced), candidate.clone())?;
    tracing::info!(identity = context.settings.identity, "operator started");
    let (stop, stopping) = watch::channel(());
    let controllers = controllers(&client, &context, (users_synced, keys_synced), &stopping);
    tokio::pin!(controllers);
    let ended = tokio::select! {
        () = &mut controllers => Some("the controllers"),
        () = vital.ended() => Some("the lease or the health endpoint"),
        _ = parts.join_next() => Some("a listener"),
        () = stopped.next() => None,
    };
    if let Some(part) = ended {
        return Err(OperatorError::Ended(part));
    }
    tracing::info!("stopping: running work ends, then the lease is released");
    drop(stop);
    tokio::select! {
        () = controllers => {}
        () = stopped.next() => tracing::warn!("stopping at once"),
    }
    vital.stop();
    candidate.release().await;
    Ok(())
}

/// Both controllers, until the sender of `stopping` is dropped.
async fn controllers(
    client: &Client,
    context: &Arc<Context>,
    (users_synced, keys_synced): (watch::Sender<Synced>, watch::Sender<Synced>),
    stopping: &watch::Receiver<()>,
) {
    let stopped = || {
        let mut stopping = stopping.clone();
        // It never changes; it ends.
        async move { drop(stopping.changed().await) }
    };
    let users = technical_user::run(client.clone(), Arc::clone(context), users_synced, stopped());
    let keys = signing_key::run(client.clone(), Arc::clone(context), keys_synced, stopped());
    tokio::join!(users, keys);
}

/// Metrics, and what answers in place of the token service.
fn listeners(
    arguments: &ControllerArguments,
    listen: Option<SocketAddr>,
    registry: Registry,
) -> Result<JoinSet<()>, OperatorError> {
    let mut parts = JoinSet::new();
    let metrics = bind(arguments.metrics_listen, "metrics-listen")?;
    serve(&mut parts, metrics, admin::metrics(Arc::new(Mutex::new(registry))))?;
    if let Some(listen) = listen {
        serve(&mut parts, bind(listen, "listen")?, unavailable::router(NO_TOKENS))?;
    }
    Ok(parts)
}

// === what must answer while everything else is busy ===

/// The lease and the health endpoints, on a thread of their own.
struct Vital {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl Vital {
    fn start(
        health: std::net::TcpListener,
        readiness: admin::Readiness,
        candidate: Candidate,
    ) -> Result<Self, OperatorError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("vital".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut parts = JoinSet::new();
                let is_serving = serve(&mut parts, health, admin::health(readiness)).is_ok();
                tokio::select! {
                    () = candidate.run() => {}
                    _ = parts.join_next(), if is_serving => {}
                    _ = stopping => {}
                }
            });
            drop(end);
        })?;
        Ok(Self { stop: Some(stop), ended })
    }

    async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

// === the parts ===

/// A client that repeats nothing by itself: a repeated write reports its own success as a conflict.
fn client(config: &Config, silence: Duration) -> Result<Client, OperatorError> {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(silence);
    Client::try_from(config).map_err(|error| OperatorError::Unusable(error.to_string()))
}

/// The namespace and the CRDs, for those who try the operator out. What exists is left as it is.
async fn make_what_is_missing(client: &Client, namespace: &str) -> Result<(), OperatorError> {
    let wanted = Namespace {
        metadata: ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    make(&Api::<Namespace>::all(client.clone()), &wanted).await?;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in crds() {
        make(&definitions, &definition).await?;
        let name = definition.name_any();
        let established = await_condition(definitions.clone(), &name, is_crd_established());
        match tokio::time::timeout(ESTABLISHING, established).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(OperatorError::Unusable(error.to_string())),
            Err(_) => {
                let text = format!("the CRD {name} was not established in time");
                return Err(OperatorError::Unusable(text));
            }
        }
    }
    Ok(())
}

async fn make<K>(api: &Api<K>, wanted: &K) -> Result<(), OperatorError>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + kube::Resource,
{
    let name = wanted.name_any();
    match api.get_opt(&name).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(error) => return Err(OperatorError::Unusable(error.to_string())),
    }
    match api.create(&PostParams::default(), wanted).await {
        Ok(_) => tracing::info!(name, "made, since it was missing"),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(OperatorError::Unusable(error.to_string())),
    }
    Ok(())
}

fn readiness(users: watch::Receiver<Synced>, keys: watch::Receiver<Synced>) -> admin::Readiness {
    Arc::new(move || {
        let waiting = [("technicalusers", &users), ("signingkeys", &keys)];
        let waiting = waiting.into_iter().filter(|(_, synced)| *synced.borrow() == Synced(false));
        let names: Vec<_> = waiting.map(|(name, _)| name).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(format!("the watches of {} have not told everything yet", names.join(" and ")))
    })
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<std::net::TcpListener, OperatorError> {
    let refused = |error| OperatorError::Listen(address, error, flag);
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

fn serve(
    parts: &mut JoinSet<()>,
    listener: std::net::TcpListener,
    router: Router,
) -> Result<(), OperatorError> {
    let listener = TcpListener::from_std(listener)?;
    parts.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a listener failed");
        }
    });
    Ok(())
}

/// One core stays free for everything but hashing.
fn hashing_room() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// The name of this replica: its host, and what tells it from one before it there.
fn identity() -> Result<String, OperatorError> {
    let mut bytes = [0; 4];
    System::start().fill("identity", &mut bytes)?;
    let suffix = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Ok(format!("{}_{suffix}", host_name()))
}

/// No core dump: it would hold client secrets.
fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() {
        tracing::warn!("core dumps could not be switched off");
    }
}

const LEASE: &str = "technical-user-operator";
const NO_TOKENS: &str = "this version does not issue tokens yet";
const ESTABLISHING: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a watch can be silent: the API server ends each within five minutes.
const SILENCE: Duration = Duration::from_mins(6);
const LEASE_READ: Duration = Duration::from_secs(5);
