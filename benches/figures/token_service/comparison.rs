//! Two or more builds of the token service in one run, by turns: what a change costs per request.

use std::path::Path;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::load::{Connection, form, get, token};
use super::world::{SERIES, TokenServer};
use super::{Bench, DISCOVERY, JWKS, flat_out, quantile};
use crate::{count, text, wanted};

/// Asks for the same of every program in turn, and compares each with the first one.
pub(crate) async fn compare() -> Value {
    let Some(programs) = text("BENCH_AGAINST") else {
        println!("no comparison: BENCH_AGAINST names no other build of the program");
        return Value::Null;
    };
    let Some(bench) = Bench::start().await else { return Value::Null };
    let mut servers = Vec::new();
    for program in programs.split(':').chain([env!("CARGO_BIN_EXE_technical-user-operator")]) {
        let audit = bench.control_plane.folder().join(format!("{}.audit", servers.len()));
        let kubeconfig = bench.control_plane.kubeconfig();
        let flags = ["--client-rate", "1000000"];
        servers.push(TokenServer::start_of(Path::new(program), &kubeconfig, audit, &flags).await);
    }
    let figures = block_in_place(|| {
        bench
            .requests(&servers[0])
            .into_iter()
            .map(|(name, request)| {
                let figures = measured(&name, &servers, &request);
                (name, figures)
            })
            .collect()
    });
    Value::Object(figures)
}

impl Bench {
    /// What is asked for, by its name.
    fn requests(&self, server: &TokenServer) -> Vec<(String, Vec<u8>)> {
        let secret = self.credential.secret.reveal();
        let tokens = SERIES.iter().zip(&self.good);
        let tokens = tokens.map(|((name, _), id)| (format!("token {name}"), token(id, secret)));
        let mut connection = Connection::open(server.port);
        assert_eq!(connection.ask(&token(&self.good[1], secret)), 200);
        let answer = connection.body();
        let issued: Value = serde_json::from_slice(answer).unwrap();
        let issued = issued["access_token"].as_str().unwrap();
        let body = format!("token={issued}");
        let introspection = form("/oauth2/introspect", (&self.good[1], secret), &body);
        let reads = [JWKS, DISCOVERY].map(|path| (path.to_owned(), get(path)));
        tokens.chain([("introspection".to_owned(), introspection)]).chain(reads).collect()
    }
}

/// Medians over many short rounds: other load on the machine meets all programs alike.
fn measured(name: &str, servers: &[TokenServer], request: &[u8]) -> Value {
    for server in servers {
        assert_eq!(Connection::open(server.port).ask(request), 200);
    }
    let rounds: Vec<Vec<f64>> = (0..wanted("BENCH_ROUNDS", 15))
        .map(|round| {
            let mut each = vec![0.0; servers.len()];
            for turn in 0..servers.len() {
                let which = (round + turn) % servers.len();
                each[which] = flat_out(&servers[which], request).each_us;
            }
            each
        })
        .collect();
    let median =
        |of: &dyn Fn(&[f64]) -> f64| quantile(rounds.iter().map(|round| of(round)).collect(), 0.5);
    let figures = (0..servers.len()).map(|which| {
        let each = median(&|round| round[which]);
        let more = median(&|round| round[which] - round[0]);
        let ratio = median(&|round| round[which] / round[0]);
        let spread = rounds.iter().map(|round| round[which] - round[0] - more);
        let error = (spread.map(|it| it * it).sum::<f64>()).sqrt() / count(rounds.len());
        println!(
            "{name}: program {which}: {each:.2} us processor time, {more:+.2} us (+- {error:.2}) = {ratio:.3} x the first"
        );
        json!({"processorUs": each, "moreUs": more, "errorUs": error, "ratio": ratio})
    });
    figures.collect()
}
