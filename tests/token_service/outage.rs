//! Operator and API server are away: what is known is served, for as long as it may be believed.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use technical_user_operator::domain::token::Profile;

use crate::world::{Credential, VIEW_AGE, World, until};

#[tokio::test(start_paused = true)]
async fn half_an_hour_without_operator_and_api_server_costs_no_token() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;
    let mut clients = Vec::new();
    for name in ["one", "two", "three"] {
        clients.push(world.user("orders", name, &json!({})).await);
    }
    until("all clients", || server.directory.count() == 3).await;
    world.kill_operator();
    world.set_away(true);

    for minute in 0..30 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        for who in &clients {
            let token = server.token(who).await.token();
            assert!(server.verified(&token).await.is_some(), "minute {minute}");
        }
        assert_eq!(server.get("/.well-known/jwks.json").await.status, StatusCode::OK);
    }

    world.set_away(false);
    world.start_operator();
    let late = world.user("orders", "late", &json!({})).await;
    assert_eq!(server.token(&late).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn who_was_out_of_touch_for_too_long_signs_nothing_and_says_so() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    world.set_away(true);

    tokio::time::sleep(VIEW_AGE.saturating_sub(Duration::from_mins(1))).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_mins(2)).await;
    let answer = server.token(&who).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("out of touch"), "{}", answer.text);
    assert!(server.directory.readiness().unwrap_err().contains("too old"));
    assert_eq!(server.get("/.well-known/jwks.json").await.status, StatusCode::OK);
    world.set_away(false);
    until("touch", || server.directory.readiness().is_ok()).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn one_view_that_is_too_old_is_enough_to_sign_nothing() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    world.kill_operator();
    let lost = [
        ("/technicalusers", "the technical users"),
        ("iam.cyoda.com%2Fverifier", "the verifier records"),
        ("/api/v1/namespaces?", "the namespaces"),
    ];
    for (requests, view) in lost {
        assert_eq!(server.token(&who).await.status, StatusCode::OK);
        world.lose(Some(requests));

        tokio::time::sleep(VIEW_AGE + Duration::from_mins(1)).await;

        assert_eq!(server.token(&who).await.status, StatusCode::SERVICE_UNAVAILABLE, "{view}");
        let missing = server.directory.readiness().unwrap_err();
        assert!(missing.contains(view), "{missing}");
        assert!(server.directory.age().unwrap() > VIEW_AGE, "{view}");
        world.lose(None);
        until("touch", || server.directory.readiness().is_ok()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_out_of_touch_stops_its_own_clients_alone() {
    let world = World::start().await;
    let server = world.token_server_of(&["orders", "shop"]).ready().await;
    let near = world.user("orders", "billing", &json!({})).await;
    let lost = world.user("shop", "billing", &json!({})).await;
    for who in [&near, &lost] {
        assert_eq!(server.token(who).await.status, StatusCode::OK);
    }
    world.kill_operator();
    world.lose(Some("/namespaces/shop/technicalusers"));

    tokio::time::sleep(VIEW_AGE + Duration::from_mins(1)).await;

    assert_eq!(server.token(&near).await.status, StatusCode::OK);
    let answer = server.token(&lost).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("out of touch"), "{}", answer.text);
    assert_eq!(server.directory.readiness(), Ok(()));
    assert!(server.directory.age().unwrap() > VIEW_AGE);
    world.lose(None);
    until("touch", || server.directory.age().unwrap() < VIEW_AGE).await;
    assert_eq!(server.token(&lost).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_not_an_absent_one() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;

    tokio::time::sleep(VIEW_AGE * 5).await;

    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    assert!(server.directory.age().unwrap() < Duration::from_mins(6));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_checked_is_never_called_wrong() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;
    let known = world.user("orders", "billing", &json!({})).await;
    assert_eq!(server.token(&known).await.status, StatusCode::OK);
    let other = world.user("orders", "other", &json!({})).await;
    world.set_away(true);
    let unknown = Credential { id: "nobody".to_owned(), secret: other.secret };

    let answer = server.token(&unknown).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.error(), "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_knows_nothing_yet_is_not_ready_and_says_why() {
    let world = World::start().await;
    let who = world.user("orders", "billing", &json!({})).await;
    world.set_away(true);
    let server = world.token_server(Profile::Cloud);

    let missing = server.directory.readiness().unwrap_err();
    let answer = server.token(&who).await;

    assert!(missing.contains("technicalusers") && missing.contains("key pairs"), "{missing}");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn every_token_of_many_rotations_verifies_at_every_replica() {
    let world = World::start().await;
    let rotation = json!({"period": "1h", "prePublish": "20m", "grace": "1h"});
    world.put_key("fast", &json!({"algorithm": "ES256", "rotation": rotation}));
    let replicas = [world.token_server(Profile::Cloud), world.token_server(Profile::Cloud)];
    let [one, other] = replicas;
    let (one, other) = (one.ready().await, other.ready().await);
    let who = world.user("orders", "billing", &json!({"signingKeyRef": {"name": "fast"}})).await;
    until("a key of that series", || {
        use technical_user_operator::environment::Clock as _;
        one.directory.signer("fast", world.clock.now()).is_ok()
    })
    .await;
    let mut kids = std::collections::BTreeSet::new();

    for _ in 0..8 * 12 {
        tokio::time::sleep(Duration::from_mins(5)).await;
        let token = one.token(&who).await.token();
        assert!(other.verified(&token).await.is_some());
        assert!(one.verified(&other.token(&who).await.token()).await.is_some());
        kids.insert(token.split('.').next().unwrap().to_owned());
    }

    assert!(kids.len() >= 6, "{} keys in a working day", kids.len());
}
