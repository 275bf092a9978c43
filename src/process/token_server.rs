//! The token service as a process of its own, and as a part of `all-in-one`.

use std::io::Write;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::telemetry::Traces;
use super::{
    ProcessError, READ_TIMEOUT, Signals, bind, client, cluster, connections, keep_memory_private,
    serve, started,
};
use crate::cli::{ClaimsProfile, Installation, ServiceArguments, TokenServerArguments, host_name};
use crate::directory::{self, ClientLookup, Directory};
use crate::domain::oauth::{self, TokenPolicy};
use crate::environment::System;
use crate::heartbeat::Heartbeats;
use crate::server::audit::{Audit, LogFile};
use crate::server::figures::{self, Figure};
use crate::server::health;
use crate::server::http::listener::{Certificates, Listener, ListenerLimits};
use crate::server::http::rate_limit::Rate;
use crate::server::metrics::Metrics;
use crate::server::oauth::authenticator::{Authenticator, Rates};
use crate::server::oauth::discovery::MetadataCache;
use crate::server::oauth::hashing::Hashing;
use crate::server::oauth::router::router;
use crate::server::oauth::service::{Issuer, TokenEndpoint, Tokens};

/// Runs the token service until SIGTERM or SIGINT.
///
/// # Errors
///
/// [`ProcessError`], one sentence that says what to do.
pub fn run(arguments: &TokenServerArguments, traces: Option<&Traces>) -> Result<(), ProcessError> {
    let issuer = arguments.installation.checked_issuer()?;
    keep_memory_private();
    let works = Builder::new_multi_thread().enable_all().build()?;
    works.block_on(operate(arguments, issuer, traces))
}

async fn operate(
    arguments: &TokenServerArguments,
    issuer: String,
    traces: Option<&Traces>,
) -> Result<(), ProcessError> {
    let mut stopped = Signals::new()?;
    let client = client(&cluster()?, READ_TIMEOUT)?;
    let (installation, settings) = (&arguments.installation, &arguments.service);
    let mut registry = Registry::default();
    let settings = (settings, traces);
    let service = TokenService::new(&client, installation, settings, issuer, &mut registry)?;
    let listener = listen(settings.0, &mut registry)?;
    let health = bind(installation.health_listen, "health-listen")?;
    let metrics = bind(installation.metrics_listen, "metrics-listen")?;
    let heartbeats = Heartbeats::default();
    let probes = health::health_with(heartbeats.clone(), service.readiness(), service.notes());
    let mut admin = Admin::start(vec![
        (health, probes.merge(health::signing(service.signing()))),
        (metrics, health::metrics(Arc::new(Mutex::new(registry)))),
    ])?;
    let (stop, stopping) = oneshot::channel::<()>();
    let feed = directory::run_watches(Arc::clone(&service.directory), client);
    let feed = tokio::spawn(heartbeats.clone().watch("the feed", feed));
    let serving = service.serve(listener, async { drop(stopping.await) });
    let serving = heartbeats.watch("the listener", serving);
    tokio::pin!(serving);
    started("token service", installation, &host_name());
    tokio::select! {
        () = admin.ended() => return Err(ProcessError::Ended("the health endpoint")),
        () = &mut serving => return Err(ProcessError::Ended("the listener")),
        _ = feed => return Err(ProcessError::Ended("a watch")),
        () = stopped.next() => {}
    }
    tracing::info!("stopping: running requests end");
    drop(stop);
    tokio::select! {
        () = serving => {}
        () = stopped.next() => tracing::warn!("stopping at once"),
    }
    Ok(())
}

/// The token service, ready to be served.
pub(crate) struct TokenService {
    pub(crate) directory: Arc<Directory>,
    router: Router,
}

impl TokenService {
    pub(crate) fn new(
        client: &Client,
        installation: &Installation,
        (arguments, traces): (&ServiceArguments, Option<&Traces>),
        issuer: String,
        registry: &mut Registry,
    ) -> Result<Self, ProcessError> {
        let clock = Arc::new(System::start());
        if installation.max_staleness < BOOKMARK_INTERVAL * 2 {
            let text = "--max-staleness is shorter than two minutes: an API server at rest speaks once \
                a minute, so tokens will be refused for no reason";
            tracing::warn!("{text}");
        }
        let settings = directory::Settings {
            namespace: installation.namespace.clone(),
            controller_name: installation.controller_name.clone(),
            watch_namespaces: installation.watch_namespaces.clone(),
            max_staleness: Duration::try_from(installation.max_staleness).unwrap_or_default(),
            token_lifetime: installation.max_access_token_ttl,
            issuer: issuer.clone(),
            policy: installation.policy(),
        };
        let directory = Arc::new(Directory::new(settings, Arc::clone(&clock) as _));
        let live = ClientLookup::new(client.clone(), Arc::clone(&directory));
        let (time, hashing) = (Arc::clone(&clock) as _, Hashing::default());
        let (environment, rates) = ((time, &*clock as _), Rates::DEFAULT);
        let authenticator =
            Authenticator::new(Arc::clone(&directory), live, hashing, environment, rates)?;
        let metrics = Metrics::register(registry);
        let service = TokenEndpoint {
            directory: Arc::clone(&directory),
            authenticator,
            issuer: Issuer::new(issuer),
            terms: terms(installation, arguments),
            metadata: MetadataCache::default(),
            tokens: Tokens {
                of_one: with_double_burst(arguments.client_rate),
                of_all: with_double_burst(arguments.total_rate),
                count: AtomicU64::new(0),
            },
            clock: Arc::clone(&clock) as _,
            entropy: clock,
            audit: audit(&arguments.audit_log_path, &metrics)?,
            metrics,
        };
        let service = Arc::new(service);
        register(registry, figures::of_service(&service));
        Ok(Self { directory, router: router(service, traces.map(Traces::request_sampler)) })
    }

    /// Whether requests can be served.
    pub(crate) fn readiness(&self) -> health::Readiness {
        let directory = Arc::clone(&self.directory);
        Arc::new(move || directory.readiness())
    }

    /// Whether tokens can be signed.
    pub(crate) fn signing(&self) -> health::Readiness {
        let directory = Arc::clone(&self.directory);
        Arc::new(move || directory.signing())
    }

    /// The settings that do not agree with those of the operator.
    fn notes(&self) -> health::Notes {
        let directory = Arc::clone(&self.directory);
        Arc::new(move || directory.mismatches().iter().map(ToString::to_string).collect())
    }

    /// Answers at `listener` until `stop` resolves.
    pub(crate) fn serve(
        &self,
        listener: Listener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        let router = self.router.clone();
        Box::pin(async move {
            if let Err(error) = listener.serve(router, stop).await {
                tracing::error!(%error, "the listener failed");
            }
        })
    }
}

fn terms(installation: &Installation, arguments: &ServiceArguments) -> TokenPolicy {
    let profile = match arguments.claims_profile {
        ClaimsProfile::Cloud => oauth::ClaimsProfile::Cloud,
        ClaimsProfile::CyodaGo => oauth::ClaimsProfile::CyodaGo,
    };
    let token_type = arguments.access_token_type.into();
    TokenPolicy { profile, policy: installation.policy(), token_type }
}

/// Where clients connect.
pub(crate) fn listen(
    arguments: &ServiceArguments,
    registry: &mut Registry,
) -> Result<Listener, ProcessError> {
    let limits = limits(arguments);
    let is_encrypted = arguments.tls_cert_file.is_some();
    if !is_encrypted && !arguments.listen.ip().is_loopback() {
        let text = "HTTP without TLS at an address that other machines reach: client secrets and tokens \
            can be read on the way (RFC 6749 section 3.2). Set --tls-cert-file and --tls-private-key-file, or let \
            only a proxy that ends TLS reach this address";
        tracing::warn!(listen = %arguments.listen, "{text}");
    }
    tracing::info!(listen = %arguments.listen, tls = is_encrypted, "tokens are served");
    let mut listener = Listener::new(bind(arguments.listen, "listen")?, limits);
    if let (Some(certificate), Some(key)) =
        (&arguments.tls_cert_file, &arguments.tls_private_key_file)
    {
        listener = listener.with_tls(Certificates::load(certificate.clone(), key.clone())?);
    }
    register(registry, figures::of_listener(&listener));
    Ok(listener)
}

fn limits(arguments: &ServiceArguments) -> ListenerLimits {
    let connections = connections(ListenerLimits::default().connections);
    let of_source = source_limit(arguments.source_limit, connections);
    let of_site = site_limit(arguments.source_limit, connections);
    let idle = Duration::try_from(arguments.idle_timeout).unwrap_or_default();
    ListenerLimits { connections, of_source, of_site, idle, ..ListenerLimits::default() }
}

/// No source has more than half of all places, however few there are; `0` is no limit.
fn source_limit(limit: u32, places: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 { usize::MAX } else { limit.min(places / 2).max(1) }
}

/// No IPv6 network of 48 bits has more than half of all places, unless sources have no limit either.
fn site_limit(limit: u32, places: usize) -> usize {
    if limit == 0 { usize::MAX } else { (places / 2).max(1) }
}

fn register(registry: &mut Registry, readings: Vec<Figure>) {
    for reading in readings {
        registry.register_collector(Box::new(reading));
    }
}

/// Health and metrics, on a thread of their own: they answer while every core signs.
struct Admin {
    #[expect(dead_code, reason = "its end ends the thread")]
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Admin {
    fn start(parts: Vec<(std::net::TcpListener, Router)>) -> Result<Self, ProcessError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut serving = JoinSet::new();
                for (listener, router) in parts {
                    serve(&mut serving, listener, router);
                }
                tokio::select! {
                    _ = serving.join_next() => {}
                    _ = stopping => {}
                }
            });
            drop(end);
        })?;
        Ok(Self { stop, ended })
    }

    async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

fn with_double_burst(often: u32) -> Rate {
    Rate::a_second(often, often.saturating_mul(2))
}

fn audit(place: &str, metrics: &Metrics) -> Result<Audit, ProcessError> {
    let out: Box<dyn Write + Send> = match place {
        "none" => return Ok(Audit::none()),
        "-" => Box::new(std::io::stdout()),
        path => {
            let file = LogFile::open(path.into());
            Box::new(file.map_err(|error| ProcessError::AuditLog(path.to_owned(), error))?)
        }
    };
    Ok(Audit::to(out, metrics.records())?)
}

/// How often the API server tells each watch that it is alive.
const BOOKMARK_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    #[test]
    fn connections_stay_idle_for_as_long_as_the_flag_says() {
        let idle = |flags: &[&str]| {
            let words = ["technical-user-operator", "token-server", "--issuer", "https://a"];
            let parsed = Arguments::try_parse_from(words.iter().chain(flags)).unwrap();
            let Command::TokenServer(arguments) = parsed.command else { panic!("no server") };
            limits(&arguments.service).idle
        };

        assert_eq!(
            idle(&[]),
            ListenerLimits::default().idle,
            "the flag has the default of the listener"
        );
        assert_eq!(idle(&["--idle-timeout", "1h"]), Duration::from_hours(1));
    }
}
