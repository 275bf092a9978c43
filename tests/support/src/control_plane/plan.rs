//! Which program runs where, with which arguments: all that a second start must repeat.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{ControlPlaneError, Options, Process, credentials::Account, ports::Ports};

/// Everything that is decided before the first program starts.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) programs: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) ports: Ports,
    pub(super) options: Options,
}

/// The folder of the programs: `KUBEBUILDER_ASSETS`, else what `make control-plane` built last.
pub(super) fn find_programs(options: &Options) -> Result<PathBuf, ControlPlaneError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable belongs to the tests, not to the operator, and is a convention of the ecosystem"
    )]
    let assets = std::env::var("KUBEBUILDER_ASSETS").ok().filter(|assets| !assets.is_empty());
    let folder = assets.map_or_else(|| PathBuf::from(BUILT), PathBuf::from);

    let needed = [Process::Etcd, Process::ApiServer, Process::ControllerManager];
    let missing = needed
        .into_iter()
        .filter(|process| *process != Process::ControllerManager || options.controller_manager)
        .map(Process::program)
        .find(|program| !folder.join(program).exists());
    match missing {
        Some(program) => Err(ControlPlaneError::Absent { program, folder }),
        None => Ok(folder),
    }
}

impl Plan {
    pub(super) fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    pub(super) fn kubeconfig(&self, account: Account) -> PathBuf {
        self.folder.join(format!("{}.kubeconfig", account.name()))
    }

    pub(super) fn log(&self, process: Process) -> PathBuf {
        self.folder.join(format!("{}.log", process.program()))
    }

    /// The end of a program's log, enough to see why it ended.
    pub(super) fn last_words(&self, process: Process) -> String {
        let log = fs::read(self.log(process)).unwrap_or_default();
        let start = log.len().saturating_sub(4096);
        String::from_utf8_lossy(&log[start..]).into_owned()
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(super) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit-policy.json")
    }

    pub(super) fn etcd_data(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    /// The key that signs the tokens of service accounts.
    pub(super) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    /// Where the API server keeps the certificate that it makes for itself, the CA of it included.
    pub(super) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    pub(super) fn server_certificate(&self) -> PathBuf {
        self.certificates().join("apiserver.crt")
    }

    pub(super) fn command(&self, process: Process) -> Vec<OsString> {
        let arguments = match process {
            Process::Etcd => self.etcd(),
            Process::ApiServer => self.api_server(),
            Process::ControllerManager => self.controller_manager(),
        };
        let mut command = vec![self.programs.join(process.program()).into_os_string()];
        command.extend(arguments.into_iter().map(OsString::from));
        command
    }

    pub(super) fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    fn etcd(&self) -> Vec<String> {
        let client = self.etcd_url();
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        vec![
            flag("data-dir", &self.etcd_data()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // A killed process loses nothing that it wrote; only a killed machine would.
            "--unsafe-no-fsync".into(),
        ]
    }

    fn api_server(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            "--bind-address=127.0.0.1".into(),
            // Otherwise it looks for the address of a default route, which a sandbox may lack.
            "--advertise-address=127.0.0.1".into(),
            // Endpoints refuse loopback addresses.
            "--endpoint-reconciler-type=none".into(),
            format!("--secure-port={}", self.ports.api_server),
            flag("cert-dir", &self.certificates()),
            "--authorization-mode=RBAC".into(),
            flag("token-auth-file", &self.tokens()),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            flag("service-account-key-file", &self.service_account_key()),
            flag("service-account-signing-key-file", &self.service_account_key()),
            "--service-cluster-ip-range=10.0.0.0/24".into(),
        ];
        if self.options.audit {
            arguments.push(flag("audit-policy-file", &self.audit_policy()));
            arguments.push(flag("audit-log-path", &self.audit_log()));
        }
        arguments.extend_from_slice(&self.options.api_server_arguments);
        arguments
    }

    fn controller_manager(&self) -> Vec<String> {
        let mut arguments = vec![
            flag("kubeconfig", &self.kubeconfig(Account::ControllerManager)),
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.ports.controller_manager),
            flag("cert-dir", &self.certificates()),
            "--leader-elect=false".into(),
            format!("--controllers={}", CONTROLLERS.join(",")),
        ];
        arguments.extend_from_slice(&self.options.controller_manager_arguments);
        arguments
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// Of some forty, those whose work the operator or its chart relies on; nothing here runs a Pod.
const CONTROLLERS: &[&str] = &[
    "garbage-collector-controller", // what is owned goes with its owner
    "namespace-controller",         // deleted namespaces become empty and end
    "serviceaccount-controller",    // every namespace has its `default` account
    "clusterrole-aggregation-controller", // `aggregate-to-…` labels of the chart's roles
    "validatingadmissionpolicy-status-controller", // type checks of the chart's policies
];

/// `build.sh` keeps this link.
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/control-plane/current");
