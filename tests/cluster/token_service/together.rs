//! Operator and token service in one process.

use serde_json::json;
use support::control_plane::Options;

use super::server::{Launch, verified};
use crate::namespace::Namespace;
use crate::operator::ISSUER;
use crate::signing_keys::series::Series;
use crate::world::{SYSTEM, bare, until};

#[tokio::test(flavor = "multi_thread")]
async fn all_in_one_needs_no_more_than_the_rights_of_the_operator() {
    let Some(control_plane) = bare(Options::default()).await else {
        return;
    };
    let launch = Launch::new(&control_plane, "all-in-one", ISSUER).await;
    let launch = launch.all_in_one(&control_plane);
    let server = launch.start();
    server.ready().await;
    let namespace = Namespace::with(control_plane.client().await, "together", SYSTEM).await;
    namespace.apply("billing", json!({})).await;
    namespace.ready("billing").await;
    let client_id = namespace.client_id("billing").await.to_string();
    let secret = namespace.shown("billing-credentials").await;

    let token = launch.answers(200, &client_id, &secret).await.access_token().unwrap();

    let jwks = launch.jwks().await.unwrap();
    let claims = verified(&token, &jwks.body).unwrap();
    assert_eq!(claims["sub"], client_id);
    // Without a key that signs, the JWKS must not leave the Service.
    let default = Series::with(control_plane.client().await, "default", SYSTEM);
    default.apply(json!({"suspend": true})).await;
    until("no key that signs", || async {
        let probed = launch.probe("/readyz/sign").await?;
        (probed.status == 503 && probed.body.contains("default")).then_some(())
    })
    .await;
    assert_eq!(launch.probe("/readyz").await.unwrap().status, 200);
    assert_eq!(launch.jwks().await.unwrap().body, jwks.body);

    // The API server names the record that is absent, so this is no 503.
    launch.answers(401, "nobody", &secret).await;
}
