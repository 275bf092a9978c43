//! Operator and API server are away: what is known is served, for as long as it may be believed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use serde_json::json;
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::heartbeat::Heartbeats;
use technical_user_operator::server::health;
use tower::ServiceExt as _;

use crate::world::{Credential, TokenServer, VIEW_AGE, World, until};

#[tokio::test(start_paused = true)]
async fn half_an_hour_without_operator_and_api_server_costs_no_token() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
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
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    world.set_away(true);

    tokio::time::sleep(VIEW_AGE.saturating_sub(Duration::from_mins(1))).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_mins(2)).await;
    let answer = server.token(&who).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("disconnected"), "{}", answer.text);
    assert!(server.directory.signing().unwrap_err().contains("too old"));
    assert_eq!(server.directory.readiness(), Ok(()), "the JWKS is served");
    assert_eq!(server.get("/.well-known/jwks.json").await.status, StatusCode::OK);
    world.set_away(false);
    until("touch", || server.directory.signing().is_ok()).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn one_view_that_is_too_old_is_enough_to_sign_nothing() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
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
        let missing = server.directory.signing().unwrap_err();
        assert!(missing.contains(view), "{missing}");
        assert!(server.directory.staleness() > VIEW_AGE, "{view}");
        world.lose(None);
        until("touch", || server.directory.signing().is_ok()).await;
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
    assert!(answer.text.contains("disconnected"), "{}", answer.text);
    assert_eq!(server.directory.signing(), Ok(()));
    assert!(server.directory.staleness() > VIEW_AGE);
    world.lose(None);
    until("touch", || server.directory.staleness() < VIEW_AGE).await;
    assert_eq!(server.token(&lost).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_not_an_absent_one() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;

    tokio::time::sleep(VIEW_AGE * 5).await;

    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    assert!(server.directory.staleness() < Duration::from_mins(6));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_checked_is_never_called_wrong() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
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
    let server = world.token_server(ClaimsProfile::Cloud);

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
    let replicas =
        [world.token_server(ClaimsProfile::Cloud), world.token_server(ClaimsProfile::Cloud)];
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

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_for_days_signs_nothing_before_it_is_in_touch_again() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    world.kill_operator();
    world.set_away(true);
    world.server.delete_raw("technicalusers", "orders", "billing");

    // The monotonic clock stands still while a machine sleeps.
    world.clock.jump(SignedDuration::from_hours(72));
    let asleep = server.token(&who).await;

    assert_eq!(asleep.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asleep.text.contains("disconnected"), "{}", asleep.text);
    assert!(server.directory.staleness() > VIEW_AGE);
    world.set_away(false);
    until("the news", || server.directory.count() == 0).await;
    assert_eq!(server.token(&who).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_waited_while_the_machine_slept_are_no_sign_of_life() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    world.kill_operator();

    // The watches that were open deliver one more bookmark, and no new one can be opened.
    world.clock.jump(SignedDuration::from_hours(72));
    world.set_deaf(true);
    tokio::time::sleep(Duration::from_mins(2)).await;

    assert_eq!(server.token(&who).await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.set_deaf(false);
    until("touch", || server.directory.signing().is_ok()).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_signing_key_that_is_suspended_takes_nothing_away_but_its_tokens() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let token = server.token(&who).await.token();

    let mut key = world.server.get("signingkeys", "", "default").unwrap();
    key["spec"]["suspend"] = true.into();
    world.server.put_raw("signingkeys", key);
    until("the news", || server.directory.signing().is_err()).await;

    assert!(
        server.directory.signing().unwrap_err().contains("default: the SigningKey is suspended")
    );
    assert_eq!(server.metric("technical_user_can_sign"), [" 0.0"]);
    assert_eq!(server.token(&who).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(probed(&server, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, text) = probed(&server, "/readyz/sign").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("default: the SigningKey is suspended"), "{text}");
    assert!(server.verified(&token).await.is_some());
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    let introspected = server.post("/oauth2/introspect", &who, &format!("token={token}")).await;
    assert_eq!(introspected.json()["active"], true);
}

/// What a kubelet or an administrator reads at the health port.
async fn probed(server: &TokenServer, path: &str) -> (StatusCode, String) {
    let (ready, sign) = (Arc::clone(&server.directory), Arc::clone(&server.directory));
    let router = health::health(Heartbeats::default(), Arc::new(move || ready.readiness()))
        .merge(health::signing(Arc::new(move || sign.signing())));
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_views_is_known_from_the_first_second() {
    let world = World::start().await;
    world.set_away(true);
    let server = world.token_server(ClaimsProfile::Cloud);
    let age = || server.metric("technical_user_watch_staleness_seconds");

    assert_eq!(age(), [" 0.0"]);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(age(), [" 600.0"], "it was never in touch");
    world.set_away(false);
    until("touch", || server.directory.staleness() < Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_never_seen_is_as_old_as_the_server() {
    let world = World::start().await;
    world.lose(Some("/namespaces/shop/technicalusers"));
    let server = world.token_server_of(&["orders", "shop"]);

    tokio::time::sleep(Duration::from_mins(10)).await;

    assert_eq!(server.directory.staleness(), Duration::from_mins(10));
}
