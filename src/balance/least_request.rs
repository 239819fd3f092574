//! `least_request`: of two servers drawn in proportion to weight, the one with fewer requests under
//! way per weight (power of two choices, Mitzenmacher 2001).
//!
//! Drawing uniformly and comparing by weight would cap a server's share at 2/n whatever its weight;
//! drawing by weight and comparing plain counts would flatten the shares; insisting on two different
//! servers would let an idle light one win against any heavy one. Drawing by weight, comparing
//! `in flight / weight`, and keeping the first on a tie holds them within four points at every load.

use super::alias::AliasTable;
use super::{Balance, Member, PickContext, any_accepted};

/// Draws before falling back to a scan, when servers are out or the two draws coincide.
const DRAWS: usize = 8;

/// Up to so many servers of equal weight all are compared: that costs no more than drawing, and the
/// counts are exact for the whole process.
const FEW: usize = 8;

#[derive(Debug)]
pub(super) struct LeastRequest {
    table: AliasTable,
    /// All weights are equal: two draws of the same server are a wasted comparison. Otherwise they
    /// are what keeps a heavy server's share, and stand.
    distinct: bool,
}

impl LeastRequest {
    pub(super) fn new(weights: &[u32]) -> Self {
        let distinct = weights.iter().zip(weights.iter().skip(1)).all(|(a, b)| a == b);
        Self { table: AliasTable::new(weights), distinct }
    }
}

impl Balance for LeastRequest {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        if self.distinct && members.len() <= FEW {
            return pick_fewest(members, ask);
        }
        let mut first: Option<(usize, &Member)> = None;
        for _ in 0..DRAWS {
            let index = self.table.draw_index(ask.random)?;
            let Some(member) = members.get(index).filter(|m| ask.admits(m)) else { continue };
            match first {
                None => first = Some((index, member)),
                Some((a, _)) if a == index && self.distinct => {}
                Some((a, one)) => return Some(if less_loaded(member, one) { index } else { a }),
            }
        }
        first.map(|(index, _)| index).or_else(|| any_accepted(members, ask))
    }
}

/// Of a few servers of equal weight the one with the fewest requests. Idle ones are equals, chosen at
/// random; of busy ones with as many requests each, the one that answers sooner has more room.
fn pick_fewest(members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
    let mut best: Option<(usize, u32, &Member)> = None;
    let mut equals = 1;
    for (index, member) in members.iter().enumerate() {
        let load = member.endpoint.in_flight();
        if best.is_some_and(|(_, least, _)| load > least) || !ask.admits(member) {
            continue;
        }
        let wins = match best {
            Some((_, least, other)) if load == least && load > 0 => {
                let micros =
                    |of: &Member| of.endpoint.latency.expected_micros(ask.now).unwrap_or(0.0);
                micros(member) < micros(other)
            }
            Some((_, least, _)) if load == least => {
                equals += 1;
                ask.random.below(equals) == 0
            }
            _ => {
                equals = 1;
                true
            }
        };
        if wins {
            best = Some((index, load, member));
        }
    }
    best.map(|(index, _, _)| index).or_else(|| any_accepted(members, ask))
}

/// Returns whether `a` carries less per weight than `b`.
#[inline]
fn less_loaded(a: &Member, b: &Member) -> bool {
    let load =
        |of: &Member, other: &Member| u64::from(of.endpoint.in_flight()) * u64::from(other.weight);
    load(a, b) < load(b, a)
}

#[cfg(test)]
mod tests {
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
            (0..n)
                .filter_map(|_| balance.pick_server(&members, &mut ask(&[], &mut random)))
                .collect()
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
            let _busy: Vec<_> =
                members.iter().skip(1).map(|m| m.endpoint.begin_request()).collect();
            let balance = LeastRequest::new(&vec![1; servers]);
            let idle = (0..100)
                .filter(|_| balance.pick_server(&members, &mut ask(&[], &mut random)) == Some(0));
            let idle = idle.count();
            assert!(
                if always { idle == 100 } else { (5..60).contains(&idle) },
                "{servers}: {idle}"
            );
        }
    }
}
