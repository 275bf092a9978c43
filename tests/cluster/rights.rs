//! Installs what an administrator installs: the CRD, the operator's namespace and its rights.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use technical_user_operator::api::technical_user::crd;

use crate::world::SYSTEM;

/// The operator's service account, as the control plane names it.
const ACCOUNT: &str = "technical-user-operator";

pub(crate) async fn install(client: &Client) {
    let definition = crd();
    let name = definition.name_any();
    apply(client, serde_json::to_value(definition).unwrap()).await;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    await_condition(definitions, &name, is_crd_established()).await.unwrap();
    for object in cluster_wide() {
        apply(client, object).await;
    }
    install_system(client, SYSTEM).await;
}

/// Makes a namespace one in which the operator may keep its records and its Lease.
pub(crate) async fn install_system(client: &Client, system: &str) {
    for object in in_system(system) {
        apply(client, object).await;
    }
}

/// Applies any object, as `kubectl apply --server-side` does.
pub(crate) async fn apply(client: &Client, object: Value) {
    let mut object: DynamicObject = serde_json::from_value(object).unwrap();
    object.metadata.managed_fields = None;
    let types = object.types.clone().unwrap();
    let kind = GroupVersionKind::try_from(&types).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let parameters = PatchParams::apply("administrator").force();
    api.patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await.unwrap();
}

fn cluster_wide() -> Vec<Value> {
    let rbac = RBAC;
    let subjects = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}]);
    vec![
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
            "metadata": {"name": ACCOUNT},
            "rules": [
                rule("iam.cyoda.com", "technicalusers", &["get", "list", "watch"]),
                rule("iam.cyoda.com", "technicalusers/status", &["patch"]),
                rule("", "secrets", &["get", "list", "watch", "create", "patch", "delete"]),
                rule("events.k8s.io", "events", &["create"]),
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": subjects,
        }),
    ]
}

fn in_system(system: &str) -> Vec<Value> {
    let rules = vec![
        rule("", "secrets", &["update"]),
        rule("coordination.k8s.io", "leases", &["get", "create", "update"]),
    ];
    let account = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": system}});
    [vec![namespace], role(system, rules, account).into()].concat()
}

/// A Role of a namespace, and somebody who has it.
pub(crate) fn role(namespace: &str, rules: Vec<Value>, subject: Value) -> [Value; 2] {
    let version = format!("{RBAC}/v1");
    let metadata = json!({"name": ACCOUNT, "namespace": namespace});
    [
        json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": ACCOUNT},
            "subjects": [subject],
        }),
    ]
}

pub(crate) fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

const RBAC: &str = "rbac.authorization.k8s.io";
