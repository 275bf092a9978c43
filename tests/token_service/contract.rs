//! RFC 6749 section 5, and what its clients need byte for byte.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::server::http::rate_limit::Rate;
use tokio::time::Instant;

use crate::world::{Answer, Credential, GRANT, RATES, TOKEN, World, basic};

const FORM: &str = "application/x-www-form-urlencoded";

/// A request and the answer that it must get: status, error, and the challenge if any.
struct Case {
    name: &'static str,
    request: Request<Body>,
    status: u16,
    error: &'static str,
    is_challenged: bool,
}

fn case(name: &'static str, request: Request<Body>, status: u16, error: &'static str) -> Case {
    Case { name, request, status, error, is_challenged: false }
}

impl Case {
    fn challenged(self) -> Self {
        Self { is_challenged: true, ..self }
    }
}

fn form(builder: Builder, body: &str) -> Request<Body> {
    builder.header("content-type", FORM).body(Body::from(body.to_owned())).unwrap()
}

fn post(body: &str) -> Request<Body> {
    form(Request::post(TOKEN), body)
}

fn introspection(body: &str) -> Request<Body> {
    form(Request::post("/iam/oauth2/introspect"), body)
}

fn refusals(who: &Credential) -> Vec<Case> {
    let wrong = Credential { secret: "tuswrong".to_owned(), ..who.clone() };
    let unknown = Credential { id: "nobody".to_owned(), ..who.clone() };
    let with = |body: &str| basic(Request::post(TOKEN), who, body);
    let in_body = format!("{GRANT}&client_id={}&client_secret={}", who.id, who.secret);
    let wrong_in_body = format!("{GRANT}&client_id={}&client_secret=wrong", who.id);
    let authorized = |value: &str| form(Request::post(TOKEN).header("authorization", value), GRANT);
    let typed = |content_type: &str| {
        Request::post(TOKEN).header("content-type", content_type).body(Body::from(GRANT)).unwrap()
    };
    vec![
        case("a wrong secret", basic(Request::post(TOKEN), &wrong, GRANT), 401, "invalid_client")
            .challenged(),
        case("no such client", basic(Request::post(TOKEN), &unknown, GRANT), 401, "invalid_client")
            .challenged(),
        case("another scheme", authorized("Bearer abc"), 401, "invalid_client").challenged(),
        case("no scheme", authorized(""), 401, "invalid_client").challenged(),
        case("garbage in Basic", authorized("Basic !!!"), 401, "invalid_client").challenged(),
        case("a wrong secret in the body", post(&wrong_in_body), 400, "invalid_client"),
        case(
            "a public client",
            post(&format!("{GRANT}&client_id={}", who.id)),
            400,
            "invalid_client",
        ),
        case("an assertion", post(&format!("{GRANT}&client_assertion=x")), 400, "invalid_client"),
        case("no client at all", post(GRANT), 401, "invalid_client").challenged(),
        case("an empty body", post(""), 401, "invalid_client").challenged(),
        case("an introspection", introspection(&wrong_in_body), 401, "invalid_client").challenged(),
        case("a stranger's", introspection("token=x"), 401, "invalid_client").challenged(),
        case("both methods", with(&in_body), 400, "invalid_request"),
        case("two clients", with(&format!("{GRANT}&client_id=x")), 400, "invalid_request"),
        case("no grant", with("scope="), 400, "invalid_request"),
        case("another grant", with("grant_type=password"), 400, "unsupported_grant_type"),
        case("a grant twice", with(&format!("{GRANT}&{GRANT}")), 400, "invalid_request"),
        case("a role of others", with(&format!("{GRANT}&scope=ROLE_ADMIN")), 400, "invalid_scope"),
        case("a blank role", with(&format!("{GRANT}&scope=+")), 400, "invalid_scope"),
        case("an audience of others", with(&format!("{GRANT}&audience=x")), 400, "invalid_target"),
        case("no resource", with(&format!("{GRANT}&resource=x")), 400, "invalid_target"),
        case("JSON", typed("application/json"), 415, "invalid_request"),
        case(
            "a text",
            typed("text/plain; x=application/x-www-form-urlencoded"),
            415,
            "invalid_request",
        ),
        case(
            "no type",
            Request::post(TOKEN).body(Body::from(GRANT)).unwrap(),
            415,
            "invalid_request",
        ),
        case("GET", form(Request::get(TOKEN), ""), 405, "invalid_request"),
        case("PUT", form(Request::put(TOKEN), GRANT), 405, "invalid_request"),
        case("nowhere", form(Request::post("/iam/oauth2"), GRANT), 404, "invalid_request"),
    ]
}

fn check_form(name: &str, answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "{name}");
    assert!(answer.text.is_ascii(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_status_its_error_and_its_headers() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;

    for case in refusals(&who) {
        let answer = server.ask(case.request).await;
        let name = case.name;
        assert_eq!(answer.status, case.status, "{name}: {}", answer.text);
        assert_eq!(answer.error(), case.error, "{name}");
        assert!(!answer.json()["error_description"].as_str().unwrap().is_empty(), "{name}");
        let challenge = r#"Basic realm="https://auth.example.com/iam", charset="UTF-8""#;
        let expected = case.is_challenged.then_some(challenge);
        assert_eq!(answer.header("www-authenticate"), expected, "{name}");
        check_form(name, &answer);
        for secret in [&who.secret, &who.id] {
            assert!(!answer.text.contains(secret.as_str()), "{name} quotes the request");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_comes_twice_is_named() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;

    let answer = server.post(TOKEN, &who, &format!("{GRANT}&scope=ROLE_M2M&scope=ROLE_M2M")).await;

    assert_eq!(answer.json()["error_description"], "the parameter scope is there more than once");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_in_vain_takes_as_long_whoever_is_named() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let other = world.user("orders", "shipping", &json!({})).await;
    let beat = Duration::from_millis(50);

    for id in [who.id.as_str(), "nobody"] {
        let stranger = Credential { id: id.to_owned(), secret: other.secret.clone() };
        for (answered_after, expected) in [(0, 1), (3, 1), (70, 2)] {
            world.set_slow(Duration::from_millis(answered_after));
            let began = Instant::now();
            assert_eq!(server.token(&stranger).await.status, 401);
            assert_eq!(began.elapsed(), beat * expected, "{id} after {answered_after} ms");
            // Until it is forgotten again.
            tokio::time::sleep(Duration::from_mins(2)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_had_by_both_methods_at_three_paths_with_and_without_the_path_of_the_issuer() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let in_body = format!("{GRANT}&client_id={}&client_secret={}", who.id, who.secret);

    for path in ["/oauth2/token", "/oauth/token", "/api/oauth/token"] {
        for prefix in ["", "/iam"] {
            let path = format!("{prefix}{path}");
            let by_basic = server.post(&path, &who, GRANT).await;
            let typed =
                Request::post(&path).header("content-type", format!("{FORM};charset=UTF-8"));
            let by_post = server.ask(typed.body(Body::from(in_body.clone())).unwrap()).await;
            for answer in [by_basic, by_post] {
                check_form(&path, &answer);
                assert!(server.verified(&answer.token()).await.is_some(), "{path}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_says_who_its_client_is() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let spec = json!({"roles": ["ROLE_M2M", "ROLE_X"], "audiences": ["https://a"], "accessTokenTTL": "10m"});
    let who = world.user("orders", "billing", &spec).await;
    let tenant = world.server.get("namespaces", "", "orders").unwrap()["metadata"]["uid"].clone();

    let answer = server.token(&who).await;
    let claims = server.verified(&answer.token()).await.unwrap();

    let now = claims["iat"].as_i64().unwrap();
    let expected = json!({
        "iss": "https://auth.example.com/iam", "sub": who.id, "client_id": who.id,
        "caas_user_id": who.id, "caas_org_id": tenant, "user_roles": ["ROLE_M2M", "ROLE_X"],
        "scope": "ROLE_M2M ROLE_X",
        "aud": "https://a", "iat": now, "exp": now + 600, "jti": claims["jti"],
    });
    assert_eq!(claims, expected);
    let rest = answer.json();
    assert_eq!(rest["token_type"], "Bearer");
    assert_eq!(rest["expires_in"], 600);
    assert_eq!(rest["scope"], "ROLE_M2M ROLE_X");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_less() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::CyodaGo).ready().await;
    let spec =
        json!({"roles": ["ROLE_M2M", "ROLE_X"], "audiences": ["https://a", "https://b", "c"]});
    let who = world.user("orders", "billing", &spec).await;

    let less = format!("{GRANT}&scope=ROLE_X&audience=c&resource=https%3A%2F%2Fa");
    let answer = server.post(TOKEN, &who, &less).await;
    let claims = server.verified(&answer.token()).await.unwrap();

    assert_eq!(claims["scopes"], json!(["ROLE_X"]));
    assert_eq!(claims["scope"], "ROLE_X");
    assert_eq!(claims.get("user_roles"), None);
    assert_eq!(claims["aud"], json!(["https://a", "c"]));
    assert_eq!(answer.json().get("scope"), None, "it is what was asked for");
    let metadata = server.get("/iam/.well-known/openid-configuration").await.json();
    let event = metadata["claims_supported"].as_array().unwrap();
    assert!(event.contains(&json!("scopes")) && !event.contains(&json!("user_roles")), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn no_two_tokens_are_the_same_and_each_is_on_record() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;

    let mut ids = Vec::new();
    for _ in 0..20 {
        let token = server.token(&who).await.token();
        ids.push(server.verified(&token).await.unwrap()["jti"].clone());
    }
    let records = server.audited(20);

    let on_record: Vec<Value> = records.iter().map(|record| record["jti"].clone()).collect();
    assert_eq!(on_record, ids);
    ids.sort_by_key(ToString::to_string);
    ids.dedup();
    assert_eq!(ids.len(), 20);
    assert_eq!(records[0]["client_id"], who.id.as_str());
    assert_eq!(records[0]["source"], "192.0.2.7");
    assert!(!records.iter().any(|record| record.to_string().contains(&who.secret)));
}

#[tokio::test(start_paused = true)]
async fn too_many_tokens_are_told_to_slow_down_and_when_to_come_back() {
    let world = World::start().await;
    let rate = (Rate::a_second(2, 2), Rate::a_second(0, 0));
    let server = world.token_server_with(ClaimsProfile::Cloud, RATES, rate).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let other = world.user("shop", "other", &json!({})).await;

    let first = [server.token(&who).await.status, server.token(&who).await.status];
    let third = server.token(&who).await;
    let of_other = server.token(&other).await;

    assert_eq!(first, [StatusCode::OK; 2]);
    assert_eq!((third.status.as_u16(), third.error().as_str()), (429, "slow_down"));
    assert_eq!(third.header("retry-after"), Some("1"));
    check_form("429", &third);
    assert_eq!(of_other.status, StatusCode::OK);
}
