//! Discovery and the JWKS (OpenID Connect Discovery 1.0, RFC 8414).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use technical_user_operator::domain::token::Profile;

use crate::world::{SYSTEM, World, until};

#[tokio::test(start_paused = true)]
async fn the_metadata_is_the_same_wherever_it_is_looked_for() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;

    let first = server.get("/iam/.well-known/openid-configuration").await;
    assert_eq!(first.status, StatusCode::OK);
    for path in [
        "/.well-known/openid-configuration/iam",
        "/.well-known/oauth-authorization-server/iam",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
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
async fn the_jwks_of_one_series_has_the_bytes_of_its_config_map() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;

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
    let server = world.token_server(Profile::Cloud).ready().await;

    let keys = server.get("/.well-known/jwks.json").await.json();
    let metadata = server.get("/.well-known/openid-configuration").await.json();

    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["ES256", "EdDSA"]));
}

#[tokio::test(start_paused = true)]
async fn who_has_the_bytes_is_not_sent_them_again() {
    let world = World::start().await;
    let server = world.token_server(Profile::Cloud).ready().await;

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
    let server = world.token_server(Profile::Cloud);
    until("the watches", || server.directory.readiness().unwrap_err().contains("no SigningKey"))
        .await;

    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.error(), "temporarily_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
}
