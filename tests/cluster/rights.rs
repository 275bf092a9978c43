//! Installs what an administrator installs: the CRDs, the operator's namespace and its rights.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use technical_user_operator::api::crds::crds;

use crate::world::SYSTEM;

/// The rights of an operator that serves every namespace.
pub(crate) const EVERYWHERE: &str = include_str!("../../config/rbac.yaml");

/// Those of one that serves some namespaces; what it needs in each is bound there.
pub(crate) const NAMESPACED: &str = include_str!("../../config/rbac-namespaced.yaml");

/// What bounds the writes of the operator beyond that.
pub(crate) const BOUNDS: &str = include_str!("../../config/admission-policy.yaml");

/// Installs the CRDs and these rights.
pub(crate) async fn install(client: &Client, rights: &str) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in crds() {
        let name = definition.name_any();
        apply(client, serde_json::to_value(definition).unwrap()).await;
        await_condition(definitions.clone(), &name, is_crd_established()).await.unwrap();
    }
    for object in shipped(rights) {
        apply(client, object).await;
    }
}

/// Lets the operator serve that namespace, as the head of [`NAMESPACED`] says.
pub(crate) async fn bind(client: &Client, namespace: &str) {
    bind_account(client, namespace, "technical-user-operator").await;
}

/// Lets a service account of the project serve that namespace, as the heads of the files say.
pub(crate) async fn bind_account(client: &Client, namespace: &str, account: &str) {
    let object = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
        "metadata": {"name": account, "namespace": namespace},
        "roleRef": {
            "apiGroup": RBAC, "kind": "ClusterRole", "name": format!("{account}-namespace"),
        },
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}],
    });
    apply(client, object).await;
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

/// What an administrator applies, object by object.
pub(crate) fn shipped(rights: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(rights);
    documents.map(|document| Value::deserialize(document).unwrap()).collect()
}

/// The part that is about the operator's own namespace, moved to another one.
fn in_system(system: &str) -> Vec<Value> {
    let mut objects = shipped(EVERYWHERE);
    objects.retain(|it| it["metadata"]["namespace"] == SYSTEM && it["kind"] != "ServiceAccount");
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(system);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": system}});
    objects.insert(0, namespace);
    objects
}

/// A Role of a namespace, and a user with it.
pub(crate) fn role(namespace: &str, rules: &[Value], subject: &Value) -> [Value; 2] {
    let version = format!("{RBAC}/v1");
    let metadata = json!({"name": "tested", "namespace": namespace});
    [
        json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "tested"},
            "subjects": [subject],
        }),
    ]
}

pub(crate) fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

const RBAC: &str = "rbac.authorization.k8s.io";
