//! What the API server refuses before the operator sees it, with words that help; and what users
//! find with kubectl.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use technical_user_operator::api::signing_key::SigningKey;

use crate::namespace::Namespace;
use crate::world::shared;

pub(crate) async fn refused(namespace: &Namespace, name: &str, spec: Value, words: &str) {
    match namespace.try_apply(name, spec.clone()).await {
        Ok(_) => panic!("accepted: {spec}"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(words), "{spec}: wanted `{words}`, got: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_refused_with_words_that_help() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "refused").await;
    let long = "a".repeat(101);
    for (spec, words) in [
        (json!({"clientID": "with-hyphen"}), "spec.clientID"),
        (json!({"clientID": ""}), "spec.clientID"),
        (json!({"clientID": long}), "spec.clientID"),
        (
            json!({"clientID": format!("tu{}", "0".repeat(24))}),
            "the form of client ids that the operator derives",
        ),
        (json!({"roles": ["ROLE M2M"]}), "spec.roles"),
        (json!({"roles": vec!["ROLE"; 17]}), "spec.roles"),
        (json!({"audiences": ["with space"]}), "spec.audiences"),
        (json!({"accessTokenTTL": "30s"}), "accessTokenTTL must be between 1m and 24h"),
        (json!({"accessTokenTTL": "25h"}), "accessTokenTTL must be between 1m and 24h"),
        (json!({"accessTokenTTL": "5 minutes"}), "spec.accessTokenTTL"),
        (json!({"accessTokenTTL": 300}), "spec.accessTokenTTL"),
        (json!({"signingKeyRef": {"name": "Not_A_Name"}}), "spec.signingKeyRef.name"),
        (json!({"delivery": {"ttl": "10s"}}), "delivery.ttl must be between 1m and 720h"),
        (json!({"delivery": {"ttl": "4h"}}), "delivery.ttl is for the mode OneTime"),
        (json!({"delivery": {"mode": "Twice"}}), "spec.delivery.mode"),
        (json!({"rotation": {"period": "1m"}}), "rotation.period must be between 2m and 87600h"),
        (
            json!({"rotation": {"period": "24h", "overlap": "24h"}}),
            "rotation.overlap (default 24h) must be shorter than rotation.period",
        ),
        (json!({"rotation": {"period": "1h"}}), "must be shorter than rotation.period"),
        (json!({"rotation": {"overlap": "10s"}}), "rotation.overlap must be between 1m and 8760h"),
        (json!({"suspend": "yes"}), "spec.suspend"),
    ] {
        refused(&namespace, "orders", spec, words).await;
    }
    refused(&namespace, &"n".repeat(64), json!({}), "metadata.name").await;
    namespace.apply(&"n".repeat(63), json!({})).await;
    namespace.ready(&"n".repeat(63)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_template_are_refused_with_words_that_help() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "refused-template").await;
    for (spec, words) in [
        (json!({"secretTemplate": {"name": "Upper"}}), "spec.secretTemplate.name"),
        (json!({"secretTemplate": {"keys": {"a b": "issuer"}}}), "a field of a Secret has at most"),
        (
            json!({"secretTemplate": {"keys": {"client_secret": "issuer"}}}),
            "always written by the operator",
        ),
        (json!({"secretTemplate": {"keys": {"jwks_uri": "issuer"}}}), "always written by"),
        (json!({"secretTemplate": {"keys": {"A": "password"}}}), "spec.secretTemplate.keys"),
        (json!({"secretTemplate": {"name": "a..b"}}), "spec.secretTemplate.name"),
        (json!({"secretTemplate": {"keys": {"..x": "client_id"}}}), "does not begin with '..'"),
        (json!({"secretTemplate": {"labels": {("a".repeat(64)): "b"}}}), "not a valid label name"),
        (
            json!({"secretTemplate": {"annotations": {"a..b/c": "d"}}}),
            "not a valid annotation name",
        ),
        (
            json!({"secretTemplate": {"labels": {"iam.cyoda.com/managed": "no"}}}),
            "secretTemplate.labels",
        ),
        (
            json!({"secretTemplate": {"labels": {"argocd.argoproj.io/instance": "a"}}}),
            "make others delete the Secret",
        ),
        (
            json!({"secretTemplate": {"annotations": {"meta.helm.sh/release-name": "a"}}}),
            "make others change the Secret",
        ),
    ] {
        refused(&namespace, "orders", spec, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_can_refer_to_every_name_that_a_signing_key_can_have() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "dotted").await;
    let keys = Api::<SigningKey>::all(namespace.client.clone());
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let dotted = format!("{}.b", "a".repeat(61));
    for (name, is_a_name) in [
        ("acme.2026", true),
        (dotted.as_str(), true),
        ("a", true),
        ("Acme", false),
        ("a..b", false),
        ("a_b", false),
        ("-a", false),
    ] {
        let key = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
            "metadata": {"name": name}, "spec": {},
        });
        let key = serde_json::from_value(key).unwrap();
        let user = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
            "metadata": {"name": "orders"}, "spec": {"signingKeyRef": {"name": name}},
        });
        let user = serde_json::from_value(user).unwrap();

        assert_eq!(keys.create(&dry_run, &key).await.is_ok(), is_a_name, "{name}");
        assert_eq!(namespace.users().create(&dry_run, &user).await.is_ok(), is_a_name, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_duration_is_one_mistake_with_one_message() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "durations").await;
    for spec in [
        json!({"accessTokenTTL": "1d"}),
        json!({"delivery": {"mode": "OneTime", "ttl": "7d"}}),
        json!({"rotation": {"period": "30d"}}),
        json!({"rotation": {"overlap": "99999999h"}}),
    ] {
        let user = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
            "metadata": {"name": "orders"}, "spec": spec,
        });
        let user = serde_json::from_value(user).unwrap();

        let refusal = namespace.users().create(&PostParams::default(), &user).await.unwrap_err();

        let kube::Error::Api(status) = refusal else { panic!("{refusal}") };
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert!(causes[0].message.contains("days are not allowed, write 24h"), "{causes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_identifies_a_client_cannot_be_changed() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "immutability").await;
    let chosen = json!({"clientID": "Immutability", "secretTemplate": {"name": "mine"}});
    namespace.apply("chosen", chosen).await;
    namespace.apply("derived", json!({})).await;

    for (name, spec, words) in [
        (
            "chosen",
            json!({"clientID": "Other", "secretTemplate": {"name": "mine"}}),
            "clientID is immutable",
        ),
        (
            "chosen",
            json!({"secretTemplate": {"name": "mine"}}),
            "clientID is immutable: it cannot be added or removed",
        ),
        (
            "chosen",
            json!({"clientID": "Immutability", "secretTemplate": {"name": "yours"}}),
            "secretTemplate.name is immutable",
        ),
        ("chosen", json!({"clientID": "Immutability"}), "secretTemplate.name is immutable"),
        (
            "derived",
            json!({"clientID": "Added"}),
            "clientID is immutable: it cannot be added or removed",
        ),
        (
            "derived",
            json!({"secretTemplate": {"name": "added"}}),
            "secretTemplate.name is immutable",
        ),
    ] {
        refused(&namespace, name, spec, words).await;
    }

    // Removing the whole branch is a removal too, and so is one by a patch.
    let patch = json!({"spec": {"secretTemplate": null}});
    let removed =
        namespace.users().patch("chosen", &PatchParams::default(), &Patch::Merge(patch)).await;
    assert!(removed.unwrap_err().to_string().contains("secretTemplate.name is immutable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_object_is_not_ready() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "untouched").await;

    let user = namespace.try_apply("orders", json!({})).await.unwrap();

    let status = user.status.expect("a status by default");
    assert_eq!(status.observed_generation, -1);
    assert!(status.conditions.iter().all(|it| it.reason == "Pending"), "{:?}", status.conditions);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_found_by_client_id_and_by_signing_key() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "selectable").await;
    namespace.apply("one", json!({"clientID": "SelectOne"})).await;
    namespace.apply("two", json!({"signingKeyRef": {"name": "selected"}})).await;

    for (selector, expected) in
        [("spec.clientID=SelectOne", "one"), ("spec.signingKeyRef.name=selected", "two")]
    {
        let found = namespace.users().list(&ListParams::default().fields(selector)).await.unwrap();
        let names: Vec<_> = found.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, [expected], "{selector}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_explanations_are_there() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "table").await;
    namespace.apply("orders", json!({"clientID": "TableClient"})).await;
    namespace.ready("orders").await;

    let uri = "/apis/iam.cyoda.com/v1alpha1/namespaces/table/technicalusers";
    let request = http::Request::get(uri)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = namespace.client.request(request).await.unwrap();
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(columns[..6], ["Name", "Ready", "Reason", "Secret", "Age", "Client ID"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(cells[1], "True");
    assert_eq!(cells[2], "Issued");
    assert_eq!(cells[3], "orders-credentials");
    assert_eq!(cells[5], "TableClient");

    // Every field has words: they are what `kubectl explain` shows.
    let definitions = Api::<CustomResourceDefinition>::all(namespace.client.clone());
    let definition = definitions.get("technicalusers.iam.cyoda.com").await.unwrap();
    let schema = definition.spec.versions[0].schema.as_ref().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap();
    for branch in ["spec", "status"] {
        let fields = schema["properties"][branch]["properties"].as_object().unwrap();
        for (name, field) in fields {
            assert!(field["description"].is_string(), "{branch}.{name} has no description");
        }
    }
    let types = definition.spec.names.short_names.unwrap();
    assert!(types.contains(&"tu".to_owned()));
}
