//! Operator, API server and etcd are gone at once, for real.

use std::time::Duration;

use serde_json::json;
use support::control_plane::{Options, Process};
use tokio::time::Instant;

use super::server::{Launch, verified};
use crate::figures::{is_thorough, keep, say};
use crate::namespace::Namespace;
use crate::operator::ISSUER;
use crate::world::{SYSTEM, bare, launch};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_issued_while_everything_else_is_down() {
    let Some(mut control_plane) = bare(Options::default()).await else {
        return;
    };
    let operator = launch(&control_plane, "operator.log").start();
    operator.ready().await;
    let launch = Launch::new(&control_plane, "token-server", ISSUER).await;
    let server = launch.start();
    server.ready().await;
    let namespace = Namespace::with(control_plane.client().await, "outage", SYSTEM).await;
    namespace.apply("billing", json!({})).await;
    namespace.ready("billing").await;
    let client_id = namespace.client_id("billing").await.to_string();
    let secret = namespace.shown("billing-credentials").await;
    launch.answers(200, &client_id, &secret).await;

    drop(operator);
    control_plane.kill(Process::ControllerManager);
    control_plane.kill(Process::ApiServer);
    control_plane.kill(Process::Etcd);
    let down = Instant::now();
    let long = Duration::from_secs(if is_thorough() { 60 } else { 10 });
    let (mut tokens, mut failures) = (0, 0);
    while down.elapsed() < long {
        let answer = launch.token(&client_id, &secret).await.unwrap();
        let jwks = launch.jwks().await.unwrap();
        let token = answer.access_token();
        let is_good = token.is_some_and(|token| verified(&token, &jwks.body).is_some());
        if is_good { tokens += 1 } else { failures += 1 }
    }

    let seconds = long.as_secs();
    say(&format!("token service alone: seconds={seconds} tokens={tokens} failures={failures}"));
    keep(
        "token_service_alone",
        &json!({"seconds": seconds, "tokens": tokens, "failures": failures}),
    );
    assert_eq!(failures, 0);
    assert!(tokens > 100);
}
