//! A control plane made of the real programs: etcd, kube-apiserver and kube-controller-manager as processes of
//! this machine, on loopback, in a folder of their own.
//!
//! Each can be killed and started again on the same data. Nothing outlives the test: dropping a [`ControlPlane`]
//! ends its processes and removes its folder, and so does the death of the test itself, by any signal.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use support::control_plane::{ControlPlane, Process};
//!
//! let mut control_plane = ControlPlane::start().await?;
//! let kube = control_plane.client().await;
//! control_plane.kill(Process::ApiServer);
//! control_plane.restart(Process::ApiServer).await?;
//! # drop(kube);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

pub use self::error::ControlPlaneError;
pub use self::ports::free_port;
use self::{child::Child, error::because, plan::Plan, ports::Ports, sweeper::Sweeper};

pub mod child;
mod credentials;
mod error;
mod plan;
mod ports;
mod probe;
mod sweeper;

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields drop in this order: the processes end before their folder goes.
    children: BTreeMap<Process, Child>,
    plan: Plan,
    snapshots: u32,
    sweeper: Sweeper,
    folder: TempDir,
}

/// One of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// The store.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`, which collects owned objects and the contents of deleted namespaces.
    ControllerManager,
}

/// Whom a client speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// May do anything: `system:masters`.
    Admin,
    /// The operator's service account, with no more than the roles bound to it.
    Operator,
    /// The service account of the token service, with no more than the roles bound to it.
    TokenServer,
    /// Authenticated, and bound to nothing.
    Nobody,
}

/// What a control plane is made of; [`Options::default`] is what most tests want.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether kube-controller-manager runs too. Default: true.
    pub controller_manager: bool,
    /// Whether every request is written to [`ControlPlane::audit_log`], without bodies. Default: false.
    pub audit: bool,
    /// Further arguments of kube-apiserver.
    pub api_server_arguments: Vec<String>,
    /// Further arguments of kube-controller-manager, for example `--controllers=*`.
    pub controller_manager_arguments: Vec<String>,
}

/// The contents of etcd at one instant; goes with its control plane.
#[derive(Debug, Clone)]
pub struct Snapshot {
    data: PathBuf,
}

impl ControlPlane {
    /// Starts all three programs and returns when they are ready.
    pub async fn start() -> Result<Self, ControlPlaneError> {
        Self::start_with(Options::default()).await
    }

    /// Starts the programs and returns when they are ready, which takes a few seconds.
    ///
    /// Ports are free when they are chosen, and another process may still take one before its owner binds it;
    /// then everything starts again on other ports.
    pub async fn start_with(options: Options) -> Result<Self, ControlPlaneError> {
        let mut conflicts = 0;
        loop {
            match Self::start_once(options.clone()).await {
                Err(ControlPlaneError::Ended { last_words, .. })
                    if last_words.contains("address already in use")
                        && conflicts < MAX_CONFLICTS =>
                {
                    conflicts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Starts the programs, or says loudly that they are absent and returns nothing, for tests to end there. In
    /// CI, where no person reads it, that is a failure, as every other error is everywhere.
    pub async fn start_or_skip(options: Options) -> Option<Self> {
        match Self::start_with(options).await {
            Ok(control_plane) => Some(control_plane),
            Err(absent @ ControlPlaneError::Absent { .. }) if !is_ci() => {
                // Past the capture of test output, which hides what succeeds.
                let _ = writeln!(io::stderr(), "\n*** SKIPPED: {absent} ***\n");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn start_once(options: Options) -> Result<Self, ControlPlaneError> {
        let programs = plan::find_programs(&options)?;
        let folder = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir()
            .map_err(because("make a temporary folder"))?;
        let sweeper = Sweeper::of(folder.path()).map_err(because("start the folder's sweeper"))?;
        let plan = Plan {
            programs,
            folder: folder.path().to_owned(),
            ports: Ports::choose().map_err(because("find free ports"))?,
            options,
        };
        credentials::write(&plan).map_err(because("write credentials"))?;

        let mut control_plane =
            Self { children: BTreeMap::new(), plan, snapshots: 0, sweeper, folder };
        control_plane.spawn(Process::Etcd).await?;
        control_plane.spawn(Process::ApiServer).await?;
        if control_plane.plan.options.controller_manager {
            control_plane.spawn(Process::ControllerManager).await?;
        }
        Ok(control_plane)
    }

    /// The folder of everything: logs, data, credentials. It goes when the control plane goes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the API server listens, for example `https://127.0.0.1:21007`.
    pub fn server_url(&self) -> String {
        self.plan.server_url()
    }

    /// A kubeconfig of [`User::Admin`].
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(User::Admin)
    }

    /// A kubeconfig of that user, for kubectl and for programs under test.
    pub fn kubeconfig_of(&self, user: User) -> PathBuf {
        self.plan.kubeconfig(credentials::Account::from(user))
    }

    /// A client of [`User::Admin`].
    pub async fn client(&self) -> kube::Client {
        self.client_of(User::Admin).await
    }

    /// A client of that user. It repeats nothing by itself, and gives up on a server that went silent.
    pub async fn client_of(&self, user: User) -> kube::Client {
        client(&self.kubeconfig_of(user)).await.expect("the kubeconfig was written by this module")
    }

    /// The log of a program, all its lives in one file.
    pub fn log(&self, process: Process) -> PathBuf {
        self.plan.log(process)
    }

    /// The audit log, one JSON object a line; written with [`Options::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.plan.audit_log()
    }

    /// The process id, while it runs.
    pub fn pid(&self, process: Process) -> Option<u32> {
        self.children.get(&process).map(Child::pid)
    }

    /// The resident memory of all programs together, in bytes; Linux only, elsewhere 0.
    pub fn resident_bytes(&self) -> u64 {
        self.children.values().map(Child::resident_bytes).sum()
    }

    /// Kills the program (SIGKILL) and returns when it is gone. What is dead stays dead.
    pub fn kill(&mut self, process: Process) {
        self.children.remove(&process);
    }

    /// Asks the program to end (SIGTERM) and returns when it is gone; kills it when it takes too long.
    pub async fn stop(&mut self, process: Process) {
        if let Some(mut child) = self.children.remove(&process) {
            child.signal("TERM");
            let _ = tokio::time::timeout(MAX_GRACE, child.ended()).await;
        }
    }

    /// Halts the program (SIGSTOP): it keeps its connections and answers nothing.
    pub fn freeze(&mut self, process: Process) {
        if let Some(child) = self.children.get_mut(&process) {
            child.signal("STOP");
        }
    }

    /// Lets a halted program go on (SIGCONT).
    pub fn thaw(&mut self, process: Process) {
        if let Some(child) = self.children.get_mut(&process) {
            child.signal("CONT");
        }
    }

    /// Kills the program if it runs and starts it again, on the same port and the same data. Returns when it
    /// and the API server, if that runs, are ready.
    ///
    /// The controller manager looks for new kinds every 30 s. One that starts after the custom resource
    /// definitions are there collects what their objects own from the beginning.
    pub async fn restart(&mut self, process: Process) -> Result<(), ControlPlaneError> {
        self.kill(process);
        self.spawn(process).await?;
        if process == Process::Etcd && self.children.contains_key(&Process::ApiServer) {
            self.ready(Process::ApiServer).await?;
        }
        Ok(())
    }

    /// Copies the contents of etcd. The API server and etcd are away meanwhile, as after a kill.
    pub async fn snapshot(&mut self) -> Result<Snapshot, ControlPlaneError> {
        self.snapshots += 1;
        let snapshot =
            Snapshot { data: self.folder().join(format!("snapshot-{}", self.snapshots)) };
        self.kill(Process::ApiServer);
        self.kill(Process::Etcd);
        copy_folder(&self.plan.etcd_data(), &snapshot.data).map_err(because("copy etcd's data"))?;
        self.spawn(Process::Etcd).await?;
        self.spawn(Process::ApiServer).await?;
        Ok(snapshot)
    }

    /// Puts the contents of etcd back to what they were: resource versions go backwards, as they do after a
    /// restored backup. All programs start again.
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), ControlPlaneError> {
        self.children.clear();
        let data = self.plan.etcd_data();
        fs::remove_dir_all(&data).map_err(because("remove etcd's data"))?;
        copy_folder(&snapshot.data, &data).map_err(because("copy etcd's data"))?;
        self.spawn(Process::Etcd).await?;
        self.spawn(Process::ApiServer).await?;
        if self.plan.options.controller_manager {
            self.spawn(Process::ControllerManager).await?;
        }
        Ok(())
    }

    async fn spawn(&mut self, process: Process) -> Result<(), ControlPlaneError> {
        let child = Child::spawn(&self.plan.command(process), &self.plan.log(process))
            .map_err(because("start a program"))?;
        self.children.insert(process, child);
        self.ready(process).await
    }

    async fn ready(&mut self, process: Process) -> Result<(), ControlPlaneError> {
        let program = process.program();
        let Some(child) = self.children.get_mut(&process) else {
            return Ok(());
        };
        let ready = async {
            tokio::select! {
                () = probe::ready(&self.plan, process) => true,
                () = child.ended() => false,
            }
        };
        match tokio::time::timeout(MAX_START, ready).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(ControlPlaneError::Ended { program, last_words: self.plan.last_words(process) })
            }
            Err(_) => Err(ControlPlaneError::NotReady {
                program,
                within: MAX_START,
                last_words: self.plan.last_words(process),
            }),
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.children.clear();
        self.sweeper.dismiss();
    }
}

impl Process {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: true,
            audit: false,
            api_server_arguments: Vec::new(),
            controller_manager_arguments: Vec::new(),
        }
    }
}

/// A client from a kubeconfig, as [`ControlPlane::client_of`] describes it.
async fn client(kubeconfig: &Path) -> Result<kube::Client, Box<dyn std::error::Error>> {
    // The process may have chosen already, and then the choice is the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // A quiet watch still carries a bookmark a minute.
    config.read_timeout = Some(Duration::from_secs(90));
    config.reset_reader_on_write = true;
    Ok(kube::Client::try_from(config)?)
}

#[expect(clippy::disallowed_methods, reason = "CI=true is how CI systems make themselves known")]
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Twenty times what it takes on an idle machine of two cores.
const MAX_START: Duration = Duration::from_secs(90);
/// The API server waits for open requests, and those end within a minute.
const MAX_GRACE: Duration = Duration::from_secs(70);
/// Two in a row are bad luck, three are something else.
const MAX_CONFLICTS: u32 = 3;
