//! All open connections, so that some can be asked to end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::activity::{Activity, Order};
use super::responses::Responses;

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

    /// The number of connections that were closed at once, since their source had as many as it may.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// The open connections of one listener. Those that are left when it is dropped are cut.
#[derive(Debug)]
pub(super) struct Crowd {
    members: Arc<Mutex<Members>>,
    pub(super) open: OpenConnections,
    responses: Responses,
}

#[derive(Debug, Default)]
struct Members {
    activities: BTreeMap<u64, Arc<Activity>>,
    sources: BTreeMap<IpAddr, Source>,
    next: u64,
}

/// The connections of one source, but for those that were asked to make room.
#[derive(Debug, Default)]
struct Source {
    activities: BTreeMap<u64, Arc<Activity>>,
    requests: Arc<AtomicUsize>,
    was_refused: bool,
}

impl Crowd {
    pub(super) fn new(open: OpenConnections, responses: Responses) -> Self {
        Self { members: Arc::default(), open, responses }
    }

    /// Whether one more connection of that source may join, with `most` of them.
    pub(super) fn admits(&self, source: IpAddr, most: usize) -> bool {
        let mut members = lock(&self.members);
        let Some(of_source) = members.sources.get_mut(&network(source)) else { return true };
        if of_source.activities.len() < most || of_source.make_room() {
            return true;
        }
        self.open.0.refused.fetch_add(1, Ordering::Relaxed);
        if !of_source.was_refused {
            of_source.was_refused = true;
            tracing::warn!(
                %source,
                connections = most,
                "connections of one source are closed: it has as many as one source may have"
            );
        }
        false
    }

    /// A new connection, which belongs to the crowd until what is returned is dropped.
    pub(super) fn join(&self, age: Duration, source: IpAddr) -> Member {
        let mut members = lock(&self.members);
        let number = members.next;
        members.next += 1;
        // Connections that came at once do not all go at once: a tenth of the age apart.
        let percent = 100 - u32::try_from(number % 11).unwrap_or_default();
        let (age, responses) = (age / 100 * percent, self.responses.clone());
        let of_source = members.sources.entry(network(source)).or_default();
        let requests = Arc::clone(&of_source.requests);
        // Nor do those of a flood come back from their pauses at once.
        let pause = PAUSE + PAUSE / 32 * u32::try_from(number % 32).unwrap_or_default();
        let activity = Arc::new(Activity::new((age, pause), source, requests, responses));
        of_source.activities.insert(number, Arc::clone(&activity));
        members.activities.insert(number, Arc::clone(&activity));
        self.open.0.open.fetch_add(1, Ordering::Relaxed);
        let (members, open) = (Arc::clone(&self.members), self.open.clone());
        Member { activity, number, members, open }
    }

    /// Asks those that have been without a request longest to end: a hundredth of all, so that a flood
    /// of new connections does not search the crowd for each of them.
    pub(super) fn make_room(&self) {
        ask_to_leave(&lock(&self.members).activities);
    }

    pub(super) fn order(&self, order: Order) {
        for activity in lock(&self.members).activities.values() {
            activity.order(order);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.order(Order::Cut);
    }
}

impl Source {
    /// Has some connections without a request end, which do not count any more; `false` when each has
    /// one.
    fn make_room(&mut self) -> bool {
        let leaving = ask_to_leave(&self.activities);
        for number in &leaving {
            self.activities.remove(number);
        }
        !leaving.is_empty()
    }
}

/// Those that were asked: a hundredth of all, the longest without a request first.
fn ask_to_leave(activities: &BTreeMap<u64, Arc<Activity>>) -> Vec<u64> {
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
            activity.order(Order::Leave);
            number
        })
        .collect()
}

/// One connection of the crowd.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) activity: Arc<Activity>,
    number: u64,
    members: Arc<Mutex<Members>>,
    open: OpenConnections,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut members = lock(&self.members);
        members.activities.remove(&self.number);
        let source = network(self.activity.source);
        if let Some(of_source) = members.sources.get_mut(&source) {
            of_source.activities.remove(&self.number);
            if of_source.activities.is_empty() {
                members.sources.remove(&source);
            }
        }
        self.open.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The address, or the network that one host of IPv6 has for itself.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// No client that is worth an answer notices it.
const PAUSE: Duration = Duration::from_millis(20);

fn lock(members: &Mutex<Members>) -> MutexGuard<'_, Members> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_of_ipv6_is_a_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();

        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::1"), "::");
    }
}
