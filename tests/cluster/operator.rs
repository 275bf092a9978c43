//! The operator as a process of its own, as it runs in a cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use support::control_plane::child::Child;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::until;

pub(crate) const ISSUER: &str = "https://auth.example.com";

/// A running operator; dropping it kills it.
pub(crate) struct Operator {
    child: Child,
    health: u16,
    metrics: u16,
}

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) arguments: Vec<String>,
}

impl Launch {
    pub(crate) fn new(kubeconfig: PathBuf, log: PathBuf) -> Self {
        Self { kubeconfig, log, arguments: Vec::new() }
    }

    pub(crate) fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    pub(crate) fn start(&self) -> Operator {
        let (health, metrics) = (free_port(), free_port());
        let child = Child::spawn(&self.command(health, metrics), &self.log).unwrap();
        Operator { child, health, metrics }
    }

    /// The whole command line, environment included.
    pub(crate) fn command(&self, health: u16, metrics: u16) -> Vec<OsString> {
        let mut kubeconfig = OsString::from("KUBECONFIG=");
        kubeconfig.push(&self.kubeconfig);
        let mut words: Vec<OsString> = vec!["/usr/bin/env".into(), kubeconfig];
        words.extend(
            [
                "RUST_LOG=trace",
                "RUST_BACKTRACE=1",
                env!("CARGO_BIN_EXE_technical-user-operator"),
                "controller",
                "--issuer",
                ISSUER,
            ]
            .map(OsString::from),
        );
        words.extend(["--health-listen".into(), format!("127.0.0.1:{health}").into()]);
        words.extend(["--metrics-listen".into(), format!("127.0.0.1:{metrics}").into()]);
        words.extend(self.arguments.iter().map(OsString::from));
        words
    }
}

impl Operator {
    pub(crate) fn signal(&mut self, name: &str) {
        self.child.signal(name);
    }

    pub(crate) async fn ended(&mut self) {
        self.child.ended().await;
    }

    pub(crate) async fn ready(&self) {
        until("the operator is ready", || async {
            let answer = get(self.health, "/readyz").await?;
            answer.starts_with("HTTP/1.1 200").then_some(())
        })
        .await;
    }

    pub(crate) async fn metrics(&self) -> String {
        until("metrics", || get(self.metrics, "/metrics")).await
    }
}

/// One plain request; more of HTTP is not needed.
async fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

pub(crate) fn free_port() -> u16 {
    support::control_plane::free_port().unwrap()
}

/// How many lines of a log contain that text.
pub(crate) fn lines_with(log: &Path, text: &str) -> usize {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).count()
}
