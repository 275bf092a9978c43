//! What the installation does not allow in tokens, told by the operator.

use serde_json::json;
use technical_user_operator::api::condition::ConditionStatus;

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
