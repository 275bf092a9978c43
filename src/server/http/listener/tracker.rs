//! All open connections, so that some can be asked to end.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::ListenerLimits;
use super::responses::Responses;
use super::state::{ConnectionState, Shutdown};

/// How many connections a listener has open, and how many it refused; it outlives the listener.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<Connections>);

#[derive(Debug, Default)]
struct Connections {
    open: AtomicUsize,
    refused: AtomicU64,
}

impl OpenConnections {
    /// The number of connections that are being served or shaking hands.
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// The number of connections that were closed at once, since their source or their site had as many
    /// as it may.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// The open connections of one listener. Those that are left when it is dropped are cut.
#[derive(Debug)]
pub(super) struct ConnectionTracker {
    members: Arc<Mutex<Tracked>>,
    pub(super) open: OpenConnections,
    responses: Responses,
}

#[derive(Debug, Default)]
struct Tracked {
    activities: BTreeMap<u64, Arc<ConnectionState>>,
    networks: BTreeMap<Network, Connected>,
    next: u64,
}

/// Addresses that one client may have all of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    /// An address of IPv4, or the 64 bits that one host of IPv6 has for itself.
    Source(IpAddr),
    /// The 48 bits of IPv6 that one site has for itself, as hosters hand them out.
    Site(IpAddr),
}

/// The connections of one network.
#[derive(Debug, Default)]
struct Connected {
    /// The connections, without those that were asked to make room.
    activities: BTreeMap<u64, Arc<ConnectionState>>,
    /// How many connections there are, with those.
    connections: usize,
    requests: Arc<AtomicUsize>,
    was_refused: bool,
}

impl ConnectionTracker {
    pub(super) fn new(open: OpenConnections, responses: Responses) -> Self {
        Self { members: Arc::default(), open, responses }
    }

    /// Whether one more connection of that source may join.
    pub(super) fn admits(&self, source: IpAddr, limits: &ListenerLimits) -> bool {
        let mut members = lock(&self.members);
        for network in networks(source) {
            let most = match network {
                Network::Source(_) => limits.of_source,
                Network::Site(_) => limits.of_site,
            };
            if members.have_room(network, most) {
                continue;
            }
            self.open.0.refused.fetch_add(1, Ordering::Relaxed);
            members.log_refusal(network, most);
            return false;
        }
        true
    }

    /// A new connection, which belongs to the crowd until what is returned is dropped.
    pub(super) fn register(&self, age: Duration, source: IpAddr) -> ConnectionGuard {
        let mut members = lock(&self.members);
        let number = members.next;
        members.next += 1;
        // Connections that came at once do not all go at once: a tenth of the age apart.
        let percent = 100 - u32::try_from(number % 11).unwrap_or_default();
        let (age, responses) = (age / 100 * percent, self.responses.clone());
        let mut requests = None;
        for network in networks(source) {
            let connected = members.networks.entry(network).or_default();
            requests.get_or_insert_with(|| Arc::clone(&connected.requests));
        }
        let requests = requests.unwrap_or_default();
        // Nor do those of a flood come back from their pauses at once.
        let pause = EVICTION_INTERVAL
            + EVICTION_INTERVAL / 32 * u32::try_from(number % 32).unwrap_or_default();
        let activity = Arc::new(ConnectionState::new((age, pause), source, requests, responses));
        for network in networks(source) {
            let connected = members.networks.entry(network).or_default();
            connected.connections += 1;
            connected.activities.insert(number, Arc::clone(&activity));
        }
        members.activities.insert(number, Arc::clone(&activity));
        self.open.0.open.fetch_add(1, Ordering::Relaxed);
        let (members, open) = (Arc::clone(&self.members), self.open.clone());
        ConnectionGuard { activity, number, members, open }
    }

    /// Asks those that have been without a request longest to end: a hundredth of all, so that a flood
    /// of new connections does not search the crowd for each of them.
    pub(super) fn evict_idle(&self) {
        close_idle(&lock(&self.members).activities);
    }

    pub(super) fn shut_down(&self, order: Shutdown) {
        for activity in lock(&self.members).activities.values() {
            activity.shut_down(order);
        }
    }
}

impl Drop for ConnectionTracker {
    fn drop(&mut self) {
        self.shut_down(Shutdown::Abort);
    }
}

impl Tracked {
    /// Whether the network has fewer connections than that, or some without a request, which are asked to
    /// end and do not count any more.
    fn have_room(&mut self, network: Network, most: usize) -> bool {
        let Some(connected) = self.networks.get(&network) else { return true };
        if connected.activities.len() < most {
            return true;
        }
        let leaving = close_idle(&connected.activities);
        for (number, source) in &leaving {
            for network in networks(*source) {
                if let Some(connected) = self.networks.get_mut(&network) {
                    connected.activities.remove(number);
                }
            }
        }
        !leaving.is_empty()
    }

    fn log_refusal(&mut self, network: Network, most: usize) {
        let Some(connected) = self.networks.get_mut(&network).filter(|it| !it.was_refused) else {
            return;
        };
        connected.was_refused = true;
        match network {
            Network::Source(source) => tracing::warn!(
                %source,
                connections = most,
                "connections of one source are closed: it has as many as one source may have"
            ),
            Network::Site(site) => tracing::warn!(
                site = format!("{site}/48"),
                connections = most,
                "connections of one IPv6 network are closed: it has half of all places"
            ),
        }
    }

    fn remove(&mut self, number: u64, source: IpAddr) {
        self.activities.remove(&number);
        for network in networks(source) {
            if let Some(connected) = self.networks.get_mut(&network) {
                connected.activities.remove(&number);
                connected.connections = connected.connections.saturating_sub(1);
                if connected.is_over() {
                    self.networks.remove(&network);
                }
            }
        }
        // A request of HTTP/2 may outlive its connection for a moment.
        if self.networks.len() > self.activities.len().saturating_mul(2) {
            self.networks.retain(|_, connected| !connected.is_over());
        }
    }
}

impl Connected {
    /// Whether nothing of it counts any more.
    fn is_over(&self) -> bool {
        self.connections == 0 && self.requests.load(Ordering::Relaxed) == 0
    }
}

/// Returns the connections that were closed: a hundredth of all, the longest without a request first.
fn close_idle(activities: &BTreeMap<u64, Arc<ConnectionState>>) -> Vec<(u64, IpAddr)> {
    let free = activities
        .iter()
        .filter_map(|(number, activity)| Some((activity.waiting_since()?, *number, activity)));
    let mut free: Vec<_> = free.collect();
    let room = activities.len().div_ceil(100);
    if free.len() > room {
        free.select_nth_unstable_by_key(room, |(since, _, _)| *since);
    }
    let leaving = free.into_iter().take(room);
    leaving
        .map(|(_, number, activity)| {
            activity.shut_down(Shutdown::Graceful);
            (number, activity.source)
        })
        .collect()
}

/// One connection of the crowd.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    pub(super) activity: Arc<ConnectionState>,
    number: u64,
    members: Arc<Mutex<Tracked>>,
    open: OpenConnections,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        lock(&self.members).remove(self.number, self.activity.source);
        self.open.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The networks that a connection counts for, the source first.
fn networks(source: IpAddr) -> impl Iterator<Item = Network> {
    let (host, site) = match source {
        IpAddr::V4(_) => (source, None),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let of = |last| IpAddr::V6(Ipv6Addr::new(a, b, c, last, 0, 0, 0, 0));
            (of(d), Some(of(0)))
        }
    };
    iter::once(Network::Source(host)).chain(site.map(Network::Site))
}

/// No client that is worth an answer notices it.
const EVICTION_INTERVAL: Duration = Duration::from_millis(20);

fn lock(members: &Mutex<Tracked>) -> MutexGuard<'_, Tracked> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::server::http::listener::state::Protocol;

    #[test]
    fn a_source_of_ipv6_is_a_network_in_a_larger_one() {
        let of = |text: &str| networks(text.parse().unwrap()).collect::<Vec<_>>();
        let source = |text: &str| Network::Source(text.parse().unwrap());
        let site = |text: &str| Network::Site(text.parse().unwrap());

        assert_eq!(of("192.0.2.7"), [source("192.0.2.7")]);
        let expected = [source("2001:db8:1:2::"), site("2001:db8:1::")];
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), expected);
        assert_eq!(of("::1"), [source("::"), site("::")]);
    }

    fn crowd() -> ConnectionTracker {
        ConnectionTracker::new(OpenConnections::default(), Responses::default())
    }

    fn join(crowd: &ConnectionTracker, source: &str) -> ConnectionGuard {
        crowd.register(Duration::from_hours(1), source.parse().unwrap())
    }

    #[tokio::test]
    async fn requests_count_until_the_last_of_them_has_ended() {
        let limits = ListenerLimits { of_source: 1, ..ListenerLimits::default() };
        let (crowd, source) = (crowd(), "2001:db8::1");
        let first = join(&crowd, source);
        assert!(crowd.admits(source.parse().unwrap(), &limits), "the first makes room");
        let second = join(&crowd, source);
        let running = first.activity.request_started(Protocol::Multiplexed);

        drop(second);
        assert!(join(&crowd, source).activity.is_beyond(0), "a request of the source runs");
        drop(first);
        assert!(join(&crowd, source).activity.is_beyond(0), "and still does");

        drop(running);
        drop(join(&crowd, source));
        let members = lock(&crowd.members);
        assert!(members.activities.is_empty() && members.networks.is_empty(), "{members:?}");
    }

    #[tokio::test]
    async fn many_networks_of_one_site_have_as_many_connections_as_a_site_may_have() {
        let limits = ListenerLimits { of_source: 2, of_site: 5, ..ListenerLimits::default() };
        let crowd = crowd();
        let mut busy = Vec::new();
        for network in 0..10 {
            let source = format!("2001:db8:1:{network}::1");
            if crowd.admits(source.parse().unwrap(), &limits) {
                let member = join(&crowd, &source);
                busy.push((member.activity.request_started(Protocol::OneByOne), member));
            }
        }

        assert_eq!((busy.len(), crowd.open.refused()), (5, 5));
        for other in ["2001:db8:2::1", "192.0.2.7"] {
            assert!(crowd.admits(other.parse().unwrap(), &limits), "{other}");
        }
        let idle = busy.pop().map(|(_, member)| member);
        assert!(crowd.admits("2001:db8:1:77::1".parse().unwrap(), &limits), "one makes room");
        drop((idle, busy));
        assert!(lock(&crowd.members).networks.is_empty());
    }
}
