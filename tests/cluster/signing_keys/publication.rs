//! Where a JWKS is published, and that it stays what the operator wrote.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use technical_user_operator::api::{
    JWKS_FIELD, JWKS_FILE, MANAGED, REVOKE_REQUESTED_AT, ROTATE_REQUESTED_AT, SIGNING_KEY,
};
use technical_user_operator::domain::crypto::jwks::kids_of;

use super::series::{Series, condition, field, is_well_formed, namespaces, selecting};
use crate::rights;
use crate::world::{SYSTEM, World, shared, until};

/// A series that publishes in the namespaces `<name>-1` and `<name>-2`, ready.
async fn fanned_out(world: &World, name: &str) -> (Series, String, String) {
    let series = Series::new(world, name).await;
    let (one, two) = (format!("{name}-1"), format!("{name}-2"));
    series.namespace(&one, true).await;
    series.namespace(&two, true).await;
    series.apply(selecting(name, json!({"algorithm": "ES256"}))).await;
    series.ready().await;
    (series, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jwks_follows_the_labels_of_namespaces() {
    let Some(world) = shared().await else { return };
    let (series, one, two) = fanned_out(world, "fan-out").await;
    series.namespace("fan-out-other", false).await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, &one, &two], &[&kid]).await;
    let object = series.object().await;
    assert_eq!(namespaces(&object), Some(3));

    // One that comes later.
    series.namespace("fan-out-3", true).await;
    series.publishes(&["fan-out-3"], &[&kid]).await;
    series.when("4 namespaces", |it| namespaces(it) == Some(4)).await;

    // One that is not selected any more, and one that goes.
    series.namespace(&one, false).await;
    until("the JWKS is withdrawn", || async { (!series.has_map(&one).await).then_some(()) }).await;
    series.delete_namespace(&two).await;
    series.when("2 namespaces", |it| namespaces(it) == Some(2)).await;

    // No selector at all leaves the one at home.
    series.apply(json!({"algorithm": "ES256"})).await;
    let left = || async { (!series.has_map("fan-out-3").await).then_some(()) };
    until("every copy is withdrawn", left).await;
    series.publishes(&[SYSTEM], &[&kid]).await;
    assert!(!series.has_map("fan-out-other").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_jwks_moves() {
    let Some(world) = shared().await else { return };
    let (series, one, _) = fanned_out(world, "renamed").await;
    let mut spec = selecting("renamed", json!({"algorithm": "ES256"}));
    spec["jwks"]["configMapName"] = json!("by-another-name");

    series.apply(spec).await;

    for namespace in [SYSTEM, one.as_str()] {
        until("the JWKS has moved", || async {
            let map = series.maps(namespace).get_opt("by-another-name").await.unwrap()?;
            (is_well_formed(&map) && !series.has_map(namespace).await).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_cannot_be_written_is_named_and_holds_up_nobody() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "obstructed").await;
    for number in 1..=4 {
        series.namespace(&format!("obstructed-{number}"), true).await;
    }
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"mine": "yours"},
        "metadata": {"name": "obstructed-jwks", "namespace": "obstructed-1"},
    });
    rights::apply(&series.client, foreign).await;
    refuse_config_maps(&series, "obstructed-2").await;

    series.apply(selecting("obstructed", json!({"algorithm": "ES256"}))).await;

    let object = series.ready().await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, "obstructed-3", "obstructed-4"], &[&kid]).await;
    let incomplete = series.says("JWKSIncomplete", "ConfigMapConflict").await;
    for words in ["obstructed-1, obstructed-2.", "ConfigMap obstructed-1/obstructed-jwks exists"] {
        assert!(incomplete.message.contains(words), "{}", incomplete.message);
    }
    series.has_event("JWKSIncomplete").await;
    assert_eq!(namespaces(&object), Some(3));
    let foreign = series.map("obstructed-1").await;
    assert_eq!(field(&foreign, "mine"), "yours");
    assert!(!foreign.labels().contains_key(SIGNING_KEY));

    // What was in the way is gone, and one of ours that a user made immutable is made again.
    series.patch_map("obstructed-3", json!({"immutable": true})).await;
    series.delete_map("obstructed-1").await;
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    let second = series.kid_when(2).await;
    let others = [SYSTEM, "obstructed-1", "obstructed-3", "obstructed-4"];
    series.publishes(&others, &[&kid, &second]).await;
    let incomplete = series.says("JWKSIncomplete", "AdmissionDenied").await;
    assert!(incomplete.message.contains(": obstructed-2."), "{}", incomplete.message);
    assert!(!series.has_map("obstructed-2").await);
}

/// An admission policy that lets no client write ConfigMaps there: the operator may, by its rights.
async fn refuse_config_maps(series: &Series, namespace: &str) {
    let group = "admissionregistration.k8s.io/v1";
    let name = format!("no-config-maps-{namespace}");
    let policy = json!({
        "apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["configmaps"],
            }]},
            "validations": [{"expression": "false", "message": "no ConfigMaps here"}],
        },
    });
    let selected = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let binding = json!({
        "apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selected},
        },
    });
    rights::apply(&series.client, policy).await;
    rights::apply(&series.client, binding).await;
    until_refused(series, namespace).await;
}

/// Waits until no writer can make a ConfigMap there.
async fn until_refused(series: &Series, namespace: &str) {
    let probe = json!({"metadata": {"name": "probe"}, "data": {}});
    until("refused ConfigMaps", || async {
        let probe = serde_json::from_value(probe.clone()).unwrap();
        let maps = series.maps(namespace);
        let is_made = maps.create(&PostParams::default(), &probe).await.is_ok();
        if is_made {
            maps.delete("probe", &DeleteParams::default()).await.unwrap();
        }
        (!is_made).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_whose_webhook_is_down_holds_up_nobody() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "unhooked").await;
    for number in 1..=2 {
        series.namespace(&format!("unhooked-{number}"), true).await;
    }
    ask_nobody_about_config_maps(&series, "unhooked-1").await;

    series.apply(selecting("unhooked", json!({"algorithm": "ES256"}))).await;

    series.ready().await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, "unhooked-2"], &[&kid]).await;
    let incomplete = series.says("JWKSIncomplete", "ApiServerUnavailable").await;
    assert!(incomplete.message.contains("unhooked-1"), "{}", incomplete.message);
    // It is all that is left to write, and the series goes on.
    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM, "unhooked-2"], &[&kid, &second]).await;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(series.client.clone());
    webhooks.delete("unhooked-1", &DeleteParams::default()).await.unwrap();
    series.publishes(&["unhooked-1"], &[&kid, &second]).await;
}

/// A webhook that never answers for ConfigMaps there, and whose answer is required.
async fn ask_nobody_about_config_maps(series: &Series, namespace: &str) {
    ask_nobody(series, namespace, &["CREATE", "UPDATE"]).await;
    until_refused(series, namespace).await;
}

async fn ask_nobody(series: &Series, namespace: &str, operations: &[&str]) {
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "nobody.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": operations,
                "resources": ["configmaps"],
            }],
        }],
    });
    rights::apply(&series.client, webhook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_config_map_at_home_is_left_alone_and_named() {
    let Some(world) = shared().await else { return };
    let series = Series::new(world, "squatted").await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"jwks": "{\"keys\":[]}"},
        "metadata": {"name": "squatted-jwks", "namespace": SYSTEM},
    });
    rights::apply(&series.client, foreign).await;

    series.apply(json!({"algorithm": "ES256"})).await;

    let ready = series.says("Ready", "ConfigMapConflict").await;
    let named = format!("ConfigMap {SYSTEM}/squatted-jwks");
    assert!(ready.message.contains(&named), "{}", ready.message);
    series.has_event("ConfigMapConflict").await;
    assert!(condition(&series.object().await, "Stalled").is_some());
    // No token is signed that no verifier could verify.
    assert_eq!(series.object().await.status.unwrap().active_kid, None);
    assert_eq!(field(&series.map(SYSTEM).await, JWKS_FIELD), "{\"keys\":[]}");

    series.delete_map(SYSTEM).await;
    // Without our label, no watch tells that it is gone: the operator looks again within a minute.
    series.apply(json!({"algorithm": "ES256", "rotation": {"period": "1000h"}})).await;
    series.ready().await;
    series.signs(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwks_that_is_deleted_or_edited_heals() {
    let Some(world) = shared().await else { return };
    let (series, one, two) = fanned_out(world, "healing").await;
    let kid = series.kid(1).await;
    let rogue = Series::with(series.client.clone(), "healing-rogue", SYSTEM);
    rogue.apply(json!({"algorithm": "ES256"})).await;
    rogue.ready().await;
    let mut keys: Value =
        serde_json::from_str(field(&series.map(SYSTEM).await, JWKS_FIELD)).unwrap();
    let other = field(&rogue.map(SYSTEM).await, JWKS_FIELD).to_owned();
    let other: Value = serde_json::from_str(&other).unwrap();
    keys["keys"].as_array_mut().unwrap().push(other["keys"][0].clone());
    let labels = json!({"metadata": {"labels": {"example.com/theirs": "kept"}}});
    series.patch_map(&one, labels).await;

    for patch in [
        json!({"data": {JWKS_FIELD: keys.to_string()}}),
        json!({"data": {JWKS_FILE: "{\"keys\":[]}"}}),
        json!({"data": {JWKS_FILE: null}}),
        json!({"data": {"more": "of it"}}),
        json!({"binaryData": {"more": "AAAA"}}),
        json!({"metadata": {"labels": {SIGNING_KEY: null}}}),
        json!({"metadata": {"labels": {SIGNING_KEY: "another"}}}),
        json!({"metadata": {"labels": {MANAGED: null}}}),
    ] {
        for namespace in [SYSTEM, one.as_str(), two.as_str()] {
            series.patch_map(namespace, patch.clone()).await;
        }
        for namespace in [SYSTEM, one.as_str(), two.as_str()] {
            until(&format!("{namespace} healed after {patch}"), || async {
                let map = series.map(namespace).await;
                let is_labelled = map.labels().get(SIGNING_KEY) == Some(&series.name)
                    && map.labels().contains_key(MANAGED);
                (is_well_formed(&map) && is_labelled).then_some(())
            })
            .await;
            series.publishes(&[namespace], &[&kid]).await;
        }
    }
    assert_eq!(series.map(&one).await.labels()["example.com/theirs"], "kept");

    for namespace in [SYSTEM, one.as_str(), two.as_str()] {
        series.delete_map(namespace).await;
        series.publishes(&[namespace], &[&kid]).await;
    }
    series.ready().await;
    assert_eq!(series.ledger().await.unwrap().entries.len(), 1);
}

/// An editor of any namespace may put our label on ConfigMaps of a megabyte. Six megabytes of JSON each,
/// they were once more than one answer may have, and no key could be revoked.
#[tokio::test(flavor = "multi_thread")]
async fn large_config_maps_with_our_label_hold_up_no_revocation() {
    let Some(world) = shared().await else { return };
    let (series, one, two) = fanned_out(world, "weighted").await;
    let first = series.kid(1).await;
    let large = "<".repeat(1_000_000);
    series.namespace("weighted-evil", false).await;
    for number in 1..=3 {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"big": large},
            "metadata": {
                "name": format!("big-{number}"), "namespace": "weighted-evil",
                "labels": {SIGNING_KEY: "weighted", MANAGED: "true"},
            },
        });
        rights::apply(&series.client, map).await;
    }
    // In a selected namespace, the very JWKS.
    series.patch_map(&one, json!({"data": {"big": large}})).await;

    series.annotate(REVOKE_REQUESTED_AT, first.as_str()).await;

    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM, &two], &[&second]).await;
    let leaked = || async {
        let map = series.map(&one).await;
        (kids_of(field(&map, JWKS_FIELD)) == [second.clone()].into()).then_some(())
    };
    until("the revoked key leaves the JWKS that somebody filled", leaked).await;
    series.says("Ready", "KeyActive").await;
}

/// A user who edits a copy all the time is left alone after a few repairs, and no key waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_edits_all_the_time_holds_up_nobody() {
    let Some(world) = shared().await else { return };
    let (series, one, two) = fanned_out(world, "quarrel").await;
    let first = series.kid(1).await;
    let editor = {
        let (series, one) = (series.clone(), one.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let patch = Patch::Merge(json!({"data": {"mine": format!("{number}")}}));
                let maps = series.maps(&one);
                maps.patch(&series.map_name(), &PatchParams::default(), &patch).await.ok();
            }
        })
    };

    series.annotate(ROTATE_REQUESTED_AT, "1").await;

    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM, &two], &[&first, &second]).await;
    let incomplete = series.says("JWKSIncomplete", "WriteConflict").await;
    assert!(incomplete.message.contains(&one), "{}", incomplete.message);
    editor.abort();
    series.publishes(&[&one], &[&first, &second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_on_deletion_holds_up_nobody() {
    let Some(world) = shared().await else { return };
    let (series, one, two) = fanned_out(world, "undeleted").await;
    let first = series.kid(1).await;
    ask_nobody(&series, &one, &["DELETE"]).await;
    series.namespace(&one, false).await;
    series.says("JWKSOrphaned", "ApiServerUnavailable").await;

    series.annotate(ROTATE_REQUESTED_AT, "1").await;

    let second = series.kid_when(2).await;
    series.publishes(&[SYSTEM, &two], &[&first, &second]).await;
    assert!(series.has_map(&one).await);
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(series.client.clone());
    webhooks.delete(&one, &DeleteParams::default()).await.unwrap();
    until("the JWKS is deleted", || async { (!series.has_map(&one).await).then_some(()) }).await;
}
