//! Bodies that are too large, too slow, or never end.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use technical_user_operator::server::http::form_request::BodyBounds;
use technical_user_operator::server::http::listener::ListenerLimits;
use tokio::net::TcpStream;

use crate::given::{Answer, SHORT, Served, multiplexed, serve, text, within};

fn served(bodies: BodyBounds) -> Served {
    serve(ListenerLimits::default(), bodies, None)
}

fn assert_refused(answer: &Answer, status: u16, description: &str) {
    let expected = format!(r#"{{"error":"invalid_request","error_description":"{description}"}}"#);
    assert_eq!((answer.status, &answer.body), (status, &expected));
    assert!(answer.head.contains("content-type: application/json\r\n"));
    assert!(answer.head.contains("cache-control: no-store\r\n"));
    assert!(answer.is_last());
}

#[tokio::test]
async fn a_body_arrives_whole_in_whatever_pieces() {
    let served = served(BodyBounds::default());
    let mut client = served.connect().await;
    let head = "POST /length HTTP/1.1\r\nHost: a\r\n";

    client.send(format!("{head}Content-Length: 5\r\n\r\nhello")).await;
    assert_eq!(client.answer().await.body, "5");
    client.send(format!("{head}Content-Length: 5\r\n\r\n")).await;
    client.send("he").await;
    client.send("llo").await;
    assert_eq!(client.answer().await.body, "5");
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    client.send("2\r\nhe\r\n").await;
    client.send("3\r\nllo\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "5");
    client.send(format!("{head}\r\n")).await;
    assert_eq!(client.answer().await.body, "0");
    client.send(format!("{head}Content-Length: 65536\r\n\r\n{}", "a".repeat(65536))).await;
    assert_eq!(client.answer().await.body, "65536");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let served = served(BodyBounds::default());
    let mut client = served.connect().await;
    let head = "POST /length HTTP/1.1\r\nHost: a\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n";

    // RFC 9110 section 10.1.1: it sends the form when it has read 100, and not before.
    for _ in 0..2 {
        client.send(format!("{head}Content-Length: 5\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 100);
        client.send("a=b&c").await;
        assert_eq!(client.answer().await.body, "5");
    }
    client.send(format!("{head}Content-Length: 65537\r\n\r\n")).await;

    assert_refused(&client.answer().await, 413, "the body is too large");
    client.ended().await;
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let served = served(BodyBounds::default());
    let mut client = served.connect().await;

    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n").await;

    assert_refused(&client.answer().await, 413, "the body is too large");
    client.ended().await;
}

#[tokio::test]
async fn who_sends_a_large_body_to_its_end_still_reads_the_answer() {
    let served = served(BodyBounds::default());
    let mut client = served.connect().await;

    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n").await;
    within(client.0.readable()).await.unwrap();
    for _ in 0..50 {
        // Into a socket that the server has closed, only the first would succeed.
        client.send("a".repeat(10_000)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    assert_refused(&client.answer().await, 413, "the body is too large");
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused() {
    let served = served(BodyBounds { bytes: 10, ..BodyBounds::default() });
    let mut client = served.connect().await;
    let head = "POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

    client.send(format!("{head}8\r\n12345678\r\n")).await;
    client.send("8\r\n12345678\r\n").await;

    assert_refused(&client.answer().await, 413, "the body is too large");
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let served = served(BodyBounds { deadline: SHORT, ..BodyBounds::default() });
    let mut client = served.connect().await;

    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").await;

    assert_refused(&client.answer().await, 408, "the body took too long");
    client.ended().await;
}

#[tokio::test]
async fn a_large_body_over_http_2_ends_its_stream_only() {
    let served = served(BodyBounds::default());
    let stream = TcpStream::connect(served.address).await.unwrap();
    let (mut client, _connection) = multiplexed(stream).await;

    for (length, expected) in [(500_000, 413), (65_536, 200)] {
        let body = Full::new(Bytes::from(vec![b'a'; length]));
        let request = Request::post("http://a/length").body(body).unwrap();
        let response = within(client.send_request(request)).await.unwrap();
        assert!(!response.headers().contains_key("connection"));
        assert_eq!(text(response).await.0, expected);
    }

    assert_eq!(served.open.count(), 1);
}
