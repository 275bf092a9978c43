//! A token service as a process of its own, and clients as the operator stores them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use technical_user_operator::api as names;
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::domain::crypto::client_secret::{
    ClientId, ClientSecret, CredentialId, Verifier,
};
use technical_user_operator::domain::technical_user::verifier_record::{
    Entry, EntryState, Owner, Record,
};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::operator::{Operator, ProcessorTime, free_port, ready, resident_mb};
use crate::{COST, ISSUER, NAMESPACE};

/// The algorithms that are measured, and the names of their series.
pub(crate) const SERIES: [(&str, &str); 3] =
    [("RS256", "rs256"), ("ES256", "es256"), ("EdDSA", "eddsa")];

/// A running token service, killed on drop.
pub(crate) struct TokenServer {
    process: Child,
    pub(crate) port: u16,
    pub(crate) ready_s: f64,
}

/// One client secret and its verifier, which all clients share: a bcrypt for each of 10,000 clients
/// would take longer than everything that is measured.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) secret: ClientSecret,
    verifier: Verifier,
}

impl Credential {
    pub(crate) fn new() -> Self {
        let id = CredentialId::draw(&[7; 10]).unwrap();
        let secret = ClientSecret::draw(&id, &[9; 64]).unwrap();
        let verifier = Verifier::of(&secret, COST, [3; 16]).unwrap();
        Self { id, secret, verifier }
    }

    /// Of the right form and checksum, and wrong: of another random part, and of another id when
    /// one is named.
    pub(crate) fn wrong(&self, id: Option<&CredentialId>) -> String {
        let id = id.unwrap_or(&self.id);
        ClientSecret::draw(id, &[11; 64]).unwrap().reveal().to_owned()
    }
}

/// The numbered id of a client secret that does not exist.
pub(crate) fn unknown_id(number: u32) -> CredentialId {
    let digits = format!("{number:010}");
    digits.parse().unwrap()
}

impl TokenServer {
    /// Starts one with every limit, metrics, and audit records in a file, and waits until it is
    /// ready.
    pub(crate) async fn start(kubeconfig: &Path, audit: PathBuf, flags: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_technical-user-operator"));
        Self::start_of(program, kubeconfig, audit, flags).await
    }

    /// The same of another build.
    pub(crate) async fn start_of(
        program: &Path,
        kubeconfig: &Path,
        audit: PathBuf,
        flags: &[&str],
    ) -> Self {
        let (port, health) = (free_port(), free_port());
        let began = Instant::now();
        let process = Command::new(program)
            .args(["token-server", "--issuer", ISSUER])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--health-listen", &format!("127.0.0.1:{health}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{}", free_port())])
            .arg("--audit-log-path")
            .arg(audit)
            .args(flags)
            .env("KUBECONFIG", kubeconfig)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !(ready(health).await && TcpStream::connect(("127.0.0.1", port)).await.is_ok()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { process, port, ready_s: began.elapsed().as_secs_f64() }
    }

    pub(crate) fn processor_time(&self) -> ProcessorTime {
        ProcessorTime::of(self.process.id())
    }

    pub(crate) fn resident_mb(&self) -> f64 {
        resident_mb(self.process.id())
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Has the operator make a key for each algorithm. It does not run any more afterwards: what is
/// written then, it would write otherwise.
pub(crate) async fn make_keys(client: &Client, kubeconfig: &Path) {
    let operator = Operator::start(kubeconfig);
    let series: Api<SigningKey> = Api::all(client.clone());
    for (algorithm, name) in SERIES {
        let one: SigningKey = serde_json::from_value(json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
            "metadata": {"name": name}, "spec": {"algorithm": algorithm},
        }))
        .unwrap();
        series.create(&PostParams::default(), &one).await.unwrap();
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    for (_, name) in SERIES {
        while !is_signing(&series, name).await
            || maps.get_opt(&format!("{name}-jwks")).await.unwrap().is_none()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    drop(operator);
}

async fn is_signing(series: &Api<SigningKey>, name: &str) -> bool {
    let one = serde_json::to_value(series.get(name).await.unwrap()).unwrap();
    let conditions = one["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// Writes clients with their records, and returns their ids.
pub(crate) async fn write_clients(
    client: &Client,
    credential: &Credential,
    (prefix, count): (&str, usize),
    series: &str,
) -> Vec<String> {
    let clients = stream::iter(0..count).map(|index| {
        let name = format!("{prefix}-{index}");
        write_client(client, credential, name, series)
    });
    clients.buffer_unordered(AT_ONCE).collect().await
}

async fn write_client(
    client: &Client,
    credential: &Credential,
    name: String,
    series: &str,
) -> String {
    let users: Api<TechnicalUser> = Api::namespaced(client.clone(), "many");
    let user: TechnicalUser = serde_json::from_value(json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
        "metadata": {"name": name}, "spec": {"signingKeyRef": {"name": series}},
    }))
    .unwrap();
    let user = users.create(&PostParams::default(), &user).await.unwrap();
    let uid = user.uid().unwrap();
    let id = ClientId::derived_from(&uid);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace_uid = namespaces.get("many").await.unwrap().uid();
    let owner = Owner { uid, namespace: "many".to_owned(), name, namespace_uid };
    let mut record = Record::empty(id.clone(), owner);
    let issued_at = user.metadata.creation_timestamp.unwrap().0;
    let verifier = credential.verifier.clone();
    let entry = Entry { verifier, state: EntryState::Current, serial: 0, issued_at };
    record.entries.insert(credential.id.clone(), entry);
    let stored = ByteString(record.to_json().to_string().into_bytes());
    let secret = Secret {
        metadata: ObjectMeta { name: Some(id.record_name()), ..ObjectMeta::default() },
        type_: Some(names::RECORD_TYPE.to_owned()),
        data: Some(BTreeMap::from([(names::RECORD_FIELD.to_owned(), stored)])),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    id.to_string()
}

const AT_ONCE: usize = 24;
