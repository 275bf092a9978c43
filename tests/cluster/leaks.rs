//! Searches everything that was written for client secrets, verifiers and private keys: logs at
//! TRACE, the audit log, Events, statuses, key sets, metadata and metrics.

use std::path::PathBuf;
use std::slice;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Process};
use support::leak::LeakScan;
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::api::{
    KEY_PAIR_FIELD, KEY_PAIR_TYPE, LEDGER_FIELD, LEDGER_TYPE, RECORD_FIELD, RECORD_TYPE,
    REVOKE_REQUESTED_AT,
};

use crate::figures::{keep, say};
use crate::namespace::{Namespace, field, shown};
use crate::signing_keys::private::secret_numbers;
use crate::world::shared;

/// What is sought, and what was said by others than logs.
#[derive(Default)]
pub(crate) struct Evidence {
    secrets: Vec<(String, Vec<u8>)>,
    texts: Vec<(String, Vec<u8>)>,
}

impl Evidence {
    pub(crate) fn secret(&mut self, label: &str, text: &str) {
        self.secret_bytes(label, text.as_bytes().to_vec());
    }

    pub(crate) fn secret_bytes(&mut self, label: &str, bytes: Vec<u8>) {
        self.secrets.push((label.to_owned(), bytes));
    }

    pub(crate) fn text(&mut self, name: &str, text: String) {
        self.bytes(name, text.into_bytes());
    }

    pub(crate) fn bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.texts.push((name.to_owned(), bytes));
    }

    /// Takes in every client secret and verifier that there is, and everything that is said of
    /// them.
    pub(crate) async fn cluster(&mut self, client: &Client) {
        let all = ListParams::default();
        for secret in Api::<Secret>::all(client.clone()).list(&all).await.unwrap() {
            if let Some(client_secret) = shown(&secret) {
                self.secret(&client_secret.id().to_string(), client_secret.reveal());
            }
            if secret.type_.as_deref() == Some(RECORD_TYPE) {
                self.verifiers(&secret);
            }
        }
        let users = Api::<TechnicalUser>::all(client.clone()).list(&all).await.unwrap();
        self.text("technical users", serde_json::to_string(&users).unwrap());
        let events = Api::<Event>::all(client.clone()).list(&all).await.unwrap();
        self.text("events", serde_json::to_string(&events).unwrap());
        let metadata = Api::<PartialObjectMeta<Secret>>::all(client.clone());
        let metadata = metadata.list_metadata(&all).await.unwrap();
        self.text("metadata of Secrets", serde_json::to_string(&metadata).unwrap());
    }

    /// Takes in every private key that there is, and everything that is said of signing keys.
    pub(crate) async fn key_sets(&mut self, client: &Client) {
        let all = ListParams::default();
        let series = Api::<SigningKey>::all(client.clone()).list(&all).await.unwrap();
        let key_pairs = all.clone().fields(&format!("type={KEY_PAIR_TYPE}"));
        for secret in Api::<Secret>::all(client.clone()).list(&key_pairs).await.unwrap() {
            let owner = secret.owner_references()[0].name.clone();
            let algorithm = series.iter().find(|it| it.name_any() == owner);
            let Some(algorithm) = algorithm.map(|it| it.spec.algorithm) else { continue };
            let der = &secret.data.as_ref().unwrap()[KEY_PAIR_FIELD].0;
            for number in secret_numbers(der, algorithm) {
                self.secret_bytes(&secret.name_any(), number);
            }
        }
        self.text("signing keys", serde_json::to_string(&series).unwrap());
        let maps = Api::<ConfigMap>::all(client.clone()).list(&all).await.unwrap();
        self.text("ConfigMaps", serde_json::to_string(&maps).unwrap());
        let ledgers = all.fields(&format!("type={LEDGER_TYPE}"));
        for secret in Api::<Secret>::all(client.clone()).list(&ledgers).await.unwrap() {
            self.text("ledger", field(&secret, LEDGER_FIELD).unwrap_or_default());
        }
    }

    fn verifiers(&mut self, record: &Secret) {
        let stored = field(record, RECORD_FIELD).unwrap_or_default();
        let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
        for (id, entry) in stored["entries"].as_object().into_iter().flatten() {
            if let Some(verifier) = entry["bcrypt"].as_str() {
                self.secret(&format!("verifier {id} in {}", record.name_any()), verifier);
            }
        }
    }
}

/// Fails when anything is found, or when the search would not find what it is to find.
pub(crate) fn search(
    run: &str,
    mut evidence: Evidence,
    control_plane: &ControlPlane,
    logs: &[PathBuf],
) {
    evidence.secrets.sort();
    evidence.secrets.dedup();
    let mut scan = LeakScan::new();
    for (label, bytes) in &evidence.secrets {
        scan = scan.secret_bytes(label, bytes);
    }
    let (found, planted) = scan.prove_itself();
    for (name, bytes) in &evidence.texts {
        scan.bytes(name, bytes);
    }
    for log in logs {
        scan.file(log).unwrap();
    }
    scan.file(control_plane.audit_log()).unwrap();
    for process in [Process::ApiServer, Process::Etcd, Process::ControllerManager] {
        scan.file(control_plane.log(process)).unwrap();
    }
    let report = scan.report();
    say(&format!(
        "{run}: bytes={} secrets={} patterns={} planted_found={found}/{planted} leaks={}",
        report.bytes, report.secrets, report.patterns, report.count
    ));
    let figures = json!({
        "bytes": report.bytes, "secrets": report.secrets, "patterns": report.patterns,
        "planted": planted, "planted_found": found, "leaks": report.count,
    });
    let name = if run == "flows" { "leaks".to_owned() } else { format!("leaks-{run}") };
    keep(&name, &figures);
    assert_eq!(found, planted, "the search does not find what was planted");
    assert_eq!(report.count, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere_but_where_it_belongs() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "leaks").await;
    let mut evidence = Evidence::default();
    for number in 0..USERS {
        let spec = json!({"secretTemplate": {"keys": {"PASSWORD": "client_secret"}}});
        namespace.apply(&format!("user-{number}"), spec).await;
    }
    for round in 1..=ROUNDS {
        for number in 0..USERS {
            let name = format!("user-{number}");
            namespace.serial(&name, round).await;
            let secret = format!("{name}-credentials");
            let visible = namespace.shown(&secret).await;
            evidence.secret(&visible.id().to_string(), visible.reveal());
            match (round + number) % 4 {
                0 => namespace.request_rotation(&name, &format!("{round}")).await,
                1 => namespace.delete_secret(&secret).await,
                2 => namespace.annotate(&name, REVOKE_REQUESTED_AT, &format!("{round}")).await,
                _ => {
                    let patch = json!({"data": {"client_secret": STANDARD.encode("by hand")}});
                    namespace.patch_secret(&secret, patch).await;
                }
            }
        }
    }
    // A record that cannot be read must not be quoted, and neither must a Secret in the way.
    let client_id = namespace.client_id("user-0").await;
    namespace.serial("user-0", ROUNDS + 1).await;
    let stored = namespace.stored(&client_id).await;
    namespace
        .write_record(&client_id, &stored.replace("\"bcrypt\":\"", "\"bcrypt\":\"broken "))
        .await;
    namespace.says("user-0", "RecordUnreadable").await;
    namespace.write_record(&client_id, &stored).await;
    namespace.ready("user-0").await;

    evidence.cluster(&namespace.client).await;
    evidence.key_sets(&namespace.client).await;
    evidence.text("metrics", world.operator.lock().await.metrics().await);
    search("flows", evidence, &world.control_plane, slice::from_ref(&world.launch.log));
}

/// The rights that are shipped are as few as they can be, and enough.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_asks_for_nothing_that_it_may_not_have() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "rights").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;

    let audit = std::fs::read_to_string(world.control_plane.audit_log()).unwrap();

    let of_operator: Vec<_> =
        audit.lines().filter(|line| line.contains(":technical-user-operator\"")).collect();
    assert!(!of_operator.is_empty());
    let forbidden = of_operator.iter().filter(|line| line.contains(FORBIDDEN));
    assert_eq!(forbidden.collect::<Vec<_>>(), Vec::<&&str>::new());
}

const FORBIDDEN: &str = "\"authorization.k8s.io/decision\":\"forbid\"";
const USERS: i64 = 8;
const ROUNDS: i64 = 4;
