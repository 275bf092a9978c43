//! All open connections, so that some can be asked to end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::activity::{Activity, Order};
use super::responses::Responses;

/// How many connections a listener has open; it outlives the listener.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// The number of connections that are being served or shaking hands.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
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
    next: u64,
}

impl Crowd {
    pub(super) fn new(open: OpenConnections, responses: Responses) -> Self {
        Self { members: Arc::default(), open, responses }
    }

    /// A new connection, which belongs to the crowd until what is returned is dropped.
    pub(super) fn join(&self, age: Duration, source: IpAddr) -> Member {
        let mut members = lock(&self.members);
        let number = members.next;
        members.next += 1;
        // Connections that came at once do not all go at once: a tenth of the age apart.
        let percent = 100 - u32::try_from(number % 11).unwrap_or_default();
        let (age, responses) = (age / 100 * percent, self.responses.clone());
        let activity = Arc::new(Activity::new(number, age, source, responses));
        members.activities.insert(number, Arc::clone(&activity));
        self.open.0.fetch_add(1, Ordering::Relaxed);
        let (members, open) = (Arc::clone(&self.members), self.open.clone());
        Member { activity, members, open }
    }

    /// Asks those that have been without a request longest to end: a hundredth of all, so that a flood
    /// of new connections does not search the crowd for each of them.
    pub(super) fn make_room(&self) {
        let members = lock(&self.members);
        let free = members.activities.values();
        let mut free: Vec<_> =
            free.filter_map(|activity| Some((activity.waiting_since()?, activity))).collect();
        let room = members.activities.len().div_ceil(100);
        if free.len() > room {
            free.select_nth_unstable_by_key(room, |(since, _)| *since);
        }
        for (_, activity) in free.iter().take(room) {
            activity.order(Order::Leave);
        }
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

/// One connection of the crowd.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) activity: Arc<Activity>,
    members: Arc<Mutex<Members>>,
    open: OpenConnections,
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.members).activities.remove(&self.activity.number);
        self.open.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock(members: &Mutex<Members>) -> MutexGuard<'_, Members> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}
