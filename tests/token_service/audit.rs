//! What is on record of those who were refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::server::http::rate_limit::Rate;

use crate::world::{Credential, GRANT, RATES, TOKEN, TokenServer, World, basic, until};

const INTROSPECT: &str = "/iam/oauth2/introspect";
const SUPPRESSED: &str = "technical_user_audit_records_suppressed_total";

async fn server_with_one_client(world: &World) -> (TokenServer, Credential) {
    let limits = (Rate::a_second(1, 1), Rate::a_second(0, 0));
    let server = world.token_server_with(ClaimsProfile::Cloud, RATES, limits).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    (server, who)
}

/// The only record since there were `former`.
async fn one_more(server: &TokenServer, former: &mut usize, request: Request<Body>) -> Value {
    server.ask(request).await;
    *former += 1;
    let records = server.audited(*former);
    assert_eq!(records.len(), *former);
    records.last().unwrap().clone()
}

/// Requests of `who`, each with the event, the error and the reason of its record, and whether that
/// names the client.
fn refusals(
    who: &Credential,
    other: &Credential,
) -> Vec<(&'static str, &'static str, &'static str, bool, Request<Body>)> {
    let post = |path: &str, who: &Credential, form: &str| basic(Request::post(path), who, form);
    let wrong = Credential { secret: "tuswrong".to_owned(), ..who.clone() };
    let swapped = Credential { id: who.secret.clone(), secret: who.id.clone() };
    let in_body = |form: &str| {
        let form_type = "application/x-www-form-urlencoded";
        let request = Request::post(TOKEN).header("content-type", form_type);
        request.body(Body::from(form.to_owned())).unwrap()
    };
    let named = format!("{GRANT}&client_id={}&client_secret=wrong", who.id);
    let anothers = Credential { secret: other.secret.clone(), ..who.clone() };
    let unknown = Credential { id: "nobody".to_owned(), ..who.clone() };
    let invalid = "invalid_client";
    vec![
        ("token_refused", invalid, "malformed_credentials", true, post(TOKEN, &wrong, GRANT)),
        ("token_refused", invalid, "malformed_credentials", true, in_body(&named)),
        ("token_refused", invalid, "malformed_credentials", false, post(TOKEN, &swapped, GRANT)),
        ("token_refused", invalid, "wrong_secret", true, post(TOKEN, &who.forged(), GRANT)),
        ("token_refused", invalid, "secret_ended_or_revoked", true, post(TOKEN, &anothers, GRANT)),
        ("token_refused", invalid, "unknown_client", false, post(TOKEN, &unknown, GRANT)),
        ("token_refused", invalid, "no_credentials", false, in_body(GRANT)),
        ("token_refused", "unsupported_grant_type", "", true, post(TOKEN, who, "grant_type=x")),
        ("token_refused", "invalid_scope", "", true, post(TOKEN, who, &format!("{GRANT}&scope=x"))),
        (
            "introspection_refused",
            invalid,
            "malformed_credentials",
            true,
            post(INTROSPECT, &wrong, "token=a"),
        ),
        ("introspection_refused", "invalid_request", "", true, post(INTROSPECT, who, "")),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_on_record_with_its_client_if_there_is_one() {
    let world = World::start().await;
    let (server, who) = server_with_one_client(&world).await;
    let tenant = world.server.get("namespaces", "", "orders").unwrap()["metadata"]["uid"].clone();
    let user = world.server.get("technicalusers", "orders", "billing").unwrap();
    let other = world.user("orders", "other", &json!({})).await;
    until("the other client", || server.directory.count() == 2).await;
    let mut records = 0;

    for (event, error, reason, is_known, request) in refusals(&who, &other) {
        let shown = format!("{request:?}");
        let record = one_more(&server, &mut records, request).await;
        assert_eq!((&record["event"], &record["error"]), (&json!(event), &json!(error)), "{shown}");
        assert_eq!(record["reason"].as_str().unwrap_or_default(), reason, "{shown}");
        assert_eq!(record["source"], "192.0.2.7", "{shown}");
        assert_eq!(record.get("client_id").is_some(), is_known, "{shown}: {record}");
        if is_known {
            assert_eq!(record["client_id"], who.id.as_str());
            assert_eq!(
                (&record["namespace"], &record["name"]),
                (&json!("orders"), &json!("billing"))
            );
            assert_eq!(record["technical_user_uid"], user["metadata"]["uid"]);
            assert_eq!(record["caas_org_id"], tenant);
        }
        assert!(!record.to_string().contains(&who.secret), "{shown}");
    }

    server.token(&who).await;
    records += 1;
    let record = one_more(&server, &mut records, basic(Request::post(TOKEN), &who, GRANT)).await;
    assert_eq!((&record["error"], &record["reason"]), (&json!("slow_down"), &json!("client_rate")));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_client_and_an_ended_secret_are_told_apart() {
    let world = World::start().await;
    let (server, old) = server_with_one_client(&world).await;
    let client = old.id.parse().unwrap();
    let mut records = 0;
    let token = |who: &Credential| basic(Request::post(TOKEN), who, GRANT);

    world.put_user("orders", "billing", &json!({"suspend": true}));
    until("suspension", || {
        server.directory.client(&client).is_some_and(|known| known.client.is_suspended)
    })
    .await;
    let suspended = one_more(&server, &mut records, token(&old)).await;
    world.put_user("orders", "billing", &json!({}));
    let revoke = ("iam.cyoda.com/revoke-requested-at", "1");
    world.annotate("technicalusers", "orders", "billing", revoke);
    let id = old.secret[3..13].parse().unwrap();
    until("revocation", || {
        let known = server.directory.client(&client);
        known.is_some_and(|known| known.verifier(&id, world.now()).is_none())
    })
    .await;
    let revoked = one_more(&server, &mut records, token(&old)).await;

    assert_eq!(suspended["reason"], "client_suspended");
    assert_eq!(revoked["reason"], "secret_ended_or_revoked");
    for record in [suspended, revoked] {
        assert_eq!((&record["namespace"], &record["name"]), (&json!("orders"), &json!("billing")));
    }
}

#[tokio::test(start_paused = true)]
async fn every_answered_introspection_is_on_record_with_what_was_asked_for() {
    let world = World::start().await;
    let (server, who) = server_with_one_client(&world).await;
    let token = server.token(&who).await.token();
    let issued = server.audited(1).pop().unwrap();
    let mut records = 1;
    let ask = |token: &str| basic(Request::post(INTROSPECT), &who, &format!("token={token}"));

    let active = one_more(&server, &mut records, ask(&token)).await;
    let inactive = one_more(&server, &mut records, ask("hunter2")).await;

    assert_eq!((&issued["namespace"], &issued["name"]), (&json!("orders"), &json!("billing")));
    for (record, is_active) in [(&active, true), (&inactive, false)] {
        assert_eq!(record["event"], "token_introspected");
        assert_eq!((&record["client_id"], &record["active"]), (&json!(who.id), &json!(is_active)));
        assert_eq!((&record["namespace"], &record["name"]), (&json!("orders"), &json!("billing")));
    }
    assert_eq!((&active["jti"], &active["token_client_id"]), (&issued["jti"], &json!(who.id)));
    assert!(!inactive.to_string().contains("hunter2") && inactive.get("jti").is_none());

    for _ in 0..1000 {
        server.ask(ask("hunter2")).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.ask(ask("hunter2")).await;
    let last = server.audited(records + 99).pop().unwrap();
    assert_eq!(last["suppressed"], 1000 - 98, "a flood of introspections is counted");
}

#[tokio::test(start_paused = true)]
async fn a_flood_in_the_name_of_one_client_hides_no_refusal_of_another() {
    let world = World::start().await;
    let (server, loud) = server_with_one_client(&world).await;
    let quiet = world.user("shop", "orders", &json!({})).await;
    until("both clients", || server.directory.count() == 2).await;
    let wrong = |who: &Credential| Credential { secret: "wrong".to_owned(), ..who.clone() };

    for _ in 0..1000 {
        server.token(&wrong(&loud)).await;
    }
    assert_eq!(server.metric(SUPPRESSED), [" 890"], "10 of its own and 100 that all clients share");
    let flood = server.audited(110).len();
    for _ in 0..3 {
        server.token(&wrong(&quiet)).await;
    }
    let records = server.audited(flood + 3);
    tokio::time::sleep(Duration::from_mins(1)).await;
    server.token(&wrong(&loud)).await;
    let last = server.audited(flood + 4).pop().unwrap();

    assert_eq!(flood, 110);
    let of_quiet = records.iter().filter(|it| it["client_id"] == quiet.id.as_str());
    assert_eq!(of_quiet.count(), 3);
    assert_eq!((&last["client_id"], &last["suppressed"]), (&json!(loud.id), &json!(890)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_counted_and_hides_no_client() {
    let world = World::start().await;
    let (server, who) = server_with_one_client(&world).await;
    let nobody = Credential { id: "nobody".to_owned(), secret: "x".to_owned() };
    let wrong = Credential { secret: "wrong".to_owned(), ..who.clone() };

    for _ in 0..1000 {
        server.token(&nobody).await;
    }
    server.token(&wrong).await;
    server.token(&who).await;
    let records = server.audited(102);
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.token(&nobody).await;
    let last = server.audited(103).pop().unwrap();

    assert_eq!(records.len(), 102, "a flood fills the log");
    assert_eq!(records[100]["client_id"], who.id.as_str());
    assert_eq!(records[101]["event"], "token_issued");
    assert_eq!(last["suppressed"], 900);
    assert_eq!(server.metric(SUPPRESSED), [" 900"]);
}
