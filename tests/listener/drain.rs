//! The end of a listener.

use std::io::ErrorKind;

use crate::given::{SHORT, get_multiplexed, multiplexed, served, until, within};
use technical_user_operator::server::http::listener::ListenerLimits;
use tokio::net::TcpStream;

#[tokio::test]
async fn running_requests_end_and_nobody_else_comes_in() {
    let served = served(ListenerLimits::default());
    let (address, open, gate) = (served.address, served.open.clone(), served.gate.clone());
    let mut running = served.connect().await;
    running.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.entered().await;
    let (mut other, connection) = multiplexed(TcpStream::connect(address).await.unwrap()).await;
    let other = tokio::spawn(async move { get_multiplexed(&mut other, "/wait").await });
    gate.entered().await;
    let mut idle = served.connect().await;
    idle.get("/hello").await;

    let stopped = served.stop();
    idle.ended().await;
    let refused = TcpStream::connect(address).await.unwrap_err();
    gate.open();
    gate.open();

    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let answer = running.answer().await;
    assert_eq!(answer.body, "waited");
    assert!(answer.is_last());
    assert_eq!(within(other).await.unwrap(), "waited");
    within(connection).await.unwrap();
    stopped.await;
    assert_eq!(open.count(), 0);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut() {
    let served = served(ListenerLimits { drain: SHORT, ..ListenerLimits::default() });
    let open = served.open.clone();
    let mut running = served.connect().await;
    running.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.gate.entered().await;

    served.stop().await;

    running.ended().await;
    assert_eq!(open.count(), 0);
}

#[tokio::test]
async fn silent_clients_do_not_hold_the_drain_up() {
    let served = served(ListenerLimits::default());
    let mut silent = served.connect().await;
    let mut slow = served.connect().await;
    slow.send("GET /hel").await;
    until(|| served.open.count() == 2).await;

    served.stop().await;

    silent.ended().await;
    slow.ended().await;
}

#[tokio::test]
async fn a_drain_that_waits_for_room_ends() {
    let served = served(ListenerLimits { connections: 1, ..ListenerLimits::default() });
    let gate = served.gate.clone();
    let mut running = served.connect().await;
    running.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    gate.entered().await;
    let mut waiting = served.connect().await;

    let stopped = served.stop();
    waiting.ended().await;
    gate.open();

    assert_eq!(running.answer().await.body, "waited");
    stopped.await;
}

#[tokio::test]
async fn no_connection_outlives_the_listener() {
    let served = served(ListenerLimits::default());
    let open = served.open.clone();
    let mut running = served.connect().await;
    running.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.gate.entered().await;

    served.abort().await;

    running.ended().await;
    until(|| open.count() == 0).await;
}
