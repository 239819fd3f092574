use std::time::Duration;

use super::super::tests::{ask, members};
use super::*;
use crate::clock::{self, Random};

#[test]
fn the_slower_of_two_is_avoided_until_the_faster_is_busy() {
    let members = members(&[1, 1]);
    let now = clock::now();
    members[0].endpoint.latency.observe_response(now, Duration::from_millis(1));
    members[1].endpoint.latency.observe_response(now, Duration::from_millis(5));
    let balance = PeakEwma::new(&[1, 1]);
    let mut random = Random::seeded(4);
    let mut slow = || -> usize {
        (0..1000)
            .filter(|_| balance.pick_server(&members, &mut ask(&[], &mut random)) == Some(1))
            .count()
    };
    // But it is asked now and then.
    let seldom = slow();
    assert!((1..20).contains(&seldom), "{seldom}");
    let _busy: Vec<_> = (0..10).map(|_| members[0].endpoint.begin_request()).collect();
    assert!(slow() > 970);
}

/// Returns how many of so many requests a third server gets that joins two fast ones, with eight
/// under way, two in a millisecond, and a first answer of its own that takes so long.
async fn joins(requests: u32, first: Duration) -> u32 {
    let _epoch = clock::millis(clock::now());
    let members = members(&[1, 1, 1]);
    let fast = Duration::from_micros(300);
    for member in &members[..2] {
        (0..100).for_each(|_| member.endpoint.latency.observe_response(clock::now(), fast));
    }
    let balance = PeakEwma::new(&[1, 1, 1]);
    let mut random = Random::seeded(4);
    let mut under_way = std::collections::VecDeque::new();
    let mut joined = 0;
    for n in 0..requests {
        let picked = balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap();
        under_way.push_back((picked, members[picked].endpoint.begin_request()));
        if under_way.len() == 8 {
            let (which, _slot) = under_way.pop_front().unwrap();
            let took = if which == 2 && joined == 0 { first } else { fast };
            joined += u32::from(which == 2);
            members[which].endpoint.latency.observe_response(clock::now(), took);
        }
        if n % 2 == 1 {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
    joined
}

#[tokio::test(start_paused = true)]
async fn r4_a_server_that_joins_fast_ones_gets_its_share() {
    let joined = joins(3000, Duration::from_micros(300)).await;
    assert!((900..1100).contains(&joined), "{joined}");
}

#[tokio::test(start_paused = true)]
async fn r4_a_slow_first_answer_does_not_cost_the_share_for_long() {
    let joined = joins(20_000, Duration::from_millis(100)).await;
    assert!(joined > 1000, "{joined}");
}

#[test]
fn where_nothing_is_known_the_idler_one_is_chosen() {
    let members = members(&[1, 1, 3]);
    let mut random = Random::seeded(4);
    let mut sooner =
        |a: usize, b: usize| ends_sooner(&members[a], &members[b], &mut ask(&[], &mut random));
    let _one = members[0].endpoint.begin_request();
    assert!(sooner(1, 0) && !sooner(0, 1));
    // Of weight 3, two under way are less than one of weight 1, and four are more.
    let _two = [members[2].endpoint.begin_request(), members[2].endpoint.begin_request()];
    assert!(sooner(2, 0) && !sooner(0, 2));
    let _four = [members[2].endpoint.begin_request(), members[2].endpoint.begin_request()];
    assert!(!sooner(2, 0) && sooner(0, 2));
}

#[test]
fn what_is_expected_to_end_sooner_is_latency_times_what_is_under_way() {
    let members = members(&[1, 1, 2]);
    let now = clock::now();
    let mut random = Random::seeded(4);
    let often = |a: usize, b: usize, random: &mut Random| {
        let mut ask = ask(&[], random);
        ask.now = now;
        (0..640).filter(|_| ends_sooner(&members[a], &members[b], &mut ask)).count()
    };
    // Nothing is known: as busy is no better, and the one about which nothing is known is asked.
    assert_eq!((often(0, 1, &mut random), often(1, 0, &mut random)), (0, 0));
    members[0].endpoint.latency.observe_response(now, Duration::from_millis(2));
    assert_eq!((often(0, 1, &mut random), often(1, 0, &mut random)), (0, 640));
    members[1].endpoint.latency.observe_response(now, Duration::from_millis(5));
    members[2].endpoint.latency.observe_response(now, Duration::from_millis(5));
    // One in 64 does not look at it.
    let (fast, slow) = (often(0, 1, &mut random), often(1, 0, &mut random));
    assert!((600..640).contains(&fast) && slow == 0, "{fast}, {slow}");
    // Two and a half times as busy would be as slow: (1 + 1) * 2 is less than 5, (2 + 1) * 2 is
    // more.
    let _one = members[0].endpoint.begin_request();
    assert!(often(0, 1, &mut random) >= 600);
    let _two = members[0].endpoint.begin_request();
    assert!(often(0, 1, &mut random) == 0);
    // Of weight 2, two under way count as one.
    let _heavy = [members[2].endpoint.begin_request(), members[2].endpoint.begin_request()];
    let _light = members[1].endpoint.begin_request();
    assert_eq!((often(1, 2, &mut random), often(2, 1, &mut random)), (0, 0));
}
