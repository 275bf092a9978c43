//! A run of a story of signing keys: what a case excuses, and the bounds.

use std::time::Duration;

use serde_json::Value;
use support::fake_api_server::Verb;
use support::in_virtual_time;

use crate::flow::Flow;
use crate::goal::Goal;
use crate::harness::checks::Check;
use crate::harness::faults::Case;
use crate::harness::run::{Outcome, Run};
use crate::logs::Logs;
use crate::mutant::Mutant;
use crate::world::{LEASE, Setting, World, limits};

/// The namespaces of all writes to ConfigMaps while things could go wrong.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) map_writes: Vec<String>,
}

/// Plays a case in virtual time, from nothing.
pub(crate) fn play(flow: &Flow, case: &Case, seed: u64, mutant: Option<Mutant>) -> Outcome {
    let logs = case.is_chosen().then(Logs::default);
    let _heard = logs.as_ref().map(Logs::listen);
    let mut outcome = in_virtual_time(async {
        let bootstrap = flow.bootstrap;
        let world = World::new(Setting { seed, mutant, bootstrap, limits: limits() });
        world.arm(case);
        world.start(LEASE);
        Run::new(world, case).play(flow).await
    });
    outcome.public.extend(logs.map(|logs| logs.text()));
    outcome
}

/// Every story may rest as it is.
pub(crate) fn before_rest(_run: &mut Run<'_>, _goal: &Goal) -> impl Future<Output = bool> {
    std::future::ready(true)
}

impl Run<'_> {
    /// Whether the goal is reached, as far as the case lets it be.
    pub(crate) fn check(&self, goal: &Goal) -> Result<(), String> {
        goal.check(&self.world).or_else(|missing| match goal {
            // A ledger that is made again takes a request for answered: one rotation too few is
            // better than one that no user asked for.
            Goal::Settled { namespaces, .. } if self.world.has_lost_ledger() => {
                Goal::Settled { index: 1, namespaces }.check(&self.world)
            }
            _ => Err(missing),
        })
    }
}

impl Case {
    /// Whether exactly as many keys are right as without trouble.
    pub(crate) fn keeps_count(&self, flow: &Flow) -> bool {
        self.disturbances().all(|it| !it.adds() && (!flow.is_timed || !it.sets_clocks()))
    }
}

pub(crate) fn extra(world: &World, logged: usize) -> Extra {
    let log = world.server.request_log();
    let writes = log.iter().skip(logged).filter(|it| it.verb.writes());
    let writes = writes.filter(|it| it.plural == "configmaps" && it.verb != Verb::Watch);
    Extra { map_writes: writes.map(|it| it.namespace.clone()).collect() }
}

/// Of key pairs the data is not shown.
pub(crate) fn hides_data(object: &Value) -> bool {
    object["type"] == "iam.cyoda.com/signing-key-pair"
}

/// What is searched for private keys.
pub(crate) const PLURALS: &[&str] = &["signingkeys", "events", "secrets", "configmaps"];

/// What every story makes exactly as many of as it needs.
pub(crate) const COUNTED: &str = "keys";

/// The test target that plays a case again.
pub(crate) const TARGET: &str = "key_simulation";

/// The invariant that a run which is stuck violates.
pub(crate) const LIVENESS: &str = "K5";

/// The same cases on a slow machine and on a fast one.
pub(crate) const CHECK: Check = Check { seconds: 45, cases: Some(150) };

/// Longer than the operator leaves any object alone: after clocks went wrong, only its next check of
/// all of them may show what is due.
pub(crate) const PATIENCE: Duration = Duration::from_hours(6);

/// Longer than a namespace that could not be written is left alone.
pub(crate) const QUIET: Duration = Duration::from_secs(330);

/// Ten times what any story takes: an operator that asks for more never rests.
pub(crate) const MOST_REQUESTS: usize = 1_500;

/// As many as a story: a namespace that cannot be written is tried again and again.
pub(crate) const MOST_AT_REST: usize = 24 * MOST_REQUESTS;
