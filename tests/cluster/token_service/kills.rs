//! SIGKILL for the operator, the API server, etcd and the token service in a loop, while secrets and
//! keys rotate under clients that never stop asking for tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::control_plane::Options;
use technical_user_operator::api::ROTATE_REQUESTED_AT;
use technical_user_operator::domain::crypto::client_secret::ClientSecret;
use tokio::task::JoinSet;

use super::server::{Launch, TokenServer, verified};
use crate::figures::{is_thorough, keep, say};
use crate::kill_targets::Victims;
use crate::leaks::Evidence;
use crate::namespace::{Namespace, shown};
use crate::operator::ISSUER;
use crate::signing_keys::series::Series;
use crate::world::{SYSTEM, bare, until};

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    tokens: u64,
    verified_at_once: u64,
    verified_later: u64,
    /// Tokens of each client for which no JWKS could be had yet.
    unverified: BTreeMap<&'static str, Vec<String>>,
    later: BTreeMap<u16, u64>,
    away: u64,
    secrets: BTreeSet<String>,
    some_tokens: Vec<String>,
    wrong: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_costs_a_client_more_than_another_try() {
    let Some(control_plane) = bare(Options { audit: true, ..Options::default() }).await else {
        return;
    };
    let launches = [
        Launch::new(&control_plane, "token-server-1", ISSUER).await,
        Launch::new(&control_plane, "token-server-2", ISSUER).await,
    ];
    let mut kill_targets = Victims::start(control_plane, &[]).await;
    let mut servers = launches.each_ref().map(Launch::start);
    let series = Series::with(kill_targets.admin.clone(), "load", SYSTEM);
    series.apply(key()).await;
    series.ready().await;
    let namespace = Namespace::with(kill_targets.admin.clone(), "load", SYSTEM).await;
    let names = ["one", "two", "three"];
    for name in names {
        namespace.apply(name, json!({"signingKeyRef": {"name": "load"}})).await;
        namespace.ready(name).await;
    }
    for server in &servers {
        server.ready().await;
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut clients = JoinSet::new();
    for name in names {
        let client_id = namespace.client_id(name).await.to_string();
        let (namespace, seen) = (namespace.clone(), Arc::clone(&seen));
        clients.spawn(ask_for_ever(namespace, name, client_id, launches.clone(), seen));
    }

    let most = if is_thorough() { 300 } else { 15 };
    for number in 0..most {
        strike(number, &mut kill_targets, &launches, &mut servers).await;
        if number % 3 == 0 {
            rotate(&namespace, names[(number / 3) as usize % names.len()], number).await;
        }
        tokio::time::sleep(LIFE).await;
    }

    for server in &servers {
        server.ready().await;
    }
    let before = seen.lock().unwrap().tokens;
    until("tokens after all of it", || async {
        (seen.lock().unwrap().tokens > before + 20).then_some(())
    })
    .await;
    clients.shutdown().await;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    for name in names {
        let jwks = until("a JWKS", || launches[0].jwks()).await;
        seen.verify(name, &jwks.body);
    }
    conclude(&seen, most);
    search_for_leaks(&kill_targets, &launches, &seen).await;
}

fn conclude(seen: &Seen, kills: u32) {
    let Seen { tokens, verified_at_once, verified_later, later, away, secrets, wrong, .. } = seen;
    let secrets = secrets.len();
    say(&format!(
        "token service: kills={kills} tokens={tokens} verified={verified_at_once} at once and {verified_later} later \
         secrets={secrets} later={later:?} away={away} wrong={}",
        wrong.len()
    ));
    keep(
        "kills_token_service",
        &json!({
            "kills": kills, "tokens": tokens, "verifiedAtOnce": verified_at_once,
            "verifiedLater": verified_later, "secrets": secrets, "away": away, "wrong": wrong.len(),
            "thorough": is_thorough(),
        }),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(verified_at_once + verified_later, *tokens, "a token was never verified");
    assert!(*tokens > 100 && secrets > 3, "too little went on for the kills to mean anything");
}

/// No client secret, verifier, private key or token is in anything that anybody wrote.
async fn search_for_leaks(kill_targets: &Victims, launches: &[Launch; 2], seen: &Seen) {
    let mut evidence = Evidence::default();
    for secret in &seen.secrets {
        evidence.secret(secret.get(3..13).unwrap(), secret);
    }
    for (number, token) in seen.some_tokens.iter().enumerate() {
        // The signature alone: what is before it is no secret.
        evidence.secret(&format!("token {number}"), token.rsplit('.').next().unwrap());
    }
    evidence.cluster(&kill_targets.admin).await;
    evidence.key_sets(&kill_targets.admin).await;
    for launch in launches {
        for (name, text) in launch.written() {
            evidence.text(&name, text);
        }
    }
    kill_targets.search_for_leaks("kills_token_service", evidence).await;
}

/// Keys that rotate as often as they may: published for longer than a replica takes to hear of it
/// while API servers are killed.
fn key() -> serde_json::Value {
    json!({
        "algorithm": "ES256",
        "rotation": {"period": "30s", "prePublish": "25s", "grace": "5m", "acceptOutage": true},
    })
}

async fn strike(
    number: u32,
    kill_targets: &mut Victims,
    launches: &[Launch; 2],
    servers: &mut [TokenServer; 2],
) {
    if number % 3 == 1 {
        let victim = (number / 3) as usize % 2;
        servers[victim].kill().await;
        servers[victim] = launches[victim].start();
    } else {
        kill_targets.strike(number).await;
    }
}

async fn rotate(namespace: &Namespace, name: &str, number: u32) {
    // While the API server is away this is one rotation fewer.
    let patch = json!({"metadata": {"annotations": {ROTATE_REQUESTED_AT: number.to_string()}}});
    let users = namespace.users();
    let parameters = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(patch);
    let _ = tokio::time::timeout(LIFE, users.patch(name, &parameters, &patch)).await;
}

/// Asks one of the two for a token with the newest secret that could be read, and the other one for
/// the keys to verify it with. Where that one is away, the next keys that this client gets have to do.
async fn ask_for_ever(
    namespace: Namespace,
    name: &'static str,
    client_id: String,
    launches: [Launch; 2],
    seen: Arc<Mutex<Seen>>,
) {
    let mut secret: Option<ClientSecret> = None;
    for round in 0_usize.. {
        let secrets = namespace.secrets();
        let delivered = format!("{name}-credentials");
        let read = tokio::time::timeout(READ, secrets.get_opt(&delivered)).await;
        if let Ok(Ok(Some(delivered))) = read
            && let Some(newest) = shown(&delivered)
            && secret.as_ref() != Some(&newest)
        {
            seen.lock().unwrap().secrets.insert(newest.reveal().to_owned());
            secret = Some(newest);
        }
        let Some(secret) = &secret else { continue };
        let (one, other) = (&launches[round % 2], &launches[(round + 1) % 2]);
        let answer = one.token(&client_id, secret).await;
        let jwks = other.jwks().await.filter(|answer| answer.status == 200);
        note(&seen, name, answer, jwks.map(|answer| answer.body));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Seen {
    /// Verifies what that client was issued, with keys that were fetched afterwards.
    fn verify(&mut self, name: &'static str, jwks: &str) {
        for token in self.unverified.remove(name).unwrap_or_default() {
            if verified(&token, jwks).is_some() {
                self.verified_later += 1;
            } else {
                self.wrong.push(format!("{name}: a token that nobody could verify later"));
            }
        }
    }
}

fn note(
    seen: &Mutex<Seen>,
    name: &'static str,
    answer: Option<super::server::Answer>,
    jwks: Option<String>,
) {
    let mut seen = seen.lock().unwrap();
    if let Some(jwks) = &jwks {
        seen.verify(name, jwks);
    }
    match answer {
        None => seen.away += 1,
        Some(answer) if answer.status == 200 => {
            seen.tokens += 1;
            let token = answer.access_token().unwrap();
            if seen.some_tokens.len() < SOME {
                seen.some_tokens.push(token.clone());
            }
            match jwks {
                None => seen.unverified.entry(name).or_default().push(token),
                Some(jwks) if verified(&token, &jwks).is_some() => seen.verified_at_once += 1,
                Some(_) => {
                    let text = "a token that the other replica cannot verify";
                    seen.wrong.push(format!("{name}: {text}"));
                }
            }
        }
        Some(answer) if matches!(answer.status, 429 | 503) => {
            *seen.later.entry(answer.status).or_default() += 1;
        }
        Some(answer) => seen.wrong.push(format!("{name}: {} {}", answer.status, answer.body)),
    }
}

const LIFE: Duration = Duration::from_millis(1500);
/// As many tokens are looked for in what was written.
const SOME: usize = 50;
const READ: Duration = Duration::from_secs(2);
