//! What an editor of one namespace writes costs the operator little, and others nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::in_virtual_time;
use tokio::time::sleep;

use crate::flow::{self, create_user};
use crate::harness::figures::SEED;
use crate::world::{LEASE, NAMESPACE, World};

#[test]
fn a_secret_that_is_too_large_to_be_kept_is_looked_at_a_few_times_an_hour() {
    simulate(|world| async move {
        let labels: BTreeMap<String, &str> =
            (0..20_000).map(|number| (format!("label-{number}"), "")).collect();
        world.ask(&Method::PATCH, &secret(0), &json!({"metadata": {"labels": labels}}));
        sleep(Duration::from_mins(10)).await;
        let before = world.plan.requests();

        sleep(Duration::from_hours(1)).await;

        let requests = world.plan.requests() - before;
        assert!(requests < 12 * 12, "{requests} requests in an hour");
        assert_eq!(serials(&world), [1; USERS]);
        let request =
            json!({"metadata": {"annotations": {"iam.cyoda.com/rotate-requested-at": "1"}}});
        world.ask(&Method::PATCH, &user(0), &request);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(serials(&world), [2, 1, 1]);
    });
}

#[test]
fn labelled_secrets_of_a_tenant_cost_no_request() {
    simulate(|world| async move {
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let before = world.plan.requests();
        for number in 0..200 {
            let owner = json!({
                "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser", "controller": true,
                "name": format!("ghost-{number}"), "uid": format!("ghost-{number}"),
            });
            let owners = if number % 2 == 0 { json!([owner]) } else { json!([]) };
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": format!("copy-{number}"), "ownerReferences": owners,
                    "labels": {"iam.cyoda.com/technical-user": "user-0"},
                },
            });
            world.ask(&Method::POST, &secrets, &secret);
            sleep(Duration::from_millis(50)).await;
        }

        let requests = world.plan.requests() - before;
        assert!(requests < 20, "{requests} requests in ten seconds");
        assert_eq!(serials(&world), [1; USERS]);
    });
}

/// Some users whose client secrets are delivered, and then what the tenant does.
fn simulate<F: Future<Output = ()>>(act: impl FnOnce(Arc<World>) -> F) {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        for number in 0..USERS {
            create_user(&world, &format!("user-{number}"), &json!({}));
        }
        world.start(LEASE);
        sleep(Duration::from_mins(5)).await;
        assert_eq!(serials(&world), [1; USERS]);
        act(Arc::clone(&world)).await;
        assert_eq!(world.oracle().violations, Vec::<String>::new());
    });
}

fn user(number: usize) -> String {
    format!("{}/user-{number}", flow::USERS)
}

fn secret(number: usize) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets/user-{number}-credentials")
}

fn serials(world: &World) -> Vec<u64> {
    let users = world.server.list("technicalusers");
    users.iter().filter_map(|user: &Value| user["status"]["serial"].as_u64()).collect()
}

const USERS: usize = 3;
