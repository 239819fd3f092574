//! `shard`: each server owns a part of the keys, and nobody else can answer for it.
//!
//! By ranges of numbers, by ranges of equal size in turn, or by prefixes. A key that belongs to
//! nobody, or to a server that cannot be used, finds no server: the data is only there.

use super::{Balance, Member, PickContext};

/// The map from keys to the servers that own them. Servers are named by their places in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Map {
    /// From each number up to the next one, in ascending order.
    Ranges(Box<[(u64, u32)]>),
    /// The number divided by this, modulo servers.
    RangeSize(u64),
    /// The longest prefix that fits.
    Prefixes(Box<[(Box<[u8]>, u32)]>),
}

impl Map {
    /// The place of the server that owns `key`, of so many servers.
    #[must_use]
    pub fn owner_of(&self, key: &[u8], servers: usize) -> Option<usize> {
        match self {
            Self::Ranges(ranges) => {
                let number = parse_number(key)?;
                let after = ranges.partition_point(|(from, _)| *from <= number);
                let (_, owner) = ranges.get(after.checked_sub(1)?)?;
                Some(*owner as usize)
            }
            Self::RangeSize(size) => {
                let range = parse_number(key)?.checked_div(*size)?;
                usize::try_from(range.checked_rem(servers as u64)?).ok()
            }
            Self::Prefixes(prefixes) => {
                let fits = prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix));
                fits.max_by_key(|(prefix, _)| prefix.len()).map(|(_, owner)| *owner as usize)
            }
        }
    }
}

fn parse_number(key: &[u8]) -> Option<u64> {
    let digits = !key.is_empty() && key.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(key).ok()?.parse().ok()).flatten()
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) map: Map,
}

impl Balance for Shard {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        let index = self.map.owner_of(ask.key?.as_whole()?, members.len())?;
        members.get(index).is_some_and(|m| ask.accepts(m)).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask, members};
    use super::super::{Strategy, build_balancer, key::BalanceKey};
    use super::*;
    use crate::clock::Random;
    use crate::endpoint::standing;

    #[test]
    fn ranges_go_from_one_number_to_the_next() {
        let map = Map::Ranges([(0, 0), (1_000_000, 1), (2_000_000, 0)].into());
        let owner = |key: &str| map.owner_of(key.as_bytes(), 2);
        assert_eq!(owner("0"), Some(0));
        assert_eq!(owner("999999"), Some(0));
        assert_eq!(owner("1000000"), Some(1));
        assert_eq!(owner("18446744073709551615"), Some(0));
        assert_eq!(owner("18446744073709551616"), None);
        assert_eq!(owner("-1"), None);
        assert_eq!(owner("+1"), None);
        assert_eq!(owner(""), None);
        let late = Map::Ranges([(10, 0)].into());
        assert_eq!(late.owner_of(b"9", 1), None);
    }

    #[test]
    fn ranges_of_one_size_go_round() {
        let map = Map::RangeSize(1_000_000);
        let owner = |key: &str| map.owner_of(key.as_bytes(), 3);
        assert_eq!(owner("999999"), Some(0));
        assert_eq!(owner("1000000"), Some(1));
        assert_eq!(owner("3000000"), Some(0));
        assert_eq!(map.owner_of(b"1", 0), None);
    }

    #[test]
    fn the_longest_prefix_owns_a_key() {
        let map = Map::Prefixes([(b"0x0"[..].into(), 0), (b"0x00"[..].into(), 1)].into());
        assert_eq!(map.owner_of(b"0x0f", 2), Some(0));
        assert_eq!(map.owner_of(b"0x00", 2), Some(1));
        assert_eq!(map.owner_of(b"1x", 2), None);
    }

    #[test]
    fn nobody_answers_for_a_server_that_is_out() {
        let members = members(&[1, 1]);
        let balance = build_balancer(&Strategy::Shard(Map::RangeSize(10)), &members);
        let mut random = Random::seeded(1);
        let mut pick = |key: Option<&'static [u8]>| {
            let mut ask = ask(&[], &mut random);
            ask.key = key.map(BalanceKey::new);
            balance.pick_server(&members, &mut ask)
        };
        assert_eq!(pick(Some(b"15")), Some(1));
        assert_eq!(pick(None), None);
        members[1].endpoint.standing.take_out(standing::UNHEALTHY);
        assert_eq!(pick(Some(b"15")), None);
        assert_eq!(pick(Some(b"5")), Some(0));
    }
}
