//! Many users that one obstacle stops: they cost little while it is there, and go on soon once it is gone.

use std::time::Duration;

use serde_json::json;
use support::fake_api_server::Verb;
use support::in_virtual_time;
use tokio::time::sleep;

use crate::flow::create_user;
use crate::goal::saying;
use crate::harness::figures::SEED;
use crate::world::{LEASE, NAMESPACE, World};

#[test]
fn a_quota_that_stops_many_users_is_noticed_within_a_minute_when_it_ends() {
    obstacle_ends(
        "QuotaExceeded",
        |world| world.server.quota(NAMESPACE, "secrets", 0),
        |world| world.server.clear_quotas(),
    );
}

#[test]
fn a_right_that_many_users_miss_is_noticed_within_a_minute_when_it_is_granted() {
    obstacle_ends(
        "Forbidden",
        |world| world.server.forbid("technical-user-operator", Verb::Create, "secrets"),
        |world| world.server.clear_forbidden(),
    );
}

fn obstacle_ends(reason: &str, begin: fn(&World), end: fn(&World)) {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        begin(&world);
        for number in 0..USERS {
            create_user(&world, &format!("user-{number:04}"), &json!({}));
        }
        world.start(LEASE);
        sleep(Duration::from_mins(5)).await;
        assert_eq!(saying(&world, reason), USERS, "all are stopped");
        let before = world.plan.requests();

        sleep(Duration::from_mins(20)).await;
        let requests = world.plan.requests() - before;
        end(&world);
        sleep(Duration::from_mins(1)).await;

        // One try in 45 seconds, of which each takes nine requests.
        assert!(requests < 20 * 15, "{requests} requests in 20 minutes");
        assert_eq!(saying(&world, "Issued"), USERS, "all go on");
        assert_eq!(world.oracle().violations, Vec::<String>::new());
    });
}

/// Enough to tell one from all. The oracle looks at everything after every write.
const USERS: usize = 60;
