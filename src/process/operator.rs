//! The process: builds the real world around the controllers and ends when any part of it does.
//!
//! The lease and the health endpoints have a runtime of their own, so that hashing never costs the
//! lease, and the process ends when the lease task does: a controller without leader election must not
//! look alive.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use data_encoding::HEXLOWER;
use futures::future::{OptionFuture, join_all};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, Config, ResourceExt};
use prometheus_client::registry::Registry;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::telemetry::Traces;
use super::token_server::{self, TokenService};
use super::{
    ProcessError, READ_TIMEOUT, Signals, bind, client, cluster, keep_memory_private, serve, started,
};
use crate::api::CONTROLLER_NAME;
use crate::api::crds::crds;
use crate::cli::{ControllerArguments, Installation, ServiceArguments, host_name};
use crate::controller::runtime::Synced;
use crate::controller::runtime::leader_election::{LeaderElector, Leadership};
use crate::controller::runtime::metrics::Metrics;
use crate::controller::{Context, Controller, Settings, TokenLimits, controllers};
use crate::directory;
use crate::domain::technical_user::delivered_secret::Endpoints;
use crate::environment::{Entropy, System};
use crate::heartbeat::Heartbeats;
use crate::kubernetes::client::{ConditionalClient, no_answer};
use crate::server::health;

/// Runs the operator until SIGTERM or SIGINT; with `service`, everything in one process.
///
/// # Errors
///
/// [`ProcessError`], one sentence that says what to do.
pub fn run(
    arguments: &ControllerArguments,
    service: Option<(&ServiceArguments, Option<&Traces>)>,
) -> Result<(), ProcessError> {
    let installation = &arguments.installation;
    let issuer = installation.checked_issuer()?;
    keep_memory_private();
    let settings = Settings {
        namespace: installation.namespace.clone(),
        controller_name: installation.controller_name.clone(),
        watch_namespaces: installation.watch_namespaces.clone(),
        endpoints: Endpoints { issuer },
        policy: installation.policy(),
        bcrypt_cost: arguments.bcrypt_cost,
        identity: identity()?,
        limits: TokenLimits {
            max_staleness: installation.max_staleness,
            token_lifetime: installation.max_access_token_ttl,
        },
        bootstrap_signing_key: makes_default(arguments),
    };
    let works = Builder::new_multi_thread().enable_all().build()?;
    works.block_on(operate(installation, settings, service))
}

/// Whether to make the `SigningKey` named `default` where there is none. The name is unique in the cluster,
/// and `TechnicalUser`s of the default controller rely on it.
fn makes_default(arguments: &ControllerArguments) -> bool {
    arguments.bootstrap_signing_key && arguments.installation.controller_name == CONTROLLER_NAME
}

async fn operate(
    installation: &Installation,
    settings: Settings,
    service: Option<(&ServiceArguments, Option<&Traces>)>,
) -> Result<(), ProcessError> {
    let mut stopped = Signals::new()?;
    let config = cluster()?;
    let client = client(&config, READ_TIMEOUT)?;
    if service.is_some() {
        ensure_installed(&client, &settings.namespace).await?;
    }
    let clock = Arc::new(System::start());
    let heartbeats = Heartbeats::default();
    let (candidate, leadership) = leader_elector(&config, &settings, &clock, &heartbeats)?;
    let mut registry = Registry::default();
    let issuer = settings.endpoints.issuer.clone();
    let context = context(&client, clock, leadership, settings, &mut registry);
    let (stop, stopping) = watch::channel(());
    let tokens = service.map(|service| {
        let tokens = TokenService::new(&client, installation, service, issuer, &mut registry)?;
        let listener = token_server::listen(service.0, &mut registry)?;
        Ok::<_, ProcessError>((tokens.serve(listener, stop_signal(&stopping)), tokens))
    });
    let (serving, tokens) = tokens.transpose()?.unzip();
    let controllers = controllers(&client, &context, &stopping);
    let mut parts = JoinSet::new();
    let metrics = bind(installation.metrics_listen, "metrics-listen")?;
    serve(&mut parts, metrics, health::metrics(Arc::new(Mutex::new(registry))));
    if let Some(tokens) = &tokens {
        let feed = directory::run_watches(Arc::clone(&tokens.directory), client.clone());
        parts.spawn(heartbeats.clone().watch("the feed of the token service", feed));
    }
    let health = bind(installation.health_listen, "health-listen")?;
    let signing = tokens.as_ref().map(|it| health::signing(it.signing())).unwrap_or_default();
    let readiness = readiness(&controllers, tokens.map(|it| it.readiness()));
    let probes = health::health_with(heartbeats.clone(), readiness, notes(&context)).merge(signing);
    let mut vital = LeaseThread::start((health, probes), candidate.clone())?;
    started("operator", installation, &context.settings.identity);
    let controllers = run_controllers(controllers, &heartbeats);
    let works = async { tokio::join!(controllers, async { OptionFuture::from(serving).await }) };
    tokio::pin!(works);
    let ended = tokio::select! {
        _ = &mut works => Some("the controllers"),
        () = vital.ended() => Some("the lease or the health endpoint"),
        _ = parts.join_next() => Some("a listener or a watch"),
        () = stopped.next() => None,
    };
    ended.map_or(Ok(()), |part| Err(ProcessError::Ended(part)))?;
    tracing::info!("stopping: running work ends, then the lease is released");
    drop(stop);
    tokio::select! {
        _ = works => {}
        () = stopped.next() => tracing::warn!("stopping at once"),
    }
    vital.stop();
    candidate.release().await;
    Ok(())
}

/// With a client of its own, so that a renewal waits for no other call.
fn leader_elector(
    config: &Config,
    settings: &Settings,
    clock: &Arc<System>,
    heartbeats: &Heartbeats,
) -> Result<(LeaderElector, Leadership), ProcessError> {
    let own = client(config, LEASE_READ_TIMEOUT)?;
    let (candidate, leadership) = LeaderElector::new(own, settings, LEASE, Arc::clone(clock) as _);
    Ok((candidate.with_heartbeats(heartbeats.clone()), leadership))
}

/// The objects of other installations.
fn notes(context: &Arc<Context>) -> health::Notes {
    let installations = Arc::clone(&context.installations);
    Arc::new(move || installations.readiness_notes())
}

fn context(
    client: &Client,
    clock: Arc<System>,
    leadership: Leadership,
    settings: Settings,
    registry: &mut Registry,
) -> Arc<Context> {
    Arc::new(Context {
        cluster: ConditionalClient::new(client.clone(), Arc::clone(&clock) as _),
        entropy: Arc::clone(&clock) as _,
        key_pairs: clock,
        leadership,
        settings,
        hashing: Arc::new(Semaphore::new(hashing_room())),
        metrics: Metrics::register(registry),
        installations: Arc::default(),
    })
}

/// Resolves when the sender of `stopping` is dropped.
fn stop_signal(stopping: &watch::Receiver<()>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopping = stopping.clone();
    // It never changes; it ends.
    async move { drop(stopping.changed().await) }
}

/// Runs the controllers until they end.
async fn run_controllers(controllers: Vec<Controller>, heartbeats: &Heartbeats) {
    let parts = controllers.into_iter().map(|it| heartbeats.clone().watch(it.name, it.run));
    join_all(parts).await;
}

// === what must answer while everything else is busy ===

/// The lease and the health endpoints, on a thread of their own.
struct LeaseThread {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl LeaseThread {
    fn start(
        (health, probes): (std::net::TcpListener, Router),
        candidate: LeaderElector,
    ) -> Result<Self, ProcessError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("vital".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut parts = JoinSet::new();
                serve(&mut parts, health, probes);
                tokio::select! {
                    () = candidate.run() => {}
                    _ = parts.join_next() => {}
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

// === the parts ===

/// The namespace and the CRDs, so that the operator can be tried out. Existing objects are left as they
/// are. An installation without the right to read them has created them.
async fn ensure_installed(client: &Client, namespace: &str) -> Result<(), ProcessError> {
    let wanted = Namespace {
        metadata: ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    ensure_exists(&Api::<Namespace>::all(client.clone()), &wanted).await?;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in crds() {
        let name = definition.name_any();
        if ensure_exists(&definitions, &definition).await? == Ensured::Forbidden {
            continue;
        }
        let established = await_condition(definitions.clone(), &name, is_crd_established());
        let object = format!("the CustomResourceDefinition {name}");
        match tokio::time::timeout(CRD_TIMEOUT, established).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(unusable(&object, "cannot be watched")),
            Err(_) => return Err(unusable(&object, "was not established in time")),
        }
    }
    Ok(())
}

/// The result of `ensure_exists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ensured {
    /// It is there.
    Exists,
    /// The operator may not read it, or not create it.
    Forbidden,
}

async fn ensure_exists<K>(api: &Api<K>, wanted: &K) -> Result<Ensured, ProcessError>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    K: kube::Resource<DynamicType = ()>,
{
    let name = wanted.name_any();
    let kind = K::kind(&());
    let object = format!("the {kind} {name}");
    let made = match api.get_opt(&name).await {
        Ok(Some(_)) => return Ok(Ensured::Exists),
        Ok(None) => api.create(&PostParams::default(), wanted).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(_) => {
            tracing::info!(%kind, name, "created, since it did not exist");
            Ok(Ensured::Exists)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Ensured::Exists),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            tracing::info!(
                %kind,
                name,
                "not checked, since the ServiceAccount may not read it: create it with the installation"
            );
            Ok(Ensured::Forbidden)
        }
        Err(kube::Error::Api(status)) => {
            let status = format!("{} {}", status.code, status.reason);
            Err(unusable(&object, &format!("cannot be created: HTTP status {status}")))
        }
        Err(error) => {
            let cause = no_answer(&error);
            Err(unusable(&object, &format!("cannot be read or created: no answer: {cause}")))
        }
    }
}

fn unusable(object: &str, text: &str) -> ProcessError {
    ProcessError::Unusable(format!("{object} {text}"))
}

/// Ready once the watches of every controller are synced and the token service is ready.
fn readiness(controllers: &[Controller], tokens: Option<health::Readiness>) -> health::Readiness {
    let synced: Vec<_> = controllers.iter().map(|it| (it.plural, it.synced.clone())).collect();
    Arc::new(move || {
        let waiting = synced.iter().filter(|(_, synced)| *synced.borrow() == Synced(false));
        let names: Vec<_> = waiting.map(|(plural, _)| *plural).collect();
        if names.is_empty() {
            return tokens.as_ref().map_or(Ok(()), |tokens| tokens());
        }
        Err(format!("the watches of {} are not synced yet", names.join(" and ")))
    })
}

/// One core stays free for everything but hashing.
fn hashing_room() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(1).max(1)
}

/// The name of this replica: its host, and what tells it from one before it there.
fn identity() -> Result<String, ProcessError> {
    let mut bytes = [0; 4];
    System::start().fill("identity", &mut bytes)?;
    Ok(format!("{}_{}", host_name(), HEXLOWER.encode(&bytes)))
}

const LEASE: &str = "technical-user-operator";
const CRD_TIMEOUT: Duration = Duration::from_secs(30);
const LEASE_READ_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    #[test]
    fn a_signing_key_named_default_is_made_unless_a_flag_or_another_controller_name_forbids_it() {
        let makes = |flags: &[&str]| {
            let words = ["technical-user-operator", "controller", "--issuer", "https://a"];
            let parsed = Arguments::try_parse_from(words.iter().chain(flags)).unwrap();
            let Command::Controller(arguments) = parsed.command else { panic!("no controller") };
            makes_default(&arguments)
        };

        assert!(makes(&[]));
        assert!(makes(&["--bootstrap-signing-key"]));
        assert!(makes(&["--controller-name", CONTROLLER_NAME]));
        assert!(!makes(&["--bootstrap-signing-key=false"]));
        assert!(!makes(&["--controller-name", "example.com/iam"]));
        assert!(!makes(&["--controller-name", "example.com/iam", "--bootstrap-signing-key=true"]));
    }
}
