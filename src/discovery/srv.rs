//! SRV records as a source (RFC 2782): `servers = { srv = "_http._tcp.app.internal" }`. All
//! addresses of all targets are servers, with the port, the priority and the weight of their
//! record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;

use super::Entry;
use super::question::{Place, Question};
use crate::config::schema::discovery::Records;
use crate::config::schema::words::ServerAddress;

/// The times by which weights are more than that of a record with weight 0 beside them.
const BESIDE_ZERO: u16 = 100;

/// The question for the records of a name and the addresses of their targets.
pub(super) fn srv_question(name: &str, records: &Records) -> Question {
    Question { name: name.into(), services: true, family: records.family }
}

/// The servers that an answer means.
pub(super) fn answer_entries(places: &[Place]) -> Vec<Entry> {
    let mut sorted: Vec<&Place> = places.iter().collect();
    // The one that is used first counts when two records lead to the same place.
    sorted.sort_by_key(|place| place.priority);
    let weigh = asked_weights(places);
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for place in sorted {
        // `::ffff:10.0.0.1` is 10.0.0.1, which the A records may have as well.
        let address = SocketAddr::new(place.address.ip().to_canonical(), place.address.port());
        if seen.insert(address) {
            all.push(Entry {
                host: Some((place.host.clone(), address.port())),
                weight: weigh(place),
                priority: place.priority,
                ..Entry::new(ServerAddress::Ip(address))
            });
        }
    }
    all
}

/// The weights that records ask for. One of 0 is to be chosen very rarely beside others of its
/// priority (RFC 2782): those get a hundred times their weight then, or as much as fits.
fn asked_weights(places: &[Place]) -> impl Fn(&Place) -> NonZeroU16 {
    let mut of: BTreeMap<u16, (bool, u16)> = BTreeMap::new();
    for place in places {
        let (zero, most) = of.entry(place.priority).or_default();
        *zero |= place.weight == 0;
        *most = (*most).max(place.weight);
    }
    move |place| {
        let times = match of.get(&place.priority) {
            Some((true, most @ 1..)) => (u16::MAX / most).min(BESIDE_ZERO),
            _ => 1,
        };
        NonZeroU16::new(place.weight.saturating_mul(times)).unwrap_or(NonZeroU16::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, priority: u16, weight: u16) -> Place {
        Place { address: address.parse().unwrap(), priority, weight, host: "a.test".into() }
    }

    fn told(places: &[Place]) -> Vec<(String, u16, u16)> {
        let all = answer_entries(places).into_iter();
        all.map(|one| (one.id.to_string(), one.priority, one.weight.get())).collect()
    }

    #[test]
    fn a_weight_of_0_is_a_very_small_share_beside_others_and_an_equal_one_among_its_like() {
        let one = |at: &str, priority, weight| (at.to_owned(), priority, weight);
        assert_eq!(
            told(&[place("10.0.0.1:1", 1, 0), place("10.0.0.2:2", 1, 0)]),
            [one("10.0.0.1:1", 1, 1), one("10.0.0.2:2", 1, 1)]
        );
        let mixed =
            [place("10.0.0.1:1", 1, 0), place("10.0.0.2:2", 1, 3), place("10.0.0.3:3", 0, 7)];
        assert_eq!(
            told(&mixed),
            [one("10.0.0.3:3", 0, 7), one("10.0.0.1:1", 1, 1), one("10.0.0.2:2", 1, 300)]
        );
        assert_eq!(
            told(&[place("10.0.0.1:1", 1, 0), place("10.0.0.2:2", 1, 60_000)]),
            [one("10.0.0.1:1", 1, 1), one("10.0.0.2:2", 1, 60_000)]
        );
        // The same place twice is one server: the one that is used first.
        assert_eq!(
            told(&[place("10.0.0.1:1", 5, 9), place("10.0.0.1:1", 2, 4)]),
            [one("10.0.0.1:1", 2, 4)]
        );
        assert_eq!(
            told(&[place("10.0.0.1:1", 1, 9), place("[::ffff:10.0.0.1]:1", 1, 9)]),
            [one("10.0.0.1:1", 1, 9)]
        );
    }
}
