//! What every process of this program needs: signals, listeners, a client, and an end with a
//! sentence that says what to do.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use kube::{Client, Config};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::IssuerError;
use crate::environment::EntropyError;
use crate::server::listener::CertificateError;

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
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
    /// No TLS.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file of audit records cannot be written.
    #[error("the audit log {0} cannot be written: {1}. Choose another file with --audit-log")]
    AuditLog(String, std::io::Error),
    /// No runtime, no signals, no randomness.
    #[error("the system refused what the process needs: {0}")]
    System(#[from] std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A part of the process ended that never should.
    #[error("{0} ended, which it never should: the process stops, so that it is started anew")]
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
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(silence);
    Client::try_from(config).map_err(|error| ProcessError::Unusable(error.to_string()))
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

pub(crate) fn serve(
    parts: &mut JoinSet<()>,
    listener: std::net::TcpListener,
    router: Router,
) -> Result<(), ProcessError> {
    let listener = TcpListener::from_std(listener)?;
    parts.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a listener failed");
        }
    });
    Ok(())
}

/// No core dump: it would hold client secrets.
pub(crate) fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if setrlimit(Resource::Core, none).is_err() {
        tracing::warn!("core dumps could not be switched off");
    }
}

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a watch can be silent: the API server ends each within five minutes.
pub(crate) const SILENCE: Duration = Duration::from_mins(6);

/// The cluster of `KUBECONFIG`, or the one that the process runs in.
pub(crate) async fn cluster() -> Result<Config, ProcessError> {
    Config::infer().await.map_err(|error| ProcessError::NoCluster(error.to_string()))
}
