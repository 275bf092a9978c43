//! What a deleted resource left in the way of the next one of its name, where the garbage collector of
//! Kubernetes does not come for it.

use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::{Value, json};
use support::control_plane::{Options, Process};

use crate::namespace::{Namespace, field};
use crate::signing_keys::series::{Series, selecting};
use crate::world::{SYSTEM, bare, launch};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_predecessor_left_goes_without_the_collector_and_nothing_else_does() {
    let Some(mut control_plane) = bare(Options::default()).await else { return };
    control_plane.kill(Process::ControllerManager);
    let operator = launch(&control_plane, "operator.log").start();
    operator.ready().await;
    let admin = control_plane.client().await;
    let namespace = Namespace::with(admin.clone(), "leftovers", SYSTEM).await;
    let series = Series::with(admin, "leftovers", SYSTEM);
    series.namespace("leftovers-jwks", true).await;

    namespace.apply("orders", json!({})).await;
    let spec = selecting("leftovers", json!({"algorithm": "ES256"}));
    series.apply(spec.clone()).await;
    namespace.ready("orders").await;
    series.ready().await;
    let former = namespace.shown("orders-credentials").await;
    let former_kid = series.kid(1).await;
    namespace.delete_user("orders").await;
    series.delete().await;
    namespace.apply("orders", json!({})).await;
    series.apply(spec).await;
    // No object ever was the owner of the one; the other one has two.
    let planted = plant(&namespace, "planted", json!([owner("planted", "former", true)])).await;
    let owners = json!([owner("shared", "former", true), owner("shared", "other", false)]);
    let shared = plant(&namespace, "shared", owners).await;
    namespace.apply("planted", json!({})).await;
    namespace.apply("shared", json!({})).await;

    let user = namespace.ready("orders").await;
    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(secret.owner_references()[0].uid, user.uid().unwrap());
    let present = namespace.shown("orders-credentials").await;
    assert_ne!(present.id(), former.id());
    assert!(namespace.accepts(&namespace.client_id("orders").await, &present).await);
    namespace.has_event("orders", "LeftoverDeleted").await;

    series.ready().await;
    let kid = series.kid(1).await;
    assert_ne!(kid, former_kid);
    series.publishes(&[SYSTEM, "leftovers-jwks"], &[&kid]).await;

    namespace.ready("planted").await;
    assert_ne!(namespace.secret("planted-credentials").await.uid(), Some(planted));

    namespace.says("shared", "SecretConflict").await;
    let left = namespace.secret("shared-credentials").await;
    assert_eq!(left.uid(), Some(shared));
    assert_eq!(field(&left, "client_secret").as_deref(), Some("of somebody"));
}

/// Makes the Secret that a user of that name would have; returns its uid.
async fn plant(namespace: &Namespace, name: &str, owners: Value) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": format!("{name}-credentials"), "namespace": namespace.name,
            "labels": {"iam.cyoda.com/managed": "true", "iam.cyoda.com/technical-user": name},
            "ownerReferences": owners,
        },
        "stringData": {"client_secret": "of somebody"},
    });
    let secret = serde_json::from_value(secret).unwrap();
    namespace.secrets().create(&PostParams::default(), &secret).await.unwrap().uid().unwrap()
}

fn owner(name: &str, uid: &str, is_controller: bool) -> Value {
    json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "name": name, "uid": uid,
        "controller": is_controller,
    })
}
