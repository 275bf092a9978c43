//! The first key of a series: what an administrator finds once it signs, with every algorithm.

use std::path::Path;
use std::process::Command;

use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use technical_user_operator::api::signing_key::{Algorithm, KeyState, SigningKey};
use technical_user_operator::api::{
    JWKS_FIELD, KEY_PAIR_FIELD, KEY_PAIR_TYPE, LEDGER_TYPE, MANAGED, SIGNING_KEY,
};
use technical_user_operator::kubernetes::codec::SecretNames;
use tokio::task::JoinSet;

use super::series::{Series, condition, field, is_well_formed, states};
use crate::figures::say;
use crate::world::{SYSTEM, shared};

#[tokio::test(flavor = "multi_thread")]
async fn a_series_gets_a_key_that_is_published_and_signs() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "first-key").await;
    series.apply(json!({"algorithm": "ES256"})).await;

    let object = series.ready().await;

    let uid = object.uid().unwrap();
    let status = object.status.clone().unwrap();
    let kid = series.kid(1).await;
    assert_eq!(status.active_kid.as_deref(), Some(kid.as_str()));
    assert_eq!(states(&object), [KeyState::Active]);
    assert_eq!(status.jwks.as_ref().unwrap().config_map_name, "first-key-jwks");
    assert_eq!(status.jwks.unwrap().namespaces, 1);
    assert!(status.next_rotation_time > status.last_rotation_time);
    assert_eq!(condition(&object, "Ready").unwrap().reason, "KeyActive");
    assert!(condition(&object, "Reconciling").is_none());
    assert!(condition(&object, "Stalled").is_none());
    let event = series.has_event("KeyActivated").await;
    assert!(event.note.unwrap().contains(kid.as_str()));
    series.signs(1).await;

    let map = series.map(SYSTEM).await;
    assert!(is_well_formed(&map), "{map:?}");
    assert_eq!(map.labels()[SIGNING_KEY], "first-key");
    assert_eq!(map.labels()[MANAGED], "true");
    assert_eq!(map.owner_references()[0].uid, uid);
    assert_eq!(map.owner_references()[0].controller, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_series_is_owned_typed_and_immutable() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "kept").await;
    series.apply(json!({"algorithm": "ES256"})).await;
    let uid = series.ready().await.uid().unwrap();

    let ledger = series.secrets().get(&SecretNames::of(&uid).ledger()).await.unwrap();
    let key_pair = series.secrets().get(&SecretNames::of(&uid).key_pair(1)).await.unwrap();

    assert_eq!(ledger.type_.as_deref(), Some(LEDGER_TYPE));
    assert_eq!(key_pair.type_.as_deref(), Some(KEY_PAIR_TYPE));
    assert_eq!(key_pair.immutable, Some(true));
    let fields: Vec<_> = key_pair.data.iter().flatten().map(|(name, _)| name).collect();
    assert_eq!(fields, [KEY_PAIR_FIELD]);
    for secret in [&ledger, &key_pair] {
        assert_eq!(secret.owner_references()[0].uid, uid);
        assert!(secret.finalizers().is_empty());
    }
    assert!(series.object().await.finalizers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_and_size_has_keys_that_verify() {
    let Some(world) = shared().await else { return };
    let mut specs: Vec<(String, Value)> = Algorithm::ALL
        .map(Algorithm::name)
        .map(|name| (format!("alg-{}", name.to_lowercase()), json!({"algorithm": name})))
        .into();
    let large = json!({"algorithm": "PS256", "rsaKeySize": 3072});
    specs.push(("alg-ps256-3072".to_owned(), large));
    let client = world.control_plane.client().await;

    let mut tasks = JoinSet::new();
    for (name, spec) in specs {
        let series = Series::with(client.clone(), &name, SYSTEM);
        tasks.spawn(async move {
            let object = series.apply(spec).await;
            series.ready().await;
            series.signs(1).await;
            let map = series.map(SYSTEM).await;
            assert!(is_well_formed(&map), "{map:?}");
            let set: Value = serde_json::from_str(field(&map, JWKS_FIELD)).unwrap();
            let jwk = &set["keys"][0];
            assert_eq!(jwk["alg"], object.spec.algorithm.name());
            assert_eq!(jwk["use"], "sig");
            if let Some(size) = object.spec.rsa_key_size {
                let letters = jwk["n"].as_str().unwrap().len();
                assert_eq!(letters, usize::try_from(size).unwrap().div_ceil(6), "{jwk}");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_signing_key_gets_one_named_default() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "default").await;

    let object = series.ready().await;

    assert_eq!(object.spec.algorithm, Algorithm::RS256);
    assert_eq!(object.spec.rotation.period, "2160h");
    assert_eq!(object.spec.rotation.pre_publish, "1h");
    assert!(object.spec.jwks.namespace_selector.is_none());
    series.signs(1).await;
    a_declared_default_wins(&series).await;
}

/// Git wants another algorithm, and the operator was faster.
async fn a_declared_default_wins(series: &Series) {
    let first = series.kid(1).await;
    assert_eq!(series.object().await.status.unwrap().bootstrapped, Some(true));

    // Without force: there is no conflict.
    let declared = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
        "metadata": {"name": "default"}, "spec": {"algorithm": "ES256"},
    });
    let parameters = PatchParams::apply("git");
    series.api().patch("default", &parameters, &Patch::Apply(declared)).await.unwrap();

    let second = series.kid_when(2).await;
    let object = series.when("no mark", |it| bootstrapped(it).is_none()).await;
    assert_eq!(object.status.unwrap().active_kid.as_deref(), Some(first.as_str()), "no gap");
    series.publishes(&[SYSTEM], &[&first, &second]).await;
    let jwks = series.jwks().await;
    let algorithm = |kid| jwks.iter().find(|key| key.kid() == kid).unwrap().algorithm();
    assert_eq!((algorithm(&first), algorithm(&second)), (Algorithm::RS256, Algorithm::ES256));
    let again = series.try_apply(json!({"algorithm": "ES384"})).await.unwrap_err().to_string();
    assert!(again.contains("spec.algorithm is immutable"), "{again}");
}

fn bootstrapped(object: &SigningKey) -> Option<bool> {
    object.status.as_ref()?.bootstrapped
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_waits_for_a_key_and_shows_it() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "by-kubectl").await;
    series.apply(json!({"algorithm": "ES384"})).await;
    let kubeconfig = world.control_plane.kubeconfig();
    let asked = move |arguments: &'static [&str]| {
        let kubeconfig = kubeconfig.clone();
        tokio::task::spawn_blocking(move || kubectl(&kubeconfig, arguments))
    };

    let waited = &["wait", "--for=condition=Ready", "--timeout=100s", "sk/by-kubectl"];
    let Some(waited) = asked(waited).await.unwrap() else { return };
    let shown = asked(&["get", "sk", "by-kubectl", "-o", "wide"]).await.unwrap().unwrap();
    series.has_event("KeyActivated").await;
    let described = asked(&["describe", "sk", "by-kubectl"]).await.unwrap().unwrap();

    assert!(waited.contains("condition met"), "{waited}");
    let kid = series.kid(1).await;
    for words in ["ES384", kid.as_str(), "by-kubectl-jwks", "KeyActive"] {
        assert!(shown.contains(words), "{shown}");
    }
    assert!(described.contains("KeyActivated"), "{described}");
}

/// What kubectl prints; nothing where there is no kubectl.
fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let Ok(output) = command.output() else {
        say("skipped: no kubectl");
        return None;
    };
    let words = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&words).into_owned())
}
