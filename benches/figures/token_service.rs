//! The figures of the token service: the real binary as a process of its own, a load generator
//! beside it, and one bcrypt on the same machine to compare with.

use std::path::PathBuf;
use std::thread::spawn;
use std::time::Duration;

use serde_json::{Value, json};
use support::control_plane::{ControlPlane, Options};
use technical_user_operator::domain::crypto::public_key::{Algorithm, KeyType};
use technical_user_operator::environment::System;
use technical_user_operator::environment::private_key::{KeyPairs as _, PrivateKey};
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::operator::processor_ms;
use crate::{count, prepare, wanted};
pub(crate) use comparison::compare;
use load::{Connection, Flood, Requests, get, token};
use world::{Credential, SERIES, TokenServer, make_keys, write_clients};

mod comparison;
mod load;
mod timing;
mod world;

/// What all parts need.
struct Bench {
    control_plane: ControlPlane,
    credential: Credential,
    /// One client for each of [`SERIES`].
    good: Vec<String>,
}

/// Prints the figures, and returns them.
pub(crate) async fn measure() -> Value {
    let Some(bench) = Bench::start().await else { return Value::Null };
    let client = bench.control_plane.client().await;
    let (empty_mb, tokens) = bench.tokens().await;
    let timing = bench.timing().await;
    let clients = wanted("BENCH_CLIENTS", 10_000);
    let many = (String::from("client"), clients);
    let ids = write_clients(&client, &bench.credential, (&many.0, many.1), SERIES[1].1).await;
    let server = bench.server("attacked", &[]).await;
    let each_mb = (server.resident_mb() - empty_mb) * 10_000.0 / count(clients);
    println!(
        "{clients} clients: the token service is ready after {:.2} s and has {each_mb:.0} MB for each 10,000 of them above the {empty_mb:.0} MB without any",
        server.ready_s
    );
    let rest = json!({"clients": clients, "readySeconds": server.ready_s, "emptyMB": empty_mb, "clientsMB": each_mb});
    let attacks = block_in_place(|| bench.attacks(&server, &ids));
    json!({"tokens": tokens, "timing": timing, "rest": rest, "attacks": attacks})
}

impl Bench {
    /// A control plane with a key for each of [`SERIES`] and a client for each key.
    async fn start() -> Option<Self> {
        let options = Options { controller_manager: false, ..Options::default() };
        let control_plane = ControlPlane::start_or_skip(options).await?;
        let client = control_plane.client().await;
        prepare(&client).await;
        make_keys(&client, &control_plane.kubeconfig()).await;
        let credential = Credential::new();
        let mut good = Vec::new();
        for (_, series) in SERIES {
            good.extend(write_clients(&client, &credential, (series, 1), series).await);
        }
        Some(Self { control_plane, credential, good })
    }

    async fn server(&self, name: &str, flags: &[&str]) -> TokenServer {
        let audit: PathBuf = self.control_plane.folder().join(format!("{name}.audit"));
        TokenServer::start(&self.control_plane.kubeconfig(), audit, flags).await
    }

    // === processor time ===

    /// The memory of a server without clients to speak of, and the processor time of a token.
    async fn tokens(&self) -> (f64, Value) {
        // One client is all the load there is here: its limit is counted, and never reached.
        let server = self.server("tokens", &["--client-rate", "1000000"]).await;
        let empty_mb = server.resident_mb();
        let bcrypt_us = block_in_place(crate::bcrypt) * 1000.0;
        let mut figures = serde_json::Map::new();
        let keys = [
            (Algorithm::RS256, KeyType::Rsa(2048)),
            (Algorithm::ES256, KeyType::P256),
            (Algorithm::EdDsa, KeyType::Ed25519),
        ];
        for (((name, _), client), key) in SERIES.iter().zip(&self.good).zip(keys) {
            let request = token(client, self.credential.secret.reveal());
            let figure = block_in_place(|| {
                Connection::open(server.port).ask(&request);
                let signing = signer(key.0, key.1);
                let rounds = (0..ROUNDS).map(|_| (raw_us(&signing), flat_out(&server, &request)));
                let (raw, token): (Vec<f64>, Vec<Figure>) = rounds.unzip();
                let most = token.iter().map(|it| it.a_second).fold(0.0, f64::max);
                (least(raw), least(token.iter().map(|it| it.each_us)), most)
            });
            let (raw, each, a_second) = figure;
            println!(
                "a token with {name}: {each:.1} us processor time = {raw:.1} us for its signature + {:.1} us, {:.0} x the tokens of one bcrypt each ({bcrypt_us:.0} us), {a_second:.0} a second with the load beside it (--client-rate 1000000)",
                each - raw,
                bcrypt_us / each
            );
            figures.insert((*name).to_owned(), json!({"processorUs": each, "signatureUs": raw, "restUs": each - raw, "timesBcrypt": bcrypt_us / each, "aSecond": a_second}));
        }
        for path in [JWKS, DISCOVERY] {
            let rounds = || (0..ROUNDS).map(|_| flat_out(&server, &get(path)).each_us);
            let each = block_in_place(|| least(rounds()));
            println!(
                "{path}: {each:.1} us processor time = {:.0} requests a second and core",
                1e6 / each
            );
            figures.insert(
                path.to_owned(),
                json!({"processorUs": each, "aSecondAndCore": 1e6 / each}),
            );
        }
        (empty_mb, Value::Object(figures))
    }

    // === latency ===

    /// How long a good client and readers wait, alone and beside who means no good.
    fn attacks(&self, server: &TokenServer, ids: &[String]) -> Value {
        let lasts = Duration::from_secs(u64::try_from(wanted("BENCH_SECONDS", 4)).unwrap());
        let wrong = || {
            let wrong = self.credential.wrong(None);
            let requests = ids.iter().take(ATTACKERS).map(|id| {
                let request = token(id, &wrong);
                Box::new(move || request.clone()) as Requests
            });
            requests.collect()
        };
        let mut number = 0;
        let mut unknown = || {
            let wrong = self.credential.wrong(None);
            let requests = (0..ATTACKERS).map(|_| {
                number += 1_000_000;
                let (wrong, mut next) = (wrong.clone(), number);
                Box::new(move || {
                    next += 1;
                    token(&format!("nobody{next}"), &wrong)
                }) as Requests
            });
            requests.collect()
        };
        // Those at the front are for the wrong client secrets.
        let mut share = ids[ATTACKERS..].chunks(ids.len() / (ATTACKERS * 2) + 1);
        let mut cold = || {
            let secret = self.credential.secret.reveal();
            let requests = share.by_ref().take(ATTACKERS).map(|ids| {
                let requests: Vec<_> = ids.iter().map(|id| token(id, secret)).collect();
                let mut requests = requests.into_iter().cycle();
                Box::new(move || requests.next().unwrap()) as Requests
            });
            requests.collect()
        };
        let mut waits = [const { (Vec::new(), Vec::new()) }; 4];
        let mut answers = [const { Vec::new() }; 4];
        // Twice, so that a hiccup of the machine meets all alike.
        for _ in 0..2 {
            let floods: [Vec<Requests>; 4] = [Vec::new(), wrong(), unknown(), cold()];
            for (index, requests) in floods.into_iter().enumerate() {
                let flood = Flood::start(server.port, requests);
                let (tokens, reads) = self.waits(server, lasts);
                answers[index].extend(flood.stop());
                waits[index].0.extend(tokens);
                waits[index].1.extend(reads);
            }
        }
        report(waits, &answers)
    }

    /// Microseconds of a good client, and of who reads JWKS and discovery.
    fn waits(&self, server: &TokenServer, lasts: Duration) -> (Vec<f64>, Vec<f64>) {
        let port = server.port;
        let good = vec![token(&self.good[1], self.credential.secret.reveal())];
        let reads = vec![get(JWKS), get(DISCOVERY)];
        Connection::open(port).ask(&good[0]);
        let good = spawn(move || Connection::paced(port, &good, A_SECOND, lasts));
        let reads = spawn(move || Connection::paced(port, &reads, A_SECOND, lasts));
        (good.join().unwrap(), reads.join().unwrap())
    }
}

fn report(waits: [(Vec<f64>, Vec<f64>); 4], answers: &[Vec<u16>; 4]) -> Value {
    let names = ["alone", "wrong client secrets", "unknown clients", "cold start of new clients"];
    let mut figures = serde_json::Map::new();
    let mut alone = None;
    for ((name, (tokens, reads)), answers) in names.into_iter().zip(waits).zip(answers) {
        let (token, read) = (quantile(tokens, 0.99), quantile(reads, 0.99));
        let (token_alone, read_alone) = *alone.get_or_insert((token, read));
        let of = |status: u16| answers.iter().filter(|it| **it == status).count();
        println!(
            "{name}: p99 of a good client {token:.0} us = {:.1} x alone, of JWKS and discovery {read:.0} us = {:.1} x alone; {} answers to {ATTACKERS} connections: 200 {}, 401 {}, 429 {}, 503 {}",
            token / token_alone,
            read / read_alone,
            answers.len(),
            of(200),
            of(401),
            of(429),
            of(503)
        );
        figures.insert(name.to_owned(), json!({"tokenP99Us": token, "tokenTimesAlone": token / token_alone, "readP99Us": read, "readTimesAlone": read / read_alone, "answers": answers.len()}));
    }
    Value::Object(figures)
}

// === measuring ===

struct Figure {
    each_us: f64,
    a_second: f64,
}

/// Many connections with one request, as fast as they can.
fn flat_out(server: &TokenServer, request: &[u8]) -> Figure {
    let requests = (0..CONNECTIONS).map(|_| {
        let request = request.to_vec();
        Box::new(move || request.clone()) as Requests
    });
    let before = server.processor_time();
    let flood = Flood::start(server.port, requests.collect());
    std::thread::sleep(FLAT_OUT);
    let answers = flood.stop();
    let spent = server.processor_time().us_since(&before);
    assert!(answers.iter().all(|status| *status == 200));
    Figure {
        each_us: spent / count(answers.len()),
        a_second: count(answers.len()) / FLAT_OUT.as_secs_f64(),
    }
}

fn signer(algorithm: Algorithm, shape: KeyType) -> PrivateKey {
    let der = System::start().generate("bench", shape).unwrap();
    PrivateKey::from_pkcs8(algorithm, der.as_bytes()).unwrap()
}

/// Processor time of one signature over as much as a token has, on every core at once as in the
/// server.
fn raw_us(key: &PrivateKey) -> f64 {
    let message = [b'a'; 520];
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let before = processor_ms(std::process::id());
    let began = Instant::now();
    let sign = || {
        let mut signed: u32 = 0;
        while began.elapsed() < RAW {
            std::hint::black_box(key.sign(&message).unwrap());
            signed += 1;
        }
        signed
    };
    let signed: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(sign)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (processor_ms(std::process::id()) - before) * 1000.0 / f64::from(signed)
}

/// What it takes when no other process runs: what neighbours of this machine do only adds to it.
fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index between none and all"
)]
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(count(values.len() - 1) * part) as usize]
}

const JWKS: &str = "/.well-known/jwks.json";
const DISCOVERY: &str = "/.well-known/openid-configuration";
const ROUNDS: usize = 6;
const CONNECTIONS: usize = 16;
const ATTACKERS: usize = 32;
/// Well within the limit of one client.
const A_SECOND: u32 = 400;
const FLAT_OUT: Duration = Duration::from_secs(1);
const RAW: Duration = Duration::from_millis(250);
