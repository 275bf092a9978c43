//! An operator that serves some namespaces, with the rights that `config/rbac-namespaced.yaml` gives it.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace as KubeNamespace, Secret};
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::json;
use support::control_plane::{Options, User};

use crate::namespace::Namespace;
use crate::rights;
use crate::signing_keys::series::{Series, selecting};
use crate::token_service::server::Launch;
use crate::world::{SYSTEM, bare_with, launch, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_for_some_namespaces_are_enough_there_and_nothing_elsewhere() {
    let Some(control_plane) = bare_with(Options::default(), rights::NAMESPACED).await else {
        return;
    };
    let admin = control_plane.client().await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let other = Namespace::with(admin.clone(), "other", SYSTEM).await;
    rights::bind(&admin, "shop").await;
    let launch = launch(&control_plane, "operator.log").with("--watch-namespaces", "shop");
    let operator = launch.start();
    operator.ready().await;

    // One that is made where there is none, in the operator's namespace alone.
    let series = Series::with(admin.clone(), "default", SYSTEM);
    series.ready().await;
    let kid = series.kid(1).await;
    series.publishes(&[SYSTEM], &[&kid]).await;
    series.has_event("KeyStaged").await;
    // One that selects a namespace that is served, and one that is not.
    let selecting_series = Series::with(admin.clone(), "shared", SYSTEM);
    selecting_series.namespace("shop", true).await;
    selecting_series.namespace("other", true).await;
    selecting_series.apply(selecting("shared", json!({"algorithm": "ES256"}))).await;
    selecting_series.ready().await;
    let kid = selecting_series.kid(1).await;
    selecting_series.publishes(&[SYSTEM, "shop"], &[&kid]).await;
    assert!(!selecting_series.has_map("other").await);

    let once = json!({"delivery": {"mode": "OneTime", "ttl": "1m"}});
    shop.apply("billing", json!({})).await;
    shop.apply("once", once).await;
    other.apply("billing", json!({})).await;
    shop.ready("billing").await;
    shop.request_rotation("billing", "1").await;
    shop.serial("billing", 2).await;
    let secret = shop.shown("billing-credentials").await;
    assert!(shop.accepts(&shop.client_id("billing").await, &secret).await);
    shop.says("once", "NotCollected").await;
    shop.has_event("once", "SecretWithdrawn").await;
    assert!(other.user("billing").await.status.is_none_or(|it| it.client_id.is_none()));

    assert_eq!(refused(&control_plane.client_of(User::Operator).await).await, [true; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_rights_holds_up_no_other() {
    let Some(control_plane) = bare_with(Options::default(), rights::NAMESPACED).await else {
        return;
    };
    let admin = control_plane.client().await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let barred = Namespace::with(admin.clone(), "barred", SYSTEM).await;
    rights::bind(&admin, "shop").await;
    let all = "shop,barred,absent";
    let launch = launch(&control_plane, "operator.log").with("--watch-namespaces", all);
    let mut operator = launch.start();
    operator.ready().await;

    let series = Series::with(admin.clone(), "shared", SYSTEM);
    series.namespace("shop", true).await;
    series.namespace("barred", true).await;
    series.apply(selecting("shared", json!({"algorithm": "ES256"}))).await;
    series.ready().await;
    let kid = series.kid(1).await;
    let incomplete = series.says("JWKSIncomplete", "Forbidden").await;
    assert!(incomplete.message.contains("barred"), "{}", incomplete.message);
    series.publishes(&[SYSTEM, "shop"], &[&kid]).await;
    shop.apply("billing", json!({})).await;
    barred.apply("billing", json!({})).await;
    shop.ready("billing").await;
    assert!(barred.user("billing").await.status.is_none_or(|it| it.client_id.is_none()));
    // Nothing else tells this apart from a namespace that is not served.
    let log = std::fs::read_to_string(&launch.log).unwrap();
    let warned = ["watch failed", "technicalusers of namespace barred", "403 forbidden"];
    assert!(log.lines().any(|line| warned.iter().all(|part| line.contains(part))));

    let account = "technical-user-token-server";
    let server = Launch::namespaced(&control_plane, all).await;
    rights::bind_account(&admin, "shop", account).await;
    let running = server.start();
    running.ready().await;
    let token = || async { (status(&server, &shop).await == Some(200)).then_some(()) };
    until("a token, beside two namespaces that cannot be watched", token).await;

    rights::bind(&admin, "barred").await;
    rights::bind_account(&admin, "barred", account).await;
    series.publishes(&[SYSTEM, "shop", "barred"], &[&kid]).await;
    barred.ready("billing").await;
    let token = || async { (status(&server, &barred).await == Some(200)).then_some(()) };
    until("a token for the namespace that was granted late", token).await;

    // It goes, and the right to look into it with it: what was kept of its users goes, too.
    let client_id = barred.client_id("billing").await;
    operator.signal("TERM");
    operator.ended().await;
    barred.delete().await;
    let namespaces = Api::<KubeNamespace>::all(admin.clone());
    let ended = || async { namespaces.get_opt("barred").await.unwrap().is_none().then_some(()) };
    until("no namespace", ended).await;
    let operator = launch.start();
    operator.ready().await;
    let swept = || async { barred.record(&client_id).await.is_none().then_some(()) };
    until("no record of a user of a namespace that is gone", swept).await;
    assert_eq!(status(&server, &shop).await, Some(200));
}

async fn status(server: &Launch, namespace: &Namespace) -> Option<u16> {
    let client_id = namespace.client_id("billing").await;
    let secret = namespace.shown("billing-credentials").await;
    Some(server.token(client_id.as_str(), &secret).await?.status)
}

/// Whether it may not see Secrets and ConfigMaps of another namespace, and of all of them.
async fn refused(operator: &Client) -> [bool; 4] {
    let few = ListParams::default().limit(1);
    let secrets = Api::<Secret>::namespaced(operator.clone(), "other").list(&few).await;
    let maps = Api::<ConfigMap>::namespaced(operator.clone(), "other").list(&few).await;
    let all_secrets = Api::<Secret>::all(operator.clone()).list(&few).await;
    let all_maps = Api::<ConfigMap>::all(operator.clone()).list(&few).await;
    let is_forbidden = |error: kube::Error| matches!(error, kube::Error::Api(it) if it.code == 403);
    [
        secrets.err().is_some_and(is_forbidden),
        maps.err().is_some_and(is_forbidden),
        all_secrets.err().is_some_and(is_forbidden),
        all_maps.err().is_some_and(is_forbidden),
    ]
}
