//! The policies of `config/`: what they refuse on a real API server, and that the operator works under them.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace as KubeNamespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::control_plane::{Options, User};
use technical_user_operator::api::signing_key::SigningKey;

use crate::namespace::Namespace;
use crate::rights::{self, apply};
use crate::signing_keys::series::{Series, selecting};
use crate::world::{SYSTEM, bare, launch, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_bring_back_is_deleted_with_an_annotation_alone() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    for object in rights::shipped(PROTECTION) {
        apply(&admin, object).await;
    }
    let series = Series::with(admin.clone(), "gateway", SYSTEM);
    series.apply(json!({})).await;
    Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let definitions = Api::<CustomResourceDefinition>::all(admin.clone());
    let namespaces = Api::<KubeNamespace>::all(admin.clone());
    let users = "technicalusers.iam.cyoda.com";
    until("the policy is in force", || async {
        deletion(&definitions, users, true).await.err().map(drop)
    })
    .await;

    for (kind, name, refusal) in [
        ("CustomResourceDefinition", users, deletion(&definitions, users, false).await),
        (
            "CustomResourceDefinition",
            "signingkeys.iam.cyoda.com",
            deletion(&definitions, "signingkeys.iam.cyoda.com", false).await,
        ),
        ("SigningKey", "gateway", deletion(&series.api(), "gateway", false).await),
        ("Namespace", SYSTEM, deletion(&namespaces, SYSTEM, false).await),
    ] {
        let text = refusal.unwrap_err();
        assert!(text.contains(&format!("{kind} {name} is protected")), "{text}");
        assert!(text.contains("iam.cyoda.com/allow-deletion=true"), "{text}");
    }
    let all = ListParams::default();
    let collection = series.api().delete_collection(&DeleteParams::default(), &all).await;
    assert!(collection.is_err(), "a collection is no way around it");
    series.annotate(ALLOW, "yes").await;
    assert!(deletion(&series.api(), "gateway", false).await.is_err());
    assert!(deletion(&namespaces, "shop", false).await.is_ok(), "only a label protects");

    series.annotate(ALLOW, "true").await;
    deletion(&series.api(), "gateway", false).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ALLOW: "true"}}}));
    definitions.patch(users, &PatchParams::default(), &patch).await.unwrap();
    deletion(&definitions, users, false).await.unwrap();
    let left = Api::<SigningKey>::all(admin.clone()).list(&all).await.unwrap();
    assert!(left.items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_works_under_the_policy_that_bounds_it() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    for object in rights::shipped(rights::BOUNDS) {
        apply(&admin, object).await;
    }
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let operator = control_plane.client_of(User::Operator).await;
    let opaque = json!({"metadata": {"name": "probe"}, "type": "Opaque"});
    until("the policy is in force", || async {
        refused(created::<Secret>(&operator, "shop", &opaque).await).then_some(())
    })
    .await;
    let running = launch(&control_plane, "operator.log").start();
    running.ready().await;

    let series = Series::with(admin.clone(), "shared", SYSTEM);
    series.namespace("shop", true).await;
    series.apply(selecting("shared", json!({"algorithm": "ES256"}))).await;
    series.ready().await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, "shop"], &[&kid]).await;
    shop.apply("billing", json!({})).await;
    shop.apply("once", json!({"delivery": {"mode": "OneTime", "ttl": "1m"}})).await;
    shop.ready("billing").await;
    shop.request_rotation("billing", "1").await;
    shop.serial("billing", 2).await;
    shop.delete_secret("billing-credentials").await;
    shop.serial("billing", 3).await;
    shop.has_event("once", "SecretWithdrawn").await;
    series.namespace("shop", false).await;
    until("no JWKS where it is not wanted", || async {
        (!series.has_map("shop").await).then_some(())
    })
    .await;

    everything_else_is_refused(&operator, &admin, &shop).await;
}

async fn everything_else_is_refused(operator: &Client, admin: &Client, shop: &Namespace) {
    let user = shop.user("billing").await;
    let owner = |kind: &str, controller: bool| {
        json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": kind, "name": "billing",
            "uid": user.metadata.uid, "controller": controller,
        })
    };
    let secret = |kind: &str, owners: Value| json!({"metadata": {"name": "forged", "ownerReferences": owners}, "type": kind});
    let of_account = json!({
        "metadata": {
            "name": "forged",
            "annotations": {"kubernetes.io/service-account.name": "default"},
            "ownerReferences": [owner("TechnicalUser", true)],
        },
        "type": "kubernetes.io/service-account-token",
    });
    for forged in [
        of_account,
        secret("Opaque", json!([owner("TechnicalUser", true)])),
        secret("servicebinding.io/oauth2", json!([])),
        secret("servicebinding.io/oauth2", json!([owner("TechnicalUser", false)])),
        secret("servicebinding.io/oauth2", json!([owner("SigningKey", true)])),
    ] {
        assert!(refused(created::<Secret>(operator, "kube-system", &forged).await), "{forged}");
    }
    let map = json!({"metadata": {"name": "forged", "ownerReferences": []}});
    assert!(refused(created::<ConfigMap>(operator, "shop", &map).await));

    let foreign = json!({"metadata": {"name": "foreign"}, "stringData": {"a": "b"}});
    let administered = Api::<Secret>::namespaced(admin.clone(), "shop");
    administered.create(&PostParams::default(), &read(&foreign)).await.unwrap();
    let map = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ""}});
    // The controller that writes it does not run here.
    let administered = Api::<ConfigMap>::namespaced(admin.clone(), "shop");
    administered.create(&PostParams::default(), &read(&map)).await.unwrap();
    let secrets = Api::<Secret>::namespaced(operator.clone(), "shop");
    let maps = Api::<ConfigMap>::namespaced(operator.clone(), "shop");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let disowned = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    let parameters = PatchParams::default();
    assert!(refused(secrets.patch("foreign", &parameters, &patch).await));
    assert!(refused(secrets.patch("billing-credentials", &parameters, &disowned).await));
    assert!(refused(maps.patch("kube-root-ca.crt", &parameters, &patch).await));
    let delete = DeleteParams::default();
    assert!(refused(secrets.delete("foreign", &delete).await));
    assert!(refused(maps.delete("kube-root-ca.crt", &delete).await));
}

async fn deletion<K>(api: &Api<K>, name: &str, is_dry: bool) -> Result<(), String>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let parameters = DeleteParams { dry_run: is_dry, ..DeleteParams::default() };
    api.delete(name, &parameters).await.map(drop).map_err(|error| error.to_string())
}

async fn created<K>(client: &Client, namespace: &str, object: &Value) -> kube::Result<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + serde::Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    Api::<K>::namespaced(client.clone(), namespace).create(&parameters, &read(object)).await
}

/// Whether the policy, and not a missing right, refused it.
fn refused<T>(outcome: kube::Result<T>) -> bool {
    let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    text.contains("ValidatingAdmissionPolicy 'technical-user-operator'")
}

fn read<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

const PROTECTION: &str = include_str!("../../config/protection.yaml");
const ALLOW: &str = "iam.cyoda.com/allow-deletion";
