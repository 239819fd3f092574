use super::super::tests::{ask, members};
use super::super::{BalanceWord, Strategy, build_balancer};
use super::*;
use crate::clock::Random;

#[test]
fn the_busier_of_two_is_avoided() {
    let members = members(&[1, 1]);
    let _busy: Vec<_> = (0..10).map(|_| members[0].endpoint.begin_request()).collect();
    let balance = build_balancer(&Strategy::Weighted(BalanceWord::LeastRequest), &members);
    let mut random = Random::seeded(5);
    let mut counts = [0; 2];
    for _ in 0..1000 {
        counts[balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
    }
    // Only when all eight draws hit the busy one is there nothing to compare it with.
    assert!(counts[0] < 20, "{counts:?}");
}

#[test]
fn of_equally_busy_servers_the_faster_one_is_chosen() {
    let members = members(&[1, 1, 1]);
    let now = crate::clock::now();
    for (member, millis) in members.iter().zip([200, 1, 200]) {
        member.endpoint.latency.observe_response(now, std::time::Duration::from_millis(millis));
    }
    let balance = LeastRequest::new(&[1, 1, 1]);
    let mut random = Random::seeded(5);
    let mut picks = |n: usize| -> Vec<usize> {
        (0..n).filter_map(|_| balance.pick_server(&members, &mut ask(&[], &mut random))).collect()
    };
    let idle = picks(300);
    assert!((0..3).all(|n| (60..140).contains(&idle.iter().filter(|p| **p == n).count())));
    let _one_each: Vec<_> = members.iter().map(|m| m.endpoint.begin_request()).collect();
    assert_eq!(picks(20), vec![1; 20]);
}

#[test]
fn the_faster_one_is_chosen_only_among_equals_and_the_first_of_those_that_are_as_fast() {
    let members = members(&[1, 1, 1]);
    let now = crate::clock::now();
    let balance = LeastRequest::new(&[1, 1, 1]);
    let mut random = Random::seeded(5);
    let mut picks = || -> Vec<Option<usize>> {
        (0..20).map(|_| balance.pick_server(&members, &mut ask(&[], &mut random))).collect()
    };
    let one_each: Vec<_> = members.iter().map(|m| m.endpoint.begin_request()).collect();
    assert_eq!(picks(), [Some(0); 20]);
    for (member, millis) in members.iter().zip([1, 1, 200]) {
        member.endpoint.latency.observe_response(now, std::time::Duration::from_millis(millis));
    }
    let _two: Vec<_> = members[..2].iter().map(|m| m.endpoint.begin_request()).collect();
    assert_eq!(picks(), [Some(2); 20]);
    drop(one_each);
    assert_eq!(picks(), [Some(2); 20]);
}

#[test]
fn of_many_servers_two_different_ones_are_compared() {
    let members = members(&[1; 9]);
    let _busy = members[4].endpoint.begin_request();
    let balance = LeastRequest::new(&[1; 9]);
    let mut random = Random::seeded(5);
    let picks = (0..2000).map(|_| balance.pick_server(&members, &mut ask(&[], &mut random)));
    let mut counts = [0; 9];
    picks.for_each(|picked| counts[picked.unwrap()] += 1);
    // Of two that are the same one, the busy one would be chosen 25 times.
    assert_eq!(counts[4], 0, "{counts:?}");
    assert!(counts.iter().enumerate().all(|(at, n)| at == 4 || *n > 150), "{counts:?}");
}

#[test]
fn load_is_compared_per_weight() {
    let members = members(&[1, 3]);
    let _one = members[0].endpoint.begin_request();
    let mut under_way =
        vec![members[1].endpoint.begin_request(), members[1].endpoint.begin_request()];
    assert!(less_loaded(&members[1], &members[0]) && !less_loaded(&members[0], &members[1]));
    under_way.push(members[1].endpoint.begin_request());
    assert!(!less_loaded(&members[1], &members[0]) && !less_loaded(&members[0], &members[1]));
    under_way.push(members[1].endpoint.begin_request());
    assert!(!less_loaded(&members[1], &members[0]) && less_loaded(&members[0], &members[1]));
    // Five at weight 3 are less than two at weight 1, and seven are more.
    let _two = members[0].endpoint.begin_request();
    under_way.push(members[1].endpoint.begin_request());
    assert!(less_loaded(&members[1], &members[0]) && !less_loaded(&members[0], &members[1]));
    under_way.push(members[1].endpoint.begin_request());
    under_way.push(members[1].endpoint.begin_request());
    assert!(!less_loaded(&members[1], &members[0]) && less_loaded(&members[0], &members[1]));
    assert!(LeastRequest::new(&[2, 2, 2]).distinct && !LeastRequest::new(&[2, 2, 3]).distinct);
}

#[test]
fn of_a_few_servers_the_idlest_is_found_and_of_many_one_of_two() {
    let mut random = Random::seeded(5);
    for (servers, always) in [(8, true), (9, false)] {
        let members = members(&vec![1; servers]);
        let _busy: Vec<_> = members.iter().skip(1).map(|m| m.endpoint.begin_request()).collect();
        let balance = LeastRequest::new(&vec![1; servers]);
        let idle = (0..100)
            .filter(|_| balance.pick_server(&members, &mut ask(&[], &mut random)) == Some(0));
        let idle = idle.count();
        assert!(if always { idle == 100 } else { (5..60).contains(&idle) }, "{servers}: {idle}");
    }
}
