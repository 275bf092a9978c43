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
    for object in minimal() {
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

fn minimal() -> Vec<Value> {
    let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let rbac = "rbac.authorization.k8s.io";
    let subjects = json!([{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM}]);
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
            "metadata": {"name": ACCOUNT},
            "rules": [
                rule(&["iam.cyoda.com"], &["technicalusers"], &["get", "list", "watch"]),
                rule(&["iam.cyoda.com"], &["technicalusers/status"], &["patch"]),
                rule(&[""], &["secrets"], &["get", "list", "watch", "create", "patch", "delete"]),
                rule(&["events.k8s.io"], &["events"], &["create"]),
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": subjects,
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role",
            "metadata": {"name": ACCOUNT, "namespace": SYSTEM},
            "rules": [
                rule(&[""], &["secrets"], &["update"]),
                rule(&["coordination.k8s.io"], &["leases"], &["get", "create", "update"]),
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT, "namespace": SYSTEM},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT},
            "subjects": subjects,
        }),
    ]
}
