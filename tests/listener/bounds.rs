//! What one client may take from the others.

use std::time::Duration;

use crate::given::{SHORT, get_multiplexed, multiplexed, served, until, within};
use technical_user_operator::server::http::listener::ListenerLimits;
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn who_sends_nothing_is_cut_off() {
    let served = served(ListenerLimits { head: SHORT, ..ListenerLimits::default() });

    served.connect().await.ended().await;

    until(|| served.open.count() == 0).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let served = served(ListenerLimits { head: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;

    let trickle = async {
        client.send("GET /hello HTTP/1.1\r\n").await;
        // Until the server has had enough of it.
        while tokio::io::AsyncWriteExt::write_all(&mut client.0, b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    within(trickle).await;
    until(|| served.open.count() == 0).await;
}

#[tokio::test]
async fn a_later_head_that_trickles_is_cut_off() {
    let served = served(ListenerLimits { head: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;
    client.get("/hello").await;

    client.send("GET /hel").await;

    client.ended().await;
}

#[tokio::test]
async fn who_waits_between_requests_is_not_taken_for_slow() {
    let served = served(ListenerLimits { head: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;
    client.get("/hello").await;

    tokio::time::sleep(4 * SHORT).await;

    assert_eq!(client.get("/hello").await.status, 200);
}

#[tokio::test]
async fn a_connection_without_requests_ends_some_time() {
    let served = served(ListenerLimits { idle: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;
    client.get("/hello").await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut other, connection) = multiplexed(stream).await;
    get_multiplexed(&mut other, "/hello").await;

    client.ended().await;
    within(connection).await.unwrap();

    until(|| served.open.count() == 0).await;
}

#[tokio::test]
async fn http_2_ends_for_who_does_not_answer_pings() {
    let served = served(ListenerLimits { ping: SHORT, pong: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;

    // The preface and empty settings, and nothing after that.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;

    until(|| served.open.count() == 1).await;
    until(|| served.open.count() == 0).await;
}

#[tokio::test]
async fn a_request_that_never_ends_does() {
    let served = served(ListenerLimits { request: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;

    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;

    client.ended().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered() {
    let served = served(ListenerLimits::default());
    let large = "a".repeat(17 * 1024);
    let mut client = served.connect().await;
    client.send(format!("GET /hello HTTP/1.1\r\nHost: a\r\nA: {large}\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 431);
    client.ended().await;

    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut client, _connection) = multiplexed(stream).await;
    let request = http::Request::get("http://a/hello").header("a", large);
    let request = request.body(http_body_util::Full::default()).unwrap();
    match within(client.send_request(request)).await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
}

#[tokio::test]
async fn one_connection_more_waits_for_another_to_end() {
    let served = served(ListenerLimits { connections: 2, ..ListenerLimits::default() });
    let mut busy = [served.connect().await, served.connect().await];
    for client in &mut busy {
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        served.gate.entered().await;
    }

    let mut third = served.connect().await;
    third.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(served.open.count(), 2);
    served.gate.open();

    served.gate.entered().await;
    assert_eq!(served.open.count(), 2);
}

#[tokio::test]
async fn who_has_waited_longest_makes_room() {
    let served = served(ListenerLimits { connections: 2, ..ListenerLimits::default() });
    let mut idle = [served.connect().await, served.connect().await];
    for client in &mut idle {
        client.get("/hello").await;
    }
    idle[0].get("/hello").await;

    let mut third = served.connect().await;

    assert_eq!(third.get("/hello").await.status, 200);
    idle[1].ended().await;
    assert_eq!(idle[0].get("/hello").await.status, 200);
}

#[tokio::test]
async fn silent_connections_lock_nobody_out() {
    let served = served(ListenerLimits { connections: 3, ..ListenerLimits::default() });
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(served.connect().await);
    }

    assert_eq!(served.connect().await.get("/hello").await.status, 200);
    assert!(served.open.count() <= 3);
}

#[tokio::test]
async fn an_old_connection_is_told_to_end() {
    let served = served(ListenerLimits { age: SHORT, ..ListenerLimits::default() });
    let mut client = served.connect().await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut other, connection) = multiplexed(stream).await;
    get_multiplexed(&mut other, "/hello").await;

    while !client.get("/hello").await.is_last() {}

    client.ended().await;
    within(connection).await.unwrap();
}

#[tokio::test]
async fn refusals_hold_up_nothing_else_on_their_connection() {
    let served = served(ListenerLimits::default());
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (client, _connection) = multiplexed(stream).await;
    let began = Instant::now();

    // Many times what runs at once on one connection.
    let refused = (0..1000).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { get_multiplexed(&mut client, "/none").await })
    });
    let refused: Vec<_> = refused.collect();
    assert_eq!(get_multiplexed(&mut client.clone(), "/hello").await, "hello");

    for answer in refused {
        within(answer).await.unwrap();
    }
    // Held back by a rate, they would take far longer than a busy machine does.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_connection_that_is_only_refused_is_read_a_moment_later_until_one_succeeds() {
    let served = served(ListenerLimits::default());
    let (mut guessing, mut other) = (served.connect().await, served.connect().await);
    let began = Instant::now();

    for _ in 0..26 {
        assert_eq!(guessing.get("/none").await.status, 404);
        assert_eq!(other.get("/none").await.status, 404);
        assert_eq!(other.get("/hello").await.status, 200);
    }

    // Ten of them after sixteen, of 20 ms at least, and none of a connection on which something succeeds.
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(guessing.get("/hello").await.status, 200);
    assert_eq!(guessing.get("/none").await.status, 404);
}
