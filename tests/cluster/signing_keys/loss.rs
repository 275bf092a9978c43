//! What is left when a user deletes what the operator keeps, or the series itself.

use kube::ResourceExt;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};
use technical_user_operator::api::ROTATE_REQUESTED_AT;
use technical_user_operator::api::signing_key::KeyState::{Active, Grace, Published};
use technical_user_operator::kubernetes::codec::SecretNames;

use super::series::{Series, selecting};
use crate::world::{SYSTEM, World, shared, until};

fn hasty() -> Value {
    let rotation = json!({"prePublish": "0s", "period": "1h", "acceptOutage": true});
    json!({"algorithm": "ES256", "rotation": rotation})
}

/// They wait for the same seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_keeps_may_be_deleted() {
    let Some(world) = shared().await else { return };
    tokio::join!(
        a_ledger_that_was_deleted_is_made_anew_and_nothing_leaves_the_jwks(world),
        a_private_key_that_was_deleted_is_replaced_and_its_tokens_verify(world),
    );
}

async fn a_ledger_that_was_deleted_is_made_anew_and_nothing_leaves_the_jwks(world: &World) {
    let series = Series::new(world, "lost-ledger").await;
    series.apply(hasty()).await;
    series.ready().await;
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    series.states(&[Active, Grace]).await;
    let (first, second) = (series.kid(1).await, series.kid(2).await);
    let uid = series.uid().await;
    let published = series.map(SYSTEM).await;

    series.delete_secret(&SecretNames::of(&uid).ledger()).await;

    let ledger = until("the ledger is back", || series.ledger()).await;
    let event = series.has_event("LedgerRecovered").await.note.unwrap();
    assert!(event.contains("What is published stays published"), "{event}");
    for (index, kid) in [(1, &first), (2, &second)] {
        let entry = ledger.entries.get(&index);
        // The newest may still have to be published once more before it signs.
        let is_known = entry.is_none_or(|entry| entry.key.kid() == kid);
        assert!(is_known, "{ledger:?}");
    }
    series.kid_when(2).await;
    series.ready().await;
    series.publishes(&[SYSTEM], &[&first, &second]).await;
    let map = series.map(SYSTEM).await;
    assert_eq!(map.metadata.resource_version, published.metadata.resource_version);
    assert_eq!(series.ledger().await.unwrap().entries.len(), 2);
    series.signs(1).await;
    series.signs(2).await;
}

async fn a_private_key_that_was_deleted_is_replaced_and_its_tokens_verify(world: &World) {
    let series = Series::new(world, "lost-private").await;
    series.apply(hasty()).await;
    series.ready().await;
    let first = series.kid(1).await;
    let uid = series.uid().await;

    series.delete_secret(&SecretNames::of(&uid).key_pair(1)).await;

    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM], &[&first, &second]).await;
    let lost = series.says("Ready", "KeyLost").await;
    assert!(lost.message.contains(first.as_str()), "{}", lost.message);
    series.states(&[Published, Active]).await;
    series.has_event("KeyLost").await;
    series.ready().await;
    series.publishes(&[SYSTEM], &[&first, &second]).await;
    series.signs(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_deleted_series_goes_and_another_of_its_name_begins_anew() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "deleted-key").await;
    series.namespace("deleted-key-1", true).await;
    let spec = selecting("deleted-key", hasty());
    series.apply(spec.clone()).await;
    series.ready().await;
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    series.kid_when(2).await;
    series.publishes(&["deleted-key-1"], &[&series.kid(1).await, &series.kid(2).await]).await;
    let uid = series.uid().await;
    assert_eq!(series.kept(&uid).await.len(), 3);

    series.delete().await;

    until("everything is collected", || async {
        let is_left = !series.kept(&uid).await.is_empty()
            || series.has_map(SYSTEM).await
            || series.has_map("deleted-key-1").await;
        (!is_left).then_some(())
    })
    .await;
    assert!(series.api().get_opt(&series.name).await.unwrap().is_none());

    series.apply(spec.clone()).await;
    let object = series.ready().await;
    assert_ne!(object.uid().unwrap(), uid);
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, "deleted-key-1"], &[&kid]).await;
    series.signs(1).await;
}

/// The JWKS of the predecessor is still there, and not of this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_series_recreated_at_once_takes_over_when_its_predecessor_is_collected() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "recreated-key").await;
    series.apply(hasty()).await;
    series.ready().await;
    let (former, uid) = (series.kid(1).await, series.uid().await);

    series.delete().await;
    series.apply(hasty()).await;

    series.ready().await;
    let kid = series.kid(1).await;
    assert_ne!(kid, former);
    series.publishes(&[SYSTEM], &[&kid]).await;
    series.signs(1).await;
    until("its predecessor is collected", || async {
        series.kept(&uid).await.is_empty().then_some(())
    })
    .await;
}

/// Its successor takes over what is at home, and names what anybody could have written elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_is_made_again_after_its_things_were_orphaned_works() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "orphaned").await;
    series.namespace("orphaned-1", true).await;
    let spec = || selecting("orphaned", json!({"algorithm": "ES256"}));
    series.apply(spec()).await;
    series.ready().await;
    let (former, lost) = (series.uid().await, series.kid(1).await);
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    series.api().delete("orphaned", &orphan).await.unwrap();
    until("it is gone", || async {
        series.api().get_opt("orphaned").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(series.map(SYSTEM).await.owner_references().is_empty());

    series.apply(spec()).await;

    series.ready().await;
    let uid = series.uid().await;
    let kid = series.kid(1).await;
    assert!(uid != former && kid != lost);
    series.publishes(&[SYSTEM], &[&kid]).await;
    assert_eq!(series.map(SYSTEM).await.owner_references()[0].uid, uid);
    let incomplete = series.says("JWKSIncomplete", "ConfigMapConflict").await;
    for words in ["orphaned-1", "orphaned-jwks"] {
        assert!(incomplete.message.contains(words), "{}", incomplete.message);
    }
    assert!(!series.kept(&former).await.is_empty(), "their last token has not expired yet");
    series.delete_map("orphaned-1").await;
    series.publishes(&["orphaned-1"], &[&kid]).await;
}
