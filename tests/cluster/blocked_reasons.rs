//! What keeps the operator from its work, how it says so, and that it goes on by itself afterwards.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::namespace::{Namespace, condition, field, now};
use crate::rights;
use crate::world::{shared, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_left_alone() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "conflict").await;
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "orders-credentials", "namespace": namespace.name},
        "stringData": {"client_secret": "of somebody else"},
    });
    let foreign = serde_json::from_value(foreign).unwrap();
    let foreign = namespace.secrets().create(&PostParams::default(), &foreign).await.unwrap();

    namespace.apply("orders", json!({})).await;

    let ready = namespace.says("orders", "SecretConflict").await;
    let names = format!("Secret {0}/orders-credentials exists and is not owned", namespace.name);
    assert!(ready.message.contains(&names), "{}", ready.message);
    namespace.has_event("orders", "SecretConflict").await;
    let user = namespace.user("orders").await;
    assert!(condition(&user, "Stalled").is_some());
    let present = namespace.secret("orders-credentials").await;
    assert_eq!(present.metadata.resource_version, foreign.metadata.resource_version);
    assert_eq!(field(&present, "client_secret").as_deref(), Some("of somebody else"));

    namespace.delete_secret("orders-credentials").await;
    let user = namespace.ready("orders").await;
    assert!(condition(&user, "Stalled").is_none());
    let secret = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&namespace.client_id("orders").await, &secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_belongs_to_one_user_of_the_cluster() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "taken").await;
    let other = Namespace::new(world, "taken-other").await;
    let spec = json!({"clientID": "TakenClient"});
    namespace.apply("orders", spec.clone()).await;
    namespace.ready("orders").await;
    let secret = namespace.shown("orders-credentials").await;

    other.apply("thief", spec).await;

    other.says("thief", "ClientIDTaken").await;
    other.has_event("thief", "ClientIDTaken").await;
    assert!(other.secrets().get_opt("thief-credentials").await.unwrap().is_none());
    assert!(namespace.accepts(&"TakenClient".parse().unwrap(), &secret).await);

    namespace.delete_user("orders").await;
    other.ready("thief").await;
    let client_id = "TakenClient".parse().unwrap();
    assert!(other.accepts(&client_id, &other.shown("thief-credentials").await).await);
    assert!(!other.accepts(&client_id, &secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_quota_is_named() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "quota").await;
    set_quota(&namespace, "0").await;

    namespace.apply("orders", json!({})).await;

    let ready = namespace.says("orders", "QuotaExceeded").await;
    let quota = format!("ResourceQuota {}/few ", namespace.name);
    assert!(ready.message.contains(&quota), "{}", ready.message);
    namespace.has_event("orders", "QuotaExceeded").await;

    set_quota(&namespace, "10").await;
    namespace.ready("orders").await;
}

/// What the quota controller would do beside it, which does not run here: admission counts by status.
async fn set_quota(namespace: &Namespace, most: &str) {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": namespace.name},
        "spec": {"hard": {"secrets": most}},
    });
    rights::apply(&namespace.client, quota).await;
    let quotas = Api::<ResourceQuota>::namespaced(namespace.client.clone(), &namespace.name);
    let status = json!({"status": {"hard": {"secrets": most}, "used": {"secrets": "0"}}});
    quotas.patch_status("few", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let secret = serde_json::from_value(json!({"metadata": {"name": "probe"}})).unwrap();
    until("the quota holds", || async {
        let probe = namespace.secrets().create(&PostParams::default(), &secret).await;
        if probe.is_ok() {
            namespace.delete_secret("probe").await;
        }
        (probe.is_ok() == (most != "0")).then_some(())
    })
    .await;
}

/// Each try registers a verifier before it is refused: none of them may be left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_the_delivery_is_named_and_fills_no_record() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "denied").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let first = namespace.shown("orders-credentials").await;
    forbid_new_data(&namespace, true).await;

    for token in ["1", "2", "3"] {
        namespace.request_rotation("orders", token).await;
        let ready = namespace.says("orders", "AdmissionDenied").await;
        assert!(ready.message.contains(&format!("policy {POLICY} ")), "{}", ready.message);
        let what = format!("request {token} was tried, and the current verifier alone is left");
        until(&what, || async {
            let record = namespace.record(&client_id).await?;
            (record.rotated.includes(token) && record.entries.len() == 1).then_some(())
        })
        .await;
    }
    namespace.has_event("orders", "AdmissionDenied").await;
    assert!(condition(&namespace.user("orders").await, "Stalled").is_some());
    assert!(namespace.accepts(&client_id, &first).await);

    forbid_new_data(&namespace, false).await;
    namespace.request_rotation("orders", "4").await;
    namespace.user_when("orders", "issued", |user| condition(user, "Stalled").is_none()).await;
    let second = namespace.shown("orders-credentials").await;
    assert_ne!(second.id(), first.id());
    assert!(namespace.accepts(&client_id, &second).await);
}

const POLICY: &str = "no-new-client-secrets";

/// No writer changes the data of a Secret of that namespace, annotations may be changed.
async fn forbid_new_data(namespace: &Namespace, is_forbidden: bool) {
    let expression = if is_forbidden {
        "has(object.data) == has(oldObject.data) && (!has(object.data) || object.data == \
         oldObject.data)"
    } else {
        "true"
    };
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": namespace.name},
                },
                "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                    "resources": ["secrets"],
                }],
            },
            "validations": [{"expression": expression}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]},
    });
    rights::apply(&namespace.client, policy).await;
    rights::apply(&namespace.client, binding).await;
    let probe = json!({"metadata": {"name": "probe"}});
    let probe = serde_json::from_value(probe).unwrap();
    namespace.secrets().create(&PostParams::default(), &probe).await.unwrap();
    let secrets = namespace.secrets();
    until("the policy holds", || async {
        let patch = Patch::Merge(json!({"stringData": {"now": now().to_string()}}));
        let patched = secrets.patch("probe", &PatchParams::default(), &patch).await;
        (patched.is_err() == is_forbidden).then_some(())
    })
    .await;
    namespace.delete_secret("probe").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_secret_is_named_and_replaced_once_deleted() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "immutable").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    namespace.patch_secret("orders-credentials", json!({"immutable": true})).await;

    namespace.request_rotation("orders", "1").await;

    namespace.says("orders", "SecretImmutable").await;
    namespace.delete_secret("orders-credentials").await;
    namespace.serial("orders", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_held_by_a_finalizer_is_waited_for() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "finalizer").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    namespace.patch_secret("orders-credentials", held).await;

    namespace.delete_secret("orders-credentials").await;

    namespace.says("orders", "SecretTerminating").await;
    let released = json!({"metadata": {"finalizers": null}});
    namespace.patch_secret("orders-credentials", released).await;
    namespace.serial("orders", 2).await;
    let secret = namespace.shown("orders-credentials").await;
    assert!(namespace.accepts(&namespace.client_id("orders").await, &secret).await);
}
