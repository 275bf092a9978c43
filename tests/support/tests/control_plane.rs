//! The control plane itself: it starts, survives the death of each of its programs, and leaves nothing behind.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is a failed test, and clippy.toml excuses only the test functions themselves"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use support::control_plane::{ControlPlane, Options, Process, User};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_survives_the_death_of_each_program() {
    let Some(mut control_plane) = ControlPlane::start_or_skip(Options::default()).await else {
        return;
    };
    let config_maps = config_maps(&control_plane.client().await);
    let written = config_maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();

    for process in [Process::Etcd, Process::ApiServer, Process::ControllerManager] {
        let pid = control_plane.pid(process).unwrap();
        control_plane.kill(process);
        assert!(!is_alive(pid), "{process:?} outlived its kill");
        control_plane.restart(process).await.unwrap();
        let read = config_maps.get("kept").await.unwrap();
        assert_eq!(read, written, "after the death of {process:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owned_goes_with_its_owner_and_a_namespace_with_its_contents() {
    let Some(control_plane) = ControlPlane::start_or_skip(Options::default()).await else {
        return;
    };
    let kube = control_plane.client().await;
    let config_maps = config_maps(&kube);
    let owner = config_maps.create(&PostParams::default(), &config_map("owner")).await.unwrap();
    let property = serde_json::from_value(json!({
        "metadata": {
            "name": "owned",
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": "owner",
                "uid": owner.metadata.uid,
            }],
        },
    }))
    .unwrap();
    config_maps.create(&PostParams::default(), &property).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(kube);
    let team = serde_json::from_value(json!({ "metadata": { "name": "team" } })).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();

    config_maps.delete("owner", &DeleteParams::default()).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();

    until(async || config_maps.get_opt("owned").await.unwrap().is_none()).await;
    until(async || namespaces.get_opt("team").await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_snapshot_forgets_what_came_after_it() {
    let Some(mut control_plane) = ControlPlane::start_or_skip(without_controllers()).await else {
        return;
    };
    let config_maps = config_maps(&control_plane.client().await);
    config_maps.create(&PostParams::default(), &config_map("before")).await.unwrap();

    let snapshot = control_plane.snapshot().await.unwrap();
    config_maps.create(&PostParams::default(), &config_map("after")).await.unwrap();
    control_plane.restore(&snapshot).await.unwrap();

    assert!(config_maps.get_opt("before").await.unwrap().is_some());
    assert!(config_maps.get_opt("after").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_do_nothing_and_the_audit_log_says_who_tried() {
    let options = Options { audit: true, ..without_controllers() };
    let Some(control_plane) = ControlPlane::start_or_skip(options).await else {
        return;
    };

    for user in [User::Operator, User::Nobody] {
        let secrets: Api<Secret> = Api::default_namespaced(control_plane.client_of(user).await);
        let refusal = secrets.get("some").await.unwrap_err();
        assert!(matches!(refusal, kube::Error::Api(status) if status.code == 403));
    }

    let audit_log = fs::read_to_string(control_plane.audit_log()).unwrap();
    let operator = "system:serviceaccount:technical-user-system:technical-user-operator";
    assert!(audit_log.contains(operator));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_api_server_answers_nothing_until_it_thaws() {
    let Some(mut control_plane) = ControlPlane::start_or_skip(without_controllers()).await else {
        return;
    };
    let config_maps = config_maps(&control_plane.client().await);

    control_plane.freeze(Process::ApiServer);
    let silence = tokio::time::timeout(Duration::from_secs(1), config_maps.get_opt("any")).await;
    control_plane.thaw(Process::ApiServer);

    assert!(silence.is_err());
    assert!(config_maps.get_opt("any").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_dropped_leaves_nothing_behind() {
    let Some(control_plane) = ControlPlane::start_or_skip(Options::default()).await else {
        return;
    };
    let folder = control_plane.folder().to_owned();
    assert!(!processes_of(&folder).is_empty());

    drop(control_plane);

    assert_eq!(processes_of(&folder), BTreeMap::new());
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_is_killed_leaves_nothing_behind() {
    // This program runs itself, with only the test below, and kills itself in the middle.
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_victim_for_the_test_above", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let folder = output.lines().map(Result::unwrap).find_map(|line| {
        Some(line.strip_prefix("running in ")?.to_owned()).filter(|folder| !folder.is_empty())
    });
    let Some(folder) = folder else {
        assert!(victim.wait().unwrap().success());
        return;
    };
    let folder = Path::new(&folder);
    assert!(!processes_of(folder).is_empty());

    victim.kill().unwrap();
    victim.wait().unwrap();

    until(async || processes_of(folder).is_empty() && !folder.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above"]
async fn a_victim_for_the_test_above() {
    if let Some(control_plane) = ControlPlane::start_or_skip(Options::default()).await {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "\nrunning in {}", control_plane.folder().display()).unwrap();
        std::future::pending::<()>().await;
    }
}

fn without_controllers() -> Options {
    Options { controller_manager: false, ..Options::default() }
}

fn config_maps(kube: &Client) -> Api<ConfigMap> {
    Api::namespaced(kube.clone(), "default")
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "some": "data" } }))
        .unwrap()
}

/// Waits until the condition holds, and fails when it does not within a minute.
async fn until(condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), holds).await.unwrap();
}

/// The processes whose arguments name the folder: those of its control plane and their keepers.
fn processes_of(folder: &Path) -> BTreeMap<u32, String> {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&arguments).replace('\0', " ")))
        })
        .filter(|(_, arguments)| arguments.contains(folder))
        .collect()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
