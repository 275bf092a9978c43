//! Two operators: one halts and the other takes over, one ends in good order; and an operator
//! that lacks a right.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::control_plane::User;

use crate::namespace::{Namespace, condition, shown};
use crate::operator::{Launch, free_port, lines_with};
use crate::rights::{self, role, rule};
use crate::world::{launch, second, until};

/// An operator whose exit status is of interest; dropping it kills it.
struct Process(std::process::Child);

impl Process {
    fn start(launch: &Launch) -> Self {
        let words = launch.command(free_port(), free_port());
        let log = std::fs::File::create(&launch.log).unwrap();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn accepted(namespace: &Namespace, name: &str, serial: i64) {
    namespace.serial(name, serial).await;
    let client_id = namespace.client_id(name).await;
    let secret = namespace.shown(&format!("{name}-credentials")).await;
    assert!(namespace.accepts(&client_id, &secret).await, "{name}");
    let record = namespace.record(&client_id).await.unwrap();
    assert_eq!(record.current().map(|(id, _)| id.clone()), Some(secret.id()), "{name}");
    assert_eq!(record.serial, serial, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_one_that_halts_or_ends() {
    let Some(control_plane) = second().await else { return };
    let admin = control_plane.client().await;
    rights::install_system(&admin, "replicas-system").await;
    let namespace = Namespace::with(admin.clone(), "replicas", "replicas-system").await;
    let launch = |log: &str| {
        let launch = launch(control_plane, log);
        launch.with("--namespace", "replicas-system").with("--watch-namespaces", "replicas")
    };
    let (first_launch, second_launch) = (launch("replica-1.log"), launch("replica-2.log"));
    let first = Process::start(&first_launch);
    namespace.apply("one", json!({})).await;
    accepted(&namespace, "one", 1).await;
    let mut second = Process::start(&second_launch);
    until("the second waits", || async {
        (lines_with(&second_launch.log, "watches synced") > 0).then_some(())
    })
    .await;

    // The leader halts in the middle of work, and the other takes over when its lease has run out.
    namespace.request_rotation("one", "monday").await;
    first.signal(Signal::STOP);
    namespace.apply("two", json!({})).await;
    accepted(&namespace, "two", 1).await;
    accepted(&namespace, "one", 2).await;
    assert_eq!(lines_with(&second_launch.log, "lease won"), 1);

    // It wakes up believing that it leads, finds that it does not, and nothing contradicts.
    namespace.request_rotation("one", "tuesday").await;
    first.signal(Signal::CONT);
    namespace.request_rotation("two", "tuesday").await;
    namespace.apply("three", json!({})).await;
    accepted(&namespace, "one", 3).await;
    accepted(&namespace, "two", 2).await;
    accepted(&namespace, "three", 1).await;
    until("the first has lost the lease", || async {
        (lines_with(&first_launch.log, "lease lost") > 0).then_some(())
    })
    .await;

    // The leader ends in good order: the other need not wait for the lease to run out.
    second.signal(Signal::TERM);
    let ended = tokio::time::timeout(Duration::from_secs(20), second.ended()).await;
    assert!(ended.expect("it ends soon").success(), "it ends with 0");
    assert_eq!(lines_with(&second_launch.log, "lease released"), 1);
    let leases = Api::<Lease>::namespaced(admin, "replicas-system");
    let take_over = until("the first leads", || async {
        (lines_with(&first_launch.log, "lease won") == 2).then_some(())
    });
    // client-go's lease lasts 15 s; released, it is free at the next try.
    tokio::time::timeout(Duration::from_secs(8), take_over)
        .await
        .expect("a released lease is free");
    namespace.apply("four", json!({})).await;
    accepted(&namespace, "four", 1).await;
    let lease = leases.get("technical-user-operator").await.unwrap().spec.unwrap();
    assert!(lease.lease_transitions >= Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_had_is_named() {
    let Some(control_plane) = second().await else { return };
    let launch = launch(control_plane, "no-lease.log").with("--namespace", "nowhere");

    let _operator = launch.start();

    until("words about the lease", || async {
        let log = std::fs::read_to_string(&launch.log).ok()?;
        let warning = log.lines().find(|line| line.contains("leader election failed"))?;
        assert!(warning.contains("WARN") && warning.contains("403 Forbidden"), "{warning}");
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_and_waited_for() {
    let Some(control_plane) = second().await else { return };
    let admin = control_plane.client().await;
    let namespace = Namespace::with(admin.clone(), "rights", "rights").await;
    let grant = |secret_verbs: &'static [&'static str]| {
        let rules = vec![
            rule("iam.cyoda.com", "technicalusers", &["get", "list", "watch"]),
            rule("iam.cyoda.com", "technicalusers/status", &["patch"]),
            rule("", "secrets", secret_verbs),
            rule("", "events", &["create"]),
            rule("coordination.k8s.io", "leases", &["get", "create", "update"]),
        ];
        let admin = &admin;
        async move {
            let nobody = json!({"kind": "User", "name": "nobody"});
            for object in role("rights", &rules, &nobody) {
                rights::apply(admin, object).await;
            }
        }
    };
    // What is of no namespace.
    let wide = ["signingkeys", "namespaces"].map(|resource| {
        let group = if resource == "namespaces" { "" } else { "iam.cyoda.com" };
        rule(group, resource, &["get", "list", "watch"])
    });
    let nobody = json!({"kind": "User", "name": "nobody"});
    for mut object in role("rights", &wide, &nobody) {
        object["kind"] = format!("Cluster{}", object["kind"].as_str().unwrap()).into();
        object["metadata"] = json!({"name": "of-nobody"});
        if object["roleRef"].is_object() {
            object["roleRef"]["kind"] = "ClusterRole".into();
            object["roleRef"]["name"] = "of-nobody".into();
        }
        rights::apply(&admin, object).await;
    }
    grant(&["get", "list", "watch", "update", "patch", "delete"]).await;
    let mut launch = launch(control_plane, "rights.log");
    launch.kubeconfig = control_plane.kubeconfig_of(User::Nobody);
    let launch = launch.with("--namespace", "rights").with("--watch-namespaces", "rights");
    let _operator = Process::start(&launch);

    namespace.apply("orders", json!({})).await;

    let ready = namespace.says("orders", "Forbidden").await;
    assert!(
        ready.message.contains("may not create secrets in namespace rights"),
        "{}",
        ready.message
    );
    namespace.has_event("orders", "Forbidden").await;
    assert!(condition(&namespace.user("orders").await, "Stalled").is_some());

    grant(&["get", "list", "watch", "create", "update", "patch", "delete"]).await;
    // The TechnicalUser is not ready all the same, since this operator has no SigningKey.
    until("a client secret that is accepted", || async {
        let secret = namespace.secrets().get_opt("orders-credentials").await.unwrap();
        let visible = secret.as_ref().and_then(shown)?;
        let client_id = namespace.client_id("orders").await;
        namespace.accepts(&client_id, &visible).await.then_some(())
    })
    .await;
}
