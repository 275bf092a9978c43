//! Discovery and the JWKS (OpenID Connect Discovery 1.0, RFC 8414).

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::json;
use technical_user_operator::domain::oauth::ClaimsProfile;

use crate::world::{GRANT, SYSTEM, World, until};

#[tokio::test(start_paused = true)]
async fn the_metadata_is_the_same_wherever_it_is_looked_for() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;

    let first = server.get("/iam/.well-known/openid-configuration").await;
    assert_eq!(first.status, StatusCode::OK);
    for path in [
        "/.well-known/openid-configuration/iam",
        "/.well-known/oauth-authorization-server/iam",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/iam/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(server.get(path).await.text, first.text, "{path}");
    }
    let metadata = first.json();
    let issuer = "https://auth.example.com/iam";
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("{issuer}/oauth2/token"));
    assert_eq!(metadata["jwks_uri"], format!("{issuer}/.well-known/jwks.json"));
    assert_eq!(metadata["subject_types_supported"], json!(["public"]));
    assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert_eq!(server.get("/iam/.well-known/other").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn whatever_the_path_of_the_issuer_is_all_that_the_metadata_names_is_there() {
    let world = World::start().await;
    let who = world.user("shop", "billing", &json!({})).await;

    for path in ["", "/api", "/api/oauth", "/oauth2", "/.well-known", "/:t", "/*", "/{t}", "/{"] {
        let issuer = format!("https://auth.example.com{path}");
        let server = world.token_server_at(&issuer).ready().await;
        let metadata = server.get(&format!("{path}/.well-known/openid-configuration")).await.json();
        let place = |name: &str| {
            let url = metadata[name].as_str().unwrap();
            url.strip_prefix("https://auth.example.com").unwrap().to_owned()
        };

        assert_eq!(metadata["issuer"], issuer);
        assert_eq!(server.get(&place("jwks_uri")).await.status, StatusCode::OK, "{path}");
        server.post(&place("token_endpoint"), &who, GRANT).await.token();
        let asked = server.post(&place("introspection_endpoint"), &who, "token=none").await;
        assert_eq!(asked.json(), json!({"active": false}), "{path}");
        let inserted = format!("/.well-known/oauth-authorization-server{path}");
        assert_eq!(server.get(&inserted).await.json(), metadata, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_says_which_method_it_takes() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let ask = |method: Method, path: &str| {
        server.ask(Request::builder().method(method).uri(path).body(Body::empty()).unwrap())
    };

    for path in ["/iam/oauth2/token", "/oauth/token", "/oauth2/introspect"] {
        let answer = ask(Method::GET, path).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers.get_all("allow").iter().collect::<Vec<_>>(), ["POST"]);
        assert_eq!(answer.error(), "invalid_request");
        assert!(answer.text.contains("use POST"), "{}", answer.text);
    }
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration/iam"] {
        let answer = ask(Method::POST, path).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers.get_all("allow").iter().collect::<Vec<_>>(), ["GET,HEAD"]);
        assert!(answer.text.contains("use GET"), "{}", answer.text);
        assert_eq!(ask(Method::HEAD, path).await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn each_signing_key_has_a_jwks_of_its_own() {
    let world = World::start().await;
    world.put_key("second", &json!({"algorithm": "EdDSA"}));
    until("a second key", || !world.kids("second").is_empty()).await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;

    for (name, algorithm) in [("default", "ES256"), ("second", "EdDSA")] {
        let path = format!("/iam/.well-known/jwks/{name}.json");
        until("the keys", || server.directory.published_of(name).is_ok_and(|it| it.is_some()))
            .await;
        let answer = server.get(&path).await;
        let map = world.server.get("configmaps", SYSTEM, &format!("{name}-jwks")).unwrap();
        assert_eq!(answer.text, map["data"]["jwks"].as_str().unwrap());
        let keys = answer.json();
        let algorithms: Vec<_> =
            keys["keys"].as_array().unwrap().iter().map(|it| &it["alg"]).collect();
        assert_eq!(algorithms, [algorithm]);
        assert!(answer.header("etag").is_some());
        let below_none = path.strip_prefix("/iam").unwrap();
        assert_eq!(server.get(below_none).await.text, answer.text);
    }
    for path in
        ["/.well-known/jwks/third.json", "/.well-known/jwks/default", "/.well-known/jwks/.json"]
    {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_yet_denies_no_signing_key() {
    let world = World::start().await;
    world.set_away(true);
    let server = world.token_server(ClaimsProfile::Cloud);

    let answer = server.get("/.well-known/jwks/default.json").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_jwks_of_one_series_has_the_bytes_of_its_config_map() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;

    let answer = server.get("/iam/.well-known/jwks.json").await;

    let map = world.server.get("configmaps", SYSTEM, "default-jwks").unwrap();
    assert_eq!(answer.text, map["data"]["jwks"].as_str().unwrap());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("cache-control").unwrap().starts_with("public, max-age=300"));
}

#[tokio::test(start_paused = true)]
async fn the_jwks_of_several_series_is_merged() {
    let world = World::start().await;
    world.put_key("second", &json!({"algorithm": "EdDSA"}));
    until("a second key", || !world.kids("second").is_empty()).await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;

    let keys = server.get("/.well-known/jwks.json").await.json();
    let metadata = server.get("/.well-known/openid-configuration").await.json();

    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
}

#[tokio::test(start_paused = true)]
async fn who_has_the_bytes_is_not_sent_them_again() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;

    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let first = server.get(path).await;
        let etag = first.header("etag").unwrap().to_owned();
        let ask =
            |known: String| Request::get(path).header("if-none-match", known).body(Body::empty());
        for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let again = server.ask(ask(known).unwrap()).await;
            assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
            assert_eq!(again.header("etag"), Some(etag.as_str()));
        }
        let other = server.ask(ask("\"other\"".to_owned()).unwrap()).await;
        assert_eq!((other.status, &other.text), (StatusCode::OK, &first.text));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_an_empty_set() {
    let world = World::start().await;
    world.kill_operator();
    world.server.delete_raw("signingkeys", "", "default");
    let server = world.token_server(ClaimsProfile::Cloud);
    until("the watches", || server.directory.readiness().unwrap_err().contains("no SigningKey"))
        .await;

    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.error(), "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
}
