use proptest::prelude::*;

use super::super::{BalanceWord, Strategy, tests::shares};
use super::*;

#[test]
fn three_two_one_is_exact_over_every_six_picks_and_smooth() {
    assert_eq!(&*smooth_cycle(&reduce_weights(&[3, 2, 1])), [0, 1, 0, 2, 1, 0]);
    assert_eq!(&*smooth_cycle(&reduce_weights(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(shares(&Strategy::Weighted(BalanceWord::RoundRobin), &[3, 2, 1], 6), [3, 2, 1]);
    assert_eq!(
        shares(&Strategy::Weighted(BalanceWord::RoundRobin), &[300, 200, 100], 600),
        [300, 200, 100]
    );
}

#[test]
fn huge_weights_keep_their_proportions() {
    let reduced = reduce_weights(&[65_535, 65_534, 1]);
    assert_eq!(reduced, [32_768, 32_767, 1]);
    assert_eq!(reduce_weights(&[65_535, 20_000, 1]), [50_211, 15_323, 1]);
    let shares = shares(&Strategy::Weighted(BalanceWord::RoundRobin), &[65_535, 20_000, 1], 65_535);
    assert_eq!(shares, [50_211, 15_323, 1]);
}

proptest! {
    #[test]
    fn every_cycle_gives_each_server_its_weight(weights in prop::collection::vec(1_u32..20, 1..8)) {
        let turns = smooth_cycle(&reduce_weights(&weights));
        let common = (1..20).rev().find(|n| weights.iter().all(|weight| weight % n == 0)).unwrap();
        for (index, weight) in weights.iter().enumerate() {
            let count = turns.iter().filter(|t| **t as usize == index).count();
            prop_assert_eq!(count, (weight / common) as usize);
        }
    }
}

#[test]
fn a_server_that_is_out_is_skipped_and_huge_weights_are_scaled_at_the_limit_only() {
    assert_eq!(reduce_weights(&[65_535, 1]), [65_535, 1]);
    assert_eq!(reduce_weights(&[65_536, 1]), [65_535, 1]);
    assert_eq!(reduce_weights(&[12, 18, 30]), [2, 3, 5]);
    assert_eq!((gcd(12, 18), gcd(7, 0), gcd(0, 7), gcd(35, 64)), (6, 7, 7, 1));
    let members = super::super::tests::members(&[1, 1, 1]);
    let tried = [members[1].endpoint.id];
    let balance = RoundRobin::new(&[1, 1, 1]);
    let mut random = crate::clock::Random::seeded(1);
    let picks: Vec<_> = (0..5)
        .map(|_| {
            balance
                .pick_server(&members, &mut super::super::tests::ask(&tried, &mut random))
                .unwrap()
        })
        .collect();
    assert_eq!(picks, [0, 2, 0, 2, 0]);
}
