//! What follows from changes: watches, lists of the past, collection, restores.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
};
use serde_json::{Value, json};

use super::{FakeApiServer, Verb, code, named, secret, secrets, user, users};

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_enters_and_leaves_its_selector() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let parameters = WatchParams::default().labels("a=b").timeout(60);
    let version = server.revision().to_string();
    let events = api.watch(&parameters, &version).await.unwrap();
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"a": value}}}));
    api.create(&PostParams::default(), &named("x")).await.unwrap();
    api.patch("x", &PatchParams::default(), &label(json!("b"))).await.unwrap();
    api.patch("x", &PatchParams::default(), &label(Value::Null)).await.unwrap();

    let seen: Vec<WatchEvent<Secret>> = events.try_collect().await.unwrap();

    let kinds: Vec<&str> = seen
        .iter()
        .map(|event| match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => "bookmark",
            WatchEvent::Error(_) => "error",
        })
        .collect();
    assert_eq!(kinds, ["added", "deleted", "bookmark"]);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_watch_is_behind_until_it_is_released() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let version = server.revision().to_string();
    let events = api.watch(&WatchParams::default(), &version).await.unwrap();
    pin_mut!(events);
    server.freeze_watches(true);
    api.create(&PostParams::default(), &named("x")).await.unwrap();

    let behind = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
    server.freeze_watches(false);
    let caught_up = events.next().await.unwrap().unwrap();

    assert!(behind.is_err());
    assert!(matches!(caught_up, WatchEvent::Added(_)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_compacted_version_is_told_so() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    api.create(&PostParams::default(), &named("x")).await.unwrap();
    server.compact();

    let events = api.watch(&WatchParams::default(), "1").await.unwrap();
    let seen: Vec<_> = events.collect().await;

    assert!(matches!(&seen[..], [Ok(WatchEvent::Error(status))] if status.code == 410));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_consistent_over_its_pages() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &named(name)).await.unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    api.delete("c", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.unwrap();

    let second = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    server.compact();
    api.create(&PostParams::default(), &named("d")).await.unwrap();
    let expired = api.list(&ListParams::default().continue_token(&token)).await;

    assert_eq!(second.items[0].metadata.name.as_deref(), Some("c"));
    assert_eq!(code(&expired.unwrap_err()), (410, "Expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_has_lost_its_owner_is_collected() {
    let server = FakeApiServer::builder().build();
    let owner = users(server.client());
    let made = owner.create(&PostParams::default(), &user("u", &json!({}))).await.unwrap();
    let dependent = secret(&json!({"metadata": {"name": "x", "ownerReferences": [{
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "name": "u",
        "uid": made.metadata.uid
    }]}}));
    secrets(&server).create(&PostParams::default(), &dependent).await.unwrap();
    server.collect_garbage();
    assert!(server.get("secrets", "default", "x").is_some());
    owner.delete("u", &DeleteParams::default()).await.unwrap();

    server.collect_garbage();

    assert!(server.get("secrets", "default", "x").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_what_is_being_deleted() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let held = secret(&json!({"metadata": {"name": "x", "finalizers": ["a.example/b"]}}));
    api.create(&PostParams::default(), &held).await.unwrap();
    let marked = api.delete("x", &DeleteParams::default()).await.unwrap().left().unwrap();
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));

    api.patch("x", &PatchParams::default(), &release).await.unwrap();

    assert!(marked.metadata.deletion_timestamp.is_some());
    assert!(server.get("secrets", "default", "x").is_none());
}

#[tokio::test(start_paused = true)]
async fn rights_and_quotas_are_refused_in_the_words_of_the_server() {
    let server = FakeApiServer::builder().build();
    server.forbid("technical-user-operator", Verb::Create, "secrets");
    server.quota("default", "configmaps", 0);
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();

    let no_right = secrets(&server).create(&PostParams::default(), &named("x")).await;
    let no_room = maps.create(&PostParams::default(), &map).await;

    let text = |error: Error| {
        let Error::Api(status) = error else {
            panic!("not an answer of the server: {error}");
        };
        status.message.clone()
    };
    assert_eq!(
        text(no_right.unwrap_err()),
        "secrets is forbidden: User \"technical-user-operator\" cannot create resource \
         \"secrets\" in API group \"\" in the namespace \"default\""
    );
    assert!(text(no_room.unwrap_err()).contains("exceeded quota"));
}

#[tokio::test(start_paused = true)]
async fn a_restore_gives_out_versions_twice_and_ends_watches() {
    let server = FakeApiServer::builder().build();
    let api = secrets(&server);
    let backup = server.snapshot();
    let version = server.revision().to_string();
    let events = api.watch(&WatchParams::default(), &version).await.unwrap();
    let before = api.create(&PostParams::default(), &named("x")).await.unwrap();

    server.restore(&backup);
    let seen: Vec<_> = events.collect().await;
    let after = api.create(&PostParams::default(), &named("y")).await.unwrap();

    assert!(seen.is_empty());
    assert!(server.get("secrets", "default", "x").is_none());
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert_ne!(after.metadata.uid, before.metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn a_hook_sees_every_change_and_the_state_after_it() {
    let server = FakeApiServer::builder().build();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    server.on_change(Box::new(move |change| {
        let stored = change.state.get(change.plural, change.namespace, change.name).is_some();
        sink.lock().unwrap().push((change.name.to_owned(), change.old.is_some(), stored));
    }));
    let api = secrets(&server);
    api.create(&PostParams::default(), &named("x")).await.unwrap();
    api.delete("x", &DeleteParams::default()).await.unwrap();

    let name = "x".to_owned();
    assert_eq!(*seen.lock().unwrap(), [(name.clone(), false, true), (name, true, false)]);
    assert_eq!((server.writes(), server.reads()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn kubes_watcher_follows_metadata_through_a_closed_watch() {
    let server = FakeApiServer::builder().build();
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(server.client(), "default");
    let stream = kube::runtime::watcher(api, kube::runtime::watcher::Config::default());
    let names = kube::runtime::WatchStreamExt::applied_objects(stream)
        .try_filter_map(|object| async move { Ok(object.metadata.name) });
    pin_mut!(names);
    let writer = secrets(&server);
    writer.create(&PostParams::default(), &named("x")).await.unwrap();
    assert_eq!(names.next().await.unwrap().unwrap(), "x");
    server.close_watches();
    writer.create(&PostParams::default(), &named("y")).await.unwrap();

    assert_eq!(names.next().await.unwrap().unwrap(), "y");
}
