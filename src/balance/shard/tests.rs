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
