//! One hundred signing keys whose JWKS goes to a thousand namespaces.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options};
use technical_user_operator::api::signing_key::SigningKey;
use tokio::time::Instant;

use crate::operator::{Operator, requests};
use crate::{prepare, wanted};

/// Brings the keys to rest, rotates one of them, and returns the figures that it printed.
pub(crate) async fn measure() -> Value {
    let options = Options { controller_manager: false, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip(options).await else {
        return Value::Null;
    };
    let client = control_plane.client().await;
    prepare(&client).await;
    let per_key = wanted("BENCH_NAMESPACES", 1000);
    make_namespaces(&client, per_key).await;
    let operator = Operator::start(&control_plane.kubeconfig());
    operator.ready().await;
    let empty_mb = operator.resident_mb();

    let began = Instant::now();
    make_keys(&client).await;
    settled(&client, per_key).await;
    let settled_s = began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let resident_mb = operator.resident_mb();
    let (before, spent) = (requests(&client).await, operator.processor_ms());
    tokio::time::sleep(Duration::from_mins(1)).await;
    let at_rest = requests(&client).await - before;
    let processor_ms = operator.processor_ms() - spent;
    let writes = rotation(&client, per_key).await;

    println!(
        "{KEYS} signing keys, each published in {per_key} namespaces and at home: settled in {settled_s:.1} s, {resident_mb:.0} MB resident ({empty_mb:.0} MB before), {at_rest} requests in a minute at rest, {processor_ms:.0} ms processor time in that minute"
    );
    println!("publishing the next key of one of them took {writes:.2} writes for each namespace");
    json!({
        "keys": KEYS, "namespacesPerKey": per_key, "settledSeconds": settled_s,
        "residentMB": resident_mb, "emptyMB": empty_mb, "requestsPerMinute": at_rest,
        "processorMsPerMinute": processor_ms, "writesPerPublicationAndNamespace": writes,
    })
}

async fn make_namespaces(client: &Client, count: usize) {
    let api: Api<Namespace> = Api::all(client.clone());
    stream::iter(0..count)
        .for_each_concurrent(16, |index| {
            let api = api.clone();
            let namespace: Namespace = serde_json::from_value(json!({
                "metadata": {"name": format!("target-{index}"), "labels": {"verifies": "true"}},
            }))
            .unwrap();
            async move {
                api.create(&PostParams::default(), &namespace).await.unwrap();
            }
        })
        .await;
}

async fn make_keys(client: &Client) {
    let api: Api<SigningKey> = Api::all(client.clone());
    for index in 0..KEYS {
        let key: SigningKey = serde_json::from_value(json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
            "metadata": {"name": format!("key-{index}")},
            "spec": {
                "algorithm": "ES256",
                "jwks": {"namespaceSelector": {"matchLabels": {"verifies": "true"}}},
            },
        }))
        .unwrap();
        api.create(&PostParams::default(), &key).await.unwrap();
    }
}

async fn settled(client: &Client, per_key: usize) {
    let api: Api<SigningKey> = Api::all(client.clone());
    let wanted = i64::try_from(per_key + 1).unwrap();
    let mut reported = 0;
    loop {
        let keys = api.list(&ListParams::default()).await.unwrap();
        let is_settled = |key: &&SigningKey| {
            let status = key.status.as_ref();
            status.is_some_and(|status| {
                status.active_kid.is_some()
                    && status.jwks.as_ref().is_some_and(|jwks| jwks.namespaces == wanted)
            })
        };
        let count = keys.items.iter().filter(is_settled).count();
        if count >= KEYS {
            return;
        }
        if count >= reported + 10 {
            reported = count;
            eprintln!("  {count} of {KEYS} signing keys are settled");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// How many writes of ConfigMaps the next key of one series takes for each of its namespaces.
async fn rotation(client: &Client, per_key: usize) -> f64 {
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let keys: Api<SigningKey> = Api::all(client.clone());
    let before = config_map_writes(client).await;
    let request = json!({"metadata": {"annotations": {"iam.cyoda.com/rotate-requested-at": "a"}}});
    keys.patch("key-0", &PatchParams::default(), &Patch::Merge(request)).await.unwrap();
    let selected = ListParams::default().labels("iam.cyoda.com/signing-key=key-0");
    loop {
        let maps = maps.list(&selected).await.unwrap();
        let has_both = |map: &&ConfigMap| {
            let jwks = map.data.as_ref().and_then(|data| data.get("jwks"));
            jwks.is_some_and(|jwks| jwks.matches("\"kid\"").count() == 2)
        };
        if maps.items.iter().filter(has_both).count() == per_key + 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes = config_map_writes(client).await - before;
    crate::count(usize::try_from(writes).unwrap()) / crate::count(per_key + 1)
}

async fn config_map_writes(client: &Client) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    let is_write = |line: &&str| {
        let verbs = ["POST", "PUT", "PATCH", "APPLY", "DELETE"];
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"configmaps\"")
            && verbs.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
    };
    let counts = text.lines().filter(is_write).filter_map(|line| line.rsplit(' ').next());
    counts.filter_map(|count| count.parse::<u64>().ok()).sum()
}

const KEYS: usize = 100;
