use super::super::tests::{ask, members};
use super::*;
use crate::clock::Random;

#[test]
fn the_least_loaded_for_its_weight_is_found() {
    let members = members(&[1, 1, 4]);
    let _one = members[0].endpoint.begin_request();
    let _two = members[1].endpoint.begin_request();
    let _two_more: Vec<_> = (0..2).map(|_| members[2].endpoint.begin_request()).collect();
    let mut random = Random::seeded(2);
    for _ in 0..20 {
        let balance = LeastConn::new(&[1, 1, 4]);
        assert_eq!(balance.pick_server(&members, &mut ask(&[], &mut random)), Some(2));
    }
}

#[test]
fn a_large_upstream_is_looked_at_in_part() {
    let members = members(&vec![1; SCANNED * 2]);
    let mut random = Random::seeded(2);
    let balance = LeastConn::new(&vec![1; SCANNED * 2]);
    let picked: Vec<usize> = (0..200)
        .filter_map(|_| balance.pick_server(&members, &mut ask(&[], &mut random)))
        .collect();
    assert_eq!(picked.len(), 200);
    assert!(picked.iter().any(|i| *i >= SCANNED) && picked.iter().any(|i| *i < SCANNED));
}

#[test]
fn the_stretch_that_is_looked_at_goes_round() {
    // All but one of the servers are looked at, so an idle one is missed once in so many picks.
    let members = members(&vec![1; SCANNED + 1]);
    let mut random = Random::seeded(2);
    let balance = LeastConn::new(&vec![1; SCANNED + 1]);
    for idle in [0, 1, SCANNED] {
        let busy = members.iter().enumerate().filter(|(at, _)| *at != idle);
        let _busy: Vec<_> = busy.map(|(_, member)| member.endpoint.begin_request()).collect();
        let found = (0..50)
            .filter(|_| balance.pick_server(&members, &mut ask(&[], &mut random)) == Some(idle));
        let found = found.count();
        assert!(found >= 48, "{idle}: {found}");
    }
}

#[test]
fn weights_that_hardly_differ_hardly_matter() {
    let members = members(&[101, 100]);
    let _busy: Vec<_> = (0..3).map(|_| members[0].endpoint.begin_request()).collect();
    let mut random = Random::seeded(2);
    let balance = LeastConn::new(&[101, 100]);
    for _ in 0..20 {
        assert_eq!(balance.pick_server(&members, &mut ask(&[], &mut random)), Some(1));
    }
}

#[test]
fn a_heavy_server_takes_as_many_more_as_its_weight_says() {
    let members = members(&[1, 4]);
    let balance = LeastConn::new(&[1, 4]);
    assert_eq!((balance.lightest, LeastConn::new(&[]).lightest), (1, 1));
    let mut random = Random::seeded(2);
    let _one = members[0].endpoint.begin_request();
    let _three: Vec<_> = (0..3).map(|_| members[1].endpoint.begin_request()).collect();
    // One request more would be the first of the next step: with chance, that is.
    let _more = members[0].endpoint.begin_request();
    for _ in 0..50 {
        assert_eq!(balance.pick_server(&members, &mut ask(&[], &mut random)), Some(1));
    }
    let _many: Vec<_> = (0..9).map(|_| members[1].endpoint.begin_request()).collect();
    for _ in 0..50 {
        assert_eq!(balance.pick_server(&members, &mut ask(&[], &mut random)), Some(0));
    }
}

#[test]
fn equals_are_chosen_by_weight() {
    let members = members(&[2, 1, 1]);
    let balance = LeastConn::new(&[2, 1, 1]);
    let mut random = Random::seeded(2);
    let mut counts = [0_u32; 3];
    for _ in 0..8000 {
        counts[balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
    }
    assert!(counts[0].abs_diff(4000) < 200 && counts[1].abs_diff(2000) < 200, "{counts:?}");
}
