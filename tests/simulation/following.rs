//! Many users that follow one `SigningKey`: none is forgotten, and the API server is not flooded.

use std::time::Duration;

use serde_json::json;
use support::in_virtual_time;
use tokio::time::{Instant, sleep};

use crate::flow::{Act, create_user};
use crate::goal::saying;
use crate::harness::figures::SEED;
use crate::world::{LEASE, World};

#[test]
fn many_users_follow_their_signing_key_at_twenty_a_second_and_none_is_forgotten() {
    in_virtual_time(async {
        let world = World::new(SEED, None);
        for name in NAMES.iter().flat_map(|first| NAMES.map(|second| format!("{first}{second}"))) {
            create_user(&world, &name, &json!({}));
        }
        world.start(LEASE);
        follow(&world, "Issued", None).await;

        Act::SigningKey(false).perform(&world);
        follow(&world, "SigningKeyNotFound", Some(MOST_A_SECOND)).await;
        // It comes back while a few have followed: no caller waits for those that need not go.
        Act::SigningKey(true).perform(&world);
        follow(&world, "Issued", Some(MOST_A_SECOND)).await;
        Act::SigningKey(false).perform(&world);
        sleep(Duration::from_secs(1)).await;
        Act::SigningKey(true).perform(&world);
        let began = Instant::now();
        follow(&world, "Issued", Some(MOST_A_SECOND)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    });
}

/// Waits until every user says so, and counts how many come to say so in each second.
async fn follow(world: &World, reason: &str, most: Option<usize>) {
    let began = Instant::now();
    let mut counts = vec![saying(world, reason)];
    while counts.last() != Some(&(NAMES.len() * NAMES.len())) {
        sleep(Duration::from_millis(100)).await;
        counts.push(saying(world, reason));
        assert!(began.elapsed() < Duration::from_mins(1), "{reason}: {counts:?}");
    }
    for window in counts.windows(11) {
        let came = window[10].saturating_sub(window[0]);
        assert!(most.is_none_or(|most| came <= most), "{reason}: {came} in a second: {counts:?}");
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// 20, and one more at the seam of two windows.
const MOST_A_SECOND: usize = 21;
