//! What the demonstration starts: a control plane, unless there is a cluster, and the operator.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use support::control_plane::ControlPlane;
use support::control_plane::child::Child;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::kubectl::Kubectl;
use crate::{Arguments, ClusterChoice, screen};

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct World {
    // Fields drop in this order: the operator ends before what it works on.
    pub(crate) operator: Operator,
    pub(crate) kubectl: Kubectl,
    place: Place,
}

/// Where it runs, and a folder that vanishes with it.
#[derive(Debug)]
enum Place {
    /// A control plane for this demonstration alone.
    Local(ControlPlane),
    /// The cluster of kubectl.
    Current(TempDir),
}

/// The operator as a process.
#[derive(Debug)]
pub(crate) struct Operator {
    child: Child,
    health: SocketAddr,
    metrics: SocketAddr,
    log: PathBuf,
}

impl World {
    /// Starts everything; the operator is not ready yet.
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        screen::title("A cluster and the operator");
        let started = Instant::now();
        let place = match arguments.cluster {
            ClusterChoice::Local => Place::Local(ControlPlane::start().await?),
            ClusterChoice::Current => Place::Current(tempfile::tempdir()?),
        };
        let kubectl =
            Kubectl { kubeconfig: place.kubeconfig(), cache: place.folder().join("kubectl") };
        match place {
            Place::Local(_) => {
                ready_after("etcd, kube-apiserver and kube-controller-manager", started);
            }
            Place::Current(_) => must_be_unused(&kubectl).await?,
        }
        let log = place.folder().join("operator.log");
        let operator = Operator::start(&arguments.operator, kubectl.kubeconfig.as_deref(), log)?;
        Ok(Self { operator, kubectl, place })
    }

    /// The kubeconfig of the control plane that was started, if one was.
    pub(crate) fn kubeconfig(&self) -> Option<&Path> {
        self.kubectl.kubeconfig.as_deref()
    }

    /// Ends everything, and removes from a cluster that stays what was made there.
    pub(crate) async fn end(mut self) {
        let is_local = matches!(self.place, Place::Local(_));
        if !is_local {
            self.forget(&["technicalusers.iam.cyoda.com", "--all", "--all-namespaces"]).await;
            // The garbage collector may not have learnt of the kind yet, and once the kind is gone it never will.
            self.forget(&["secrets", "--selector=iam.cyoda.com/managed", "--all-namespaces"]).await;
            self.forget(&["-f", "crds"]).await;
        }
        self.operator.stop().await;
        screen::progress("the operator has ended");
        if is_local {
            screen::progress("the control plane and its data go now");
        } else {
            self.forget(&["namespace", NAMESPACE]).await;
            screen::progress("what was made in your cluster is gone");
        }
    }

    async fn forget(&self, what: &[&str]) {
        let arguments = [&["delete", "--ignore-not-found"], what].concat();
        if let Err(error) = self.kubectl.ask(&arguments).await {
            screen::complain(&error);
        }
    }
}

impl Place {
    fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Local(control_plane) => Some(control_plane.kubeconfig()),
            Self::Current(_) => None,
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Local(control_plane) => control_plane.folder(),
            Self::Current(folder) => folder.path(),
        }
    }
}

impl Operator {
    fn start(program: &Path, kubeconfig: Option<&Path>, log: PathBuf) -> anyhow::Result<Self> {
        if !program.exists() {
            bail!("no operator at {}: run `make build`", program.display());
        }
        let [listen, health, metrics] = free_addresses()?;
        let mut command: Vec<OsString> = vec!["env".into()];
        if let Some(kubeconfig) = kubeconfig {
            command.push(format!("KUBECONFIG={}", kubeconfig.display()).into());
        }
        command.push(program.into());
        let flags = [
            "all-in-one",
            "--log-format=text",
            "--allow-insecure-issuer",
            "--allowed-audiences=https://api.example.com", // of one of the examples
            &format!("--issuer=http://{listen}"),
            &format!("--listen={listen}"),
            &format!("--health-listen={health}"),
            &format!("--metrics-listen={metrics}"),
        ];
        command.extend(flags.into_iter().map(OsString::from));
        let child = Child::spawn(&command, &log).context("the operator does not start")?;
        Ok(Self { child, health, metrics, log })
    }

    /// Returns when it says that it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let health = self.health;
        let is_ready = async {
            while !answers_ok(health).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = is_ready => {
                ready_after("technical-user-operator all-in-one", started);
                Ok(())
            }
            () = tokio::time::sleep(MAX_START) => Err(self.last_words("is not ready")),
            last_words = self.ended() => Err(last_words),
        }
    }

    /// Returns when it ended by itself, with its last words.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        self.child.ended().await;
        self.last_words("ended")
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    async fn stop(&mut self) {
        self.child.signal("TERM");
        // What does not end by itself is killed when this is dropped.
        let _ = tokio::time::timeout(MAX_GRACE, self.child.ended()).await;
    }

    fn last_words(&self, what: &str) -> anyhow::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(10).collect();
        let end: Vec<_> = lines.into_iter().rev().collect();
        anyhow!("the operator {what}; its last words:\n{}", end.join("\n"))
    }
}

/// Everything made here is removed again, so nothing of it may have been there before.
async fn must_be_unused(kubectl: &Kubectl) -> anyhow::Result<()> {
    let context = kubectl.ask(&["config", "current-context"]).await?;
    screen::progress(&format!("your cluster, context {}", context.trim()));
    let found = kubectl
        .ask(&["get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"])
        .await
        .context("your cluster does not answer")?;
    let definition = kubectl
        .ask(&["get", "crd", "technicalusers.iam.cyoda.com", "--ignore-not-found", "-o", "name"])
        .await?;
    if !found.is_empty() || !definition.is_empty() {
        bail!(
            "technical-user-operator is or was installed in this cluster (namespace {NAMESPACE}, or the CRD). \
             This demonstration removes what it makes, and will not touch what others made"
        );
    }
    Ok(())
}

fn ready_after(what: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    screen::progress(&format!("{what}: ready after {seconds:.1} s"));
}

async fn answers_ok(address: SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    exchange.await.unwrap_or(false)
}

/// Free when they were chosen; all are held until the last one is found, so that they differ.
fn free_addresses<const N: usize>() -> std::io::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut listeners = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}

const NAMESPACE: &str = "technical-user-system";
/// A minute is ten times what a busy machine takes.
const MAX_START: Duration = Duration::from_mins(1);
const MAX_GRACE: Duration = Duration::from_secs(15);
