//! What metrics tell of a listener.

use technical_user_operator::server::listener::Limits;

use crate::given::{served, until};

#[tokio::test]
async fn open_connections_are_counted() {
    let served = served(Limits::default());
    let open = || served.metric("technical_user_open_connections");
    assert_eq!(open(), Some(0.0));

    let (mut one, other) = (served.connect().await, served.connect().await);
    assert_eq!(one.get("/hello").await.status, 200);

    until(|| open() == Some(2.0)).await;
    drop(other);
    until(|| open() == Some(1.0)).await;
}
