//! What a client is answered, and what it can tell from it.

mod history;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{FakeApiServer, Verb};

fn secrets(server: &FakeApiServer) -> Api<Secret> {
    Api::namespaced(server.client(), "default")
}

fn secret(value: &Value) -> Secret {
    serde_json::from_value(value.clone()).unwrap()
}

fn named(name: &str) -> Secret {
    secret(&json!({"metadata": {"name": name}, "data": {"a": "MQ=="}}))
}

fn code(error: &Error) -> (u16, String) {
    let Error::Api(status) = error else {
        panic!("not an answer of the server: {error}");
    };
    (status.code, status.reason.clone())
}

fn users(client: kube::Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("iam.cyoda.com", "v1alpha1", "TechnicalUser");
    Api::namespaced_with(client, "default", &ApiResource::from_gvk(&kind))
}

fn user(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
        "metadata": {"name": name}, "spec": spec
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_created_secret_is_read_back_with_its_default_type() {
    let server = FakeApiServer::builder().build();
    let created = secrets(&server).create(&PostParams::default(), &named("x")).await.unwrap();

    let read = secrets(&server).get("x").await.unwrap();

    assert_eq!(read, created);
    assert_eq!(read.data.unwrap()["a"].0, b"1");
    assert_eq!(read.type_.as_deref(), Some("Opaque"));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let server = FakeApiServer::builder().build();
    secrets(&server).create(&PostParams::default(), &named("x")).await.unwrap();

    let refused = secrets(&server).create(&PostParams::default(), &named("x")).await;

    assert_eq!(code(&refused.unwrap_err()), (409, "AlreadyExists".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stale_replacement_is_refused_and_an_idle_one_changes_nothing() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let first = api.create(&PostParams::default(), &named("x")).await.unwrap();
    let idle = api.replace("x", &PostParams::default(), &first).await.unwrap();
    let mut changed = first.clone();
    changed.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let second = api.replace("x", &PostParams::default(), &changed).await.unwrap();

    let refused = api.replace("x", &PostParams::default(), &changed).await;

    assert_eq!(idle.metadata.resource_version, first.metadata.resource_version);
    assert_ne!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(code(&refused.unwrap_err()), (409, "Conflict".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_names_another_version_or_uid_is_refused() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let made = api.create(&PostParams::default(), &named("x")).await.unwrap();
    let patch = |uid: &str, version: &str| {
        Patch::Merge(json!({"metadata": {
            "uid": uid, "resourceVersion": version, "labels": {"a": "b"}
        }}))
    };
    let (uid, version) = (made.metadata.uid.unwrap(), made.metadata.resource_version.unwrap());
    let parameters = PatchParams::default();

    let stale = api.patch("x", &parameters, &patch(&uid, "1")).await;
    let foreign = api.patch("x", &parameters, &patch("other", &version)).await;
    let right = api.patch("x", &parameters, &patch(&uid, &version)).await;

    assert_eq!(code(&stale.unwrap_err()), (409, "Conflict".to_owned()));
    assert_eq!(code(&foreign.unwrap_err()), (422, "Invalid".to_owned()));
    assert!(right.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_write_takes_the_ownership_of_the_field() {
    let server = FakeApiServer::builder().build();
    secrets(&server).create(&PostParams::default(), &named("x")).await.unwrap();
    let editor: Api<Secret> = Api::namespaced(server.client_as("kubectl-edit"), "default");
    let patch = Patch::Merge(json!({"data": {"a": "Mg=="}}));

    editor.patch("x", &PatchParams::default(), &patch).await.unwrap();

    let owners =
        server.get("secrets", "default", "x").unwrap()["metadata"]["managedFields"].clone();
    let data = |index: usize| owners[index]["fieldsV1"]["f:data"].clone();
    assert_eq!(owners[0]["manager"], "kubectl-edit");
    assert_eq!(data(0), json!({"f:a": {}}));
    assert_eq!(owners[1]["manager"], "technical-user-operator");
    assert_eq!(data(1), json!({}));
}

#[tokio::test(start_paused = true)]
async fn metadata_requests_never_see_data() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    api.create(&PostParams::default(), &named("x")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"b": "Mg=="}}));

    let read = api.get_metadata("x").await.unwrap();
    let patched = api.patch_metadata("x", &PatchParams::default(), &patch).await.unwrap();
    let listed = api.list_metadata(&ListParams::default()).await.unwrap();

    let types = read.types.unwrap();
    assert_eq!(types.kind, "PartialObjectMetadata");
    assert_ne!(patched.metadata.resource_version, read.metadata.resource_version);
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_with_another_uid_or_version_is_refused() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    api.create(&PostParams::default(), &named("x")).await.unwrap();
    let precondition = |uid: Option<&str>, version: Option<&str>| DeleteParams {
        preconditions: Some(Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        }),
        ..DeleteParams::default()
    };

    let foreign = api.delete("x", &precondition(Some("other"), None)).await;
    let stale = api.delete("x", &precondition(None, Some("1"))).await;
    let right = api.delete("x", &DeleteParams::default()).await;

    assert_eq!(code(&foreign.unwrap_err()), (409, "Conflict".to_owned()));
    assert_eq!(code(&stale.unwrap_err()), (409, "Conflict".to_owned()));
    assert!(right.unwrap().is_right());
}

#[tokio::test(start_paused = true)]
async fn status_and_the_rest_change_through_their_own_doors() {
    let server = FakeApiServer::builder().build();
    let api = users(server.client());
    api.create(&PostParams::default(), &user("u", &json!({"a": 1}))).await.unwrap();
    let both = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
        "spec": {"a": 2}, "status": {"b": 1}
    });
    let apply = PatchParams::apply("operator");

    let status = api.patch_status("u", &apply, &Patch::Apply(&both)).await.unwrap();
    let spec = api.patch("u", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();

    assert_eq!(status.data["spec"]["a"], 1);
    assert_eq!(status.data["status"]["b"], 1);
    assert_eq!(status.metadata.generation, Some(1));
    assert_eq!(spec.data["spec"]["a"], 2);
    assert_eq!(spec.metadata.generation, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_apply_drops_what_it_said_before_and_says_no_longer() {
    let server = FakeApiServer::builder().build();
    let api = users(server.client());
    api.create(&PostParams::default(), &user("u", &json!({}))).await.unwrap();
    let apply = PatchParams::apply("operator");
    let status = |status: Value| {
        Patch::Apply(json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "status": status
        }))
    };
    api.patch_status("u", &apply, &status(json!({"a": {"b": 1}, "c": 2}))).await.unwrap();

    let after = api.patch_status("u", &apply, &status(json!({"c": 2}))).await.unwrap();
    let again = api.patch_status("u", &apply, &status(json!({"c": 2}))).await.unwrap();

    assert_eq!(after.data["status"], json!({"c": 2}));
    assert_eq!(again.metadata.resource_version, after.metadata.resource_version);
}
