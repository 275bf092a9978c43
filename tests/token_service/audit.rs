//! What is on record of those who were refused.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use technical_user_operator::domain::token::Profile;
use technical_user_operator::server::limits::Rate;

use crate::world::{Credential, GRANT, RATES, TOKEN, TokenServer, World, basic, until};

const INTROSPECT: &str = "/iam/oauth2/introspect";

async fn server_with_one_client(world: &World) -> (TokenServer, Credential) {
    let limits = (Rate::a_second(1, 1), Rate::a_second(0, 0));
    let server = world.token_server_with(Profile::Cloud, RATES, limits).ready().await;
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

#[tokio::test(start_paused = true)]
async fn a_refusal_is_on_record_with_its_client_if_there_is_one() {
    let world = World::start().await;
    let (server, who) = server_with_one_client(&world).await;
    let tenant = world.server.get("namespaces", "", "orders").unwrap()["metadata"]["uid"].clone();
    let user = world.server.get("technicalusers", "orders", "billing").unwrap();
    let post = |path: &str, who: &Credential, form: &str| basic(Request::post(path), who, form);
    let wrong = Credential { secret: "tuswrong".to_owned(), ..who.clone() };
    let swapped = Credential { id: who.secret.clone(), secret: who.id.clone() };
    let in_body = |form: &str| {
        let form_type = "application/x-www-form-urlencoded";
        let request = Request::post(TOKEN).header("content-type", form_type);
        request.body(Body::from(form.to_owned())).unwrap()
    };
    let named = format!("{GRANT}&client_id={}&client_secret=wrong", who.id);
    let cases = [
        ("token_refused", "invalid_client", true, post(TOKEN, &wrong, GRANT)),
        ("token_refused", "invalid_client", true, in_body(&named)),
        ("token_refused", "invalid_client", false, post(TOKEN, &swapped, GRANT)),
        ("token_refused", "invalid_client", false, in_body(GRANT)),
        ("token_refused", "unsupported_grant_type", true, post(TOKEN, &who, "grant_type=x")),
        ("token_refused", "invalid_scope", true, post(TOKEN, &who, &format!("{GRANT}&scope=x"))),
        ("introspection_refused", "invalid_client", true, post(INTROSPECT, &wrong, "token=a")),
        ("introspection_refused", "invalid_request", true, post(INTROSPECT, &who, "")),
    ];
    let mut records = 0;

    for (event, error, is_known, request) in cases {
        let shown = format!("{request:?}");
        let record = one_more(&server, &mut records, request).await;
        assert_eq!((&record["event"], &record["error"]), (&json!(event), &json!(error)), "{shown}");
        assert_eq!(record["source"], "192.0.2.7", "{shown}");
        assert_eq!(record.get("client_id").is_some(), is_known, "{shown}: {record}");
        if is_known {
            assert_eq!(record["client_id"], who.id.as_str());
            assert_eq!(record["technical_user_uid"], user["metadata"]["uid"]);
            assert_eq!(record["caas_org_id"], tenant);
        }
        assert!(!record.to_string().contains(&who.secret), "{shown}");
    }

    server.token(&who).await;
    records += 1;
    let record = one_more(&server, &mut records, post(TOKEN, &who, GRANT)).await;
    assert_eq!((&record["error"], &record["reason"]), (&json!("slow_down"), &json!("client_rate")));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_counted_and_hides_no_client() {
    let world = World::start().await;
    let (server, who) = server_with_one_client(&world).await;
    let nobody = Credential { id: "nobody".to_owned(), secret: "x".to_owned() };
    let wrong = Credential { secret: "wrong".to_owned(), ..who.clone() };
    let suppressed = "technical_user_audit_records_suppressed_total";

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
    assert_eq!(server.metric(suppressed), [" 900"]);
}
