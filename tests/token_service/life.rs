//! Clients as the token service sees them: new, rotated, revoked, suspended, gone.

use axum::http::StatusCode;
use serde_json::json;
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::server::http::rate_limit::Rate;
use technical_user_operator::server::oauth::authenticator::Rates;

use crate::world::{Credential, RATES, TokenServer, World, until};

async fn status(server: &TokenServer, who: &Credential) -> u16 {
    server.token(who).await.status.as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_secret_works_the_moment_it_can_be_read_also_where_no_watch_tells() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    world.server.freeze_watches(true);
    // The operator's own watches stand still too: it is started again for its list.
    world.kill_operator();
    world.put_user("orders", "billing", &json!({}));
    world.start_operator();
    until("a delivered Secret", || world.credential("orders", "billing").is_some()).await;
    let who = world.credential("orders", "billing").unwrap();
    assert!(server.directory.client(&who.id.parse().unwrap()).is_none());

    assert_eq!(status(&server, &who).await, 200);
    assert_eq!(status(&server, &who.forged()).await, 401);
}

#[tokio::test(start_paused = true)]
async fn old_and_new_work_in_the_overlap_and_the_old_one_no_longer() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let spec = json!({"rotation": {"overlap": "10m"}});
    let old = world.user("orders", "billing", &spec).await;
    assert_eq!(status(&server, &old).await, 200);

    let rotate = ("iam.cyoda.com/rotate-requested-at", "1");
    world.annotate("technicalusers", "orders", "billing", rotate);
    until("another secret", || world.credential("orders", "billing").unwrap().secret != old.secret)
        .await;
    let new = world.credential("orders", "billing").unwrap();

    assert_eq!([status(&server, &old).await, status(&server, &new).await], [200, 200]);
    tokio::time::sleep(std::time::Duration::from_mins(11)).await;
    assert_eq!([status(&server, &old).await, status(&server, &new).await], [401, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_secret_is_refused_although_it_was_used_a_moment_ago() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let old = world.user("orders", "billing", &json!({})).await;
    assert_eq!(status(&server, &old).await, 200);

    let revoke = ("iam.cyoda.com/revoke-requested-at", "1");
    world.annotate("technicalusers", "orders", "billing", revoke);
    until("another secret", || world.credential("orders", "billing").unwrap().secret != old.secret)
        .await;
    let new = world.credential("orders", "billing").unwrap();
    until("the news", || {
        let known = server.directory.client(&new.id.parse().unwrap()).unwrap();
        let id = old.secret[3..13].parse().unwrap();
        known.verifier(&id, world_now(&world)).is_none()
    })
    .await;

    assert_eq!([status(&server, &old).await, status(&server, &new).await], [401, 200]);
}

fn world_now(world: &World) -> jiff::Timestamp {
    use technical_user_operator::environment::Clock as _;
    world.clock.now()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_suspended_or_gone_gets_nothing_with_or_without_an_operator() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let client = who.id.parse().unwrap();
    assert_eq!(status(&server, &who).await, 200);
    world.kill_operator();

    world.put_user("orders", "billing", &json!({"suspend": true}));
    until("suspension", || {
        server.directory.client(&client).is_some_and(|it| it.client.is_suspended)
    })
    .await;
    let answer = server.token(&who).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (401, "invalid_client"));
    assert!(answer.text.contains("suspended"));

    world.put_user("orders", "billing", &json!({}));
    until("an end of it", || {
        server.directory.client(&client).is_some_and(|it| !it.client.is_suspended)
    })
    .await;
    assert_eq!(status(&server, &who).await, 200);

    world.server.delete_raw("technicalusers", "orders", "billing");
    until("no client", || server.directory.client(&client).is_none()).await;
    assert_eq!(status(&server, &who).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_counts_with_the_next_token() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({"roles": ["ROLE_M2M", "ROLE_X"]})).await;
    let client = who.id.parse().unwrap();
    assert_eq!(server.token(&who).await.json()["scope"], "ROLE_M2M ROLE_X");

    world.put_user("orders", "billing", &json!({"roles": ["ROLE_M2M"], "accessTokenTTL": "48h"}));
    until("the news", || server.directory.client(&client).unwrap().client.roles.len() == 1).await;

    let answer = server.token(&who).await.json();
    assert_eq!(answer["scope"], "ROLE_M2M");
    assert_eq!(answer["expires_in"], 24 * 3600, "the bound of the installation");
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_key_is_not_there_is_told_to_come_back() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({"signingKeyRef": {"name": "absent"}})).await;

    let answer = server.token(&who).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.error(), "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    world.put_key("absent", &json!({"algorithm": "EdDSA"}));
    until("the key", || server.directory.signer("absent", world_now(&world)).is_ok()).await;
    assert_eq!(status(&server, &who).await, 200);
}

#[tokio::test(start_paused = true)]
async fn guesses_of_a_secret_nobody_used_here_yet_are_slowed_down_and_cost_others_nothing() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let other = world.user("shop", "other", &json!({})).await;

    let mut seen = Vec::new();
    for _ in 0..30 {
        seen.push(status(&server, &who.forged()).await);
    }

    assert_eq!(seen[..2], [401, 401], "a client may try both methods");
    assert_eq!(*seen.last().unwrap(), 429);
    assert_eq!(status(&server, &other).await, 200);
}

#[tokio::test(start_paused = true)]
async fn guesses_never_lock_out_who_was_here_before() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    assert_eq!(status(&server, &who).await, 200);

    for _ in 0..100 {
        assert_eq!(status(&server, &who.forged()).await, 401);
    }

    assert_eq!(status(&server, &who).await, 200);
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_are_told_to_slow_down_and_who_succeeds_is_not() {
    let world = World::start().await;
    let rates = Rates { failures_of_all: Rate::a_second(1, 3), ..RATES };
    let no_limit = (Rate::a_second(0, 0), Rate::a_second(0, 0));
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, no_limit).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let wrong = Credential { secret: "wrong".to_owned(), ..who.clone() };

    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(status(&server, &wrong).await);
    }

    assert_eq!(seen, [401, 401, 401, 429, 429]);
    assert_eq!(status(&server, &who).await, 200);
}
