//! New client secrets in place of those that work: on request, when due, and at once.

use jiff::SignedDuration;
use serde_json::json;
use technical_user_operator::api::{REVOKE_REQUESTED_AT, ROTATE_REQUESTED_AT};
use technical_user_operator::domain::schedule::saturating_add;
use technical_user_operator::domain::technical_user::verifier_record::EntryState;

use crate::namespace::{Namespace, accepts, condition, now};
use crate::world::{shared, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_rotates_once_also_after_a_restart() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "rotate").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;

    namespace.request_rotation("orders", "monday").await;

    let user = namespace.serial("orders", 2).await;
    let status = user.status.as_ref().unwrap();
    assert_eq!(status.last_handled_rotate_at.as_deref(), Some("monday"));
    assert!(condition(&user, "OverlapActive").is_some());
    let present = namespace.shown("orders-credentials").await;
    assert_ne!(present.id(), former.id());
    assert!(namespace.accepts(&client_id, &present).await);
    assert!(namespace.accepts(&client_id, &former).await);

    // The same token again, and a restart, ask for nothing new.
    let record = namespace.record(&client_id).await;
    let secret = namespace.secret("orders-credentials").await;
    namespace.annotate("orders", "example.com/unrelated", "1").await;
    namespace.request_rotation("orders", "monday").await;
    world.restart_operator().await;
    namespace.apply("canary", json!({})).await;
    namespace.ready("canary").await;
    assert_eq!(namespace.record(&client_id).await, record);
    assert_eq!(
        namespace.secret("orders-credentials").await.metadata.resource_version,
        secret.metadata.resource_version
    );

    namespace.request_rotation("orders", "tuesday").await;
    namespace.serial("orders", 3).await;
    // Only the last value is remembered: an earlier one that comes back acts once more.
    namespace.request_rotation("orders", "monday").await;
    let user = namespace.serial("orders", 4).await;
    assert_eq!(user.status.unwrap().last_handled_rotate_at.as_deref(), Some("monday"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_applied_with_a_request_gets_one_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "request-at-birth").await;
    let user = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
        "metadata": {"name": "orders", "namespace": namespace.name, "annotations": {ROTATE_REQUESTED_AT: "first"}},
        "spec": {},
    });

    crate::rights::apply(&namespace.client, user).await;

    let user = namespace.ready("orders").await;
    let status = user.status.unwrap();
    assert_eq!(status.last_handled_rotate_at.as_deref(), Some("first"));
    assert_eq!(status.serial, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_is_replaced_when_its_period_is_over() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "due").await;
    namespace.apply("orders", json!({"rotation": {"period": "24h", "overlap": "1h"}})).await;
    let user = namespace.ready("orders").await;
    assert!(user.status.unwrap().next_rotation_time.is_some());
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;

    // Time is not moved: the record says that the client secret is older than it is.
    let mut record = namespace.record(&client_id).await.unwrap();
    for entry in record.entries.values_mut() {
        entry.issued_at = saturating_add(now(), SignedDuration::from_hours(-25));
    }
    namespace.write_record(&client_id, &record.to_json().to_string()).await;

    namespace.serial("orders", 2).await;
    let record = namespace.record(&client_id).await.unwrap();
    assert!(accepts(&record, &namespace.shown("orders-credentials").await));
    assert!(accepts(&record, &former));
    let EntryState::Old(ends_at) = record.entries[&former.id()].state else {
        panic!("the former client secret has an end");
    };
    let left = ends_at.duration_since(now());
    assert!(left > SignedDuration::from_mins(55) && left < SignedDuration::from_mins(61));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_secret_leaves_the_record_past_its_end() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "tidy").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;
    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;

    let mut record = namespace.record(&client_id).await.unwrap();
    let old = record.entries.get_mut(&former.id()).unwrap();
    old.state = EntryState::Old(saturating_add(now(), SignedDuration::from_secs(2)));
    namespace.write_record(&client_id, &record.to_json().to_string()).await;

    until("the old entry is gone", || async {
        let record = namespace.record(&client_id).await.unwrap();
        (record.entries.len() == 1).then_some(())
    })
    .await;
    let user = namespace
        .user_when("orders", "one credential in status", |user| {
            user.status.as_ref().is_some_and(|status| status.credentials.len() == 1)
        })
        .await;
    assert!(condition(&user, "OverlapActive").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_ends_every_client_secret_and_issues_a_new_one() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "revoke").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let first = namespace.shown("orders-credentials").await;
    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;
    let second = namespace.shown("orders-credentials").await;

    namespace.annotate("orders", REVOKE_REQUESTED_AT, "leaked").await;

    let user = namespace.serial("orders", 3).await;
    let status = user.status.unwrap();
    assert_eq!(status.last_handled_revoke_at.as_deref(), Some("leaked"));
    assert_eq!(status.credentials.len(), 1);
    let third = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&client_id, &third).await);
    assert!(!namespace.accepts(&client_id, &first).await);
    assert!(!namespace.accepts(&client_id, &second).await);
    namespace.has_event("orders", "CredentialsRevoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_issued_while_suspended() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "suspend").await;
    namespace.apply("born", json!({"suspend": true})).await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;

    namespace.apply("orders", json!({"suspend": true})).await;
    namespace.says("orders", "Suspended").await;
    namespace.request_rotation("orders", "1").await;
    namespace.delete_secret("orders-credentials").await;
    namespace.apply("canary", json!({})).await;
    namespace.ready("canary").await;

    namespace.says("born", "Suspended").await;
    assert!(namespace.secrets().get_opt("born-credentials").await.unwrap().is_none());
    assert_eq!(namespace.record(&client_id).await.unwrap().serial, 1);
    assert!(namespace.secrets().get_opt("orders-credentials").await.unwrap().is_none());

    namespace.apply("orders", json!({"suspend": false})).await;
    let user = namespace.serial("orders", 2).await;
    assert_eq!(user.status.unwrap().last_handled_rotate_at.as_deref(), Some("1"));
    let secret = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&client_id, &secret).await);
}
