//! More connections than the process may have open files.

use std::time::Duration;

use serde_json::json;
use support::control_plane::{Options, Process};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::server::Launch;
use crate::namespace::Namespace;
use crate::operator::ISSUER;
use crate::world::{SYSTEM, bare, launch};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_all_connections_takes_no_file_that_the_process_needs() {
    let Some(mut control_plane) = bare(Options::default()).await else {
        return;
    };
    let operator = launch(&control_plane, "operator.log").start();
    operator.ready().await;
    let launch = Launch::new(&control_plane, "token-server", ISSUER).await.with_files(FILES);
    let server = launch.start();
    server.ready().await;
    let mut crowd = JoinSet::new();
    for _ in 0..FILES * 2 {
        let ports = launch.ports();
        crowd.spawn(async move {
            for port in ports.iter().cycle() {
                // Says nothing, stays as long as it may, and is back at once.
                if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", *port)).await {
                    let _ = stream.read_u8().await;
                } else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }

    // Every watch has to connect again, and what is new has to be looked up.
    control_plane.kill(Process::ApiServer);
    control_plane.restart(Process::ApiServer).await.unwrap();
    let namespace = Namespace::with(control_plane.client().await, "crowd", SYSTEM).await;
    namespace.apply("billing", json!({})).await;
    namespace.ready("billing").await;
    let client_id = namespace.client_id("billing").await.to_string();
    let secret = namespace.shown("billing-credentials").await;

    launch.answers(200, &client_id, &secret).await;
    namespace.apply("billing", json!({"suspend": true})).await;
    launch.answers(401, &client_id, &secret).await;
    server.ready().await;
}

/// The limit of open files: far less than connections that there may be.
const FILES: usize = 200;
