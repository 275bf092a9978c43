//! Delivered Secrets that are deleted, altered or read once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::namespace::{Namespace, field};
use crate::world::{shared, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_replaced_with_a_new_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "secret-deleted").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;

    namespace.delete_secret("orders-credentials").await;

    namespace.serial("orders", 2).await;
    let present = namespace.shown("orders-credentials").await;
    assert_ne!(present.id(), former.id());
    assert!(namespace.accepts(&client_id, &present).await);
    assert!(namespace.accepts(&client_id, &former).await);
    namespace.has_event("orders", "CredentialRotated").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_secret_is_replaced_with_a_new_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "secret-altered").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;

    let patch = json!({"data": {"client_secret": STANDARD.encode("chosen by hand")}});
    namespace.patch_secret("orders-credentials", patch).await;

    namespace.serial("orders", 2).await;
    let present = namespace.shown("orders-credentials").await;
    assert_ne!(present.id(), former.id());
    assert!(namespace.accepts(&client_id, &present).await);
    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(field(&secret, "client_secret"), field(&secret, "client-secret"));
    namespace.has_event("orders", "CredentialRotated").await;

    // Removing one spelling is an alteration too.
    namespace.patch_secret("orders-credentials", json!({"data": {"client-secret": null}})).await;
    namespace.serial("orders", 3).await;
    let present = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&client_id, &present).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_can_be_ignored_until_the_next_rotation() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "lenient").await;
    let spec = json!({"delivery": {"onDeleted": "Ignore"}});
    namespace.apply("deleted", spec.clone()).await;
    namespace.apply("altered", spec).await;
    namespace.ready("deleted").await;
    namespace.ready("altered").await;

    namespace.delete_secret("deleted-credentials").await;
    let patch = json!({"data": {"client_secret": STANDARD.encode("chosen by hand")}});
    namespace.patch_secret("altered-credentials", patch).await;

    namespace.says("deleted", "DeletionIgnored").await;
    namespace.says("altered", "AlterationIgnored").await;
    assert!(namespace.secrets().get_opt("deleted-credentials").await.unwrap().is_none());

    for name in ["deleted", "altered"] {
        namespace.request_rotation(name, "1").await;
        namespace.serial(name, 2).await;
        let secret = namespace.shown(&format!("{name}-credentials")).await;
        assert!(namespace.accepts(&namespace.client_id(name).await, &secret).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_delivered_once_is_not_written_again() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "one-time").await;
    namespace.apply("orders", json!({"delivery": {"mode": "OneTime"}})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let secret = namespace.shown("orders-credentials").await;

    namespace.delete_secret("orders-credentials").await;

    namespace.says("orders", "DeliveredOnce").await;
    assert!(namespace.secrets().get_opt("orders-credentials").await.unwrap().is_none());
    assert!(namespace.accepts(&client_id, &secret).await);

    namespace.request_rotation("orders", "1").await;
    namespace.serial("orders", 2).await;
    let present = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&client_id, &present).await);
    assert!(namespace.accepts(&client_id, &secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_lost_is_made_anew_with_a_new_client_secret() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "record-lost").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let former = namespace.shown("orders-credentials").await;

    namespace.records().delete(&client_id.record_name(), &DeleteParams::default()).await.unwrap();

    until("another client secret is delivered", || async {
        let secret = namespace.shown("orders-credentials").await;
        let is_new = secret.id() != former.id();
        (is_new && namespace.accepts(&client_id, &secret).await).then_some(())
    })
    .await;
    namespace.ready("orders").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_never_written_over() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "record-unreadable").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let secret = namespace.shown("orders-credentials").await;
    let stored = namespace.stored(&client_id).await;
    let newer = stored.replace("\"formatVersion\":1", "\"formatVersion\":99");
    assert_ne!(newer, stored);

    for nonsense in ["{", "", "{\"formatVersion\":1}", &newer] {
        namespace.write_record(&client_id, nonsense).await;
        namespace.says("orders", "RecordUnreadable").await;
        namespace.request_rotation("orders", &format!("while {}", nonsense.len())).await;
        namespace.apply("canary", json!({"description": nonsense})).await;
        namespace.ready("canary").await;
        assert_eq!(namespace.stored(&client_id).await, nonsense);

        namespace.write_record(&client_id, &stored).await;
        namespace.ready("orders").await;
        // Back is what was stored at first, so the next rotation starts from it.
        until("a rotation after it", || async {
            let record = namespace.record(&client_id).await.unwrap();
            (record.serial >= 2).then_some(())
        })
        .await;
        assert!(namespace.accepts(&client_id, &secret).await);
    }
    namespace.has_event("orders", "RecordUnreadable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_wiped_is_written_again() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "status-wiped").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    namespace.request_rotation("orders", "1").await;
    let user = namespace.serial("orders", 2).await;
    let record = namespace.stored(&namespace.client_id("orders").await).await;

    let wiped = json!({"status": null});
    namespace
        .users()
        .patch_status("orders", &PatchParams::default(), &Patch::Merge(wiped))
        .await
        .unwrap();

    let again = namespace.serial("orders", 2).await;
    let (former, again) = (user.status.unwrap(), again.status.unwrap());
    assert_eq!(again.credentials.len(), former.credentials.len());
    assert_eq!(again.last_handled_rotate_at, former.last_handled_rotate_at);
    assert_eq!(again.last_rotation_time, former.last_rotation_time);
    assert_eq!(namespace.stored(&namespace.client_id("orders").await).await, record);
}
