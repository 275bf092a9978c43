//! What is kept true in a delivered Secret without anybody knowing the client secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;

use crate::namespace::{Namespace, condition, field};
use crate::world::{shared, until};

async fn secret_when(namespace: &Namespace, what: &str, is_so: impl Fn(&Secret) -> bool) -> Secret {
    let is_so = &is_so;
    until(what, || async move {
        let secret = namespace.secret("orders-credentials").await;
        is_so(&secret).then_some(secret)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_annotations_and_aliases_follow_the_spec() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "template").await;
    let template = json!({
        "keys": {"CLIENT_ID": "client_id", "CLIENT_SECRET": "client_secret"},
        "labels": {"team": "billing"},
        "annotations": {"reloader.stakater.com/match": "true"},
    });
    namespace.apply("orders", json!({"secretTemplate": template})).await;
    let user = namespace.ready("orders").await;
    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(field(&secret, "CLIENT_ID"), user.status.unwrap().client_id);
    assert_eq!(field(&secret, "CLIENT_SECRET"), field(&secret, "client_secret"));
    assert_eq!(secret.labels()["team"], "billing");
    assert_eq!(secret.annotations()["reloader.stakater.com/match"], "true");

    let template = json!({
        "keys": {"ISSUER": "issuer", "PASSWORD": "client_secret"},
        "labels": {"team": "orders", "tier": "backend"},
    });
    namespace.apply("orders", json!({"secretTemplate": template})).await;

    let secret = secret_when(&namespace, "the template is followed", |secret| {
        secret.labels().get("tier").is_some() && field(secret, "ISSUER").is_some()
    })
    .await;
    namespace.has_event("orders", "SecretUpdated").await;
    assert_eq!(secret.labels()["team"], "orders");
    assert!(!secret.annotations().contains_key("reloader.stakater.com/match"));
    assert_eq!(field(&secret, "CLIENT_ID"), None);
    assert_eq!(field(&secret, "CLIENT_SECRET"), None);
    // No client holds the client secret any more, so this one waits.
    assert_eq!(field(&secret, "PASSWORD"), None);
    let user = namespace
        .user_when("orders", "AliasesPending", |user| condition(user, "AliasesPending").is_some())
        .await;
    assert!(condition(&user, "AliasesPending").unwrap().message.contains("PASSWORD"));
    assert_eq!(user.status.unwrap().serial, Some(1));

    namespace.request_rotation("orders", "1").await;
    let user = namespace.serial("orders", 2).await;
    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(field(&secret, "PASSWORD"), field(&secret, "client_secret"));
    assert!(condition(&user, "AliasesPending").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_on_the_secret_survives() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "survives").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;

    let patch = json!({
        "metadata": {"labels": {"mine": "yes"}, "annotations": {"example.com/note": "keep"}},
        "data": {"extra": STANDARD.encode("kept")},
    });
    namespace.patch_secret("orders-credentials", patch).await;
    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;

    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(secret.labels()["mine"], "yes");
    assert_eq!(secret.annotations()["example.com/note"], "keep");
    assert_eq!(field(&secret, "extra").as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_edited_by_hand_is_restored_without_a_rotation() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "restored").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let former = namespace.shown("orders-credentials").await;
    let token_url = field(&namespace.secret("orders-credentials").await, "token_url");

    let patch = json!({
        "metadata": {"labels": {"iam.cyoda.com/managed": null}},
        "data": {"token_url": STANDARD.encode("https://evil.example.com"), "issuer": null},
    });
    namespace.patch_secret("orders-credentials", patch).await;

    let secret = secret_when(&namespace, "the values are restored", |secret| {
        field(secret, "token_url") == token_url && field(secret, "issuer").is_some()
    })
    .await;
    assert_eq!(secret.labels()["iam.cyoda.com/managed"], "true");
    assert_eq!(namespace.shown("orders-credentials").await.id(), former.id());
    assert_eq!(namespace.user("orders").await.status.unwrap().serial, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_has_the_name_that_was_asked_for() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "named").await;

    namespace.apply("orders", json!({"secretTemplate": {"name": "oauth.orders"}})).await;

    let user = namespace.ready("orders").await;
    assert_eq!(user.status.unwrap().binding.unwrap().name, "oauth.orders");
    let secret = namespace.shown("oauth.orders").await;
    assert!(namespace.accepts(&namespace.client_id("orders").await, &secret).await);
}
