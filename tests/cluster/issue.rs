//! From an applied object to a client secret that works, and back to nothing.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use technical_user_operator::api;

use crate::namespace::{Namespace, accepts, field};
use crate::operator::ISSUER;
use crate::world::{shared, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_user_gets_a_client_secret_that_works() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "issue").await;

    namespace.apply("orders", json!({})).await;

    let user = namespace.ready("orders").await;
    let status = user.status.clone().unwrap();
    assert_eq!(status.serial, Some(1));
    assert_eq!(status.credentials.len(), 1);
    assert_eq!(status.binding.unwrap().name, "orders-credentials");
    let client_id = namespace.client_id("orders").await;
    assert_eq!(status.client_id.as_deref(), Some(client_id.as_str()));
    let secret = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&client_id, &secret).await);
    let stored = namespace.stored(&client_id).await;
    assert!(stored.contains("$2b$10$") && !stored.contains(secret.reveal()));
    namespace.has_event("orders", "CredentialIssued").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_uid_of_the_namespace_and_one_of_an_earlier_version_gets_it() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "recorded").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let secret = namespace.shown("orders-credentials").await;
    let uid = namespace.uid().await;

    let mut earlier: Value = serde_json::from_str(&namespace.stored(&client_id).await).unwrap();
    let recorded = earlier["owner"].as_object_mut().unwrap().remove("namespaceUID");
    earlier["ofANewerVersion"] = json!(true);
    namespace.write_record(&client_id, &earlier.to_string()).await;

    assert_eq!(recorded, Some(json!(uid)));
    until("the record is complete again", || async {
        let record = namespace.record(&client_id).await?;
        (record.owner.namespace_uid.as_ref() == Some(&uid)).then_some(())
    })
    .await;
    assert!(namespace.stored(&client_id).await.contains("ofANewerVersion"));
    assert!(namespace.accepts(&client_id, &secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_ready_and_when_a_rotation_is_due_is_counted() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "counted").await;
    namespace.apply("weekly", json!({"rotation": {"period": "168h"}})).await;
    namespace.apply("idle", json!({"suspend": true})).await;

    let user = namespace.ready("weekly").await;
    namespace.says("idle", "Suspended").await;

    let due_at = user.status.unwrap().next_rotation_time.unwrap().0.as_second();
    until("the metrics say so", || async {
        let text = world.operator.lock().await.metrics().await;
        let value = |name: &str, labels: &str| -> Option<i64> {
            let start =
                format!("technical_user_operator_{name}{{controller=\"technicaluser\"{labels}}} ");
            text.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
        };
        let is_counted = value("objects_ready", ",ready=\"true\"")? >= 1
            && value("objects_ready", ",ready=\"false\"")? >= 1
            && value("next_rotation_timestamp_seconds", "")? <= due_at;
        is_counted.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delivered_secret_has_the_shape_that_tools_expect() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "shape").await;

    namespace.apply("orders", json!({"clientID": "Orders1"})).await;

    let user = namespace.ready("orders").await;
    let secret = namespace.secret("orders-credentials").await;
    assert_eq!(secret.type_.as_deref(), Some("servicebinding.io/oauth2"));
    let fields: BTreeMap<_, _> = secret
        .data
        .iter()
        .flat_map(BTreeMap::keys)
        .map(|name| (name.as_str(), field(&secret, name).unwrap()))
        .collect();
    let client_secret = fields["client_secret"].clone();
    let token_url = format!("{ISSUER}/oauth2/token");
    let expected = [
        ("authorization-grant-type", "client_credentials"),
        ("client-authentication-method", "client_secret_basic"),
        ("client-id", "Orders1"),
        ("client-secret", &client_secret),
        ("client_id", "Orders1"),
        ("client_secret", &client_secret),
        ("issuer", ISSUER),
        ("issuer-uri", ISSUER),
        ("jwk-set-uri", "https://auth.example.com/.well-known/jwks.json"),
        ("jwks_uri", "https://auth.example.com/.well-known/jwks.json"),
        ("provider", "technical-user-operator"),
        ("token-uri", &token_url),
        ("token_url", &token_url),
        ("type", "oauth2"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name, value.to_owned())).into());
    assert!(fields.values().all(|value| !value.ends_with('\n')));
    assert_eq!(secret.labels()[api::MANAGED], "true");
    assert_eq!(secret.labels()[api::TECHNICAL_USER], "orders");
    let owners = secret.owner_references();
    assert_eq!(owners.len(), 1);
    assert_eq!(
        (&owners[0].kind, &owners[0].uid),
        (&"TechnicalUser".to_owned(), &user.uid().unwrap())
    );
    assert_eq!(owners[0].controller, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_leaves_nothing_behind() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "delete").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;

    namespace.delete_user("orders").await;

    let (secrets, records) = (namespace.secrets(), namespace.records());
    until("the Secret is collected", || async {
        secrets.get_opt("orders-credentials").await.unwrap().is_none().then_some(())
    })
    .await;
    until("the record is swept", || async {
        records.get_opt(&client_id.record_name()).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_made_anew_is_another_client() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "recreate").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let (former_id, former) =
        (namespace.client_id("orders").await, namespace.shown("orders-credentials").await);

    namespace.delete_user("orders").await;
    namespace.apply("orders", json!({})).await;

    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    assert_ne!(client_id, former_id);
    let secret = namespace.shown("orders-credentials").await;
    assert_ne!(secret.id(), former.id());
    assert!(namespace.accepts(&client_id, &secret).await);
    until("the former record is swept", || async {
        namespace.record(&former_id).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_client_id_moves_to_a_user_made_anew() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "recreate-chosen").await;
    let spec = json!({"clientID": "RecreateChosen"});
    namespace.apply("orders", spec.clone()).await;
    namespace.ready("orders").await;
    let former = namespace.shown("orders-credentials").await;

    namespace.delete_user("orders").await;
    namespace.apply("orders", spec).await;

    let user = namespace.ready("orders").await;
    let record = namespace.record(&"RecreateChosen".parse().unwrap()).await.unwrap();
    assert_eq!(Some(&record.owner.uid), user.metadata.uid.as_ref());
    assert!(accepts(&record, &namespace.shown("orders-credentials").await));
    assert!(!accepts(&record, &former));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_goes_with_everything_in_it() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "going").await;
    for name in ["one", "two", "three"] {
        namespace.apply(name, json!({})).await;
    }
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        namespace.ready(name).await;
        ids.push(namespace.client_id(name).await);
    }

    namespace.delete().await;

    for id in ids {
        until("the record is swept", || async {
            namespace.record(&id).await.is_none().then_some(())
        })
        .await;
    }
}
