//! Whose a token is: the tenant comes from the verifier record, since names of namespaces are used
//! again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use technical_user_operator::domain::crypto::client_secret::ClientId;
use technical_user_operator::domain::oauth::ClaimsProfile;

use crate::world::{Credential, SYSTEM, TokenServer, World, until};

fn namespace_uid(world: &World, name: &str) -> String {
    let namespace = world.server.get("namespaces", "", name).unwrap();
    namespace["metadata"]["uid"].as_str().unwrap().to_owned()
}

async fn tenant(server: &TokenServer, who: &Credential) -> Value {
    server.verified(&server.token(who).await.token()).await.unwrap()["caas_org_id"].clone()
}

/// Changes the owner in the verifier record of a client.
fn rewrite_owner(world: &World, who: &Credential, change: impl Fn(&mut Value)) {
    let name = who.id.parse::<ClientId>().unwrap().record_name();
    let mut secret = world.server.get("secrets", SYSTEM, &name).unwrap();
    let text = STANDARD.decode(secret["data"]["record.json"].as_str().unwrap()).unwrap();
    let mut record: Value = serde_json::from_slice(&text).unwrap();
    change(&mut record["owner"]);
    secret["data"]["record.json"] = STANDARD.encode(record.to_string()).into();
    world.server.put_raw("secrets", secret);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_was_made_again_does_not_get_the_tenant_of_its_predecessor() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let former = namespace_uid(&world, "shop");
    let who = world.user("shop", "billing", &json!({})).await;
    assert_eq!(tenant(&server, &who).await, former);

    // The watch on namespaces hears nothing any more.
    world.lose(Some("/api/v1/namespaces?"));
    world.server.delete_raw("technicalusers", "shop", "billing");
    world.server.delete_raw("namespaces", "", "shop");
    world.server.collect_garbage();
    until("the end of the former user", || server.directory.count() == 0).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    world.server.put_raw("namespaces", namespace);
    let present = namespace_uid(&world, "shop");
    assert_ne!(present, former);
    let who = world.user("shop", "billing", &json!({})).await;

    for _ in 0..3 {
        assert_eq!(tenant(&server, &who).await, present);
        tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    }
    world.lose(None);
    until("the news of the namespace", || server.directory.count() == 1).await;
    assert_eq!(tenant(&server, &who).await, present);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_another_namespace_is_refused_and_one_of_an_earlier_version_is_not() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("shop", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    world.kill_operator();

    rewrite_owner(&world, &who, |owner| owner["namespaceUID"] = "another".into());
    until("no client", || server.directory.count() == 0).await;
    let refused = server.token(&who).await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().as_str()),
        (503, "temporarily_unavailable")
    );
    let requests = server.metric("technical_user_token_requests_total");
    assert!(requests.iter().any(|line| line.contains("namespace_differs")), "{requests:?}");

    // Nothing is in view, so this one is looked up.
    world.lose(Some("/api/v1/namespaces/"));
    let unanswered = server.token(&who).await;
    assert_eq!(unanswered.status, 503);
    world.lose(None);

    rewrite_owner(&world, &who, |owner| {
        owner.as_object_mut().unwrap().remove("namespaceUID");
    });
    until("the client again", || server.directory.count() == 1).await;
    assert_eq!(tenant(&server, &who).await, namespace_uid(&world, "shop"));
}
