//! A control plane with `all-in-one` in it, and what an administrator does there.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use oauth2::reqwest::blocking::get;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::control_plane::child::Child;
use support::control_plane::{ControlPlane, Options};
use technical_user_operator::api::signing_key::{Algorithm, SigningKey};
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::api::{
    KEY_PAIR_FIELD, KEY_PAIR_TYPE, REVOKE_REQUESTED_AT, ROTATE_REQUESTED_AT, SIGNING_KEY,
};
use technical_user_operator::domain::crypto::client_secret::ClientSecret;
use technical_user_operator::environment::private_key::PrivateKey;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// The token service, and the cluster that it reads.
pub(crate) struct World {
    // Fields drop in this order: the service ends before what it works on.
    _service: Child,
    pub(crate) issuer: String,
    kube: kube::Client,
    _control_plane: ControlPlane,
    runtime: Runtime,
}

/// The data of a client when its `TechnicalUser` is ready.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) secret: ClientSecret,
}

impl World {
    /// Starts everything; nothing where the programs of a control plane are absent.
    pub(crate) fn start() -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let options = Options { controller_manager: false, ..Options::default() };
        let control_plane = runtime.block_on(ControlPlane::start_or_skip(options))?;
        let kube = runtime.block_on(control_plane.client());
        let [listen, health, metrics] = free_addresses();
        let issuer = format!("http://{listen}");
        let log = control_plane.folder().join("all-in-one.log");
        let addresses =
            [("listen", listen), ("health-listen", health), ("metrics-listen", metrics)];
        let flags = addresses.map(|(flag, address)| format!("--{flag}={address}"));
        let command = command(control_plane.kubeconfig(), &issuer, &flags);
        let service = Child::spawn(&command, &log).unwrap();
        let world =
            Self { _service: service, issuer, kube, _control_plane: control_plane, runtime };
        until("the service is ready", || {
            let answer = get(format!("http://{health}/readyz/sign")).ok()?;
            answer.status().is_success().then_some(())
        });
        Some(world)
    }

    /// The uid of the namespace in which the users are.
    pub(crate) fn tenant(&self) -> String {
        let namespaces = Api::<Namespace>::all(self.kube.clone());
        let namespace = self.runtime.block_on(namespaces.get("default")).unwrap();
        namespace.metadata.uid.unwrap()
    }

    // === users ===

    pub(crate) fn apply_user(&self, name: &str, spec: &Value) {
        self.apply(&self.users(), "TechnicalUser", name, spec);
    }

    /// What the Secret of a user says, once it is there.
    pub(crate) fn credential(&self, user: &str) -> Option<Credential> {
        let secrets = Api::<Secret>::default_namespaced(self.kube.clone());
        let secret = self.runtime.block_on(secrets.get_opt(&format!("{user}-credentials")));
        let data = secret.unwrap()?.data?;
        let text = |field: &str| String::from_utf8(data.get(field)?.0.clone()).ok();
        Some(Credential { id: text("client_id")?, secret: text("client_secret")?.parse().ok()? })
    }

    /// Asks for a new client secret; the present one stays good.
    pub(crate) fn rotate_user(&self, name: &str) {
        self.annotate(&self.users(), name, ROTATE_REQUESTED_AT, "once");
    }

    /// Ends all client secrets, and asks for a new one.
    pub(crate) fn revoke_user(&self, name: &str) {
        self.annotate(&self.users(), name, REVOKE_REQUESTED_AT, "once");
    }

    fn users(&self) -> Api<TechnicalUser> {
        Api::default_namespaced(self.kube.clone())
    }

    // === keys ===

    pub(crate) fn apply_key(&self, name: &str, spec: &Value) {
        self.apply(&self.keys(), "SigningKey", name, spec);
    }

    /// The kid of the key that signs.
    pub(crate) fn active_kid(&self, series: &str) -> Option<String> {
        let key = self.runtime.block_on(self.keys().get(series)).unwrap();
        key.status?.active_kid
    }

    pub(crate) fn rotate_key(&self, name: &str) {
        self.annotate(&self.keys(), name, ROTATE_REQUESTED_AT, "once");
    }

    /// A private key of a series, as an attacker who steals it from the cluster would have it.
    pub(crate) fn private_key(&self, series: &str, algorithm: Algorithm) -> PrivateKey {
        let secrets = Api::<Secret>::namespaced(self.kube.clone(), "technical-user-system");
        let chosen = ListParams::default()
            .labels(&format!("{SIGNING_KEY}={series}"))
            .fields(&format!("type={KEY_PAIR_TYPE}"));
        let pairs = self.runtime.block_on(secrets.list(&chosen)).unwrap().items;
        let data = pairs[0].data.as_ref().unwrap();
        PrivateKey::from_pkcs8(algorithm, &data[KEY_PAIR_FIELD].0).unwrap()
    }

    fn keys(&self) -> Api<SigningKey> {
        Api::all(self.kube.clone())
    }

    // === any object ===

    fn apply<K>(&self, api: &Api<K>, kind: &str, name: &str, spec: &Value)
    where
        K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    {
        let object = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        });
        let parameters = PatchParams::apply("administrator").force();
        self.runtime.block_on(api.patch(name, &parameters, &Patch::Apply(object))).unwrap();
    }

    fn annotate<K>(&self, api: &Api<K>, name: &str, annotation: &str, value: &str)
    where
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        self.runtime.block_on(api.patch(name, &PatchParams::default(), &patch)).unwrap();
    }
}

fn command(kubeconfig: PathBuf, issuer: &str, addresses: &[String]) -> Vec<OsString> {
    let mut environment = OsString::from("KUBECONFIG=");
    environment.push(kubeconfig);
    let mut words: Vec<OsString> = vec!["/usr/bin/env".into(), environment];
    words.push(env!("CARGO_BIN_EXE_technical-user-operator").into());
    words.extend(["all-in-one", "--allow-insecure-issuer", "--issuer", issuer].map(Into::into));
    // What the users of these tests ask for, and no more.
    words.push("--allowed-roles=ROLE_M2M,orders:read".into());
    words.push("--allowed-audiences=https://api.example.com,orders,kafka".into());
    words.extend(addresses.iter().map(Into::into));
    words
}

/// Waits for something to become true, and fails with its name when it does not.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(outcome) = attempt() {
            return outcome;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(PAUSE);
    }
}

/// Free when they were chosen; all are held until the last one is found, so that they differ.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap())
}

/// Many times what a busy machine takes.
const PATIENCE: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(50);
