use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::controller::TokenLimits;
use crate::controller::technical_user::cache::{read_record, read_secret, read_user};
use crate::domain::crypto::client_secret::ClientId;
use crate::domain::policy::Policy;
use crate::domain::technical_user::delivered_secret::Endpoints;
use crate::domain::technical_user::verifier_record::{Record, Version};

const EVERYBODY: usize = 10;

/// Ten users of a tenant that does no harm, and three of one that does.
fn users() -> TechnicalUsers {
    let settings = Settings {
        namespace: "home".to_owned(),
        controller_name: "controller".to_owned(),
        watch_namespaces: Vec::new(),
        endpoints: Endpoints { issuer: "https://issuer.example".to_owned() },
        policy: Policy::default(),
        bcrypt_cost: 4,
        identity: "replica".to_owned(),
        limits: TokenLimits::default(),
        bootstrap_signing_key: false,
    };
    let mut cache = Cache::default();
    cache.users.register_watch(0);
    cache.secrets.register_watch(0);
    cache.records.register_watch(0);
    cache.signing_keys.register_watch(0);
    let mut users = TechnicalUsers { cache, settings };
    for number in 0..EVERYBODY {
        users.on_event(user("shop", &format!("user-{number}"), &json!({})));
    }
    users.on_event(user("tenant", "plain", &json!({})));
    users.on_event(user("tenant", "chosen", &json!({"secretTemplate": {"name": "shared"}})));
    users.on_event(user("tenant", "second", &json!({"secretTemplate": {"name": "shared"}})));
    users
}

fn user(namespace: &str, name: &str, spec: &Value) -> Update {
    let object = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "spec": spec,
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-of-{name}")},
    });
    let (key, user) = read_user(serde_json::from_value(object).unwrap()).unwrap();
    Update::User(0, WatchEvent::Apply(key, user))
}

fn key(name: &str) -> UserRef {
    UserRef { namespace: "tenant".to_owned(), name: name.to_owned() }
}

/// The event of a labelled Secret of the tenant.
fn secret(name: &str, owner: Option<&str>) -> Update {
    let owners = owner.map(|owner| {
        json!([{
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "controller": true,
            "name": owner, "uid": format!("uid-of-{owner}"),
        }])
    });
    let metadata = json!({
        "namespace": "tenant", "name": name, "uid": "secret", "resourceVersion": "1",
        "ownerReferences": owners,
    });
    let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
    let (key, seen) = read_secret(&metadata).unwrap();
    Update::Secret(0, WatchEvent::Apply(key, seen).filtered())
}

fn record(name: &str, data: &str) -> (String, crate::controller::technical_user::cache::Readable) {
    let secret = json!({
        "type": crate::api::RECORD_TYPE, "metadata": {"name": name}, "stringData": {"record": data},
    });
    read_record(&serde_json::from_value(secret).unwrap()).unwrap()
}

fn touched(users: &mut TechnicalUsers, events: Update) -> Vec<UserRef> {
    let mut keys = users.on_event(events).keys;
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn a_labelled_secret_that_no_user_owns_touches_those_alone_that_want_its_name() {
    let mut users = users();
    for (name, owner, expected) in [
        ("nobodys", None, vec![]),
        ("nobodys", Some("ghost"), vec![]),
        ("nobodys", None, vec![]),
        ("plain-credentials", None, vec![key("plain")]),
        ("shared", None, vec![key("chosen"), key("second")]),
        ("chosen-credentials", None, vec![]),
        ("user-7-credentials", None, vec![]),
    ] {
        assert_eq!(touched(&mut users, secret(name, owner)), expected, "{name}, {owner:?}");
    }
}

#[test]
fn a_secret_touches_its_former_and_its_present_owner() {
    let mut users = users();

    assert_eq!(touched(&mut users, secret("other", Some("plain"))), [key("plain")]);
    let moved = touched(&mut users, secret("other", Some("chosen")));
    assert_eq!(moved, [key("chosen"), key("plain")]);
    assert_eq!(touched(&mut users, secret("other", None)), [key("chosen")]);
    assert_eq!(touched(&mut users, secret("other", None)), []);
}

#[test]
fn a_secret_that_vanished_with_a_list_touches_everybody() {
    let mut users = users();
    users.on_event(secret("other", Some("plain")));
    users.on_event(Update::Secret(0, WatchEvent::Init));

    let touched = touched(&mut users, Update::Secret(0, WatchEvent::InitDone));

    assert_eq!(touched.len(), EVERYBODY + 3);
    users.on_event(Update::Secret(0, WatchEvent::Init));
    assert_eq!(users.on_event(Update::Secret(0, WatchEvent::InitDone)).keys, []);
}

#[test]
fn a_record_that_names_nobody_touches_those_alone_that_have_its_client_id() {
    let mut users = users();
    let id = ClientId::derived_from("uid-of-plain");
    let (name, readable) = record(&id.record_name(), "no record");

    let came = touched(&mut users, Update::Record(WatchEvent::Apply(name.clone(), readable)));
    assert_eq!(came, [key("plain")]);
    assert_eq!(touched(&mut users, Update::Record(WatchEvent::Delete(name))), [key("plain")]);
    assert_eq!(
        touched(&mut users, Update::Record(WatchEvent::Delete("verifier-0".to_owned()))),
        []
    );
}

#[test]
fn a_record_without_its_user_asks_for_a_sweep_whichever_of_the_two_events_comes_last() {
    let mut users = users();
    let record_of = |name: &str| {
        let id = ClientId::derived_from(&format!("uid-of-{name}"));
        let owner = Owner {
            uid: format!("uid-of-{name}"),
            namespace: "tenant".to_owned(),
            name: name.to_owned(),
            namespace_uid: None,
        };
        let version = Version { uid: "record".to_owned(), resource_version: "1".to_owned() };
        let (name, record) = (id.record_name(), Record::empty(id, owner));
        Update::Record(WatchEvent::Apply(name, Ok((version, record))))
    };
    let mut asks = |update| users.on_event(update).needs_periodic_tasks;

    assert!(!asks(record_of("plain")));
    assert!(asks(Update::User(0, WatchEvent::Delete(key("plain")))));
    assert!(asks(record_of("plain")), "a reconcile was on its way");
    assert!(!asks(secret("nobodys", Some("ghost"))));
    assert!(asks(Update::Record(WatchEvent::InitDone)), "the API server is back");
}

#[test]
fn secrets_that_a_tenant_makes_take_a_bounded_memory_and_touch_their_users_all_the_same() {
    let mut users = users();
    let labelled = |number: usize, labels: usize| {
        let labels: BTreeMap<String, &str> =
            (0..labels).map(|label| (format!("label-{label}"), "")).collect();
        let metadata = json!({
            "namespace": "tenant", "name": format!("copy-{number}"), "uid": "secret",
            "resourceVersion": "1", "labels": labels, "ownerReferences": [{
                "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "controller": true,
                "name": "plain", "uid": "made-up",
            }],
        });
        let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
        let (key, seen) = read_secret(&metadata).unwrap();
        Update::Secret(0, WatchEvent::Apply(key, seen).filtered())
    };

    assert_eq!(touched(&mut users, labelled(0, 50_000)), [key("plain")]);
    assert_eq!(users.cache.secrets.len(), 0);
    for number in 0..10_000 {
        assert_eq!(touched(&mut users, labelled(number, 3)), [key("plain")]);
    }
    let kept = users.cache.secrets.len();
    assert!((500..1200).contains(&kept), "{kept}");
    users.on_event(labelled(0, 50_000));
    assert_eq!(users.cache.secrets.len(), kept - 1);
    users.on_event(secret("plain-credentials", Some("plain")));
    assert_eq!(users.cache.secrets.len(), kept);
}
