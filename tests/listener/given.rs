//! A listener on a free port, what it serves, and clients that see every byte.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use technical_user_operator::server::figures;
use technical_user_operator::server::http::form_request::{BodyBounds, FormRequest};
use technical_user_operator::server::http::listener::{
    Certificates, Listener, ListenerLimits, OpenConnections,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// A guard against hanging, never something to wait for.
const LONG: Duration = Duration::from_secs(20);
/// As a bound of the listener: short enough to be met at once.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// A listener that serves until it is stopped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) open: OpenConnections,
    metrics: Arc<Mutex<Registry>>,
    pub(crate) gate: Gate,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

pub(crate) fn served(limits: ListenerLimits) -> Served {
    serve(limits, BodyBounds::default(), None)
}

pub(crate) fn serve(
    limits: ListenerLimits,
    bodies: BodyBounds,
    tls: Option<Certificates>,
) -> Served {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = Listener::new(socket, limits);
    if let Some(certificates) = tls {
        listener = listener.with_tls(certificates);
    }
    let (metrics, gate) = (Arc::new(Mutex::new(Registry::default())), Gate::default());
    for reading in figures::of_listener(&listener) {
        metrics.lock().unwrap().register_collector(Box::new(reading));
    }
    let open = listener.open_connections();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    let task = tokio::spawn(listener.serve(router(&gate, bodies), stopped));
    Served { address, open, metrics, gate, stop, task }
}

impl Served {
    pub(crate) async fn connect(&self) -> Raw<TcpStream> {
        Raw(TcpStream::connect(self.address).await.unwrap())
    }

    /// What metrics say now of that series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let mut text = String::new();
        encode(&mut text, &self.metrics.lock().unwrap()).unwrap();
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next()?.parse().ok()
    }

    /// Begins the drain; what is returned resolves at its end.
    pub(crate) fn stop(self) -> impl Future<Output = ()> {
        self.stop.send(()).unwrap();
        async move { within(self.task).await.unwrap().unwrap() }
    }

    /// Drops the future of the listener.
    pub(crate) async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn router(gate: &Gate, bodies: BodyBounds) -> Router {
    let gate = gate.clone();
    let wait = || async move {
        gate.entered.add_permits(1);
        gate.open.acquire().await.unwrap().forget();
        "waited"
    };
    Router::new()
        .route("/length", post(|form: FormRequest| async move { form.body.len().to_string() }))
        .route("/hello", get(|| async { "hello" }))
        .route("/wait", get(wait))
        .with_state(bodies)
}

/// `/wait` answers when the test says so.
#[derive(Clone)]
pub(crate) struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// One more request has arrived.
    pub(crate) async fn entered(&self) {
        within(self.entered.acquire()).await.unwrap().forget();
    }

    /// One request may go on.
    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }
}

/// A client that writes and reads bytes.
pub(crate) struct Raw<I>(pub(crate) I);

impl<I: AsyncRead + AsyncWrite + Unpin> Raw<I> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.unwrap();
        within(self.0.flush()).await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.answer().await
    }

    /// One answer, and no byte more.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = within(self.0.read_u8()).await;
            head.push(byte.unwrap_or_else(|error| panic!("{error} after {head:?}")));
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let (status, length) = status_and_length(&head);
        let mut body = vec![0; length.unwrap_or_default()];
        within(self.0.read_exact(&mut body)).await.unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Waits until the server has ended the connection, whether with a farewell or a reset.
    pub(crate) async fn ended(&mut self) {
        let mut rest = Vec::new();
        let _ = within(self.0.read_to_end(&mut rest)).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// What the head of an answer, in lower case, says of its status and of the length of its body.
pub(crate) fn status_and_length(head: &str) -> (u16, Option<usize>) {
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, length.map(|length| length.parse().unwrap()))
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_last(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

/// A client that speaks HTTP/2 over one connection, and that connection.
pub(crate) async fn multiplexed<I>(stream: I) -> (SendRequest<Full<Bytes>>, JoinHandle<()>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = within(handshake).await.unwrap();
    (client, tokio::spawn(async move { drop(connection.await) }))
}

pub(crate) async fn get_multiplexed(client: &mut SendRequest<Full<Bytes>>, path: &str) -> String {
    let request = Request::get(format!("http://a{path}")).body(Full::default()).unwrap();
    text(within(client.send_request(request)).await.unwrap()).await.1
}

pub(crate) async fn text(response: Response<hyper::body::Incoming>) -> (u16, String) {
    assert_eq!(response.version(), Version::HTTP_2);
    let status = response.status().as_u16();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits until `is_so`.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("it hangs"))
}
