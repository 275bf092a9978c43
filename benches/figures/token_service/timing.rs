//! Whether the time of a refusal tells that a client exists.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::load::{Connection, token};
use super::world::unknown_id;
use super::{Bench, quantile};
use crate::{count, wanted};

impl Bench {
    /// A client that exists and one that does not, each with a client secret of the right form whose
    /// id that does not exist: in random order, so that nothing else tells them apart.
    pub(super) async fn timing(&self) -> Value {
        let server = self.server("timing", &[]).await;
        let clients = [self.good[1].clone(), "tu0000000000000000000000nn".to_owned()];
        block_in_place(|| {
            let mut connection = Connection::open(server.port);
            let fresh = self.fresh(&mut connection, &clients);
            let remembered = self.remembered(&mut connection, &clients);
            let fresh = report("asked for at the API server", &fresh);
            let remembered = report("remembered", &remembered);
            json!({"fresh": fresh, "remembered": remembered})
        })
    }

    fn fresh(&self, connection: &mut Connection, clients: &[String; 2]) -> [Vec<f64>; 2] {
        let mut took = [Vec::new(), Vec::new()];
        for (number, which) in (0..).zip(coins()).take(wanted("BENCH_LOOKUPS", 700)) {
            let request = token(&clients[which], &self.credential.wrong(Some(&unknown_id(number))));
            loop {
                // A connection that is only refused pauses some time.
                *connection = Connection::open(connection.port());
                let began = Instant::now();
                let status = connection.ask(&request);
                let took_us = began.elapsed().as_secs_f64() * 1e6;
                if status != 503 {
                    took[which].push(took_us);
                    break;
                }
                // Beyond the lookups that there may be a second.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        took
    }

    fn remembered(&self, connection: &mut Connection, clients: &[String; 2]) -> [Vec<f64>; 2] {
        let wrong = self.credential.wrong(Some(&unknown_id(0)));
        let requests = clients.each_ref().map(|client| token(client, &wrong));
        for request in &requests {
            while connection.ask(request) == 503 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let mut took = [Vec::new(), Vec::new()];
        for (number, which) in coins().take(wanted("BENCH_REFUSALS", 100_000)).enumerate() {
            // A connection that is only refused pauses some time.
            if number % 8 == 0 {
                *connection = Connection::open(connection.port());
                connection.ask(&requests[0]);
            }
            let began = Instant::now();
            connection.ask(&requests[which]);
            took[which].push(began.elapsed().as_secs_f64() * 1e6);
        }
        took
    }
}

/// Of all requests, and without the slowest twentieth: a few that the machine held up for milliseconds
/// make the error of the mean so large that nothing could be seen in it, while whatever is slow because
/// of the client would be seen in all. Neither may tell the two apart.
fn report(what: &str, took: &[Vec<f64>; 2]) -> Value {
    let bound = quantile(took.concat(), 0.95);
    let fast = took.each_ref().map(|it| it.iter().copied().filter(|it| *it <= bound).collect());
    json!({
        "all": welch(&format!("{what}, all"), took),
        "withoutSlowestTwentieth": welch(&format!("{what}, without the slowest twentieth"), &fast),
    })
}

fn welch(what: &str, [known, unknown]: &[Vec<f64>; 2]) -> Value {
    let ((known_us, known_error), (unknown_us, unknown_error)) = (mean(known), mean(unknown));
    let t = (known_us - unknown_us) / (known_error + unknown_error).sqrt();
    let requests = known.len() + unknown.len();
    println!(
        "refused, {what}: a known client {known_us:.2} us, an unknown one {unknown_us:.2} us, Welch t = {t:.2} ({requests} requests)"
    );
    json!({"knownUs": known_us, "unknownUs": unknown_us, "t": t, "requests": requests})
}

/// The mean, and the square of its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let size = count(values.len());
    let mean = values.iter().sum::<f64>() / size;
    let variance = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (size - 1.0);
    (mean, variance / size)
}

/// 0 or 1, forever the same (xorshift64).
fn coins() -> impl Iterator<Item = usize> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::from(state >> 63 == 1)
    })
}
