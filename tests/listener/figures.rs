//! What metrics tell of a listener.

use technical_user_operator::server::http::form_request::BodyBounds;
use technical_user_operator::server::http::listener::ListenerLimits;

use crate::given::{SHORT, serve, served, until};

#[tokio::test]
async fn open_connections_are_counted() {
    let served = served(ListenerLimits::default());
    let open = || served.metric("technical_user_open_connections");
    assert_eq!(open(), Some(0.0));

    let (mut one, other) = (served.connect().await, served.connect().await);
    assert_eq!(one.get("/hello").await.status, 200);

    until(|| open() == Some(2.0)).await;
    drop(other);
    until(|| open() == Some(1.0)).await;
}

#[tokio::test]
async fn answers_are_counted_by_their_status_whoever_gave_them() {
    let bodies = BodyBounds { deadline: SHORT, ..BodyBounds::default() };
    let served = serve(ListenerLimits::default(), bodies, None);
    let large = format!("GET /hello HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(17 * 1024));
    let post = |length: usize| {
        format!("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
    };
    let requests = [
        (200, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, "what is this?\r\n\r\n".to_owned()),
        (404, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, "PUT /hello HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (408, post(5)),
        (413, post(1 << 20)),
        (431, large),
    ];

    for (status, request) in &requests {
        let mut client = served.connect().await;
        client.send(request).await;
        assert_eq!(client.answer().await.status, *status);
    }

    for (status, _) in requests {
        let series = format!("technical_user_http_responses_total{{code=\"{status}\"}}");
        until(|| served.metric(&series) == Some(1.0)).await;
    }
    assert_eq!(served.metric("technical_user_http_responses_total{code=\"other\"}"), Some(0.0));
}
