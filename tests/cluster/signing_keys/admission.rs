//! What the API server refuses of a signing key before the operator sees it, with words that help;
//! and what its administrators find with kubectl.

use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use technical_user_operator::api::signing_key::Algorithm;

use super::series::Series;
use crate::world::shared;

async fn refused(series: &Series, spec: Value, words: &str) {
    match series.try_apply(spec.clone()).await {
        Ok(_) => panic!("accepted: {spec}"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(words), "{spec}: wanted `{words}`, got: {text}");
        }
    }
}

fn rotation(fields: &Value) -> Value {
    json!({"rotation": fields})
}

fn matching(fields: &Value) -> Value {
    json!({"jwks": {"namespaceSelector": fields}})
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_a_signing_key_are_refused_with_words_that_help() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "refused").await;
    let many: Vec<_> = (0..17).map(|_| json!({"key": "a", "operator": "Exists"})).collect();
    let labels: Value = (0..17).map(|number| (format!("l{number}"), json!("a"))).collect();

    for (spec, words) in [
        (json!({"algorithm": "HS256"}), "spec.algorithm"),
        (json!({"algorithm": "none"}), "spec.algorithm"),
        (json!({"rsaKeySize": 1024}), "spec.rsaKeySize"),
        (json!({"rsaKeySize": 2047}), "spec.rsaKeySize"),
        (json!({"algorithm": "ES256", "rsaKeySize": 2048}), "rsaKeySize belongs to the RSA"),
        (json!({"algorithm": "EdDSA", "rsaKeySize": 4096}), "so leave it out"),
        (json!({"suspend": "yes"}), "spec.suspend"),
        (json!({"jwks": {"configMapName": "Upper"}}), "spec.jwks.configMapName"),
        (json!({"jwks": {"configMapName": "a".repeat(254)}}), "spec.jwks.configMapName"),
        (matching(&json!({"matchLabels": {"a b": "c"}})), "not a valid label name"),
        (matching(&json!({"matchLabels": {"a": "not a value"}})), "matchLabels.a"),
        (matching(&json!({"matchLabels": labels})), "spec.jwks.namespaceSelector.matchLabels"),
        (matching(&json!({"matchExpressions": many})), "matchExpressions"),
        (
            matching(&json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            "In and NotIn need values",
        ),
        (
            matching(
                &json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
            ),
            "Exists and DoesNotExist have none",
        ),
        (
            matching(
                &json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}),
            ),
            "operator",
        ),
    ] {
        refused(&series, spec, words).await;
    }
    let long = Series { name: "n".repeat(64), ..series.clone() };
    refused(&long, json!({}), "at most 63 characters").await;
    assert!(series.api().get_opt("refused").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_would_fail_verifiers_is_refused_unless_the_outage_is_accepted() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "refused-rotation").await;

    for (fields, words) in [
        (json!({"prePublish": "19m"}), "rotation.prePublish must be at least 20m"),
        (json!({"prePublish": "0s"}), "acceptOutage: true if no verifier of yours"),
        (
            json!({"period": "59m", "prePublish": "20m"}),
            "rotation.period must be at least 1h: a key stays in the JWKS",
        ),
        (
            json!({"period": "1h", "prePublish": "1h"}),
            "rotation.period must be longer than rotation.prePublish",
        ),
        (json!({"period": "1h"}), "rotation.period must be longer than rotation.prePublish"),
        (
            json!({"period": "10s", "prePublish": "10s", "grace": "0s", "acceptOutage": true}),
            "rotation.period must be longer than rotation.prePublish",
        ),
        (
            json!({"period": "2h", "grace": "49h"}),
            "rotation.grace may be at most 24 times rotation.period",
        ),
        (json!({"period": "9s", "acceptOutage": true}), "between 10s and 87600h"),
        (json!({"period": "87601h"}), "between 10s and 87600h"),
        (json!({"prePublish": "721h"}), "rotation.prePublish must be between 0s and 720h"),
        (json!({"grace": "8761h"}), "rotation.grace must be between 0s and 8760h"),
        (json!({"grace": "1 hour"}), "spec.rotation.grace"),
        (json!({"period": 2160}), "spec.rotation.period"),
        (json!({"acceptOutage": "true"}), "spec.rotation.acceptOutage"),
    ] {
        refused(&series, rotation(&fields), words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_algorithm_nor_controller_can_be_changed() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "immutable-algorithm").await;
    series.apply(json!({"algorithm": "ES256"})).await;

    refused(&series, json!({"algorithm": "ES384"}), "algorithm is immutable").await;
    // Left out, the default would take its place.
    refused(&series, json!({}), "create another SigningKey").await;
    let elsewhere = json!({"algorithm": "ES256", "controllerName": "example.com/other"});
    refused(&series, elsewhere, "controllerName is immutable").await;
    let patch = Patch::Merge(json!({"spec": null}));
    let removed = series.api().patch(&series.name, &PatchParams::default(), &patch).await;
    assert!(removed.is_err());
    assert_eq!(series.object().await.spec.algorithm, Algorithm::ES256);
}

/// Suspended, they cost no key.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_valid_is_accepted() {
    let Some(world) = shared().await else { return };
    let client = world.control_plane.client().await;
    let mut specs = vec![
        json!({}),
        rotation(&json!({"prePublish": "20m", "period": "1h"})),
        rotation(
            &json!({"prePublish": "0s", "period": "10s", "grace": "0s", "acceptOutage": true}),
        ),
        rotation(&json!({"period": "87600h", "prePublish": "720h", "grace": "8760h"})),
        rotation(&json!({"period": "1h30m15s", "grace": "36h"})),
        json!({"jwks": {"configMapName": "an.envoy-reads-this"}}),
        matching(&json!({"matchLabels": {"example.com/none": ""}})),
        matching(&json!({"matchLabels": {"kubernetes.io/metadata.name": "no-such-namespace"}})),
        matching(&json!({"matchExpressions": [
            {"key": "example.com/none", "operator": "In", "values": ["a", "b.c_d-e"]},
            {"key": "a", "operator": "NotIn", "values": ["b"]},
            {"key": "c", "operator": "Exists"},
            {"key": "d", "operator": "DoesNotExist"},
        ]})),
    ];
    for algorithm in Algorithm::ALL.map(Algorithm::name) {
        specs.push(json!({"algorithm": algorithm}));
        if algorithm.starts_with("RS") || algorithm.starts_with("PS") {
            let sizes = [2048, 3072, 4096];
            specs.extend(sizes.map(|size| json!({"algorithm": algorithm, "rsaKeySize": size})));
        }
    }

    for (number, mut spec) in specs.into_iter().enumerate() {
        spec["suspend"] = json!(true);
        let series = Series::with(client.clone(), &format!("accepted-{number}"), "");
        let applied = series.try_apply(spec.clone()).await;
        assert!(applied.is_ok(), "{spec}: {applied:?}");
        series.delete().await;
    }
    let name = "n".repeat(63);
    let series = Series::new(world, &name).await;
    series.apply(json!({"algorithm": "ES256"})).await;
    series.ready().await;
    series.signs(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_signing_key_is_not_ready() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "untouched-key").await;

    let object = series.apply(json!({"algorithm": "ES256"})).await;

    let status = object.status.expect("a status by default");
    assert_eq!(status.observed_generation, -1);
    assert!(status.conditions.iter().all(|it| it.reason == "Pending"), "{:?}", status.conditions);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_signing_keys_shows_what_signs() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "table-key").await;
    series.apply(json!({"algorithm": "EdDSA"})).await;
    let object = series.ready().await;

    let uri = "/apis/iam.cyoda.com/v1alpha1/signingkeys?fieldSelector=metadata.name%3Dtable-key";
    let request = Request::get(uri)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = series.client.request(request).await.unwrap();

    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(columns[..6], ["Name", "Ready", "Reason", "Algorithm", "Next Rotation", "Age"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(cells[1], "True");
    assert_eq!(cells[3], "EdDSA");
    let active = columns.iter().position(|it| *it == "Active Key").unwrap();
    assert_eq!(cells[active], json!(object.status.unwrap().active_kid.unwrap()));
    assert!(cells[4].as_str().unwrap().starts_with("20"), "{cells}");

    // By algorithm, as kubectl get --field-selector does.
    let listed = ListParams::default().fields("spec.algorithm=EdDSA");
    let found = series.api().list(&listed).await.unwrap();
    assert!(found.iter().any(|it| it.name_any() == "table-key"));
    assert!(found.iter().all(|it| it.spec.algorithm == Algorithm::EdDsa));
}

/// They are what `kubectl explain` shows.
#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_signing_key_has_words() {
    let Some(world) = shared().await else { return };
    let client = world.control_plane.client().await;

    let definitions = Api::<CustomResourceDefinition>::all(client);
    let definition = definitions.get("signingkeys.iam.cyoda.com").await.unwrap();

    let schema = definition.spec.versions[0].schema.as_ref().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap();
    for branch in [
        &schema["properties"]["spec"],
        &schema["properties"]["status"],
        &schema["properties"]["spec"]["properties"]["rotation"],
        &schema["properties"]["spec"]["properties"]["jwks"],
        &schema["properties"]["status"]["properties"]["keys"]["items"],
    ] {
        for (name, field) in branch["properties"].as_object().unwrap() {
            assert!(field["description"].is_string(), "{name} has no description");
        }
    }
    assert_eq!(definition.spec.names.short_names.unwrap(), ["sk", "sigkey"]);
    assert_eq!(definition.spec.scope, "Cluster");
}
