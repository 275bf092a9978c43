//! HTTP/1.1 and HTTP/2 in the clear.

use crate::given::{get_multiplexed, multiplexed, served, within};
use technical_user_operator::server::http::listener::ListenerLimits;
use tokio::net::TcpStream;

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let served = served(ListenerLimits::default());
    let mut client = served.connect().await;

    for _ in 0..3 {
        let answer = client.get("/hello").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
        assert!(!answer.is_last());
    }

    assert_eq!(served.open.count(), 1);
}

#[tokio::test]
async fn requests_may_be_sent_before_the_answers_to_those_before() {
    let served = served(ListenerLimits::default());
    let mut client = served.connect().await;

    client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).await;

    for _ in 0..3 {
        assert_eq!(client.answer().await.body, "hello");
    }
}

#[tokio::test]
async fn http_2_is_spoken_to_who_begins_with_it() {
    let served = served(ListenerLimits::default());
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (client, _connection) = multiplexed(stream).await;

    let waiting = {
        let mut client = client.clone();
        tokio::spawn(async move { get_multiplexed(&mut client, "/wait").await })
    };
    served.gate.entered().await;
    assert_eq!(get_multiplexed(&mut client.clone(), "/hello").await, "hello");
    served.gate.open();

    assert_eq!(within(waiting).await.unwrap(), "waited");
    assert_eq!(served.open.count(), 1);
}

#[tokio::test]
async fn a_client_that_speaks_something_else_ends_nothing_but_its_connection() {
    let served = served(ListenerLimits::default());
    let mut stranger = served.connect().await;

    stranger.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await;

    assert_eq!(stranger.answer().await.status, 400);
    stranger.ended().await;
    assert_eq!(served.connect().await.get("/hello").await.status, 200);
}
