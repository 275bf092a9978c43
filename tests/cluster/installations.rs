//! Two installations in one cluster: what belongs to one is left alone by the other.

use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Secret};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use support::control_plane::{ControlPlane, Options};
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::domain::crypto::client_secret::{ClientId, ClientSecret};

use crate::namespace::Namespace;
use crate::operator::{ISSUER, lines_with};
use crate::rights::install_system;
use crate::signing_keys::series::Series;
use crate::token_service::server::Launch;
use crate::world::{SYSTEM, bare, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_installation_leaves_the_objects_of_the_first_alone_and_succeeds_it() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    install_system(&admin, OTHER).await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let first = installation(&control_plane, "first", SYSTEM, &[]).await;
    let mut running = first.start();
    running.ready().await;
    for name in NAMES {
        shop.apply(name, json!({})).await;
    }
    let mut clients = Vec::new();
    for name in NAMES {
        shop.ready(name).await;
        clients.push(client(&shop, name).await);
    }
    for (id, secret) in &clients {
        first.answers(200, id.as_str(), secret).await;
    }

    let second = installation(&control_plane, "second", OTHER, &[]).await;
    let started = second.start();
    let said = until("readyz names the other installation", || async {
        let said = second.probe("/readyz").await?;
        (said.body.contains("24 objects of controller technicaluser")).then_some(said)
    })
    .await;
    assert!(said.body.contains(&format!("namespace {SYSTEM} ")), "{}", said.body);
    assert!(said.body.contains("1 objects of controller signingkey"), "{}", said.body);
    let left = format!("controller=\"technicaluser\",installation=\"{SYSTEM}\"}} 24");
    let metrics = second.scrape().await.unwrap().body;
    assert!(metrics.contains(&left), "{metrics}");
    let warned =
        lines_with(&second.log(), "object left alone, since another installation holds it");
    assert_eq!(warned, 2, "one line for each kind");
    for name in NAMES {
        shop.request_rotation(name, "1").await;
        shop.serial(name, 2).await;
    }
    for (id, secret) in &clients {
        assert_eq!(first.token(id.as_str(), secret).await.unwrap().status, 200);
        assert_eq!(second.token(id.as_str(), secret).await.unwrap().status, 401);
    }
    assert_eq!(records(&admin, OTHER).await, 0);

    running.kill().await;
    let namespaces = Api::<KubeNamespace>::all(admin.clone());
    namespaces.delete(SYSTEM, &DeleteParams::default()).await.unwrap();
    for name in NAMES {
        shop.user_when(name, "taken over", |user| holder(user) == Some(OTHER)).await;
    }
    let series = Series::with(admin.clone(), "default", OTHER);
    series.ready().await;
    for name in NAMES {
        shop.ready(name).await;
        until("a token of the successor", || async {
            let (id, secret) = client(&shop, name).await;
            let answer = second.token(id.as_str(), &secret).await?;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    drop(started);
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoint_scopes_with_different_controllers_do_not_meet() {
    let Some(control_plane) = bare(Options::default()).await else { return };
    let admin = control_plane.client().await;
    install_system(&admin, OTHER).await;
    let shop = Namespace::with(admin.clone(), "shop", SYSTEM).await;
    let billing = Namespace::with(admin.clone(), "billing", OTHER).await;
    let first = ["--watch-namespaces", "shop"];
    let second = ["--watch-namespaces", "billing", "--controller-name", "example.com/second"];
    let first = installation(&control_plane, "first", SYSTEM, &first).await;
    let second = installation(&control_plane, "second", OTHER, &second).await;
    let _running = [first.start(), second.start()];

    let series = Series::with(admin.clone(), "second", OTHER);
    series.apply(json!({"controllerName": "example.com/second", "algorithm": "ES256"})).await;
    series.ready().await;
    let default = Series::with(admin.clone(), "default", SYSTEM);
    default.ready().await;
    shop.apply("orders", json!({})).await;
    billing.apply("orders", json!({})).await;
    let said = billing.says("orders", "SigningKeyOfOtherInstallation").await;
    assert!(said.message.contains("SigningKey default"), "{}", said.message);
    billing.apply("orders", json!({"signingKeyRef": {"name": "second"}})).await;
    shop.ready("orders").await;
    billing.ready("orders").await;

    let (id, secret) = client(&shop, "orders").await;
    first.answers(200, id.as_str(), &secret).await;
    assert_eq!(second.token(id.as_str(), &secret).await.unwrap().status, 401);
    let (id, secret) = client(&billing, "orders").await;
    second.answers(200, id.as_str(), &secret).await;
    assert_eq!(first.token(id.as_str(), &secret).await.unwrap().status, 401);
    for (launch, foreign) in [(&first, "second"), (&second, "default")] {
        assert_eq!(launch.probe("/readyz").await.unwrap().body, "ok\n");
        assert_eq!(lines_with(&launch.log(), "object left alone"), 0);
        let metrics = launch.scrape().await.unwrap().body;
        assert!(!metrics.contains(&format!("series=\"{foreign}\"")), "{metrics}");
    }
}

async fn installation(
    control_plane: &ControlPlane,
    name: &str,
    system: &str,
    arguments: &[&str],
) -> Launch {
    let launch = Launch::new(control_plane, name, ISSUER).await.all_in_one(control_plane);
    let launch = launch.with("--namespace", system);
    arguments.chunks(2).fold(launch, |launch, pair| launch.with(pair[0], pair[1]))
}

async fn client(namespace: &Namespace, name: &str) -> (ClientId, ClientSecret) {
    let secret = namespace.shown(&format!("{name}-credentials")).await;
    (namespace.client_id(name).await, secret)
}

fn holder(user: &TechnicalUser) -> Option<&str> {
    Some(user.status.as_ref()?.installation.as_ref()?.namespace.as_str())
}

async fn records(client: &Client, system: &str) -> usize {
    let secrets = Api::<Secret>::namespaced(client.clone(), system);
    let records = ListParams::default().fields("type=iam.cyoda.com/verifier");
    secrets.list(&records).await.unwrap().items.len()
}

const NAMES: [&str; 24] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t", "u", "v", "w", "x",
];
const OTHER: &str = "other-system";
