//! Two installations in one cluster: each object belongs to one of them.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::in_virtual_time;
use tokio::time::sleep;

use crate::flow::{USERS, create_user};
use crate::harness::figures::SEED;
use crate::harness::stored;
use crate::oracle::OPERATOR;
use crate::world::{LEASE, NAMESPACE, World};

#[test]
fn each_user_belongs_to_one_of_two_installations() {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        world.server.add_namespace(OTHER);
        world.start_in(OPERATOR, LEASE);
        world.start_in(OTHER, "other");
        create_user(&world, "billing", &json!({}));
        create_user(&world, "shipping", &json!({}));
        reach(&world, "both users are ready", |world| {
            ready(world, "billing") && ready(world, "shipping")
        })
        .await;
        reach(&world, "one record for each user", |world| records(world).len() == 2).await;
        let (holders, before) = (holders(&world), versions(&world));
        assert_eq!(records(&world), holders, "each record is where its holder is");

        wait(&world, Duration::from_hours(1)).await;

        assert_eq!(versions(&world), before, "nobody writes what is at rest");
        assert_eq!(records(&world), holders);
    });
}

#[test]
fn an_operator_writes_nothing_to_what_another_installation_holds() {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        world.start_in(OPERATOR, LEASE);
        create_user(&world, "billing", &json!({}));
        reach(&world, "the user is ready", |world| ready(world, "billing")).await;
        world.kill();
        let before = world.server.get("technicalusers", NAMESPACE, "billing");
        world.server.add_namespace(OTHER);

        world.start_in(OTHER, "other");
        let path = format!("{USERS}/billing");
        let request = json!({"metadata": {"annotations": {
            "iam.cyoda.com/rotate-requested-at": "1",
        }}});
        world.ask(&Method::PATCH, &path, &request);
        wait(&world, Duration::from_hours(1)).await;

        let after = world.server.get("technicalusers", NAMESPACE, "billing");
        assert_eq!(after.unwrap()["status"], before.unwrap()["status"]);
        assert_eq!(records(&world), [OPERATOR]);
    });
}

#[test]
fn the_installation_whose_namespace_is_gone_is_succeeded_within_minutes() {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        world.server.add_namespace(OTHER);
        world.start_in(OPERATOR, LEASE);
        create_user(&world, "billing", &json!({}));
        reach(&world, "the user is ready", |world| ready(world, "billing")).await;
        world.kill();
        world.start_in(OTHER, "other");
        wait(&world, Duration::from_mins(10)).await;
        assert_eq!(records(&world), [OPERATOR]);

        for record in records_of(&world, OPERATOR) {
            let name = record["metadata"]["name"].as_str().unwrap();
            world.server.delete_raw("secrets", OPERATOR, name);
        }
        world.server.delete_raw("namespaces", "", OPERATOR);
        wait(&world, Duration::from_mins(3)).await;

        assert_eq!(records(&world), [OTHER]);
        assert_eq!(holders(&world), [OTHER]);
        assert!(ready(&world, "billing"));
    });
}

async fn reach(world: &Arc<World>, what: &str, is_so: impl Fn(&World) -> bool) {
    for _ in 0..600 {
        if is_so(world) {
            return;
        }
        wait(world, Duration::from_secs(1)).await;
    }
    assert!(is_so(world), "never came: {what}");
}

async fn wait(world: &World, time: Duration) {
    for _ in 0..time.as_secs() {
        sleep(Duration::from_secs(1)).await;
        world.tick();
    }
}

fn ready(world: &World, name: &str) -> bool {
    let user = world.server.get("technicalusers", NAMESPACE, name).unwrap();
    stored::ready(&user).is_ok_and(|it| it["status"] == "True")
}

/// The namespaces of the installations that hold the users, in the order of the names of the users.
fn holders(world: &World) -> Vec<String> {
    let users = world.server.list("technicalusers");
    let holders = users.iter().map(|user| user["status"]["installation"]["namespace"].clone());
    sorted(holders)
}

/// The namespaces of all verifier records.
fn records(world: &World) -> Vec<String> {
    let records = [OPERATOR, OTHER].into_iter().flat_map(|home| records_of(world, home));
    sorted(records.map(|record| record["metadata"]["namespace"].clone()))
}

fn records_of(world: &World, home: &str) -> Vec<Value> {
    let secrets = world.server.list("secrets").into_iter();
    let records = secrets.filter(|it| it["type"] == "iam.cyoda.com/verifier");
    records.filter(|it| it["metadata"]["namespace"] == home).collect()
}

fn sorted(values: impl Iterator<Item = Value>) -> Vec<String> {
    let mut values: Vec<_> =
        values.map(|value| value.as_str().unwrap_or_default().to_owned()).collect();
    values.sort();
    values
}

/// The versions of everything but the leases.
fn versions(world: &World) -> Vec<Value> {
    let objects = ["technicalusers", "secrets"].into_iter().flat_map(|it| world.server.list(it));
    objects.map(|object| object["metadata"]["resourceVersion"].clone()).collect()
}

const OTHER: &str = "other-system";
