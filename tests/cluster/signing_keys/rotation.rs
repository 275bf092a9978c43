//! How keys follow one another: on request, when due, and at once when one is revoked.

use jiff::SignedDuration;
use serde_json::{Value, json};
use technical_user_operator::api::condition::ConditionStatus;
use technical_user_operator::api::signing_key::KeyState::{Active, Grace, Published, Revoked};
use technical_user_operator::api::{
    REVOKE_ALL_REQUESTED_AT, REVOKE_REQUESTED_AT, ROTATE_REQUESTED_AT,
};
use technical_user_operator::domain::signing_key::{HANDOVER, SKEW};

use super::series::{Series, condition};
use crate::world::{SYSTEM, World, shared, until};

/// Each key is published for as long as two clocks may differ, twice, before it signs.
fn hasty() -> Value {
    let rotation = json!({"prePublish": "0s", "period": "1h", "acceptOutage": true});
    json!({"algorithm": "ES256", "rotation": rotation})
}

/// They wait for the same seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_only_after_it_was_published_for_its_time() {
    let Some(world) = shared().await else { return };
    tokio::join!(
        a_request_publishes_a_key_before_it_signs(world),
        a_key_is_replaced_when_it_is_due(world),
        the_former_key_takes_over_from_one_that_is_revoked(world),
    );
}

async fn a_request_publishes_a_key_before_it_signs(world: &World) {
    let series = Series::new(world, "on-request").await;
    series.apply(hasty()).await;
    series.ready().await;
    let first = series.kid(1).await;

    series.annotate(ROTATE_REQUESTED_AT, "monday").await;

    let object = series.states(&[Published, Active]).await;
    let second = series.kid(2).await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.active_kid.as_deref(), Some(first.as_str()));
    assert_eq!(status.last_handled_rotate_at.as_deref(), Some("monday"));
    let in_progress = condition(&object, "RotationInProgress").unwrap();
    assert!(in_progress.message.contains(second.as_str()), "{}", in_progress.message);
    assert_eq!(condition(&object, "Ready").unwrap().status, ConditionStatus::True);
    series.publishes(&[SYSTEM], &[&first, &second]).await;

    let object = series.states(&[Active, Grace]).await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.active_kid.as_deref(), Some(second.as_str()));
    assert!(condition(&object, "RotationInProgress").is_none());
    series.publishes(&[SYSTEM], &[&first, &second]).await;
    series.signs(1).await;
    series.signs(2).await;
    for reason in ["KeyPublished", "KeyActivated", "KeyInGrace"] {
        series.has_event(reason).await;
    }
    let ledger = series.ledger().await.unwrap();
    let (former, next) = (&ledger.entries[&1], &ledger.entries[&2]);
    assert_eq!(former.until, Some(next.activate_at + HANDOVER));
    assert!(former.end_seen_at.is_some() && next.until.is_none());
    assert!(next.activate_at.duration_since(former.activate_at) > SKEW * 2);

    // The same value again asks for nothing new, an older one does.
    series.annotate(ROTATE_REQUESTED_AT, "monday").await;
    series.annotate("example.com/unrelated", "1").await;
    series.annotate(ROTATE_REQUESTED_AT, "tuesday").await;
    series.kid_when(3).await;
    series.annotate(ROTATE_REQUESTED_AT, "monday").await;
    series.kid_when(4).await;
    assert_eq!(series.ledger().await.unwrap().entries.len(), 4);
}

async fn a_key_is_replaced_when_it_is_due(world: &World) {
    let series = Series::new(world, "due-key").await;
    let rotation =
        json!({"prePublish": "2s", "period": "15s", "grace": "1m", "acceptOutage": true});
    series.apply(json!({"algorithm": "EdDSA", "rotation": rotation})).await;
    series.ready().await;

    let object = series.states(&[Active, Grace]).await;

    let ledger = series.ledger().await.unwrap();
    let apart = ledger.entries[&2].activate_at.duration_since(ledger.entries[&1].activate_at);
    // A sixteenth earlier than the period at most.
    assert!(apart >= SignedDuration::from_secs(14), "{apart}");
    let former = object.status.unwrap().keys.into_iter().find(|key| key.index == 1).unwrap();
    assert!(former.end_time.is_some() && former.removal_time > former.end_time, "{former:?}");
    for index in 1..=2 {
        series.signs(index).await;
    }
}

async fn the_former_key_takes_over_from_one_that_is_revoked(world: &World) {
    let series = Series::new(world, "revoked").await;
    series.apply(hasty()).await;
    series.ready().await;
    let first = series.kid(1).await;
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    series.states(&[Active, Grace]).await;
    let second = series.kid(2).await;

    series.annotate(REVOKE_REQUESTED_AT, second.as_str()).await;

    series.publishes(&[SYSTEM], &[&first]).await;
    let object = series.states(&[Revoked, Active]).await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.active_kid.as_deref(), Some(first.as_str()));
    assert_eq!(status.last_handled_revoke_at.as_deref(), Some(second.as_str()));
    let event = series.has_event("KeyRevoked").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert!(event.note.unwrap().contains(second.as_str()));
    series.signs(1).await;
    assert_eq!(series.kept(&series.uid().await).await.len(), 2, "its private key is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_key_is_replaced_at_once_when_it_is_revoked() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "revoked-only").await;
    series.apply(json!({"algorithm": "ES256"})).await;
    series.ready().await;
    let first = series.kid(1).await;

    series.annotate(REVOKE_REQUESTED_AT, first.as_str()).await;

    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM], &[&second]).await;
    series.states(&[Active, Revoked]).await;
    series.ready().await;
    series.signs(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_withdrawn_at_once_and_another_one_signs() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "revoked-all").await;
    // Its next key would be published for an hour otherwise.
    series.apply(json!({"algorithm": "ES256"})).await;
    series.ready().await;
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    series.states(&[Published, Active]).await;
    let uid = series.uid().await;

    series.annotate(REVOKE_ALL_REQUESTED_AT, "leaked").await;

    let third = series.kid_when(3).await;
    series.publishes(&[SYSTEM], &[&third]).await;
    let object = series.states(&[Active, Revoked, Revoked]).await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.active_kid.as_deref(), Some(third.as_str()), "without prePublish");
    assert_eq!(status.last_handled_revoke_all_at.as_deref(), Some("leaked"));
    let event = series.has_event("AllKeysRevoked").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    series.ready().await;
    series.signs(3).await;
    until("the revoked private keys are gone", || async {
        (series.kept(&uid).await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_of_an_unknown_key_is_refused_loudly() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "revoked-unknown").await;
    series.apply(json!({"algorithm": "ES256"})).await;
    series.ready().await;
    let first = series.kid(1).await;

    series.annotate(REVOKE_REQUESTED_AT, "no-such-kid").await;

    let refused = series.says("RevocationRequestInvalid", "UnknownKeyID").await;
    assert!(refused.message.contains("Nothing was revoked"), "{}", refused.message);
    series.publishes(&[SYSTEM], &[&first]).await;
    series.annotate(REVOKE_REQUESTED_AT, "").await;
    series.when("no refusal", |it| condition(it, "RevocationRequestInvalid").is_none()).await;
    for reason in ["RevocationRequestInvalid", "RevocationRequestResolved"] {
        series.has_event(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_series_keeps_its_jwks_and_makes_nothing() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "suspended-key").await;
    series.apply(hasty()).await;
    series.ready().await;
    let first = series.kid(1).await;
    let mut spec = hasty();
    spec["suspend"] = json!(true);

    series.apply(spec).await;

    let ready = series.says("Ready", "Suspended").await;
    assert_eq!(ready.status, ConditionStatus::True, "the declared state is reached");
    series.says("Suspended", "Suspended").await;
    series.annotate(ROTATE_REQUESTED_AT, "while suspended").await;
    series.delete_map(SYSTEM).await;
    series.publishes(&[SYSTEM], &[&first]).await;
    assert_eq!(series.ledger().await.unwrap().entries.len(), 1);

    series.apply(hasty()).await;
    series.kid_when(2).await;
    series.ready().await;
}
