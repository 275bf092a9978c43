//! SIGKILL for the operator, the API server and etcd in a loop, under load.

use std::time::Duration;

use serde_json::json;
use support::control_plane::Options;
use technical_user_operator::domain::technical_user::verifier_record::EntryState;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::figures::{is_thorough, keep, say};
use crate::kill_targets::{Kills, Victims};
use crate::leaks::Evidence;
use crate::load::{Notes, act_for_ever, bring_back, names};
use crate::namespace::{Namespace, accepts, shown};
use crate::operator::Launch;
use crate::world::{SYSTEM, bare};

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_a_client_secret() {
    let Some(control_plane) = bare(Options { audit: true, ..Options::default() }).await else {
        return;
    };
    let started = Instant::now();
    let mut kill_targets = Victims::start(control_plane, &[]).await;
    let namespace = Namespace::with(kill_targets.admin.clone(), "kills", SYSTEM).await;
    bring_back(&namespace).await;
    let notes = Notes::default();
    let mut readers = JoinSet::new();
    readers.spawn(notes.clone().read_for_ever(namespace.clone()));
    let mut users = JoinSet::new();
    for seed in 0..2 {
        users.spawn(act_for_ever(namespace.clone(), seed));
    }

    let most = if is_thorough() { 300 } else { 20 };
    for number in 0..most {
        kill_targets.strike(number).await;
        tokio::time::sleep(LIFE).await;
    }

    users.shutdown().await;
    bring_back(&namespace).await;
    for name in names() {
        come_to_rest(&kill_targets.launches, &namespace, &name).await;
    }
    notes.read(&namespace).await.unwrap();
    readers.shutdown().await;
    let contradicting = contradictions(&namespace, &notes).await;
    conclude(&kill_targets.kills, &notes, &contradicting, started.elapsed());
    search_for_leaks(&kill_targets, &namespace, &notes).await;
}

fn conclude(kills: &Kills, notes: &Notes, contradicting: &[String], took: Duration) {
    let Kills { operator, api_server, etcd } = kills;
    let all = operator + api_server + etcd;
    let (secrets, complaints) = (notes.reads().len(), notes.complaints());
    let (lost, wrong, seconds) = (complaints.len(), contradicting.len(), took.as_secs());
    say(&format!(
        "kills={all} secrets={secrets} lost={lost} contradicting={wrong} operator={operator} \
         api_server={api_server} etcd={etcd} seconds={seconds}"
    ));
    let figures = json!({
        "kills": all, "operator": operator, "api_server": api_server, "etcd": etcd,
        "secrets": secrets, "lost": lost, "contradicting": wrong, "seconds": seconds,
        "thorough": is_thorough(),
    });
    keep("kills", &figures);
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(contradicting.is_empty(), "{}", contradicting.join("\n"));
    assert!(secrets > names().count() + 10, "too little went on for the kills to mean anything");
}

/// At rest, the visible client secret of every user is the current one of its record, and accepted.
async fn contradictions(namespace: &Namespace, notes: &Notes) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in names() {
        let client_id = namespace.client_id(&name).await;
        let record = namespace.record(&client_id).await;
        let secret = namespace.secrets().get_opt(&format!("{name}-credentials")).await.unwrap();
        let visible = secret.as_ref().and_then(shown);
        let (Some(record), Some(visible)) = (record, visible) else {
            wrong.push(format!("{name} is ready without a record or a client secret"));
            continue;
        };
        let current = record.current().map(|(id, _)| id.clone());
        if current != Some(visible.id()) || !accepts(&record, &visible) {
            wrong.push(format!("{name} shows {} and the record has {current:?}", visible.id()));
        }
        let mut states = record.entries.values().map(|entry| &entry.state);
        if states.any(|state| matches!(state, EntryState::Pending(_))) {
            wrong.push(format!("{name} has a pending entry at rest"));
        }
        for (id, read) in notes.reads() {
            // An entry that has just ended may still be there: its hash agrees all the same.
            let entry = record.entries.get(&id).filter(|_| read.client_id == client_id);
            if entry.is_some_and(|entry| !entry.verifier.accepts(&read.secret)) {
                wrong.push(format!("{id} of {name} is refused by its own verifier"));
            }
        }
    }
    wrong
}

/// Waits until that user is ready, or says what the operators said of it last.
async fn come_to_rest(launches: &[Launch], namespace: &Namespace, name: &str) {
    if tokio::time::timeout(CALM, namespace.ready(name)).await.is_ok() {
        return;
    }
    let status = namespace.user(name).await.status;
    let mentions = format!("\"{name}\"");
    let mut lines = Vec::new();
    for launch in launches {
        let log = std::fs::read_to_string(&launch.log).unwrap();
        let ours = log.lines().filter(|line| line.contains(&mentions));
        lines.extend(ours.map(str::to_owned));
    }
    lines.sort();
    let last = lines.split_off(lines.len().saturating_sub(20)).join("\n");
    panic!("{name} is not ready: {status:#?}\n{last}");
}

async fn search_for_leaks(kill_targets: &Victims, namespace: &Namespace, notes: &Notes) {
    let mut evidence = Evidence::default();
    for (id, read) in notes.reads() {
        evidence.secret(&id.to_string(), read.secret.reveal());
    }
    evidence.cluster(&namespace.client).await;
    kill_targets.search_for_leaks("kills", evidence).await;
}

/// How long everything lives between two kills.
const LIFE: Duration = Duration::from_millis(500);

/// An overlap, which a full record waits for, and the waits of an operator that failed now and then.
const CALM: Duration = Duration::from_secs(100);
