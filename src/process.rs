//! The shared part of every process: signals, listeners, a client, and an end with a
//! sentence that says what to do.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use kube::{Client, Config};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::cli::{Installation, IssuerError};
use crate::environment::EntropyError;
use crate::server::http::listener::{CertificateError, Listener, ListenerLimits};

pub use self::cluster::ClusterError;
use self::cluster::client_of;
pub(crate) use self::cluster::cluster;
pub use self::proxy::ProxyError;

mod cluster;
pub mod operator;
mod proxy;
pub mod telemetry;
pub mod token_server;
mod tunnel;

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The issuer is not one.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// No way to the cluster is known.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The cluster cannot be used.
    #[error("the API server cannot be used: {0}")]
    Unusable(String),
    /// An address is taken or not ours.
    #[error("cannot listen on {0}: {1}. Choose another address with --{2}")]
    Listen(SocketAddr, std::io::Error, &'static str),
    /// No TLS.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file of audit records cannot be written.
    #[error("the audit log {0} cannot be written: {1}. Choose another file with --audit-log-path")]
    AuditLog(String, std::io::Error),
    /// No runtime, no signals, no randomness.
    #[error("the system refused what the process needs: {0}")]
    System(#[from] std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A part of the process ended that never should.
    #[error("task {0} stopped unexpectedly; exiting so that Kubernetes restarts the pod")]
    Ended(&'static str),
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A client that repeats nothing by itself: a repeated write reports its own success as a conflict.
pub(crate) fn client(config: &Config, silence: Duration) -> Result<Client, ProcessError> {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(silence);
    Ok(client_of(config)?)
}

pub(crate) fn bind(
    address: SocketAddr,
    flag: &'static str,
) -> Result<std::net::TcpListener, ProcessError> {
    let refused = |error| ProcessError::Listen(address, error, flag);
    let listener = std::net::TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

/// Has `router` answer on a port for probes and scrapes, until `parts` is dropped.
pub(crate) fn serve(parts: &mut JoinSet<()>, socket: std::net::TcpListener, router: Router) {
    let half = ADMIN_CONNECTIONS / 2;
    let (of_source, of_site) = (half, half);
    let limits = ListenerLimits {
        connections: ADMIN_CONNECTIONS,
        of_source,
        of_site,
        ..ListenerLimits::default()
    };
    parts.spawn(async move {
        if let Err(error) = Listener::new(socket, limits).serve(router, pending()).await {
            tracing::error!(%error, "a listener failed");
        }
    });
}

/// No core dump and no debugger: each would show client secrets.
///
/// The limit of core files does not count where the kernel pipes them to a program, as most nodes do. A
/// process that is not dumpable has none there either, and no other process of its user can trace it.
pub(crate) fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let is_limited = setrlimit(Resource::Core, none).is_ok();
    let is_private = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    if !(is_limited && is_private) {
        tracing::warn!("core dumps could not be switched off: they hold secrets");
    }
}

/// Logs which process this is: two replicas that differ are seen by these lines.
pub(crate) fn started(process: &'static str, installation: &Installation, identity: &str) {
    let watched = &installation.watch_namespaces;
    tracing::info!(
        identity,
        version = env!("CARGO_PKG_VERSION"),
        issuer = installation.issuer,
        namespace = installation.namespace,
        watch_namespaces = if watched.is_empty() { "all".to_owned() } else { watched.join(",") },
        "{process} started"
    );
}

/// Lets the process have as many open files as it may, and says how many of them can be
/// connections of clients: not `most` when too few would be left for watches, lookups, probes and
/// files.
pub(crate) fn connections(most: usize) -> usize {
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    let files = if is_raised { allowed.maximum } else { allowed.current };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let room = room(files);
    if room < most {
        tracing::warn!(
            files,
            connections = room,
            "few files may be open, so that few clients can be connected at once: raise the limit \
             (ulimit -n, LimitNOFILE)"
        );
    }
    room.min(most)
}

/// How many of so many open files can be connections of clients.
fn room(files: usize) -> usize {
    files.saturating_sub(OWN_FILES).max(files / 4)
}

/// Connections for probes and scrapes on one port.
const ADMIN_CONNECTIONS: usize = 32;
/// Two ports for probes and scrapes, watches, lookups, and what a runtime and a library open.
const OWN_FILES: usize = 2 * ADMIN_CONNECTIONS + 128;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than a watch can be silent: the API server ends each within five minutes.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_mins(6);

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_memory_of_the_process_is_its_own() {
        keep_memory_private();

        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }

    #[test]
    fn every_address_of_either_family_can_be_listened_at() {
        let socket = bind("[::]:0".parse().unwrap(), "listen").unwrap();
        let port = socket.local_addr().unwrap().port();

        for source in ["127.0.0.1", "::1"] {
            let address = SocketAddr::new(source.parse().unwrap(), port);
            assert!(std::net::TcpStream::connect(address).is_ok(), "{source}");
        }
    }

    #[test]
    fn clients_get_the_files_that_the_process_does_not_need() {
        assert_eq!(room(1024), 832);
        assert_eq!(room(200), 50);
        assert_eq!(room(usize::MAX), usize::MAX - OWN_FILES);
    }
}
