//! Two operators that lead with different settings: the one undoes what the other does.

use std::sync::Arc;
use std::time::Duration;

use support::in_virtual_time;
use technical_user_operator::controller::TokenLimits;
use tokio::time::sleep;

use crate::goal::Goal;
use crate::harness::figures::SEED;
use crate::harness::flow::named;
use crate::world::{LEASE, Setting, World, limits};

/// How often the two wrote within ten minutes of a key in grace, of whose end they think otherwise.
pub(crate) fn quarrel() -> usize {
    in_virtual_time(async {
        let setting = Setting { seed: SEED, mutant: None, bootstrap: false, limits: limits() };
        let world = World::new(setting);
        world.start(LEASE);
        let flow = named("rotate").unwrap();
        for step in flow.before.iter().chain(&flow.steps) {
            for act in &step.acts {
                act.perform(&world);
            }
            reach(&world, &Goal::Active(1)).await;
        }
        reach(&world, &Goal::Active(2)).await;
        let other = TokenLimits { token_lifetime: limits().token_lifetime * 10, ..limits() };
        world.start_with("other", other);
        let before = world.server.writes();
        for _ in 0..600 {
            sleep(Duration::from_secs(1)).await;
            world.tick();
        }
        world.server.writes() - before
    })
}

async fn reach(world: &Arc<World>, goal: &Goal) {
    let mut left = PATIENCE;
    while let Err(missing) = goal.check(world) {
        assert!(left > 0, "{goal:?} not reached: {missing}");
        left -= 1;
        sleep(Duration::from_secs(1)).await;
        world.tick();
    }
}

/// Longer than a rotation takes, in seconds.
const PATIENCE: u32 = 7200;
