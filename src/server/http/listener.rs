//! How the token service accepts connections: HTTP/1.1 and HTTP/2 on one port, in the clear or in
//! TLS. It knows nothing of what is served, and bounds what one client can take from the others.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub use certificates::{CertificateError, Certificates, CurrentCertificate};
use connection::ConnectionServer;
pub use limits::ListenerLimits;
pub use responses::Responses;
use state::{Protocol, Shutdown};
pub use tracker::OpenConnections;
use tracker::{ConnectionGuard, ConnectionTracker};

mod certificates;
mod connection;
mod limits;
mod responses;
mod state;
mod stream;
mod tracker;

/// A listener that is about to serve.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    certificates: Option<Certificates>,
    limits: ListenerLimits,
    open: OpenConnections,
    responses: Responses,
}

impl Listener {
    /// A listener in the clear on a socket that does not block.
    pub fn new(socket: std::net::TcpListener, limits: ListenerLimits) -> Self {
        let (open, responses) = (OpenConnections::default(), Responses::default());
        Self { socket, certificates: None, limits, open, responses }
    }

    /// The same in TLS 1.2 and 1.3.
    #[must_use]
    pub fn with_tls(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// The certificate of the listener, if it speaks TLS.
    pub fn certificate(&self) -> Option<CurrentCertificate> {
        self.certificates.as_ref().map(Certificates::current)
    }

    /// How many connections are open, to be read at any time.
    pub fn open_connections(&self) -> OpenConnections {
        self.open.clone()
    }

    /// How many answers there were, to be read at any time.
    pub fn responses(&self) -> Responses {
        self.responses.clone()
    }

    /// Serves `router` until `stop` resolves and the running requests have ended.
    ///
    /// # Guarantees
    ///
    /// Every request has the extension `ConnectInfo<IpAddr>`: the address of the peer of its connection.
    /// After `stop`, no connection is accepted, each client is asked to close (`Connection: close`, GOAWAY),
    /// and what still runs after [`ListenerLimits::drain`] is cut. No connection outlives the future,
    /// also when
    /// it is dropped.
    ///
    /// # Errors
    ///
    /// The runtime refused the socket. Nothing that happens to a connection ends the listener.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
        keep_alive(&self.socket);
        let socket = TcpListener::from_std(self.socket)?;
        let tls = self.certificates.as_ref().map(|it| TlsAcceptor::from(it.settings()));
        let permits = self.limits.connections.clamp(1, MAX_CONNECTIONS);
        let acceptor = Acceptor {
            socket,
            tls,
            server: Arc::new(ConnectionServer::new(router, self.limits)),
            limits: self.limits,
            tracker: ConnectionTracker::new(self.open, self.responses),
            permits: Arc::new(Semaphore::new(permits)),
        };
        let renewal = async {
            match &self.certificates {
                Some(certificates) => certificates.reload().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = renewal => {}
            () = acceptor.accept() => {}
        }
        acceptor.drain(permits).await;
        Ok(())
    }
}

/// A listener that serves.
struct Acceptor {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    server: Arc<ConnectionServer>,
    limits: ListenerLimits,
    tracker: ConnectionTracker,
    permits: Arc<Semaphore>,
}

impl Acceptor {
    /// Never ends.
    async fn accept(&self) {
        let mut is_in_trouble = false;
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    is_in_trouble = false;
                    let source = address.ip().to_canonical();
                    if !self.tracker.admits(source, &self.limits) {
                        continue;
                    }
                    if let Some(permit) = self.permit().await {
                        self.spawn_connection(stream, source, permit);
                    }
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    if !is_in_trouble {
                        tracing::warn!(%error, "no connection could be accepted");
                    }
                    is_in_trouble = true;
                    // Most often no file descriptor is left.
                    self.tracker.evict_idle();
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// A permit for one more connection, when there is one.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            self.tracker.evict_idle();
            let permit = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = timeout(FULL_BACKOFF, permit).await {
                return permit.ok();
            }
        }
    }

    fn spawn_connection(&self, stream: TcpStream, source: IpAddr, permit: OwnedSemaphorePermit) {
        // It only makes answers slower.
        let _ = stream.set_nodelay(true);
        let guard = self.tracker.register(self.limits.age, source);
        let (tls, server) = (self.tls.clone(), Arc::clone(&self.server));
        let handshake = self.limits.handshake;
        tokio::spawn(async move {
            serve_connection(stream, tls.as_ref(), handshake, &server, &guard).await;
            drop(guard);
            drop(permit);
        });
    }

    async fn drain(self, permits: usize) {
        drop(self.socket);
        self.tracker.shut_down(Shutdown::Graceful);
        let all = || self.permits.acquire_many(u32::try_from(permits).unwrap_or(u32::MAX));
        if timeout(self.limits.drain, all()).await.is_err() {
            tracing::warn!(open = self.tracker.open.count(), "running requests were cut");
            self.tracker.shut_down(Shutdown::Abort);
            drop(all().await);
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    handshake: Duration,
    server: &ConnectionServer,
    guard: &ConnectionGuard,
) {
    let activity = &guard.activity;
    let Some(tls) = tls else {
        return server.serve(stream, Protocol::OneByOne, activity).await;
    };
    let stream = tokio::select! {
        shaken = timeout(handshake, tls.accept(stream)) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => return tracing::debug!("a TLS handshake took too long"),
        },
        () = activity.shutdown_requested() => return,
    };
    let (_, session) = stream.get_ref();
    let is_multiplexed = session.alpn_protocol() == Some(certificates::HTTP_2);
    let protocol = if is_multiplexed { Protocol::Multiplexed } else { Protocol::OneByOne };
    server.serve(stream, protocol, activity).await;
}

/// Has the kernel ask silent clients whether they are there. Balancers that forget a silent connection
/// without a word keep it for that, and a client that is gone does not keep its place.
fn keep_alive(socket: &std::net::TcpListener) {
    let probes = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_INTERVAL)
        .with_interval(KEEP_ALIVE_INTERVAL / 2)
        .with_retries(KEEP_ALIVE_PROBES);
    // Connections inherit it. Without it they are as they would be anyway.
    let _ = SockRef::from(socket).set_tcp_keepalive(&probes);
}

/// The connection is gone, not the listener.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

/// The largest number of permits of the semaphore.
const MAX_CONNECTIONS: usize = 1 << 28;
/// Long enough not to spin, short enough not to be noticed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How often the tracker is searched for room while a connection waits.
const FULL_BACKOFF: Duration = Duration::from_millis(50);
/// Less than any balancer keeps a silent connection: Azure's 4 min are the least.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_mins(1);
/// After so many without an answer the client is gone.
const KEEP_ALIVE_PROBES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_kept_alive() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        keep_alive(&socket);

        let client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let (accepted, _) = socket.accept().unwrap();

        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEP_ALIVE_INTERVAL);
        drop(client);
    }
}
