//! The limits of a listener and of one client.

use std::time::Duration;

/// Bounds of a listener. [`ListenerLimits::default`] suits a server that anyone can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// How many connections are served at once. The next one waits until another ends, and those
    /// without a request are ended for it, the longest without one first.
    pub connections: usize,
    /// How many connections one source address may have, and how many requests at once. For one more
    /// connection those of the same source make room that have no request, or it is closed; one more
    /// request is answered with 429. An IPv6 source is a network of 64 bits.
    pub of_source: usize,
    /// How many connections one IPv6 network of 48 bits may have: hosters give one machine as much, with
    /// 65,536
    /// sources in it.
    pub of_site: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of an HTTP/1.1 request may take from its first byte, and the first request of
    /// a connection from its beginning.
    pub head: Duration,
    /// How many bytes the head of a request may have. A longer one is answered with 431; one of up to
    /// twice as many may pass with HTTP/1.1, where hyper compares between two reads only.
    pub head_bytes: u32,
    /// How long a connection may stay without a request. Longer than load balancers keep theirs (Google's
    /// 600 s), since the side that closes second never sends a request into a closing connection.
    pub idle: Duration,
    /// How long no request of a connection may begin or end while one is running: a client that does not
    /// read answers has the connection closed.
    pub request: Duration,
    /// After what time a connection is asked to end, so that clients spread over the replicas that
    /// there are, and see a new certificate.
    pub age: Duration,
    /// How many requests run at once on one HTTP/2 connection.
    pub streams: u32,
    /// How often an HTTP/2 client has to answer a ping.
    pub ping: Duration,
    /// How long an HTTP/2 client may take to answer a ping.
    pub pong: Duration,
    /// How long running requests have when the listener stops.
    pub drain: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            of_source: 1000,
            of_site: 5000,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            idle: Duration::from_secs(620),
            request: Duration::from_mins(1),
            age: Duration::from_hours(1),
            streams: 128,
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
            drain: Duration::from_secs(20),
        }
    }
}
