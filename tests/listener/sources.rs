//! Where a request comes from is what the connection says, whatever the request does.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use futures::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use technical_user_operator::server::listener::{Handler, Limits, Listener};
use tokio::net::TcpStream;

use crate::given::Raw;

/// Answers where the request came from.
struct Mirror;

impl Handler<Incoming> for Mirror {
    fn handle(&self, _: Request<Incoming>, source: IpAddr) -> BoxFuture<'static, Response> {
        Box::pin(async move { Response::new(Body::from(source.to_string())) })
    }
}

#[tokio::test]
async fn the_source_is_the_peer_and_no_header_changes_it() {
    let socket = std::net::TcpListener::bind("[::]:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let listener = Listener::new(socket, Limits::default());
    let serving = tokio::spawn(listener.serve(Mirror, std::future::pending()));

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
