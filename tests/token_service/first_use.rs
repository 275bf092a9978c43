//! The first use of a client secret at a replica: lookups and hashes, with clients that hang up, ask
//! many times at once, or ask for nothing that exists.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::http::{Request, StatusCode};
use futures::future::join_all;
use serde_json::{Value, json};
use technical_user_operator::domain::crypto::client_secret::{ClientSecret, CredentialId};
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::server::http::rate_limit::Rate;
use technical_user_operator::server::oauth::authenticator::Rates;

use crate::world::{
    Answer, Credential, GRANT, RATES, TOKEN, TokenServer, UNLIMITED, World, basic, until,
};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

/// A client whose secret no watch of the token service has delivered yet.
async fn fresh(world: &World) -> Credential {
    world.server.freeze_watches(true);
    // The operator's own watches stand still too: it is started again for its list.
    world.kill_operator();
    world.put_user("orders", "billing", &json!({}));
    world.start_operator();
    until("a delivered Secret", || world.credential("orders", "billing").is_some()).await;
    world.kill_operator();
    world.credential("orders", "billing").unwrap()
}

/// A client that does not exist, with a well-formed client secret.
fn stranger(number: u8) -> Credential {
    let id = CredentialId::draw(&[number % 60; 40]).unwrap();
    let secret = ClientSecret::draw(&id, &[number % 60; 64]).unwrap().reveal().to_owned();
    Credential { id: format!("nobody{number}"), secret }
}

async fn statuses(server: &TokenServer, who: &Credential, requests: usize) -> Vec<u16> {
    let answers = join_all((0..requests).map(|_| server.token(who))).await;
    answers.iter().map(|answer| answer.status.as_u16()).collect()
}

async fn token_from(server: &TokenServer, source: IpAddr, who: &Credential) -> Answer {
    server.ask_from(source, basic(Request::post(TOKEN), who, GRANT)).await
}

#[tokio::test(start_paused = true)]
async fn thirty_first_uses_at_once_get_thirty_tokens() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;

    assert_eq!(statuses(&server, &who, 30).await, [200; 30]);
}

#[tokio::test(start_paused = true)]
async fn thirty_first_uses_at_once_cost_one_lookup() {
    let world = World::start().await;
    let rates = Rates { lookups: Rate::a_second(1, 1), ..RATES };
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, UNLIMITED).ready().await;
    let who = fresh(&world).await;
    world.set_slow(Duration::from_millis(20));

    assert_eq!(statuses(&server, &who, 30).await, [200; 30]);
    assert_eq!(server.service.authenticator.lookups_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_finds_the_hash_that_it_caused() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    let client = server.directory.client(&who.id.parse().unwrap()).unwrap();
    let id = who.secret.parse::<ClientSecret>().unwrap().id();
    let is_remembered =
        || client.verifier(&id, world.now()).is_some_and(|(_, memory)| memory.proof().is_some());

    {
        let mut request = Box::pin(server.token(&who));
        assert!(futures::poll!(&mut request).is_pending());
        assert!(!is_remembered());
    }

    until("the hash", is_remembered).await;
    assert_eq!(server.token(&who).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_again_and_again_uses_up_no_limit() {
    let world = World::start().await;
    let rates = Rates { failures_of_one: Rate::a_second(1, 1), ..RATES };
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, UNLIMITED).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;

    for _ in 0..30 {
        let mut request = Box::pin(server.token(&who));
        let _ = futures::poll!(&mut request);
    }

    assert_eq!(server.token(&who).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_whose_client_hangs_up_leaves_nothing_behind() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    world.set_slow(Duration::from_millis(20));

    for number in 0..30 {
        let who = stranger(number);
        let asking = server.token(&who);
        assert!(tokio::time::timeout(Duration::from_millis(10), asking).await.is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;

    assert_eq!(server.service.authenticator.lookups_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_whose_client_hung_up_buys_no_token_after_the_client_was_deleted() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = fresh(&world).await;
    world.set_slow(Duration::from_millis(20));

    {
        let asking = server.token(&who);
        assert!(tokio::time::timeout(Duration::from_millis(30), asking).await.is_err());
    }
    world.server.freeze_watches(false);
    until("the client", || server.directory.count() == 1).await;
    world.server.delete_raw("technicalusers", "orders", "billing");
    until("its end", || server.directory.count() == 0).await;

    assert_eq!(server.token(&who).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_that_names_the_object_says_that_it_is_absent() {
    let nameless = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
        "message": "the server could not find the requested resource", "details": {}, "code": 404,
    });
    let mut other = nameless.clone();
    other["details"] = json!({"name": "another", "kind": "secrets"});
    let forbidden = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
        "message": "secrets is forbidden", "details": {}, "code": 403,
    });
    let cases = [
        (404, "404 page not found".to_owned(), "lookup_failed"),
        (404, nameless.to_string(), "lookup_failed"),
        (404, other.to_string(), "lookup_failed"),
        (403, "go away".to_owned(), "lookup_failed"),
        (429, "slow down".to_owned(), "lookup_failed"),
        (200, "<html>".to_owned(), "record_unreadable"),
        (403, forbidden.to_string(), "lookup_forbidden"),
    ];
    for requests in ["/secrets/", "/namespaces/orders/technicalusers/"] {
        for (status, body, reason) in &cases {
            let world = World::start().await;
            let server = world.token_server(ClaimsProfile::Cloud).ready().await;
            let who = fresh(&world).await;

            world.answer_with(Some((requests, *status, body.clone())));
            let answer = server.token(&who).await;
            world.answer_with(None);

            let shown = format!("{requests}: {status} {body}: {}", answer.text);
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{shown}");
            assert_eq!(server.audited(1)[0]["reason"], *reason, "{shown}");
            assert_eq!(server.token(&who).await.status, StatusCode::OK, "nothing is remembered");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_takes_no_lookup_of_a_fresh_secret_from_elsewhere() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = fresh(&world).await;
    world.set_slow(Duration::from_millis(50));
    let strangers: Vec<_> = (0..250).map(stranger).collect();

    let flood = join_all(strangers.iter().map(|it| server.token(it)));
    let (flood, answer) = tokio::join!(flood, async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        token_from(&server, ELSEWHERE, &who).await
    });

    let refused = |status: u16| flood.iter().filter(|it| it.status == status).count();
    assert_eq!(refused(401) + refused(503), 250);
    assert!(refused(503) > 200, "{}", refused(503));
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_found_its_client_is_a_first_one_again() {
    let world = World::start().await;
    let rates = Rates { lookups: Rate::a_second(1, 1), ..RATES };
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, UNLIMITED).ready().await;
    let who = fresh(&world).await;
    let reason = |answer: &Answer| answer.json()["error"].clone();

    assert_eq!(token_from(&server, ELSEWHERE, &stranger(1)).await.status, 401);
    assert_eq!(token_from(&server, ELSEWHERE, &stranger(2)).await.status, 401, "the other share");
    let third = token_from(&server, ELSEWHERE, &stranger(3)).await;
    assert_eq!(reason(&third), Value::from("temporarily_unavailable"));

    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(token_from(&server, ELSEWHERE, &who).await.status, 200, "a repeater has a share");
    assert_eq!(token_from(&server, ELSEWHERE, &who).await.status, 200, "of the first share");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_lookup_proved_stays_proven_when_a_watch_delivers_it() {
    let world = World::start().await;
    let rates = Rates { failures_of_one: Rate::a_second(1, 1), ..RATES };
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, UNLIMITED).ready().await;
    let who = fresh(&world).await;

    assert_eq!(server.token(&who).await.status, StatusCode::OK);
    world.server.freeze_watches(false);
    until("the client", || server.directory.count() == 1).await;

    let guesses = statuses(&server, &who.forged(), 5).await;
    assert_eq!(guesses, [401; 5], "the proof refuses them without a hash");
}

#[tokio::test(start_paused = true)]
async fn guesses_at_a_secret_that_no_watch_delivered_are_limited_too() {
    let world = World::start().await;
    let rates = Rates { failures_of_one: Rate::a_second(1, 1), ..RATES };
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, UNLIMITED).ready().await;
    let who = fresh(&world).await;

    let mut guesses = Vec::new();
    for _ in 0..3 {
        guesses.push(server.token(&who.forged()).await.status.as_u16());
    }

    assert_eq!(guesses, [401, 429, 429]);
}
