//! Which keys the token service takes for its own, and when it signs with none.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use technical_user_operator::domain::crypto::public_key::{Algorithm, PublicKey};
use technical_user_operator::domain::oauth::ClaimsProfile;

use crate::world::{SYSTEM, World, until};

/// A user with the right to write only ConfigMaps in the operator's namespace must not make tokens valid.
#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_adds_to_the_config_map_is_neither_served_nor_believed() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let before = server.get("/.well-known/jwks.json").await.text;
    world.kill_operator();
    let rogue = PublicKey::ec(Algorithm::ES256, &[vec![4], vec![7; 64]].concat()).unwrap();
    let mut map = world.server.get("configmaps", SYSTEM, "default-jwks").unwrap();
    let mut keys: Value = serde_json::from_str(map["data"]["jwks"].as_str().unwrap()).unwrap();
    keys["keys"].as_array_mut().unwrap().push(serde_json::to_value(&rogue).unwrap());
    map["data"]["jwks"] = keys.to_string().into();

    world.server.put_raw("configmaps", map);
    tokio::time::sleep(Duration::from_secs(5)).await;

    assert!(world.kids("default").contains(&rogue.kid().to_string()));
    assert_eq!(server.get("/.well-known/jwks.json").await.text, before);
}

/// The former keys sign on with their own algorithm until the next one takes over.
#[tokio::test(start_paused = true)]
async fn while_the_algorithm_of_a_series_changes_tokens_are_signed_without_a_gap() {
    let world = World::start().await;
    let who = world.user("shop", "billing", &json!({})).await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let first = world.kids("default");

    let mut series = world.server.get("signingkeys", "", "default").unwrap();
    series["spec"]["algorithm"] = "RS256".into();
    world.server.put_raw("signingkeys", series);
    until("a second key", || world.kids("default").len() == 2).await;

    for _ in 0..30 {
        assert_eq!(server.token(&who).await.status, StatusCode::OK);
        tokio::time::sleep(Duration::from_mins(5)).await;
    }
    let signs = server.token(&who).await.token();
    assert!(server.verified(&signs).await.is_some());
    let second = world.kids("default").into_iter().find(|kid| !first.contains(kid)).unwrap();
    let header = signs.split('.').next().unwrap().to_owned();
    assert!(decoded(&header).contains(&second), "the second key signs in the end");
}

#[tokio::test(start_paused = true)]
async fn a_token_server_that_believes_its_views_for_longer_than_the_operator_thinks_signs_nothing()
{
    let world = World::start().await;
    let who = world.user("shop", "billing", &json!({})).await;
    let good = world.token_server(ClaimsProfile::Cloud).ready().await;
    let patient = world.token_server_believing(Duration::from_hours(2));
    until("its views", || patient.directory.readiness().is_ok()).await;

    let refused = patient.token(&who).await;

    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert!(patient.directory.signing().unwrap_err().contains("--max-staleness"));
    assert_eq!(good.token(&who).await.status, StatusCode::OK);
}

fn decoded(part: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Most verifiers learn the algorithms once: a user who adds one reads of it where they look first.
#[tokio::test(start_paused = true)]
async fn an_algorithm_that_the_jwks_did_not_have_is_told_in_an_event() {
    let world = World::start().await;
    let notes = |name: &str| {
        let events = world.server.list("events").into_iter();
        let of_it = events
            .filter(|it| it["involvedObject"]["name"] == name && it["reason"] == "AlgorithmAdded");
        of_it.map(|it| it["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    world.put_key("gateway", &json!({"algorithm": "RS256"}));
    until("a key", || !world.kids("gateway").is_empty()).await;
    world.put_key("partners", &json!({"algorithm": "ES256"}));
    until("a key", || !world.kids("partners").is_empty()).await;
    let mut series = world.server.get("signingkeys", "", "partners").unwrap();
    series["spec"]["algorithm"] = "EdDSA".into();
    world.server.put_raw("signingkeys", series);
    until("the next key", || !notes("partners").is_empty()).await;

    let [event] = &notes("gateway")[..] else { panic!("{:?}", notes("gateway")) };
    let parts = ["SigningKey gateway", "RS256", "SigningKey default has ES256", "signing-keys.md"];
    assert!(parts.iter().all(|part| event.contains(part)), "{event}");
    let [event] = &notes("partners")[..] else { panic!("{:?}", notes("partners")) };
    assert!(event.contains("has the algorithm EdDSA, the former one has ES256"), "{event}");
    assert_eq!(notes("default"), Vec::<String>::new());
}

/// What `kubectl delete --cascade=orphan` leaves: a private key must not stay.
#[tokio::test(start_paused = true)]
async fn an_orphaned_private_key_goes_once_its_last_token_has_expired() {
    let world = World::start().await;
    for name in ["gone", "restored"] {
        world.put_key(name, &json!({"algorithm": "ES256"}));
        until("a key", || !world.kids(name).is_empty()).await;
    }
    let keys = ["gone", "restored"].map(|name| world.server.get("signingkeys", "", name).unwrap());
    let [gone, restored] = keys.each_ref().map(|key| key["metadata"]["uid"].as_str().unwrap());
    let left = |uid: &str| {
        let secrets = world.server.list("secrets").into_iter();
        let name = |secret: &Value| secret["metadata"]["name"].as_str().unwrap().to_owned();
        secrets.filter(|it| name(it).starts_with(&format!("sk-{uid}"))).collect::<Vec<_>>()
    };
    let is_marked = |secret: &Value| {
        secret["metadata"]["annotations"]["iam.cyoda.com/ownerless-since"].is_string()
    };
    for name in ["gone", "restored"] {
        world.server.delete_raw("signingkeys", "", name);
    }
    for mut secret in left(gone).into_iter().chain(left(restored)) {
        secret["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        world.server.put_raw("secrets", secret);
    }

    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(left(gone).len(), 2, "the ledger and the private key");
    assert!(left(gone).iter().chain(&left(restored)).all(is_marked));
    world.server.put_raw("signingkeys", keys[1].clone());

    // Staleness and token lifetime, an hour and a day. The operator looks at the end of it alone.
    world.kill_operator();
    tokio::time::sleep(Duration::from_hours(23)).await;
    world.start_operator();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(left(gone).len(), 2, "a token of it may still be valid");
    tokio::time::sleep(Duration::from_mins(90)).await;
    assert_eq!(left(gone), Vec::<Value>::new());
    assert!(left(restored).len() >= 2, "its SigningKey is back");
}

/// The operator of this world has `--bootstrap-signing-key=false`.
#[tokio::test(start_paused = true)]
async fn an_operator_that_shall_make_no_default_makes_none_after_it_was_deleted() {
    let world = World::start().await;

    world.server.delete_raw("signingkeys", "", "default");
    tokio::time::sleep(Duration::from_hours(2)).await;
    world.put_key("gateway", &json!({"algorithm": "ES256"}));
    until("a key of another series", || !world.kids("gateway").is_empty()).await;

    assert!(world.server.get("signingkeys", "", "default").is_none());
}

/// What is not read says nothing of the key that signs.
#[tokio::test(start_paused = true)]
async fn a_look_that_fails_before_the_ledger_is_read_leaves_ready_as_it_was() {
    let world = World::start().await;
    let ready = |name: &str| {
        let object = world.server.get("signingkeys", "", name).unwrap();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|it| it["type"] == "Ready").unwrap_or_default();
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    };
    let of = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    until("a key that signs", || ready("default") == of("True", "KeyActive")).await;

    // The ledger is a Secret of that name.
    world.lose(Some("/secrets/sk-"));
    world.put_key("new", &json!({"algorithm": "ES256"}));
    let mut series = world.server.get("signingkeys", "", "default").unwrap();
    series["metadata"]["generation"] = 2.into();
    world.server.put_raw("signingkeys", series);

    until("the failure", || ready("default").1 == "ApiServerUnavailable").await;
    assert_eq!(ready("default"), of("True", "ApiServerUnavailable"));
    until("the failure", || ready("new").1 == "ApiServerUnavailable").await;
    assert_eq!(ready("new"), of("False", "ApiServerUnavailable"));
    world.lose(None);
    until("the end of it", || ready("default") == of("True", "KeyActive")).await;
    until("a first key", || ready("new") == of("True", "KeyActive")).await;
}
