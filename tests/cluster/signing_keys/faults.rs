//! Every write of every flow of a signing key times every fault, against the real API server, while
//! a token service signs and verifiers verify. Another operator takes over, and in the end the JWKS,
//! the ledger and the key pairs agree, and no token failed.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use kube::api::DeleteParams;
use serde_json::json;
use support::control_plane::User;
use support::faults::{FaultPlan, Point};
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::api::signing_key::KeyState::{
    self, Active, Grace, Published, Retired, Revoked,
};
use technical_user_operator::api::{REVOKE_REQUESTED_AT, ROTATE_REQUESTED_AT};
use technical_user_operator::kubernetes::codec::SecretNames;
use tokio::time::Instant;

use super::oracle::{Materials, contradiction};
use super::replicas::{LIFETIME, LIMITS, hasty};
use super::series::{Series, states};
use super::token_server::{Terms, TokenService};
use crate::figures::{is_thorough, keep, say};
use crate::matrix::{Case, Outcome, REST, at_rest, drive, every_fault, spread};
use crate::replica::{KeysBrief, Replica};
use crate::rights;
use crate::world::third;

/// What happens to a series, and what has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    First,
    Rotate,
    Revoke,
    Retire,
    Heal,
    Recover,
}

/// Runs share a lane one after the other: its namespaces are theirs alone.
#[derive(Clone)]
struct Lane {
    admin: Client,
    operator: Client,
    system: String,
    selected: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_at_any_write_leaves_a_token_that_nobody_can_verify() {
    let Some(control_plane) = third().await else { return };
    let admin = control_plane.client().await;
    let operator = control_plane.client_of(User::Operator).await;
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let (system, selected) = (format!("key-faults-{number}"), format!("key-faults-{number}-1"));
        rights::install_system(&admin, &system).await;
        lanes.push(Lane { admin: admin.clone(), operator: operator.clone(), system, selected });
    }
    let started = Instant::now();
    let clean: Vec<_> = Flow::ALL.iter().map(|flow| Case { flow: *flow, strike: None }).collect();
    let cases = cases(&lanes, &clean).await;
    let cases = spread(&cases);
    let total = cases.len();

    let tally = drive(lanes, &cases, BUDGET, |lane, number, case| async move {
        run(&lane, &format!("{}-{number}", lane.system), case).await
    })
    .await;

    let (runs, struck, violations) = (tally.runs, tally.struck, tally.violations.len());
    let seconds = started.elapsed().as_secs();
    say(&format!(
        "real: runs={runs} violations={violations} of={total} struck={struck} seconds={seconds} \
         (signing keys)"
    ));
    let figures = json!({
        "runs": runs, "cases": total, "struck": struck, "violations": violations,
        "seconds": seconds, "thorough": is_thorough(),
    });
    keep("faults_real_signing_keys", &figures);
    assert!(violations == 0, "{}", tally.violations.join("\n"));
    assert!(runs > 0 && struck * 10 > runs * 8, "faults that never strike prove nothing");
}

/// Runs every flow once without a fault and counts its writes.
async fn cases(lanes: &[Lane], clean: &[Case<Flow>]) -> Vec<Case<Flow>> {
    let runs = clean.iter().zip(lanes).map(|(case, lane)| async move {
        let name = format!("{}-clean", lane.system);
        (case.flow, run(lane, &name, *case).await)
    });
    let mut cases = Vec::new();
    for (flow, outcome) in futures::future::join_all(runs).await {
        assert_eq!(outcome.violation, None, "{flow:?} without a fault");
        say(&format!("real: {flow:?} of a signing key has {} writes", outcome.writes));
        cases.extend(every_fault(flow, outcome.writes));
    }
    cases
}

async fn run(lane: &Lane, name: &str, case: Case<Flow>) -> Outcome {
    let series = Series::with(lane.admin.clone(), name, &lane.system);
    series.namespace(&lane.selected, true).await;
    let goal = Goal { series: series.clone(), selected: lane.selected.clone(), flow: case.flow };
    let materials = Materials::of(&series, Algorithm::ES256);
    let brief = KeysBrief {
        client: &lane.operator,
        name,
        system: &lane.system,
        namespaces: vec![lane.selected.clone()],
        limits: LIMITS,
        ahead: SignedDuration::ZERO,
    };
    let Prepared { brief, plan, first, service, writes_before } = prepare(&goal, brief, case).await;
    goal.act(&service).await;

    // The second begins where the first was struck, beside it if it lives.
    let mut second = None;
    let deadline = Instant::now() + MOST;
    let mut wrong = goal.wrong().await;
    while wrong.is_some() && Instant::now() < deadline {
        if second.is_none() && !plan.struck().is_empty() {
            let sound = FaultPlan::transparent();
            second = Some(Replica::of_keys(&brief, &format!("{name}-2"), &sound));
        }
        tokio::time::sleep(PAUSE).await;
        wrong = goal.wrong().await;
    }
    at_rest(&plan).await;
    plan.flush_late().await;
    tokio::time::sleep(REST).await;
    let violation = match wrong {
        Some(wrong) => Some(format!("not at its goal: {wrong}")),
        None => goal.settles(&materials, &service).await,
    };
    let writes = plan.writes() - writes_before;
    let outcome = Outcome { writes, has_struck: !plan.struck().is_empty(), violation };
    drop(service);
    first.stop().await;
    if let Some(second) = second {
        second.stop().await;
    }
    goal.clear().await;
    outcome
}

/// An operator that will be struck, and who looks at what it does.
struct Prepared<'a> {
    brief: KeysBrief<'a>,
    plan: FaultPlan,
    first: Replica,
    service: TokenService,
    writes_before: usize,
}

/// Brings a series to where the flow begins. Its operator then lives on, or, for a key to retire,
/// finds itself a quarter of an hour later.
async fn prepare<'a>(goal: &Goal, brief: KeysBrief<'a>, case: Case<Flow>) -> Prepared<'a> {
    let series = &goal.series;
    let lease = format!("{}-1", series.name);
    let plan = FaultPlan::transparent();
    let first = Replica::of_keys(&brief, &lease, &plan);
    let terms = Terms { limits: LIMITS, keeps: case.flow.keeps(), ahead: brief.ahead };
    if case.flow != Flow::Retire {
        let service = TokenService::start(series, terms);
        goal.prepare(&plan).await;
        let writes_before = plan.writes();
        arm(&plan, writes_before, case, &first);
        return Prepared { brief, plan, first, service, writes_before };
    }
    goal.prepare(&plan).await;
    first.stop().await;
    let brief = KeysBrief { ahead: LIFETIME, ..brief };
    let plan = FaultPlan::transparent();
    let first = Replica::of_keys(&brief, &lease, &plan);
    arm(&plan, 0, case, &first);
    let service = TokenService::start(series, Terms { ahead: LIFETIME, ..terms });
    Prepared { brief, plan, first, service, writes_before: 0 }
}

fn arm(plan: &FaultPlan, before: usize, case: Case<Flow>, replica: &Replica) {
    let engine = replica.engine();
    plan.on_kill(Arc::new(move || engine.abort()));
    if let Some((write, fault)) = case.strike {
        plan.arm(Point::Write(before + write), fault);
    }
}

/// Where a flow has to end.
struct Goal {
    series: Series,
    selected: String,
    flow: Flow,
}

impl Goal {
    /// What has to be there before the act.
    async fn prepare(&self, plan: &FaultPlan) {
        if self.flow == Flow::First {
            return;
        }
        self.series.apply(hasty(&self.series.name)).await;
        self.series.ready().await;
        if matches!(self.flow, Flow::Retire | Flow::Recover) {
            self.series.annotate(ROTATE_REQUESTED_AT, "1").await;
            self.series.states(&[Published, Active]).await;
        }
        at_rest(plan).await;
    }

    async fn act(&self, service: &TokenService) {
        let series = &self.series;
        match self.flow {
            Flow::First => {
                series.apply(hasty(&series.name)).await;
            }
            Flow::Rotate => series.annotate(ROTATE_REQUESTED_AT, "1").await,
            Flow::Revoke => {
                let kid = series.kid(1).await;
                service.tokens.revoke(kid.clone());
                series.annotate(REVOKE_REQUESTED_AT, kid.as_str()).await;
            }
            Flow::Retire => {}
            Flow::Heal => {
                series.patch_map(&series.system, json!({"data": {"more": "of it"}})).await;
                series.delete_map(&self.selected).await;
            }
            Flow::Recover => {
                let ledger = SecretNames::of(&series.uid().await).ledger();
                series.delete_secret(&ledger).await;
            }
        }
    }

    /// What is still wrong, in words.
    async fn wrong(&self) -> Option<String> {
        let object = self.series.object().await;
        let wanted = self.wanted();
        if !wanted.is_empty() && !wanted.contains(&states(&object).as_slice()) {
            return Some(format!("status shows {:?}", object.status));
        }
        // Time that is ahead makes another key active than the clock of this machine.
        let is_ahead = self.flow == Flow::Retire;
        let now = if is_ahead { LIFETIME } else { SignedDuration::ZERO };
        contradiction(&self.series, &[&self.series.system, &self.selected], now).await
    }

    /// What the states of the keys may be, the newest first; anything when there is none.
    fn wanted(&self) -> &'static [&'static [KeyState]] {
        match self.flow {
            Flow::First | Flow::Heal => &[&[Active]],
            // On a busy machine the time of the second key may come.
            Flow::Rotate => &[&[Published, Active], &[Active, Grace]],
            Flow::Revoke => &[&[Active, Revoked]],
            Flow::Retire => &[&[Active, Retired]],
            Flow::Recover => &[],
        }
    }

    /// Whether it stays so, every key pair is the only one of its index, and every token verified.
    async fn settles(&self, materials: &Materials, service: &TokenService) -> Option<String> {
        let deadline = Instant::now() + MOST;
        let mut wrong = self.wrong().await;
        while wrong.is_some() && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            wrong = self.wrong().await;
        }
        if wrong.is_some() {
            return wrong;
        }
        let doubled = materials.doubled();
        if !doubled.is_empty() {
            return Some(format!("two key pairs in one Secret: {doubled:?}"));
        }
        let Some(entries) = self.series.ledger().await.map(|ledger| ledger.entries.len()) else {
            return Some("the ledger went".to_owned());
        };
        let most = if matches!(self.flow, Flow::First | Flow::Heal) { 1 } else { 2 };
        if entries > most {
            return Some(format!("{entries} keys were made"));
        }
        // A token that is signed and verified now ends the matter.
        let signed = service.tokens.counts().0;
        while service.tokens.counts().0 <= signed + 2 && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
        }
        if service.tokens.counts().0 <= signed {
            return Some("no token is signed".to_owned());
        }
        service.tokens.complaints().into_iter().next()
    }

    async fn clear(&self) {
        let _ = self.series.api().delete(&self.series.name, &DeleteParams::default()).await;
    }
}

impl Flow {
    const ALL: [Self; 6] =
        [Self::First, Self::Rotate, Self::Revoke, Self::Retire, Self::Heal, Self::Recover];

    /// How long a verifier keeps its copy of the JWKS: after a revocation of the only key, a copy
    /// may lack the one that signs at once.
    fn keeps(self) -> Duration {
        if self == Self::Revoke { Duration::ZERO } else { KEEPS }
    }
}

/// Runs at once: they mostly wait.
const LANES: usize = 8;

/// How long the default run may take; PROVE=1 runs everything.
const BUDGET: Duration = Duration::from_secs(25);

/// A run that has not come to its goal by then never will: two deadlines of a call and a backoff.
const MOST: Duration = Duration::from_secs(90);

/// Nothing between the clocks of one machine takes away from the time of publication.
const KEEPS: Duration = Duration::from_secs(9);

const PAUSE: Duration = Duration::from_millis(200);
