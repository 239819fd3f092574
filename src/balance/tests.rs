use super::*;
use crate::clock;
use crate::endpoint::{Slot, standing};

pub(super) fn members(weights: &[u32]) -> Vec<Member> {
    let make = |(i, weight): (usize, &u32)| {
        let endpoint = Endpoint::new("u".into(), format!("s{i}").into(), Box::default());
        Member::new(Arc::new(endpoint), *weight)
    };
    weights.iter().enumerate().map(make).collect()
}

pub(super) fn ask<'a>(tried: &'a [u32], random: &'a mut Random) -> PickContext<'a> {
    PickContext { tried, key: None, now: clock::now(), random, rules: BalanceRules::default() }
}

/// Returns how often each server is picked in `n` picks.
pub(super) fn shares(strategy: &Strategy, weights: &[u32], n: usize) -> Vec<usize> {
    let members = members(weights);
    let balance = build_balancer(strategy, &members);
    let mut random = Random::seeded(1);
    let mut counts = vec![0; weights.len()];
    for _ in 0..n {
        counts[balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
    }
    counts
}

#[test]
fn every_strategy_leaves_out_what_was_tried() {
    let members = members(&[5, 1, 1]);
    let ids: Vec<u32> = members.iter().map(|m| m.endpoint.id).collect();
    let mut random = Random::seeded(7);
    for strategy in Strategy::all_weighted() {
        let balance = build_balancer(&strategy, &members);
        for _ in 0..50 {
            let tried = [ids[0], ids[2]];
            let picked = balance.pick_server(&members, &mut ask(&tried, &mut random));
            assert_eq!(picked, Some(1), "{strategy:?}");
        }
        let picked = balance.pick_server(&members, &mut ask(&ids, &mut random));
        assert_eq!(picked, None, "{strategy:?}");
    }
}

#[test]
fn every_strategy_leaves_out_what_is_out_or_full() {
    let members = members(&[1, 1, 1]);
    members[0].endpoint.standing.take_out(standing::UNHEALTHY);
    let _busy: Vec<_> = (0..4).map(|_| members[1].endpoint.begin_request()).collect();
    let mut random = Random::seeded(7);
    for strategy in Strategy::all_weighted() {
        let balance = build_balancer(&strategy, &members);
        for _ in 0..50 {
            let mut ask = ask(&[], &mut random);
            ask.rules.cap = 4;
            assert_eq!(balance.pick_server(&members, &mut ask), Some(2), "{strategy:?}");
        }
        let mut ask = ask(&[], &mut random);
        ask.rules.cap = 0;
        assert_eq!(balance.pick_server(&members, &mut ask), None, "{strategy:?}");
    }
}

#[test]
fn every_strategy_has_nothing_to_pick_from_nothing() {
    for strategy in Strategy::all_weighted() {
        let mut random = Random::seeded(7);
        let picked = build_balancer(&strategy, &[]).pick_server(&[], &mut ask(&[], &mut random));
        assert_eq!(picked, None, "{strategy:?}");
    }
}

#[test]
fn every_strategy_follows_the_weights() {
    for strategy in Strategy::all_weighted() {
        let counts = shares(&strategy, &[3, 2, 1], 6000);
        for (count, expected) in counts.iter().zip([3000_usize, 2000, 1000]) {
            assert!(count.abs_diff(expected) < 240, "{strategy:?}: {counts:?}");
        }
    }
}

/// Each server's share in percent with so many requests under way on average: arrivals at random,
/// each ending after an exponential time.
fn shares_at(strategy: &Strategy, load: f64, weights: &[u32]) -> Vec<f64> {
    let members = members(weights);
    let balance = build_balancer(strategy, &members);
    let mut random = Random::seeded(11);
    let mut exponential = Random::seeded(12);
    let mut under_way: Vec<(f64, Slot<'_>)> = Vec::new();
    let mut counts = vec![0_u32; weights.len()];
    let mut now = 0.0;
    for _ in 0..20_000 {
        now -= (1.0 - exponential.unit()).ln() / load;
        under_way.retain(|(end, _)| *end > now);
        let picked = balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap();
        counts[picked] += 1;
        let end = now - (1.0 - exponential.unit()).ln();
        under_way.push((end, members[picked].endpoint.begin_request()));
    }
    counts.iter().map(|n| f64::from(*n) / 200.0).collect()
}

/// The same with exactly so many under way; each time the one that began first ends.
fn shares_with(strategy: &Strategy, under_way: usize, weights: &[u32]) -> Vec<f64> {
    let members = members(weights);
    let balance = build_balancer(strategy, &members);
    let mut random = Random::seeded(13);
    let mut slots = std::collections::VecDeque::new();
    let mut counts = vec![0_u32; weights.len()];
    for _ in 0..20_000 {
        if slots.len() == under_way {
            slots.pop_front();
        }
        let picked = balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap();
        counts[picked] += 1;
        slots.push_back(members[picked].endpoint.begin_request());
    }
    counts.iter().map(|n| f64::from(*n) / 200.0).collect()
}

#[test]
fn r5_shares_follow_weights_within_four_points_at_any_load() {
    for strategy in BalanceWord::ALL.iter().map(|word| Strategy::Weighted(*word)) {
        for weights in [&[198, 1, 1][..], &[3, 1], &[5, 1, 1]] {
            let total: u32 = weights.iter().sum();
            let mut seen = Vec::new();
            for load in [0.2, 2.0, 20.0, 200.0] {
                seen.push(shares_at(&strategy, load, weights));
            }
            seen.push(shares_with(&strategy, 24, weights));
            for shares in seen {
                for (share, weight) in shares.iter().zip(weights) {
                    let expected = f64::from(*weight) * 100.0 / f64::from(total);
                    let near = (share - expected).abs() <= 4.0;
                    assert!(near, "{strategy:?}, {weights:?}: {shares:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_server_that_joins_gets_a_share_soon_under_every_strategy() {
    let _epoch = clock::millis(clock::now());
    for strategy in Strategy::all_weighted() {
        let members = members(&[1, 1, 1]);
        for member in &members[..2] {
            member.endpoint.latency.observe_response(clock::now(), Duration::from_micros(300));
        }
        let joiner = &members[2].endpoint.standing;
        joiner.take_out(standing::UNCHECKED);
        joiner.bring_back(standing::UNCHECKED, clock::now());
        let balance = build_balancer(&strategy, &members);
        let mut random = Random::seeded(9);
        let mut share = |after: Duration| {
            let mut picked = 0;
            for n in 0..2000_u32 {
                let user = n.to_le_bytes();
                let mut ask = ask(&[], &mut random);
                ask.now += after;
                ask.key = Some(BalanceKey::new(&user));
                ask.rules.slow_start = Duration::from_secs(10);
                picked += usize::from(balance.pick_server(&members, &mut ask) == Some(2));
            }
            picked
        };
        let (early, late) = (share(Duration::ZERO), share(Duration::from_secs(10)));
        assert!(early >= 60 && late >= 500, "{strategy:?}: {early}, {late}");
    }
}

#[test]
fn no_strategy_prefers_a_server_that_takes_no_connections() {
    for strategy in Strategy::all_weighted() {
        let members = members(&[1, 1, 1]);
        members[1].endpoint.standing.mark_unreachable(clock::now());
        let _busy: Vec<_> = (0..5).map(|_| members[0].endpoint.begin_request()).collect();
        let _also: Vec<_> = (0..5).map(|_| members[2].endpoint.begin_request()).collect();
        let balance = build_balancer(&strategy, &members);
        let mut random = Random::seeded(9);
        for n in 0..100_u32 {
            let user = n.to_le_bytes();
            let mut ask = ask(&[], &mut random);
            ask.key = Some(BalanceKey::new(&user));
            assert_ne!(balance.pick_server(&members, &mut ask), Some(1), "{strategy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovered_server_gets_a_tenth_at_first_and_its_share_later() {
    let _epoch = clock::millis(clock::now());
    for strategy in [
        Strategy::Weighted(BalanceWord::RoundRobin),
        Strategy::Weighted(BalanceWord::Random),
        Strategy::Weighted(BalanceWord::LeastRequest),
    ] {
        let members = members(&[1, 1]);
        members[0].endpoint.standing.take_out(standing::EJECTED);
        members[0].endpoint.standing.bring_back(standing::EJECTED, clock::now());
        let balance = build_balancer(&strategy, &members);
        let mut random = Random::seeded(9);
        let mut share = |_: &str| {
            let picks = (0..2000).filter(|_| {
                let mut ask = ask(&[], &mut random);
                ask.rules.slow_start = Duration::from_secs(10);
                balance.pick_server(&members, &mut ask) == Some(0)
            });
            picks.count()
        };
        let early = share("early");
        assert!((50..350).contains(&early), "{strategy:?}: {early}");
        tokio::time::advance(Duration::from_secs(10)).await;
        let late = share("late");
        assert!((900..1100).contains(&late), "{strategy:?}: {late}");
    }
}

#[test]
fn what_a_server_is_known_by_and_what_is_timed() {
    let mut member = members(&[1]).remove(0);
    assert_eq!((member.hash_key(), member.at, member.weight), ("s0", 0, 1));
    member.key = Some("k".into());
    assert_eq!(member.hash_key(), "k");
    let timed: Vec<bool> = Strategy::all_weighted().iter().map(Strategy::is_timed).collect();
    let words: Vec<&BalanceWord> = BalanceWord::ALL.iter().collect();
    assert_eq!(timed.len(), words.len() + HashTable::ALL.len());
    for (word, timed) in words.iter().zip(&timed) {
        let expected = matches!(word, BalanceWord::PeakEwma | BalanceWord::LeastRequest);
        assert_eq!(*timed, expected, "{word:?}");
    }
    assert!(timed[words.len()..].iter().all(|timed| !timed));
}

#[test]
fn the_last_resort_begins_anywhere_and_asks_all() {
    let members = members(&[1; 5]);
    let mut random = Random::seeded(3);
    let mut seen = [0_u32; 5];
    for _ in 0..500 {
        seen[any_accepted(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
    }
    assert!(seen.iter().all(|n| (60..140).contains(n)), "{seen:?}");
    for member in &members[..4] {
        member.endpoint.standing.take_out(standing::UNHEALTHY);
    }
    for _ in 0..20 {
        assert_eq!(any_accepted(&members, &mut ask(&[], &mut random)), Some(4));
    }
}

/// A server on the way back is chosen by chance, and one that was tried or is full is not.
#[tokio::test(start_paused = true)]
async fn a_slow_start_leaves_the_rules_in_force() {
    let _epoch = clock::millis(clock::now());
    let members = members(&[1]);
    let [member] = &members[..] else { panic!() };
    let mut random = Random::seeded(3);
    member.endpoint.standing.take_out(standing::EJECTED);
    member.endpoint.standing.bring_back(standing::EJECTED, clock::now());
    let tried = [member.endpoint.id];
    let mut admitted = |tried: &[u32], cap| {
        let mut ask = ask(tried, &mut random);
        ask.rules = BalanceRules { cap, slow_start: Duration::from_secs(10), ..ask.rules };
        (0..1000).filter(|_| ask.admits(member)).count()
    };
    let some = admitted(&[], 1);
    assert!((50..150).contains(&some), "{some}");
    assert_eq!((admitted(&tried, 1), admitted(&[], 0)), (0, 0));
}
