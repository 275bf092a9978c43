//! What tokens may say: what the API server refuses, and what the operator reports.

use serde_json::json;
use technical_user_operator::api::condition::ConditionStatus;

use crate::admission::refused;
use crate::namespace::Namespace;
use crate::world::shared;

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_audiences_that_are_not_allowed_are_named_and_the_secret_is_delivered() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "policy").await;

    namespace.apply("billing", json!({"roles": ["ROLE_ADMIN", "ROLE_M2M"]})).await;
    let ready = namespace.says("billing", "RolesNotAllowed").await;
    assert_eq!(ready.status, ConditionStatus::False);
    for part in ["/billing", "spec.roles", "ROLE_ADMIN", "--allowed-roles"] {
        assert!(ready.message.contains(part), "{part}: {}", ready.message);
    }
    namespace.has_event("billing", "RolesNotAllowed").await;
    namespace.shown("billing-credentials").await;

    namespace.apply("billing", json!({"audiences": ["https://api.example.com"]})).await;
    let ready = namespace.says("billing", "AudiencesNotAllowed").await;
    assert!(ready.message.contains("https://api.example.com"), "{}", ready.message);

    namespace.apply("billing", json!({"roles": ["ROLE_M2M"], "audiences": []})).await;
    namespace.ready("billing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_a_scope_token_and_at_jwt_needs_an_audience() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "tokens").await;
    for (spec, words) in [
        (json!({"roles": ["a\"b"]}), "spec.roles"),
        (json!({"roles": ["a\\b"]}), "spec.roles"),
        (json!({"roles": ["\u{e4}"]}), "spec.roles"),
        (json!({"accessTokenType": "jwt"}), "spec.accessTokenType"),
        (
            json!({"accessTokenType": "at+jwt"}),
            "accessTokenType at+jwt needs an entry in audiences",
        ),
        (json!({"accessTokenType": "at+jwt", "audiences": []}), "RFC 9068 demands the claim aud"),
    ] {
        refused(&namespace, "orders", spec, words).await;
    }

    // Every character of a scope token (RFC 6749 section 3.3).
    let scope: String = (b'!'..=b'~').map(char::from).filter(|it| !"\"\\".contains(*it)).collect();
    let roles = json!(["rabbitmq.read:*/*", "rabbitmq.read:%2F/q", scope]);
    namespace.apply("broker", json!({"roles": roles})).await;
    let typed = json!({"accessTokenType": "at+jwt", "audiences": ["https://api.example.com"]});
    namespace.apply("typed", typed).await;
}
