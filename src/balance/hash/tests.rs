use proptest::prelude::*;

use super::super::key::BalanceKey;
use super::super::tests::{ask, members};
use super::*;
use crate::balance::{Strategy, build_balancer};
use crate::clock::Random;
use crate::endpoint::standing;

fn strategy(table: HashTable, bound: HashBound) -> Strategy {
    Strategy::Hash { table, bound }
}

const UNBOUNDED: HashBound = HashBound { factor: 1e9, at_least: u32::MAX };
const TABLES: [HashTable; 2] = [HashTable::Ring, HashTable::Maglev];

fn picks(members: &[Member], balance: &dyn Balance, keys: u32) -> Vec<usize> {
    let mut random = Random::seeded(1);
    (0..keys)
        .map(|n| {
            let text = format!("user-{n}");
            let mut ask = ask(&[], &mut random);
            ask.key = Some(BalanceKey::new(text.as_bytes()));
            balance.pick_server(members, &mut ask).unwrap()
        })
        .collect()
}

#[test]
fn the_same_key_goes_to_the_same_server_whatever_the_order_of_the_list() {
    for table in TABLES {
        let forwards = members(&[1, 2, 3, 1]);
        let backwards: Vec<Member> = forwards.iter().rev().cloned().collect();
        let name = |members: &[Member], i: usize| members[i].endpoint.name.clone();
        let one = build_balancer(&strategy(table, UNBOUNDED), &forwards);
        let two = build_balancer(&strategy(table, UNBOUNDED), &backwards);
        let a = picks(&forwards, &*one, 500);
        assert_eq!(a, picks(&forwards, &*one, 500));
        let b = picks(&backwards, &*two, 500);
        let same = a.iter().zip(&b).filter(|(a, b)| name(&forwards, **a) == name(&backwards, **b));
        assert_eq!(same.count(), 500, "{table:?}");
    }
}

#[test]
fn shares_follow_the_weights() {
    for table in TABLES {
        let members = members(&[3, 2, 1]);
        let balance = build_balancer(&strategy(table, UNBOUNDED), &members);
        let picks = picks(&members, &*balance, 30_000);
        for (index, expected) in [0.5, 1.0 / 3.0, 1.0 / 6.0].iter().enumerate() {
            let share = picks.iter().filter(|p| **p == index).count() as f64 / 30_000.0;
            assert!((share - expected).abs() < 0.05, "{table:?} {index}: {share}");
        }
    }
}

#[test]
fn a_hundred_servers_with_similar_names_share_evenly() {
    for table in TABLES {
        let members = members(&[1; 100]);
        let balance = build_balancer(&strategy(table, UNBOUNDED), &members);
        let mut counts = [0_u32; 100];
        for picked in picks(&members, &*balance, 100_000) {
            counts[picked] += 1;
        }
        assert!(counts.iter().all(|n| (800..1200).contains(n)), "{table:?}: {counts:?}");
    }
}

#[test]
fn no_server_gets_more_than_its_bounded_share() {
    for table in TABLES {
        let members = members(&[1, 1, 1, 1]);
        let bound = HashBound { factor: 1.5, at_least: 0 };
        let balance = build_balancer(&strategy(table, bound), &members);
        let mut random = Random::seeded(1);
        let mut under_way = Vec::new();
        for n in 1_u32..=200 {
            let mut ask = ask(&[], &mut random);
            // All requests have the same key.
            ask.key = Some(BalanceKey::new(b"popular"));
            let picked = balance.pick_server(&members, &mut ask).unwrap();
            under_way.push(members[picked].endpoint.begin_request());
            let most = members.iter().map(|m| m.endpoint.in_flight()).max().unwrap();
            assert!(f64::from(most) <= (1.5 * f64::from(n) / 4.0).ceil(), "{table:?} {n}: {most}");
        }
    }
}

#[test]
fn light_load_never_breaks_affinity() {
    let members = members(&[1, 1, 1]);
    let balance = build_balancer(&strategy(HashTable::Ring, HashBound::default()), &members);
    let mut random = Random::seeded(1);
    let mut under_way = Vec::new();
    let mut first = None;
    for _ in 0..16 {
        let mut ask = ask(&[], &mut random);
        ask.key = Some(BalanceKey::new(b"popular"));
        let picked = balance.pick_server(&members, &mut ask).unwrap();
        assert_eq!(*first.get_or_insert(picked), picked);
        under_way.push(members[picked].endpoint.begin_request());
    }
}

#[test]
fn a_server_is_passed_over_from_the_first_request_beyond_its_share_on() {
    // With the loads of all servers: whether the first one has too much for one more.
    let first_has_too_much = |bound: HashBound, weights: &[u32], loads: &[u32]| {
        let members = members(weights);
        let busy = members.iter().zip(loads);
        let _busy: Vec<_> =
            busy.flat_map(|(member, n)| (0..*n).map(|_| member.endpoint.begin_request())).collect();
        let hash = Hash::new(&members, weights, HashTable::Ring, bound);
        hash.is_overloaded(&members[0], &members, &mut None)
    };
    let of_four = |loads: [u32; 4]| {
        first_has_too_much(HashBound { factor: 1.5, at_least: 0 }, &[1; 4], &loads)
    };
    // Of nine requests one may have ceil(1.5 * 9 / 4), which is four, and of eight three.
    assert!(!of_four([3, 2, 2, 1]));
    assert!(of_four([4, 2, 2, 0]) && of_four([3, 2, 2, 0]));
    // Of 24, a third is eight, and two thirds are sixteen.
    let by_weight = |weights: [u32; 2], loads: [u32; 2]| {
        first_has_too_much(HashBound { factor: 1.0, at_least: 0 }, &weights, &loads)
    };
    assert!(!by_weight([1, 2], [7, 16]) && by_weight([1, 2], [8, 15]));
    assert!(!by_weight([2, 1], [15, 8]) && by_weight([2, 1], [16, 7]));
    // Nobody looks at shares while there are fewer than sixteen.
    let few = |own| first_has_too_much(HashBound::default(), &[1; 3], &[own, 0, 0]);
    assert_eq!([few(15), few(16), few(17)], [false, true, true]);
}

#[test]
fn a_request_without_the_key_goes_anywhere() {
    let members = members(&[1, 1]);
    let balance = build_balancer(&strategy(HashTable::Maglev, HashBound::default()), &members);
    let mut random = Random::seeded(1);
    let picked =
        (0..100).filter(|_| balance.pick_server(&members, &mut ask(&[], &mut random)) == Some(0));
    assert!((20..80).contains(&picked.count()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn without_one_of_n_servers_only_its_keys_move(
        n in 2_usize..12,
        gone in any::<prop::sample::Index>(),
        maglev in any::<bool>(),
    ) {
        let table = TABLES[usize::from(maglev)];
        let before = members(&vec![1; n]);
        let gone = gone.index(n);
        let after: Vec<Member> =
            before.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, m)| m.clone()).collect();
        let old = picks(&before, &*build_balancer(&strategy(table, UNBOUNDED), &before), 10_000);
        let new = picks(&after, &*build_balancer(&strategy(table, UNBOUNDED), &after), 10_000);
        let moved = old.iter().zip(&new).filter(|(a, b)| {
            before[**a].endpoint.id != after[**b].endpoint.id
        }).count();
        // What the server had has to move; its share of the ring differs from 1/n by a little.
        let had = old.iter().filter(|p| **p == gone).count();
        prop_assert!(moved as f64 <= had as f64 + 0.02 * 10_000.0, "{} of {}", moved, had);
        prop_assert!(moved as f64 / 10_000.0 <= 1.0 / n as f64 + 0.02);
        // A server that is only out moves no other keys at all.
        before[gone].endpoint.standing.take_out(standing::UNHEALTHY);
        let out = picks(&before, &*build_balancer(&strategy(table, UNBOUNDED), &before), 10_000);
        prop_assert!(old.iter().zip(&out).all(|(a, b)| a == b || *a == gone));
    }
}

/// Keys must not move when a version does: these are the servers of twelve of them, as another
/// implementation of both papers finds them.
#[test]
fn a_key_stays_where_it_is_from_version_to_version() {
    let members = members(&[1, 2, 3, 1]);
    for (table, expected) in [
        (HashTable::Ring, [2, 2, 3, 3, 2, 2, 2, 0, 3, 2, 3, 1]),
        (HashTable::Maglev, [2, 1, 1, 1, 1, 3, 1, 1, 2, 2, 0, 1]),
    ] {
        let balance = build_balancer(&strategy(table, UNBOUNDED), &members);
        assert_eq!(picks(&members, &*balance, 12), expected, "{table:?}");
    }
}

/// Returns how often a table asks before it gives up, and the server that it finds behind so many
/// that are out.
#[test]
fn a_table_asks_every_server_before_it_gives_up() {
    let names = ["a", "b", "c"];
    let (ring, maglev) = (Ring::new(&names, &[1, 1, 1]), Maglev::new(&names, &[1, 1, 1]));
    for only in 0..3 {
        for hash in [0, 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(ring.find_server(hash, &mut |index| index == only), Some(only));
            assert_eq!(maglev.find_server(hash, &mut |index| index == only), Some(only));
        }
    }
    let mut asked = 0;
    assert_eq!(
        maglev.find_server(7, &mut |_| {
            asked += 1;
            false
        }),
        None
    );
    assert_eq!(asked, 16 + 3);
    let mut asked = [0; 3];
    assert_eq!(
        ring.find_server(7, &mut |index| {
            asked[index] += 1;
            false
        }),
        None
    );
    assert!(asked.iter().all(|times| *times > 1), "{asked:?}");
    assert_eq!(Ring::new(&[], &[]).find_server(7, &mut |_| true), None);
    assert_eq!(Maglev::new(&[], &[]).find_server(7, &mut |_| true), None);
}
