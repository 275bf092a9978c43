//! The operator as its users run it: a process of its own, measured from outside.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::Client;

use crate::{COST, ISSUER};

/// A running operator, killed on drop.
pub(crate) struct Operator {
    process: Child,
    health: u16,
}

impl Operator {
    pub(crate) fn start(kubeconfig: &Path) -> Self {
        let health = free_port();
        let process = Command::new(env!("CARGO_BIN_EXE_technical-user-operator"))
            .args(["controller", "--issuer", ISSUER, "--bcrypt-cost", &COST.to_string()])
            .args(["--health-listen", &format!("127.0.0.1:{health}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{}", free_port())])
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, health }
    }

    pub(crate) async fn ready(&self) {
        while !ready(self.health).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn processor_ms(&self) -> f64 {
        processor_ms(self.process.id())
    }

    pub(crate) fn resident_mb(&self) -> f64 {
        resident_mb(self.process.id())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the process that answers about its health there is ready.
pub(crate) async fn ready(health: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", health)).await else {
        return false;
    };
    let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// The memory of a process that is in use.
pub(crate) fn resident_mb(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0 / 1e6
}

/// User and system time of a process; the kernel counts in hundredths of a second.
pub(crate) fn processor_ms(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) * 10.0
}

/// The time that each thread of a process was on a processor so far, to the nanosecond.
pub(crate) struct ProcessorTime(BTreeMap<OsString, f64>);

impl ProcessorTime {
    pub(crate) fn of(process: u32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let times = tasks.filter_map(|task| {
            let task = task.unwrap();
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name(), text.split(' ').next()?.parse().ok()?))
        });
        Self(times.collect())
    }

    /// The time since then. Threads that have ended do not count: the ones that serve never do.
    pub(crate) fn us_since(&self, before: &Self) -> f64 {
        let each = self.0.iter().map(|(task, ns)| ns - before.0.get(task).unwrap_or(&0.0));
        each.sum::<f64>() / 1000.0
    }
}

/// Requests that the API server answered about what the operator touches, watches and leases aside.
pub(crate) async fn requests(client: &Client) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    let is_counted = |line: &&str| {
        let touches =
            ["secrets", "technicalusers", "signingkeys", "configmaps", "namespaces", "events"];
        line.starts_with("apiserver_request_total{")
            && !line.contains("verb=\"WATCH\"")
            && touches.iter().any(|it| line.contains(&format!("resource=\"{it}\"")))
    };
    let counts = text.lines().filter(is_counted).filter_map(|line| line.rsplit(' ').next());
    counts.filter_map(|count| count.parse::<u64>().ok()).sum()
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
