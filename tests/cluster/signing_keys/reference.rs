//! Which `SigningKey` a `TechnicalUser` refers to, and the one that it refers to by default.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use support::control_plane::Options;
use technical_user_operator::api::condition::ConditionStatus;
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::domain::crypto::public_key::KeyType;

use super::series::Series;
use crate::namespace::Namespace;
use crate::operator::{ISSUER, lines_with};
use crate::world::{SYSTEM, bare, launch, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_says_what_is_wrong_with_its_signing_key_and_follows_it() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "reference").await;
    let series = Series::new(world, "late-key").await;
    let says = async |reason: &str| {
        let ready = namespace.says("billing", reason).await;
        assert_eq!(ready.status, ConditionStatus::False, "{reason}");
        assert!(ready.message.contains("SigningKey late-key"), "{}", ready.message);
        let user = namespace.user("billing").await;
        let conditions = user.status.unwrap().conditions;
        assert!(conditions.iter().any(|it| it.type_ == "Reconciling"), "waiting helps");
        assert!(conditions.iter().all(|it| it.type_ != "Stalled"));
    };

    namespace.apply("billing", json!({"signingKeyRef": {"name": "late-key"}})).await;
    says("SigningKeyNotFound").await;
    namespace.shown("billing-credentials").await;

    series.apply(json!({"algorithm": "ES256"})).await;
    namespace.ready("billing").await;

    series.apply(json!({"algorithm": "ES256", "suspend": true})).await;
    says("SigningKeySuspended").await;

    series.apply(json!({"algorithm": "ES256", "suspend": false})).await;
    namespace.ready("billing").await;

    series.delete().await;
    says("SigningKeyNotFound").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signing_key_that_is_there_first_does_not_take_the_place_of_default() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    let gateway = Series::with(admin.clone(), "gateway", SYSTEM);
    gateway.apply(json!({"algorithm": "ES256"})).await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    shop.apply("billing", json!({})).await;

    let launch = launch(&control_plane, "operator.log");
    let operator = launch.start();
    operator.ready().await;

    let default = Series::with(admin.clone(), "default", SYSTEM);
    let first = default.ready().await;
    gateway.ready().await;
    shop.ready("billing").await;
    let event = gateway.events().await.into_iter().chain(default.events().await);
    let event: Vec<_> =
        event.filter(|event| event.reason.as_deref() == Some("AlgorithmAdded")).collect();
    assert!(!event.is_empty(), "the JWKS has keys of two algorithms");
    let start = ["operator started", "version", ISSUER, SYSTEM, "watch_namespaces"];
    assert_eq!(lines_with(&launch.log, start[0]), 1);
    let log = std::fs::read_to_string(&launch.log).unwrap();
    let line = log.lines().find(|line| line.contains(start[0])).unwrap();
    assert!(start.iter().all(|part| line.contains(part)), "{line}");

    default.delete().await;
    default.when("another one", |it| it.metadata.uid != first.metadata.uid).await;
    default.ready().await;
    shop.ready("billing").await;
    a_declared_size_wins_as_well(&default).await;
}

/// Git wants other RSA keys and says no algorithm.
async fn a_declared_size_wins_as_well(default: &Series) {
    let bootstrapped = |it: &SigningKey| it.status.as_ref().and_then(|status| status.bootstrapped);
    assert_eq!(bootstrapped(&default.object().await), Some(true));
    let declared = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
        "metadata": {"name": "default"}, "spec": {"rsaKeySize": 3072},
    });

    // Without force: there is no conflict.
    let parameters = PatchParams::apply("git");
    default.api().patch("default", &parameters, &Patch::Apply(declared)).await.unwrap();

    let second = default.kid_when(2).await;
    default.when("no mark", |it| bootstrapped(it).is_none()).await;
    default.publishes(&[SYSTEM], &[&default.kid(1).await, &second]).await;
    let jwks = default.jwks().await;
    let shape = jwks.iter().find(|key| *key.kid() == second).unwrap().key_type();
    assert_eq!(shape, Some(KeyType::Rsa(3072)));
}
