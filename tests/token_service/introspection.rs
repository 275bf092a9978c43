//! RFC 7662: what a token alone does not tell.

use axum::http::StatusCode;
use serde_json::json;
use technical_user_operator::domain::oauth::ClaimsProfile;

use crate::world::{Credential, TokenServer, World, until};

const INTROSPECT: &str = "/iam/oauth2/introspect";

async fn is_active(server: &TokenServer, asker: &Credential, token: &str) -> bool {
    let answer = server.post(INTROSPECT, asker, &format!("token={token}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()["active"].as_bool().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_counts_is_told_with_its_claims() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let asker = world.user("shop", "gateway", &json!({})).await;
    let token = server.token(&who).await.token();

    let answer =
        server.post(INTROSPECT, &asker, &format!("token={token}&token_type_hint=x")).await.json();

    let claims = server.verified(&token).await.unwrap();
    assert_eq!(answer["active"], true);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "ROLE_M2M");
    for (name, value) in claims.as_object().unwrap() {
        assert_eq!(&answer[name], value, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_stops_counting_with_its_time() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({"accessTokenTTL": "1m"})).await;
    let token = server.token(&who).await.token();

    assert!(is_active(&server, &who, &token).await);
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    assert!(!is_active(&server, &who, &token).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_stops_counting_when_its_client_goes_or_is_suspended() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let asker = world.user("shop", "gateway", &json!({})).await;
    let id = json!({"clientID": "billing"});
    let who = world.user("orders", "billing", &id).await;
    let token = server.token(&who).await.token();
    assert!(is_active(&server, &asker, &token).await);

    world.put_user("orders", "billing", &json!({"clientID": "billing", "suspend": true}));
    let client = who.id.parse().unwrap();
    until("suspension", || {
        server.directory.client(&client).is_some_and(|it| it.client.is_suspended)
    })
    .await;
    assert!(!is_active(&server, &asker, &token).await);

    world.put_user("orders", "billing", &id);
    until("an end of it", || {
        server.directory.client(&client).is_some_and(|it| !it.client.is_suspended)
    })
    .await;
    assert!(is_active(&server, &asker, &token).await);

    world.server.delete_raw("technicalusers", "orders", "billing");
    world.server.collect_garbage();
    until("no client", || server.directory.client(&client).is_none()).await;
    assert!(!is_active(&server, &asker, &token).await);

    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let again = world.user("orders", "billing", &id).await;
    until("another one of that name", || server.directory.client(&client).is_some()).await;
    assert!(is_active(&server, &asker, &server.token(&again).await.token()).await);
    assert!(!is_active(&server, &asker, &token).await, "it was of its predecessor");
}

#[tokio::test(start_paused = true)]
async fn a_token_stops_counting_when_its_key_is_revoked() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let token = server.token(&who).await.token();
    let kid = world.kids("default")[0].clone();

    let annotation = ("iam.cyoda.com/revoke-requested-at", kid.as_str());
    world.annotate("signingkeys", "", "default", annotation);
    until("another key", || !world.kids("default").contains(&kid)).await;

    until("the news", || server.directory.key(&kid.parse().unwrap()).is_none()).await;
    assert!(!is_active(&server, &who, &token).await);
    assert!(is_active(&server, &who, &server.token(&who).await.token()).await);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_no_token_of_ours_does_not_count() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let token = server.token(&who).await.token();
    let parts: Vec<&str> = token.split('.').collect();
    let forged = format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86));
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);

    for bad in ["x", "a.b.c", "..", &forged, &unsigned, &token[1..], &format!("{token}.")] {
        assert!(!is_active(&server, &who, bad).await, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_says_who_they_are() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let token = server.token(&who).await.token();
    let stranger = Credential { secret: "tus".to_owned(), ..who.clone() };

    let refused = server.post(INTROSPECT, &stranger, &format!("token={token}")).await;
    let empty = server.post(INTROSPECT, &who, "").await;

    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (401, "invalid_client"));
    assert_eq!((empty.status.as_u16(), empty.error().as_str()), (400, "invalid_request"));
}

#[tokio::test(start_paused = true)]
async fn a_token_stops_counting_when_the_secrets_of_its_client_are_revoked() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let asker = world.user("shop", "asker", &json!({})).await;
    let who = world.user("orders", "billing", &json!({})).await;
    let other = world.user("orders", "other", &json!({})).await;
    let (token, of_other) = (server.token(&who).await.token(), server.token(&other).await.token());

    let rotation = ("iam.cyoda.com/rotate-requested-at", "1");
    world.annotate("technicalusers", "orders", "billing", rotation);
    until("another secret", || {
        world.credential("orders", "billing").is_some_and(|it| it.secret != who.secret)
    })
    .await;
    assert!(is_active(&server, &asker, &token).await, "a rotation ends no token");

    let rotated = world.credential("orders", "billing").unwrap();
    let revocation = ("iam.cyoda.com/revoke-requested-at", "2");
    world.annotate("technicalusers", "orders", "billing", revocation);
    until("a third secret", || {
        world.credential("orders", "billing").is_some_and(|it| it.secret != rotated.secret)
    })
    .await;
    let client = who.id.parse().unwrap();
    until("the news", || {
        server.directory.client(&client).is_some_and(|it| it.client.revoked_at.is_some())
    })
    .await;

    assert!(!is_active(&server, &asker, &token).await);
    assert!(is_active(&server, &asker, &of_other).await);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let present = world.credential("orders", "billing").unwrap();
    let token = server.token(&present).await.token();
    assert!(is_active(&server, &asker, &token).await, "it was bought with the new secret");
}
