//! Operators of one series with a control plane of their own: two at once, one that rests, one that
//! lacks a right, and one that lives to see a key retire.

use std::time::Duration;

use http::Method;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, User};
use support::faults::FaultPlan;
use technical_user_operator::api::ROTATE_REQUESTED_AT;
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::api::signing_key::KeyState::{Active, Grace, Published, Retired};
use technical_user_operator::controller::TokenLimits;
use technical_user_operator::kubernetes::codec::SecretNames;

use super::oracle::{Materials, contradiction};
use super::series::{Series, condition, selecting};
use crate::matrix::at_rest;
use crate::replica::{KeysBrief, Replica};
use crate::rights::{self, role, rule};
use crate::world::{third, until};

/// What a series needs to live its whole life while a test runs.
pub(crate) const LIMITS: TokenLimits = TokenLimits {
    max_staleness: SignedDuration::from_secs(5),
    token_lifetime: SignedDuration::from_secs(5),
};

/// A key is published for 10 s before it signs: twice what two clocks may differ.
pub(crate) fn hasty(name: &str) -> Value {
    let rotation =
        json!({"prePublish": "0s", "period": "24h", "grace": "20s", "acceptOutage": true});
    selecting(name, json!({"algorithm": "ES256", "rotation": rotation}))
}

/// Long enough for a key that was replaced to leave: its handover and its drain.
pub(crate) const LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// A series in a namespace of its own, with another one that it publishes in.
async fn alone(admin: &Client, name: &str) -> (Series, String) {
    let system = format!("{name}-system");
    rights::install_system(admin, &system).await;
    let series = Series::with(admin.clone(), name, &system);
    let selected = format!("{name}-1");
    series.namespace(&selected, true).await;
    (series, selected)
}

fn brief<'a>(client: &'a Client, series: &'a Series, selected: &str) -> KeysBrief<'a> {
    KeysBrief {
        client,
        name: &series.name,
        system: &series.system,
        namespaces: vec![selected.to_owned()],
        limits: LIMITS,
        ahead: SignedDuration::ZERO,
    }
}

/// They wait for the same seconds.
#[tokio::test(flavor = "multi_thread")]
async fn operators_of_one_series_agree_and_rest() {
    let Some(control_plane) = third().await else { return };
    tokio::join!(
        two_operators_at_once_make_one_key_pair_of_each_index(control_plane),
        a_key_lives_and_retires_at_two_writes_of_each_jwks(control_plane),
    );
}

async fn two_operators_at_once_make_one_key_pair_of_each_index(control_plane: &ControlPlane) {
    let admin = control_plane.client().await;
    let operator = control_plane.client_of(User::Operator).await;
    let (series, selected) = alone(&admin, "two-at-once").await;
    let brief = brief(&operator, &series, &selected);
    let materials = Materials::of(&series, Algorithm::ES256);
    let plan = FaultPlan::transparent();
    let _first = Replica::of_keys(&brief, "two-1", &plan);
    let _second = Replica::of_keys(&brief, "two-2", &plan);

    series.apply(hasty(&series.name)).await;

    series.ready().await;
    for index in 2..=3 {
        series.annotate(ROTATE_REQUESTED_AT, &index.to_string()).await;
        series.kid_when(index).await;
    }
    series.states(&[Active, Grace, Grace]).await;
    at_rest(&plan).await;
    assert_eq!(
        contradiction(&series, &[&series.system, &selected], SignedDuration::ZERO).await,
        None
    );
    assert_eq!(materials.doubled(), Vec::<String>::new());
    assert_eq!(series.ledger().await.unwrap().entries.len(), 3);
}

async fn a_key_lives_and_retires_at_two_writes_of_each_jwks(control_plane: &ControlPlane) {
    let admin = control_plane.client().await;
    let operator = control_plane.client_of(User::Operator).await;
    let (series, selected) = alone(&admin, "whole-life").await;
    let brief = brief(&operator, &series, &selected);
    let plan = FaultPlan::transparent();
    let replica = Replica::of_keys(&brief, "whole-life-1", &plan);
    series.apply(hasty(&series.name)).await;
    series.ready().await;
    at_rest(&plan).await;
    let before = writes_of_maps(&plan);
    assert_eq!(before, 2, "one for each namespace");

    series.annotate(ROTATE_REQUESTED_AT, "1").await;
    series.states(&[Published, Active]).await;
    series.states(&[Active, Grace]).await;
    at_rest(&plan).await;
    assert_eq!(writes_of_maps(&plan) - before, 2, "one for each namespace");
    assert_eq!(
        contradiction(&series, &[&series.system, &selected], SignedDuration::ZERO).await,
        None
    );
    asks_for_nothing(&plan).await;
    replica.stop().await;

    let later = KeysBrief { ahead: LIFETIME, ..brief };
    let plan = FaultPlan::transparent();
    let _replica = Replica::of_keys(&later, "whole-life-2", &plan);
    series.states(&[Active, Retired]).await;
    series.has_event("KeyRetired").await;
    let second = series.kid(2).await;
    series.publishes(&[&series.system, &selected], &[&second]).await;
    at_rest(&plan).await;
    assert_eq!(writes_of_maps(&plan), 2, "one for each namespace");
    assert_eq!(contradiction(&series, &[&series.system, &selected], LIFETIME).await, None);
    let names = SecretNames::of(&series.uid().await).key_pair(1);
    assert!(series.secrets().get_opt(&names).await.unwrap().is_none());
    series.signs(2).await;
    asks_for_nothing(&plan).await;
}

/// Waits until an operator that has nothing left to do says nothing at all, and for it to stay so.
async fn asks_for_nothing(plan: &FaultPlan) {
    until("nothing is asked for", || async {
        let requests = plan.requests();
        tokio::time::sleep(Duration::from_secs(1)).await;
        (plan.requests() == requests).then_some(())
    })
    .await;
    let requests = plan.requests();
    tokio::time::sleep(QUIET).await;
    assert_eq!(plan.requests(), requests, "{:?}", &plan.passed()[requests..]);
}

fn writes_of_maps(plan: &FaultPlan) -> usize {
    let passed = plan.passed();
    let writes = passed.iter().filter(|it| it.verb != Method::GET);
    writes.filter(|it| it.path.contains("/configmaps")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_the_right_to_write_is_named_and_served_once_it_is_granted() {
    let Some(control_plane) = third().await else { return };
    let admin = control_plane.client().await;
    let nobody = control_plane.client_of(User::Nobody).await;
    let (series, selected) = alone(&admin, "no-right").await;
    series.namespace("no-right-2", true).await;
    grant_everything_but_maps(&admin, &series.system).await;
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    for (namespace, verbs) in [
        (series.system.as_str(), &all[..]),
        (&selected, &all[..]),
        ("no-right-2", &["get", "list", "watch"]),
    ] {
        grant_maps(&admin, namespace, verbs).await;
    }
    let mut brief = brief(&nobody, &series, &selected);
    brief.namespaces.push("no-right-2".to_owned());
    let _replica = Replica::of_keys(&brief, "no-right", &FaultPlan::transparent());

    series.apply(hasty(&series.name)).await;

    series.ready().await;
    let incomplete = series.says("JWKSIncomplete", "Forbidden").await;
    let words = "may not create configmaps in namespace no-right-2";
    assert!(incomplete.message.contains(words), "{}", incomplete.message);
    series.publishes(&[&series.system, &selected], &[&series.kid(1).await]).await;

    grant_maps(&admin, "no-right-2", &all).await;
    series.annotate(ROTATE_REQUESTED_AT, "look again").await;
    let kids = [series.kid(1).await, series.kid_when(2).await];
    series.publishes(&["no-right-2"], &[&kids[0], &kids[1]]).await;
    until("nothing is missing", || async {
        let object = series.object().await;
        condition(&object, "JWKSIncomplete").is_none().then_some(())
    })
    .await;

    // Not selected any more, and nothing can be deleted there until that right comes back.
    let (delete, without) = all.split_last().unwrap();
    assert_eq!(*delete, "delete");
    grant_maps(&admin, "no-right-2", without).await;
    let maps = Api::<ConfigMap>::namespaced(nobody.clone(), "no-right-2");
    until("the right is gone", || async {
        let refused = maps.delete("absent", &DeleteParams::default()).await.unwrap_err();
        matches!(refused, kube::Error::Api(status) if status.code == 403).then_some(())
    })
    .await;
    series.namespace("no-right-2", false).await;
    let surplus = series.says("JWKSOrphaned", "Forbidden").await;
    let words = "may not delete configmaps in namespace no-right-2";
    assert!(surplus.message.contains(words), "{}", surplus.message);
    assert!(series.has_map("no-right-2").await);
    grant_maps(&admin, "no-right-2", &all).await;
    until("the right is back", || async {
        let answer = maps.delete("absent", &DeleteParams::default()).await.unwrap_err();
        matches!(answer, kube::Error::Api(status) if status.code == 404).then_some(())
    })
    .await;
    series.annotate(ROTATE_REQUESTED_AT, "look again, please").await;
    until("nothing is left there", || async {
        let is_said = condition(&series.object().await, "JWKSOrphaned").is_some();
        (!is_said && !series.has_map("no-right-2").await).then_some(())
    })
    .await;
}

async fn grant_maps(admin: &Client, namespace: &str, verbs: &[&str]) {
    let rules = if namespace.ends_with("-system") {
        let secrets = ["get", "list", "watch", "create", "update", "delete"];
        vec![
            rule("", "configmaps", verbs),
            rule("", "secrets", &secrets),
            rule("coordination.k8s.io", "leases", &["get", "create", "update"]),
        ]
    } else {
        vec![rule("", "configmaps", verbs)]
    };
    for object in role(namespace, &rules, &subject()) {
        rights::apply(admin, object).await;
    }
}

async fn grant_everything_but_maps(admin: &Client, name: &str) {
    let group = "rbac.authorization.k8s.io";
    let rules = [
        rule("iam.cyoda.com", "signingkeys", &["get", "list", "watch"]),
        rule("iam.cyoda.com", "signingkeys/status", &["patch"]),
        rule("", "namespaces", &["get", "list", "watch"]),
        rule("", "events", &["create"]),
    ];
    for object in [
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules,
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": name}, "subjects": [subject()],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        }),
    ] {
        rights::apply(admin, object).await;
    }
}

fn subject() -> Value {
    json!({"kind": "User", "name": "nobody"})
}

/// So long an operator at rest sends nothing at all, reads included.
const QUIET: Duration = Duration::from_secs(3);
