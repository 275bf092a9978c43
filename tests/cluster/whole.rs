//! A delivered Secret is whole or absent, and only a proof of another writer costs a client secret.

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::Instant;

use crate::namespace::{Namespace, condition, field, shown};
use crate::operator::ISSUER;
use crate::world::{shared, until};

const SECRET: &str = "orders-credentials";

/// How many fields each of the next versions of the Secret has.
async fn sizes(namespace: &Namespace, act: impl AsyncFnOnce(), versions: usize) -> Vec<usize> {
    let list = namespace.secrets().list(&kube::api::ListParams::default()).await.unwrap();
    let since = list.metadata.resource_version.unwrap_or_default();
    let parameters = WatchParams::default().fields(&format!("metadata.name={SECRET}"));
    let stream = namespace.secrets().watch(&parameters, &since).await.unwrap();
    act().await;
    let events = stream.try_filter_map(async |event| {
        Ok(match event {
            WatchEvent::Added(secret) | WatchEvent::Modified(secret) => {
                Some(secret.data.unwrap_or_default().len())
            }
            WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        })
    });
    let events = futures::StreamExt::take(events, versions);
    let limit = Instant::now() + std::time::Duration::from_mins(1);
    tokio::time::timeout_at(limit, events.try_collect()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_appears_whole_at_first_and_after_a_deletion() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "whole").await;

    let first = sizes(&namespace, async || namespace.apply("orders", json!({})).await, 1).await;
    namespace.ready("orders").await;
    let again = sizes(&namespace, async || namespace.delete_secret(SECRET).await, 1).await;

    namespace.serial("orders", 2).await;
    let all = namespace.secret(SECRET).await.data.unwrap().len();
    assert!(all > 10, "{all} fields");
    assert_eq!((first, again), (vec![all], vec![all]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_managed_fields_costs_no_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "managed-fields").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let former = namespace.shown(SECRET).await;

    namespace.patch_secret(SECRET, json!({"metadata": {"managedFields": [{}]}})).await;
    assert!(namespace.secret(SECRET).await.managed_fields().is_empty());

    // What is done afterwards shows that the reset was noticed.
    namespace.apply("orders", json!({"secretTemplate": {"labels": {"team": "shop"}}})).await;
    until("the label follows", || async {
        let secret = namespace.secret(SECRET).await;
        secret.labels().contains_key("team").then_some(())
    })
    .await;
    assert_eq!(namespace.shown(SECRET).await, former);
    namespace.request_rotation("orders", "1").await;
    let user = namespace.serial("orders", 2).await;
    assert_eq!(user.status.unwrap().serial, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_restored_from_a_copy_costs_no_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "restored-copy").await;
    // Otherwise the operator may be quicker than the one who restores.
    namespace.apply("orders", json!({"delivery": {"onDeleted": "Ignore"}})).await;
    namespace.ready("orders").await;
    let mut copy = namespace.secret(SECRET).await;
    copy.metadata.uid = None;
    copy.metadata.resource_version = None;
    copy.metadata.creation_timestamp = None;
    copy.metadata.managed_fields = None;

    namespace.secrets().delete(SECRET, &DeleteParams::default()).await.unwrap();
    namespace.says("orders", "DeletionIgnored").await;
    let parameters =
        PostParams { field_manager: Some("velero-server".to_owned()), ..Default::default() };
    namespace.secrets().create(&parameters, &copy).await.unwrap();

    namespace.says("orders", "Issued").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    assert_eq!(namespace.user("orders").await.status.unwrap().serial, Some(1));
    assert_eq!(shown(&copy), Some(namespace.shown(SECRET).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_true_makes_a_secret_immutable() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "immutable").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;

    namespace.patch_secret(SECRET, json!({"immutable": false})).await;
    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;

    namespace.patch_secret(SECRET, json!({"immutable": true})).await;
    namespace.request_rotation("orders", "2").await;
    namespace.says("orders", "SecretImmutable").await;
    namespace.delete_secret(SECRET).await;
    namespace.serial("orders", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_kubectl_apply_goes() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "applied").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let secret = namespace.secret(SECRET).await;

    let name = "kubectl.kubernetes.io/last-applied-configuration";
    let copy = serde_json::to_string(&secret).unwrap();
    namespace.patch_secret(SECRET, json!({"metadata": {"annotations": {name: copy}}})).await;

    until("the copy is gone", || async {
        let secret = namespace.secret(SECRET).await;
        (!secret.annotations().contains_key(name)).then_some(())
    })
    .await;
    assert_eq!(shown(&secret), Some(namespace.shown(SECRET).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_loop_is_paced_and_a_request_is_not() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "prune-loop").await;
    namespace.apply("orders", json!({})).await;
    for serial in 1..=4 {
        namespace.serial("orders", serial).await;
        namespace.delete_secret(SECRET).await;
    }

    let ready = namespace.says("orders", "SecretLostRepeatedly").await;
    assert!(ready.message.contains("iam.cyoda.com/rotate-requested-at"), "{}", ready.message);
    assert!(namespace.secrets().get_opt(SECRET).await.unwrap().is_none());

    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 5).await;
    assert!(shown(&namespace.secret(SECRET).await).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_record_holds_up_neither_labels_nor_fields_nor_the_sight_of_a_request() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "full").await;
    namespace.apply("orders", json!({})).await;
    namespace.serial("orders", 1).await;
    for serial in 2..=8 {
        namespace.request_rotation("orders", &serial.to_string()).await;
        namespace.serial("orders", serial).await;
    }

    namespace.request_rotation("orders", "9").await;
    let template = json!({"labels": {"team": "shop"}, "keys": {"OIDC_ISSUER": "issuer"}});
    namespace.apply("orders", json!({"secretTemplate": template})).await;

    until("label and field follow", || async {
        let secret: Secret = namespace.secret(SECRET).await;
        let field = field(&secret, "OIDC_ISSUER")?;
        (secret.labels().contains_key("team") && field == ISSUER).then_some(())
    })
    .await;
    let user = namespace
        .user_when("orders", "RequestPending", |user| condition(user, "RequestPending").is_some())
        .await;
    assert_eq!(condition(&user, "Ready").unwrap().reason, "TooManyCredentials");
}
