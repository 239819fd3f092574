//! A and AAAA records as a source: `servers = { dns = "app.internal:8080" }`. All addresses of the
//! name are servers, at the port that is written.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Entry;
use super::question::{Place, Question};
use crate::config::schema::discovery::Records;
use crate::config::schema::words::ServerAddress;

/// The question for the addresses of a name; `None` for what is no name.
pub(super) fn name_question(address: &ServerAddress, records: &Records) -> Option<Question> {
    match address {
        ServerAddress::Name { host, .. } => {
            Some(Question { name: (**host).into(), services: false, family: records.family })
        }
        ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
    }
}

/// The servers that an answer means.
pub(super) fn answer_entries(written: &ServerAddress, places: &[Place]) -> Vec<Entry> {
    let ServerAddress::Name { port, .. } = written else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for place in places {
        // `::ffff:10.0.0.1` is 10.0.0.1, which the A records may have as well.
        let address = SocketAddr::new(place.address.ip().to_canonical(), *port);
        if seen.insert(address) {
            let host = Some((place.host.clone(), *port));
            all.push(Entry { host, ..Entry::new(ServerAddress::Ip(address)) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_port_that_is_written_and_the_name_that_led_there() {
        let place = |address: &str| Place {
            priority: 0,
            address: address.parse().unwrap(),
            weight: 1,
            host: "a.test".into(),
        };
        let written = ServerAddress::Name { host: "a.test".into(), port: 8080 };
        let places = ["10.0.0.1:0", "[fd00::1]:0", "10.0.0.1:0", "[::ffff:10.0.0.1]:0"].map(place);
        let all = answer_entries(&written, &places);
        let ids: Vec<&str> = all.iter().map(|entry| &*entry.id).collect();
        assert_eq!(ids, ["10.0.0.1:8080", "[fd00::1]:8080"]);
        assert!(all.iter().all(|entry| entry.host == Some(("a.test".into(), 8080))));
    }
}
