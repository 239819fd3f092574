//! What is known of names: the last good answer of each, and what was wrong with the latest one.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Addresses of one name that are used; an answer may have any number.
const ADDRESSES: usize = 64;
/// Names that are remembered although nobody follows them any more: an operator may go back to them.
const REMEMBERED: usize = 1024;

/// The addresses that one name leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The addresses of the last good answer, in its order, with port 0; none if there was none yet.
    addresses: Arc<[SocketAddr]>,
    /// The reason why the latest look-up gave none.
    pub fault: Option<Arc<String>>,
}

impl Answer {
    /// The addresses with a port.
    pub fn with_port(&self, port: u16) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().copied().map(move |mut address| {
            address.set_port(port);
            address
        })
    }

    /// Returns what is known after one more look-up. The order of the addresses alone is no news.
    fn after(&self, found: Result<Vec<SocketAddr>, String>) -> Self {
        let usable = found.map(|mut found| {
            found.retain(|address| is_usable(address.ip()));
            found
        });
        match usable {
            Err(why) => self.with_fault(why),
            Ok(found) if found.is_empty() => self.with_fault("it has no address".to_owned()),
            Ok(found) => {
                let set: BTreeSet<SocketAddr> = found.iter().copied().collect();
                let known: BTreeSet<SocketAddr> = self.addresses.iter().copied().collect();
                let addresses = if set.len() > ADDRESSES {
                    // The same ones whatever the order of the answer.
                    set.into_iter().take(ADDRESSES).collect()
                } else if set == known {
                    self.addresses.clone()
                } else {
                    let mut once = BTreeSet::new();
                    found.into_iter().filter(|address| once.insert(*address)).collect()
                };
                Self { addresses, fault: None }
            }
        }
    }

    fn with_fault(&self, why: String) -> Self {
        Self { addresses: self.addresses.clone(), fault: Some(Arc::new(why)) }
    }
}

/// Returns whether a server can be there: some resolvers answer with 0.0.0.0 for what they do not allow.
fn is_usable(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::from([255; 4])
}

/// The addresses that all names lead to.
#[derive(Debug, Clone, Default)]
pub struct Known(HashMap<Arc<str>, Answer>);

impl Known {
    /// Returns what a name leads to; `None` when it was never looked up.
    #[must_use]
    pub fn answer(&self, host: &str) -> Option<&Answer> {
        self.0.get(host)
    }

    /// Takes in the result of a look-up. True if the addresses are others now, or if there is a
    /// fault where there was none, or the other way round.
    pub(super) fn learn(
        &mut self,
        host: &Arc<str>,
        found: Result<Vec<SocketAddr>, String>,
    ) -> bool {
        let before = self.0.get(host).cloned().unwrap_or_default();
        let after = before.after(found);
        let news =
            before.addresses != after.addresses || before.fault.is_some() != after.fault.is_some();
        self.0.insert(host.clone(), after);
        news
    }

    /// Forgets names that nobody follows when there are too many of them.
    pub(super) fn forget(&mut self, is_followed: impl Fn(&str) -> bool) {
        if self.0.len() > REMEMBERED {
            self.0.retain(|host, _| is_followed(host));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    fn told(known: &Known) -> Vec<String> {
        known.answer("a").unwrap().with_port(80).map(|address| address.to_string()).collect()
    }

    #[test]
    fn only_a_good_answer_changes_addresses() {
        let (mut known, a) = (Known::default(), Arc::from("a"));
        assert!(known.learn(&a, Err("no such host".to_owned())));
        assert_eq!(told(&known), Vec::<String>::new());
        assert!(!known.learn(&a, Err("no answer".to_owned())));
        assert!(known.learn(&a, Ok(addresses(&["10.0.0.1", "::1", "10.0.0.1"]))));
        assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
        assert_eq!(known.answer("a").unwrap().fault, None);
        assert!(!known.learn(&a, Ok(addresses(&["::1", "10.0.0.1"]))), "the order alone");
        assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
        for nothing in [&[][..], &["0.0.0.0"], &["::", "224.0.0.1", "255.255.255.255"]] {
            assert!(known.learn(&a, Ok(addresses(nothing))));
            let answer = known.answer("a").unwrap();
            assert_eq!(answer.fault.as_deref().unwrap(), "it has no address");
            assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
            assert!(known.learn(&a, Ok(addresses(&["10.0.0.1", "::1"]))), "the fault is gone");
        }
        assert!(known.learn(&a, Ok(addresses(&["10.0.0.2", "0.0.0.0"]))));
        assert_eq!(told(&known), ["10.0.0.2:80"]);
    }

    #[test]
    fn a_long_answer_gives_the_same_addresses_in_any_order() {
        let (mut known, a) = (Known::default(), Arc::from("a"));
        let mut many: Vec<SocketAddr> =
            (1..=200).map(|n| SocketAddr::new(IpAddr::from([10, 0, 0, n]), 0)).collect();
        assert!(known.learn(&a, Ok(many.clone())));
        assert_eq!(told(&known).len(), 64);
        many.reverse();
        assert!(!known.learn(&a, Ok(many)));
    }

    #[test]
    fn names_that_nobody_follows_are_forgotten_when_they_are_many() {
        let mut known = Known::default();
        for n in 0..1024 {
            known.learn(&Arc::from(n.to_string()), Ok(Vec::new()));
        }
        known.forget(|host| host == "7");
        assert_eq!(known.0.len(), 1024);
        known.learn(&Arc::from("a"), Ok(Vec::new()));
        known.forget(|host| host == "7");
        assert_eq!(known.0.len(), 1);
    }
}
