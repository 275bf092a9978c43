//! What operator and token service take, measured in one run on a real control plane: processor time
//! as a ratio to one bcrypt, memory and requests at rest, and the time to be ready.
//!
//! `make bench` runs it. `BENCH_USERS` sets how many technical users are brought to rest,
//! `BENCH_NAMESPACES` to how many namespaces each of 100 signing keys publishes its JWKS. The figures
//! of the token service take `BENCH_CLIENTS`, `BENCH_REFUSALS` and `BENCH_LOOKUPS` for their sizes,
//! and `BENCH_SECONDS` for how long each attack lasts, twice.
//!
//! `BENCH_AGAINST=<program>` also compares this build with another one, by turns in one run; the part
//! alone is `cargo bench --bench figures -- comparison`. Several programs stand with `:` between them:
//! the first is what all are compared with. `BENCH_ROUNDS` sets how often each has its turn.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a benchmark prints its figures, and ends where something is not as it should be"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options};
use technical_user_operator::api::condition::ConditionStatus;
use technical_user_operator::api::crds::crds;
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics;
use technical_user_operator::controller::technical_user;
use technical_user_operator::controller::{Context, Settings, TokenLimits};
use technical_user_operator::domain::crypto::client_secret::{
    ClientSecret, CredentialId, Verifier,
};
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::System;
use technical_user_operator::kubernetes::client::ConditionalClient;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::operator::{Operator, processor_ms, requests};

mod operator;
mod signing_keys;
mod token_service;

const NAMESPACE: &str = "technical-user-system";
const ISSUED: usize = 100;
const HASHES: u32 = 40;
const COST: u32 = 10;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

/// All parts, or the one that is named (`token_service`, `comparison`, `operator`, `signing_keys`): `cargo bench
/// --bench figures -- token_service`.
async fn measure() {
    let mut words = std::env::args().skip(1);
    let only = words.find(|word| !word.starts_with('-'));
    let is_wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    if is_wanted("token_service") {
        write("token-service", &token_service::measure().await);
    }
    if is_wanted("comparison") && (only.is_some() || text("BENCH_AGAINST").is_some()) {
        write("comparison", &token_service::compare().await);
    }
    if is_wanted("operator") {
        measure_operator().await;
    }
    if is_wanted("signing_keys") {
        write("signing-keys", &signing_keys::measure().await);
    }
}

async fn measure_operator() {
    let options = Options { controller_manager: false, ..Options::default() };
    let Some(control_plane) = ControlPlane::start_or_skip(options).await else { return };
    let client = control_plane.client().await;
    prepare(&client).await;

    let issuing = issuing(&control_plane.kubeconfig(), &client).await;
    println!(
        "processor time to bring one technical user to ready: {:.1} ms = {:.2} x one bcrypt of cost {COST} ({:.1} ms), {ISSUED} users",
        issuing.each_ms,
        issuing.each_ms / issuing.bcrypt_ms,
        issuing.bcrypt_ms
    );
    let users = wanted("BENCH_USERS", 10_000);
    populate(&client, users).await;
    let rest = at_rest(&control_plane.kubeconfig(), &client).await;
    println!(
        "{users} technical users: ready {:.2} s after a restart, a new one issued {:.2} s after it",
        rest.ready_s, rest.first_s
    );
    println!(
        "{users} technical users at rest: {:.0} MB resident, {} requests in a minute beyond lease and watches, {:.0} ms processor time in that minute",
        rest.resident_mb, rest.requests, rest.processor_ms
    );
    let figures = json!({
        "issue": {"users": ISSUED, "processorMs": issuing.each_ms, "bcryptMs": issuing.bcrypt_ms, "ratio": issuing.each_ms / issuing.bcrypt_ms},
        "rest": {"users": users, "readySeconds": rest.ready_s, "firstIssueSeconds": rest.first_s, "residentMB": rest.resident_mb, "requestsPerMinute": rest.requests, "processorMsPerMinute": rest.processor_ms},
    });
    write("bench", &figures);
}

fn write(name: &str, figures: &Value) {
    std::fs::create_dir_all("target/figures").unwrap();
    let file = format!("target/figures/{name}.json");
    std::fs::write(&file, serde_json::to_string_pretty(figures).unwrap()).unwrap();
    println!("written to {file}");
}

async fn prepare(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in crds() {
        definitions.create(&PostParams::default(), &definition).await.unwrap();
        let name = definition.name_any();
        await_condition(definitions.clone(), &name, is_crd_established()).await.unwrap();
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in [NAMESPACE, "first", "many"] {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    }
}

// === one technical user ===

struct Issuing {
    each_ms: f64,
    bcrypt_ms: f64,
}

async fn issuing(kubeconfig: &Path, client: &Client) -> Issuing {
    let operator = Operator::start(kubeconfig);
    operator.ready().await;
    create(client, "first", "warm", 5).await;
    all_ready(client, "first", 5).await;
    let before = operator.processor_ms();
    create(client, "first", "user", ISSUED).await;
    all_ready(client, "first", ISSUED + 5).await;
    let spent = operator.processor_ms() - before;
    let bcrypt_ms = tokio::task::block_in_place(bcrypt);
    Issuing { each_ms: spent / count(ISSUED), bcrypt_ms }
}

fn bcrypt() -> f64 {
    let id = CredentialId::draw(&[7; 10]).unwrap();
    let secret = ClientSecret::draw(&id, &[9; 64]).unwrap();
    let before = processor_ms(std::process::id());
    for round in 0..HASHES {
        let salt = [u8::try_from(round).unwrap(); 16];
        std::hint::black_box(Verifier::of(&secret, COST, salt).unwrap());
    }
    (processor_ms(std::process::id()) - before) / f64::from(HASHES)
}

// === many technical users ===

struct Rest {
    ready_s: f64,
    first_s: f64,
    resident_mb: f64,
    requests: u64,
    processor_ms: f64,
}

async fn at_rest(kubeconfig: &Path, client: &Client) -> Rest {
    let began = Instant::now();
    let operator = Operator::start(kubeconfig);
    operator.ready().await;
    let ready_s = began.elapsed().as_secs_f64();
    create(client, "first", "late", 1).await;
    all_ready(client, "first", ISSUED + 6).await;
    let first_s = began.elapsed().as_secs_f64();
    // Let the watches tell of the last write before the minute begins.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, spent) = (requests(client).await, operator.processor_ms());
    tokio::time::sleep(Duration::from_mins(1)).await;
    Rest {
        ready_s,
        first_s,
        resident_mb: operator.resident_mb(),
        requests: requests(client).await - before,
        processor_ms: operator.processor_ms() - spent,
    }
}

/// Brings many users to ready with the same controllers in this process and a cheap bcrypt.
async fn populate(client: &Client, users: usize) {
    let clock = Arc::new(System::start());
    let settings = Settings {
        namespace: NAMESPACE.to_owned(),
        controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
        watch_namespaces: vec!["many".to_owned()],
        endpoints: Endpoints { issuer: ISSUER.to_owned() },
        policy: technical_user_operator::domain::policy::Policy::unbounded(),
        bcrypt_cost: 4,
        identity: "populate".to_owned(),
        limits: TokenLimits::default(),
        bootstrap_signing_key: false,
    };
    let (candidate, leadership) =
        LeaderElector::new(client.clone(), &settings, "populate", Arc::clone(&clock) as _);
    let context = Arc::new(Context {
        cluster: ConditionalClient::new(client.clone(), Arc::clone(&clock) as _),
        entropy: Arc::clone(&clock) as _,
        key_pairs: clock,
        settings,
        leadership,
        hashing: Arc::new(Semaphore::new(2)),
        metrics: Metrics::register(&mut Registry::default()),
        installations: Arc::default(),
    });
    let (synced, _) = watch::channel(Synced(false));
    let engine =
        tokio::spawn(technical_user::run(client.clone(), context, synced, std::future::pending()));
    let lease = tokio::spawn(async move { candidate.run().await });
    create(client, "many", "user", users).await;
    all_ready(client, "many", users).await;
    engine.abort();
    lease.abort();
}

async fn create(client: &Client, namespace: &str, prefix: &str, count: usize) {
    let api: Api<TechnicalUser> = Api::namespaced(client.clone(), namespace);
    stream::iter(0..count)
        .for_each_concurrent(16, |index| {
            let api = api.clone();
            let user: TechnicalUser = serde_json::from_value(json!({
                "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
                "metadata": {"name": format!("{prefix}-{index}")},
                "spec": {},
            }))
            .unwrap();
            async move {
                api.create(&PostParams::default(), &user).await.unwrap();
            }
        })
        .await;
}

async fn all_ready(client: &Client, namespace: &str, wanted: usize) {
    let api: Api<TechnicalUser> = Api::namespaced(client.clone(), namespace);
    let mut reported = 0;
    loop {
        let users = api.list(&ListParams::default()).await.unwrap();
        let ready = users.items.iter().filter(|user| is_ready(user)).count();
        if ready >= wanted {
            return;
        }
        if ready >= reported + 1000 {
            reported = ready;
            eprintln!("  {ready} of {wanted} technical users are ready");
        }
        tokio::time::sleep(Duration::from_millis(if wanted > 1000 { 2000 } else { 100 })).await;
    }
}

fn is_ready(user: &TechnicalUser) -> bool {
    let conditions = user.status.as_ref().map(|status| status.conditions.as_slice());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|it| it.type_ == "Ready" && it.status == ConditionStatus::True)
}

fn wanted(name: &str, default: usize) -> usize {
    text(name).and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[expect(clippy::disallowed_methods, reason = "what a benchmark measures is its caller's choice")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn count(number: usize) -> f64 {
    number as f64
}

const ISSUER: &str = "https://auth.example.com";
