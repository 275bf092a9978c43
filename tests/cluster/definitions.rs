//! The CRDs are deleted and applied again under running processes, and an admission plugin that asks
//! for more rights than RBAC alone.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use support::control_plane::{ControlPlane, Options};

use crate::namespace::Namespace;
use crate::operator::ISSUER;
use crate::rights;
use crate::signing_keys::series::{Series, selecting};
use crate::token_service::server::Launch;
use crate::world::{SYSTEM, bare, bare_with, launch, until};

#[tokio::test(flavor = "multi_thread")]
async fn running_processes_recover_when_the_definitions_are_deleted_and_applied_again() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let operator = launch(&control_plane, "operator.log").start();
    operator.ready().await;
    let launch = Launch::new(&control_plane, "token-server", ISSUER).await;
    let server = launch.start();
    shop.apply("billing", json!({})).await;
    shop.ready("billing").await;
    server.ready().await;
    let (id, secret) = (shop.client_id("billing").await, shop.shown("billing-credentials").await);
    launch.answers(200, id.as_str(), &secret).await;

    let definitions = Api::<CustomResourceDefinition>::all(admin.clone());
    for plural in ["technicalusers", "signingkeys"] {
        let name = format!("{plural}.iam.cyoda.com");
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
        until("no definition", || async {
            definitions.get_opt(&name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    // Its Secret goes with it, and so does the right to log in.
    until("no delivered Secret", || async {
        shop.secrets().get_opt("billing-credentials").await.unwrap().is_none().then_some(())
    })
    .await;
    until("the client is refused", || async {
        (launch.token(id.as_str(), &secret).await?.status != 200).then_some(())
    })
    .await;

    rights::install(&admin, rights::EVERYWHERE).await;
    Series::with(admin.clone(), "default", SYSTEM).apply(json!({})).await;
    shop.apply("billing", json!({})).await;

    Series::with(admin.clone(), "default", SYSTEM).ready().await;
    shop.ready("billing").await;
    let (id, secret) = (shop.client_id("billing").await, shop.shown("billing-credentials").await);
    launch.answers(200, id.as_str(), &secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_suffice_where_owner_references_need_permission() {
    let Some(control_plane) = bare(enforcing()).await else { return };
    let operator = launch(&control_plane, "operator.log").start();
    operator.ready().await;
    serves(&control_plane).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_for_some_namespaces_suffice_where_owner_references_need_permission() {
    let Some(control_plane) = bare_with(enforcing(), rights::NAMESPACED).await else { return };
    let admin = control_plane.client().await;
    Namespace::with(admin.clone(), "shop", SYSTEM).await;
    rights::bind(&admin, "shop").await;
    let launch = launch(&control_plane, "operator.log").with("--watch-namespaces", "shop");
    let operator = launch.start();
    operator.ready().await;
    serves(&control_plane).await;
}

/// Everything that is made with an owner reference is made, in the namespace `shop` as well.
async fn serves(control_plane: &ControlPlane) {
    let admin = control_plane.client().await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let series = Series::with(admin.clone(), "shared", SYSTEM);
    series.namespace("shop", true).await;
    series.apply(selecting("shared", json!({"algorithm": "ES256"}))).await;
    series.ready().await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM, "shop"], &[&kid]).await;
    shop.apply("billing", json!({})).await;
    shop.ready("billing").await;
    shop.request_rotation("billing", "1").await;
    shop.serial("billing", 2).await;
}

fn enforcing() -> Options {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement";
    Options { api_server_arguments: vec![plugin.to_owned()], ..Options::default() }
}
