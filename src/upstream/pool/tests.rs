use std::sync::Arc;

use super::*;
use crate::balance::{BalanceRules, BalanceWord};
use crate::clock::{self, Random};
use crate::endpoint::Endpoint;

fn placed(name: &str, priority: u16, zone: Option<&str>) -> PlacedMember {
    let endpoint = Arc::new(Endpoint::new("u".into(), name.into(), Box::default()));
    PlacedMember { member: Member::new(endpoint, 1), priority, zone: zone.map(Into::into) }
}

fn ask<'a>(tried: &'a [u32], random: &'a mut Random) -> PickContext<'a> {
    PickContext { tried, key: None, now: clock::now(), random, rules: BalanceRules::default() }
}

fn picked(pool: &Pool, tried: &[u32], n: usize) -> Vec<(String, usize)> {
    let mut random = Random::seeded(3);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..n {
        if let Some(member) = pool.pick_server(&mut ask(tried, &mut random)) {
            *counts.entry(member.endpoint.name.to_string()).or_insert(0) += 1;
        }
    }
    counts.into_iter().collect()
}

#[test]
fn a_lower_priority_is_asked_only_when_the_one_before_has_nobody() {
    let servers = vec![
        placed("a", 0, None),
        placed("b", 0, None),
        placed("c", 1, None),
        placed("d", 7, None),
    ];
    let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
    let counts = picked(&pool, &[], 100);
    assert_eq!(counts, [("a".into(), 50), ("b".into(), 50)]);
    let [a, b, c, _] = pool.members() else { panic!("four servers") };
    let tried = [a.endpoint.id, b.endpoint.id];
    assert_eq!(picked(&pool, &tried, 10), [("c".into(), 10)]);
    a.endpoint.standing.take_out(standing::UNHEALTHY);
    b.endpoint.standing.take_out(standing::EJECTED);
    c.endpoint.standing.take_out(standing::DRAINING);
    assert_eq!(picked(&pool, &[], 10), [("d".into(), 10)]);
}

#[test]
fn the_own_zone_comes_first_until_too_little_of_it_is_well() {
    let servers = vec![
        placed("near1", 0, Some("z1")),
        placed("near2", 0, Some("z1")),
        placed("far1", 0, Some("z2")),
        placed("far2", 0, None),
    ];
    let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::Random), Some("z1"));
    let near = |counts: &[(String, usize)]| -> usize {
        counts.iter().filter(|(name, _)| name.starts_with("near")).map(|(_, n)| n).sum()
    };
    assert_eq!(near(&picked(&pool, &[], 1000)), 1000);
    pool.members()[0].endpoint.standing.take_out(standing::UNHEALTHY);
    // Half is well: 70 % stay, and a third of the rest comes back by chance.
    let stayed = near(&picked(&pool, &[], 1000));
    assert!((730..870).contains(&stayed), "{stayed}");
    pool.members()[1].endpoint.standing.take_out(standing::UNHEALTHY);
    assert_eq!(near(&picked(&pool, &[], 1000)), 0);
}

#[test]
fn a_proxy_without_a_zone_prefers_none() {
    let servers = vec![placed("a", 0, Some("z1")), placed("b", 0, None)];
    let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
    assert_eq!(picked(&pool, &[], 10), [("a".into(), 5), ("b".into(), 5)]);
}

#[test]
fn a_server_that_takes_no_connections_is_asked_last_of_all_priorities() {
    let servers = vec![placed("a", 0, None), placed("b", 1, None), placed("c", 2, None)];
    let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
    let [a, b, c] = pool.members() else { panic!("three servers") };
    a.endpoint.standing.mark_unreachable(clock::now());
    assert_eq!(picked(&pool, &[], 5), [("b".into(), 5)]);
    b.endpoint.standing.mark_unreachable(clock::now());
    assert_eq!(picked(&pool, &[], 5), [("c".into(), 5)]);
    assert_eq!(picked(&pool, &[c.endpoint.id], 5), [("a".into(), 5)]);
    let tried = [c.endpoint.id, a.endpoint.id, b.endpoint.id];
    assert_eq!(picked(&pool, &tried, 5), []);
    c.endpoint.standing.take_out(standing::UNHEALTHY);
    assert_eq!(picked(&pool, &[], 5), [("a".into(), 5)]);
    let mut random = Random::seeded(1);
    assert_eq!(pool.explain_miss(&ask(&tried, &mut random), false), NoServerReason::Tried);
    // One that is only full is waited for.
    c.endpoint.standing.bring_back(standing::UNHEALTHY, clock::now());
    let _busy = c.endpoint.begin_request();
    let mut full = ask(&[], &mut random);
    full.rules.cap = 1;
    assert!(pool.pick_server(&mut full).is_none());
    assert_eq!(pool.explain_miss(&full, false), NoServerReason::Full);
}

#[test]
fn a_miss_says_why() {
    let mut random = Random::seeded(1);
    let empty = Pool::new(Vec::new(), &Strategy::Weighted(BalanceWord::Random), None);
    assert_eq!(empty.explain_miss(&ask(&[], &mut random), false), NoServerReason::Nobody);
    let pool = Pool::new(
        vec![placed("a", 0, None), placed("b", 0, None)],
        &Strategy::Weighted(BalanceWord::Random),
        None,
    );
    let ids: Vec<u32> = pool.members().iter().map(|m| m.endpoint.id).collect();
    assert_eq!(pool.explain_miss(&ask(&ids, &mut random), false), NoServerReason::Tried);
    let mut full = ask(&[], &mut random);
    full.rules.cap = 0;
    assert_eq!(pool.explain_miss(&full, false), NoServerReason::Full);
    // Free by now: it was full when it was looked at, or is another than the key's.
    let free = ask(&[], &mut random);
    assert_eq!(pool.explain_miss(&free, false), NoServerReason::Full);
    assert_eq!(pool.explain_miss(&free, true), NoServerReason::Bound);
    let out = |reason| {
        for member in pool.members() {
            member.endpoint.standing.take_out(reason);
        }
    };
    out(standing::UNRESOLVED);
    assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Unresolved);
    for member in pool.members() {
        member.endpoint.standing.admit_at_once(standing::UNRESOLVED);
    }
    out(standing::EJECTED);
    assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Ejected);
    out(standing::UNHEALTHY);
    assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Unhealthy);
    out(standing::DRAINING);
    assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Draining);
}
