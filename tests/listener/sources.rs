//! Where a request comes from is what the connection says, in spite of its headers; and how much one
//! source may take.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use http::Request;
use http_body_util::Full;
use technical_user_operator::server::http::listener::{Listener, ListenerLimits};
use tokio::net::{TcpSocket, TcpStream};

use crate::given::{Raw, SHORT, get_multiplexed, multiplexed, served, text, until, within};

/// A connection from another address than that of all others.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    within(socket.connect(to)).await.unwrap()
}

#[tokio::test]
async fn the_source_is_the_peer_and_no_header_changes_it() {
    let socket = std::net::TcpListener::bind("[::]:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let listener = Listener::new(socket, ListenerLimits::default());
    let source = |ConnectInfo(source): ConnectInfo<IpAddr>| async move { source.to_string() };
    let router = Router::new().route("/", get(source));
    let serving = tokio::spawn(listener.serve(router, std::future::pending()));

    // IPv4 comes to an IPv6 socket in disguise.
    for source in ["127.0.0.1", "::1"] {
        let address = (source.parse::<IpAddr>().unwrap(), port);
        let mut client = Raw(TcpStream::connect(address).await.unwrap());
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.body, source);
    }
    serving.abort();
}

#[tokio::test]
async fn one_source_takes_its_part_of_the_connections_and_no_more() {
    let served =
        served(ListenerLimits { connections: 10, of_source: 3, ..ListenerLimits::default() });
    let mut busy = [served.connect().await, served.connect().await, served.connect().await];
    for client in &mut busy {
        // Running, and never ended by a client that sends no body.
        client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").await;
    }
    until(|| served.open.count() == 3).await;

    for _ in 0..20 {
        served.connect().await.ended().await;
    }

    let mut other = Raw(from("127.0.0.2", served.address).await);
    assert_eq!(other.get("/hello").await.status, 200);
    assert_eq!((served.open.count(), served.open.refused()), (4, 20));
    let series = "technical_user_connections_refused_total{reason=\"source_limit\"}";
    assert_eq!(served.metric(series), Some(20.0));
    busy[0].send("a").await;
    assert_eq!(busy[0].answer().await.body, "1");
}

#[tokio::test]
async fn a_source_makes_room_for_itself_by_what_it_does_not_use() {
    let served = served(ListenerLimits { of_source: 2, ..ListenerLimits::default() });
    let mut other = Raw(from("127.0.0.2", served.address).await);
    other.get("/hello").await;
    let mut idle = [served.connect().await, served.connect().await];
    for client in &mut idle {
        client.get("/hello").await;
    }
    idle[0].get("/hello").await;

    assert_eq!(served.connect().await.get("/hello").await.status, 200);

    idle[1].ended().await;
    assert_eq!(idle[0].get("/hello").await.status, 200);
    // It has been without a request for longer than all of them, and is none of that source.
    assert_eq!(other.get("/hello").await.status, 200);
}

#[tokio::test]
async fn one_source_has_only_so_many_requests_at_once() {
    let served = served(ListenerLimits { of_source: 4, ..ListenerLimits::default() });
    let connect = || async { multiplexed(TcpStream::connect(served.address).await.unwrap()).await };
    let ((one, _first), (mut two, _second)) = (connect().await, connect().await);
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = one.clone();
            tokio::spawn(async move { get_multiplexed(&mut client, "/wait").await })
        })
        .collect();
    for _ in &waiting {
        served.gate.entered().await;
    }

    let request = Request::get("http://a/hello").body(Full::default()).unwrap();
    let refused = within(two.send_request(request)).await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, body) = text(refused).await;
    assert_eq!(status, 429);
    assert!(body.contains("slow_down"), "{body}");
    let (mut other, _third) = multiplexed(from("127.0.0.2", served.address).await).await;
    assert_eq!(get_multiplexed(&mut other, "/hello").await, "hello");

    for answer in waiting {
        served.gate.open();
        within(answer).await.unwrap();
    }
    while get_multiplexed(&mut two, "/hello").await != "hello" {
        tokio::time::sleep(SHORT / 10).await;
    }
}
