//! Every write of every flow times every fault, against the real API server: the operator's request
//! is lost, answered without effect, refused, late, or its process dies; another operator takes over, and
//! in the end nothing is lost and nothing contradicts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use support::control_plane::User;
use support::faults::{FaultPlan, Point};
use technical_user_operator::api::REVOKE_REQUESTED_AT;
use technical_user_operator::api::signing_key::SigningKey;
use technical_user_operator::domain::crypto::client_secret::{ClientId, CredentialId};
use tokio::time::Instant;

use crate::figures::{is_thorough, keep, say};
use crate::matrix::{Case, Outcome, REST, Tally, at_rest, drive, every_fault, spread};
use crate::namespace::{Namespace, condition};
use crate::oracle::{Reader, contradiction};
use crate::replica::{OF_TEST_KEY, Replica};
use crate::rights;
use crate::world::second;

/// What a user does, and what has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Issue,
    Rotate,
    Revoke,
    DeleteSecret,
    DeleteUser,
}

/// Runs share a lane one after the other: its namespace for records is theirs alone.
#[derive(Clone)]
struct Lane {
    admin: Client,
    operator: Client,
    system: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_at_any_write_loses_a_client_secret() {
    let Some(control_plane) = second().await else { return };
    let started = Instant::now();
    let admin = control_plane.client().await;
    let operator = control_plane.client_of(User::Operator).await;
    make_test_key(&admin).await;
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let system = format!("faults-{number}");
        rights::install_system(&admin, &system).await;
        lanes.push(Lane { admin: admin.clone(), operator: operator.clone(), system });
    }
    let cases = spread(&cases(&lanes[0]).await);
    let total = cases.len();

    let tally = drive(lanes, &cases, BUDGET, |lane, number, case| async move {
        run(&lane, &format!("{}-{number}", lane.system), case).await
    })
    .await;

    conclude(&tally, total, started.elapsed());
}

/// A `SigningKey` that says that it signs: a technical user without one is not ready.
async fn make_test_key(admin: &Client) {
    let signing_keys = Api::<SigningKey>::all(admin.clone());
    let object = serde_json::from_value(json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
        "metadata": {"name": TEST_KEY}, "spec": {"controllerName": OF_TEST_KEY},
    }));
    signing_keys.create(&PostParams::default(), &object.unwrap()).await.unwrap();
    let status = Patch::Merge(json!({"status": {"activeKid": "kid"}}));
    signing_keys.patch_status(TEST_KEY, &PatchParams::default(), &status).await.unwrap();
}

const TEST_KEY: &str = "faults";

fn conclude(tally: &Tally, total: usize, took: Duration) {
    let Tally { runs, struck, violations } = tally;
    let seconds = took.as_secs();
    say(&format!(
        "real faults: runs={runs} of={total} struck={struck} violations={} seconds={seconds}",
        violations.len()
    ));
    let figures = json!({
        "runs": runs, "cases": total, "struck": struck, "violations": violations.len(),
        "seconds": seconds, "thorough": is_thorough(),
    });
    keep("faults_real", &figures);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(*runs > 0 && struck * 10 > runs * 8, "faults that never strike prove nothing");
}

/// Runs every flow once without a fault and counts its writes.
async fn cases(lane: &Lane) -> Vec<Case<Flow>> {
    let mut cases = Vec::new();
    for flow in Flow::ALL {
        let outcome =
            run(lane, &format!("clean-{flow:?}").to_lowercase(), Case { flow, strike: None }).await;
        assert_eq!(outcome.violation, None, "{flow:?} without a fault");
        say(&format!("real faults: {flow:?} has {} writes", outcome.writes));
        cases.extend(every_fault(flow, outcome.writes));
    }
    cases
}

async fn run(lane: &Lane, name: &str, case: Case<Flow>) -> Outcome {
    let namespace = Namespace::with(lane.admin.clone(), name, &lane.system).await;
    let reader = Reader::of(&namespace);
    let plan = FaultPlan::transparent();
    let first = Replica::start(&lane.operator, &namespace, &format!("{name}-1"), &plan);
    if case.flow != Flow::Issue {
        namespace.apply(NAME, json!({"signingKeyRef": {"name": TEST_KEY}})).await;
        namespace.serial(NAME, 1).await;
        at_rest(&plan).await;
    }
    let ended: BTreeSet<CredentialId> = match case.flow {
        Flow::Revoke => reader.seen().into_keys().collect(),
        Flow::Issue | Flow::Rotate | Flow::DeleteSecret | Flow::DeleteUser => BTreeSet::new(),
    };
    let writes_before = plan.writes();
    if let Some((write, fault)) = case.strike {
        let engine = first.engine();
        plan.on_kill(Arc::new(move || engine.abort()));
        plan.arm(Point::Write(writes_before + write), fault);
    }
    let goal = Goal { namespace, reader, ended, client_id: None, flow: case.flow };
    let goal = goal.act().await;

    // The second begins where the first was struck, beside it if it lives.
    let mut second = None;
    let deadline = Instant::now() + MOST;
    let mut wrong = goal.wrong().await;
    while wrong.is_some() && Instant::now() < deadline {
        if second.is_none() && !plan.struck().is_empty() {
            let sound = FaultPlan::transparent();
            second =
                Some(Replica::start(&lane.operator, &goal.namespace, &format!("{name}-2"), &sound));
        }
        tokio::time::sleep(PAUSE).await;
        wrong = goal.wrong().await;
    }
    at_rest(&plan).await;
    plan.flush_late().await;
    tokio::time::sleep(REST).await;
    let violation = match wrong {
        Some(wrong) => Some(format!("not at its goal: {wrong}")),
        None => goal.settles().await,
    };
    let outcome = Outcome {
        writes: plan.writes() - writes_before,
        has_struck: !plan.struck().is_empty(),
        violation,
    };
    first.stop().await;
    if let Some(second) = second {
        second.stop().await;
    }
    goal.clear().await;
    outcome
}

/// Where a flow has to end.
struct Goal {
    namespace: Namespace,
    reader: Reader,
    ended: BTreeSet<CredentialId>,
    client_id: Option<ClientId>,
    flow: Flow,
}

impl Goal {
    async fn act(mut self) -> Self {
        let namespace = &self.namespace;
        if self.flow == Flow::Issue {
            namespace.apply(NAME, json!({"signingKeyRef": {"name": TEST_KEY}})).await;
        }
        self.client_id = Some(namespace.client_id(NAME).await);
        match self.flow {
            Flow::Issue => {}
            Flow::Rotate => namespace.request_rotation(NAME, "now").await,
            Flow::Revoke => namespace.annotate(NAME, REVOKE_REQUESTED_AT, "now").await,
            Flow::DeleteSecret => namespace.delete_secret(SECRET).await,
            Flow::DeleteUser => namespace.delete_user(NAME).await,
        }
        self
    }

    fn serial(&self) -> Option<i64> {
        match self.flow {
            Flow::Issue => Some(1),
            Flow::Rotate | Flow::Revoke | Flow::DeleteSecret => Some(2),
            Flow::DeleteUser => None,
        }
    }

    /// What is still wrong, in words.
    async fn wrong(&self) -> Option<String> {
        let client_id = self.client_id.as_ref()?;
        let secret = self.namespace.secrets().get_opt(SECRET).await.ok()?;
        let Some(serial) = self.serial() else {
            let has_record = self.namespace.record(client_id).await.is_some();
            let is_left = secret.is_some() || has_record;
            return is_left
                .then(|| format!("left: Secret {}, record {has_record}", secret.is_some()));
        };
        let Some(secret) = secret else { return Some("no Secret".to_owned()) };
        let user = self.namespace.user(NAME).await;
        let shown = user.status.as_ref().and_then(|status| status.serial);
        let reason = condition(&user, "Ready").map(|ready| ready.reason.clone());
        if shown != Some(serial) || reason.as_deref() != Some("Issued") {
            return Some(format!("status shows {shown:?} and {reason:?}"));
        }
        let seen = self.reader.seen();
        contradiction(&self.namespace, client_id, &secret, &seen, &self.ended).await
    }

    /// Whether it stays so, and no client secret was shown without effect.
    async fn settles(&self) -> Option<String> {
        let deadline = Instant::now() + MOST;
        let mut wrong = self.wrong().await;
        while wrong.is_some() && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            wrong = self.wrong().await;
        }
        let shown = self.reader.seen().len();
        let most = match self.flow {
            Flow::Issue | Flow::DeleteUser => 1,
            Flow::Rotate | Flow::Revoke | Flow::DeleteSecret => 2,
        };
        wrong.or_else(|| (shown > most).then(|| format!("{shown} client secrets were shown")))
    }

    async fn clear(&self) {
        let users = self.namespace.users();
        let _ = users.delete(NAME, &DeleteParams::default()).await;
        if let Some(client_id) = &self.client_id {
            let records = self.namespace.records();
            let _ = records.delete(&client_id.record_name(), &DeleteParams::default()).await;
        }
    }
}

impl Flow {
    const ALL: [Self; 5] =
        [Self::Issue, Self::Rotate, Self::Revoke, Self::DeleteSecret, Self::DeleteUser];
}

const NAME: &str = "orders";
const SECRET: &str = "orders-credentials";

/// Runs at once: they mostly wait.
const LANES: usize = 8;

/// How long the default run may take; PROVE=1 runs everything.
const BUDGET: Duration = Duration::from_secs(150);

/// A run that has not come to its goal by then never will: two deadlines of a call and a backoff.
const MOST: Duration = Duration::from_secs(90);

const PAUSE: Duration = Duration::from_millis(100);
