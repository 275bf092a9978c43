//! Things that were seen lately, in bounded memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Keys, each until its time has passed.
#[derive(Debug)]
pub(crate) struct TtlSet<K> {
    until: BTreeMap<K, Duration>,
    lasts: Duration,
    most: usize,
}

impl<K: Ord + Clone> TtlSet<K> {
    /// Keeps at most `most` keys, each for `lasts`.
    pub(crate) fn new(lasts: Duration, most: usize) -> Self {
        Self { until: BTreeMap::new(), lasts, most }
    }

    pub(crate) fn contains(&self, key: &K, elapsed: Duration) -> bool {
        self.until.get(key).is_some_and(|until| elapsed < *until)
    }

    /// Adds a key, or renews its time. When there are too many, the oldest goes.
    pub(crate) fn insert(&mut self, key: K, elapsed: Duration) {
        if self.until.len() >= self.most && !self.until.contains_key(&key) {
            self.until.retain(|_, until| elapsed < *until);
            // A scan is cheap beside the lookup at the API server that comes before each new key.
            let oldest = self.until.iter().min_by_key(|(_, until)| **until);
            let oldest = oldest.map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| self.until.len() >= self.most) {
                self.until.remove(&oldest);
            }
        }
        self.until.insert(key, elapsed.saturating_add(self.lasts));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.until.remove(key);
    }
}

/// The part of an address that one host or network cannot choose freely: all of an IPv4 address, the
/// first 64 bits of an IPv6 address.
pub(crate) fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_is_there_until_its_time_has_passed() {
        let mut recent = TtlSet::new(SECOND * 60, 10);

        recent.insert("a", SECOND);
        recent.insert("b", SECOND);
        recent.insert("a", SECOND * 31);
        recent.remove(&"b");

        assert!(recent.contains(&"a", SECOND * 90) && !recent.contains(&"a", SECOND * 91));
        assert!(!recent.contains(&"b", SECOND * 2));
    }

    #[test]
    fn the_oldest_key_goes_when_there_are_too_many() {
        let mut recent = TtlSet::new(SECOND * 60, 3);

        for (second, key) in ["a", "b", "c", "b", "d"].into_iter().enumerate() {
            recent.insert(key, SECOND * u32::try_from(second).unwrap());
        }

        let there = ["a", "b", "c", "d"].map(|key| recent.contains(&key, SECOND * 5));
        assert_eq!(there, [false, true, true, true]);
    }

    #[test]
    fn an_ipv6_address_counts_by_its_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();

        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
