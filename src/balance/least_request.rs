//! `least_request`: of two servers drawn in proportion to weight, the one with fewer requests under
//! way per weight (power of two choices, Mitzenmacher 2001).
//!
//! Drawing uniformly and comparing by weight would cap a server's share at 2/n whatever its weight;
//! drawing by weight and comparing plain counts would flatten the shares. Drawing two different
//! servers by weight, comparing `in flight / weight`, and keeping the first on a tie holds them
//! within a few points at every load.

use super::alias::AliasTable;
use super::{Ask, Balance, Member, any_accepted};

/// Draws before falling back to a scan, when servers are out or the two draws coincide.
const DRAWS: usize = 8;

#[derive(Debug)]
pub(super) struct LeastRequest {
    table: AliasTable,
}

impl LeastRequest {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { table: AliasTable::new(weights) }
    }
}

impl Balance for LeastRequest {
    fn pick(&self, members: &[Member], ask: &mut Ask<'_>) -> Option<usize> {
        let mut first: Option<(usize, &Member)> = None;
        for _ in 0..DRAWS {
            let index = self.table.draw(ask.random)?;
            let Some(member) = members.get(index).filter(|m| ask.admits(m)) else { continue };
            match first {
                None if members.len() == 1 => return Some(index),
                None => first = Some((index, member)),
                Some((a, _)) if a == index => {}
                Some((a, one)) => return Some(if less_loaded(member, one) { index } else { a }),
            }
        }
        first.map(|(index, _)| index).or_else(|| any_accepted(members, ask))
    }
}

/// Whether `a` carries less per weight than `b`.
#[inline]
fn less_loaded(a: &Member, b: &Member) -> bool {
    let load =
        |of: &Member, other: &Member| u64::from(of.endpoint.in_flight()) * u64::from(other.weight);
    load(a, b) < load(b, a)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ask, members};
    use super::super::{Strategy, build};
    use crate::clock::Random;

    #[test]
    fn the_busier_of_two_is_avoided() {
        let members = members(&[1, 1]);
        let _busy: Vec<_> = (0..10).map(|_| members[0].endpoint.begin()).collect();
        let balance = build(&Strategy::LeastRequest, &members);
        let mut random = Random::seeded(5);
        let mut counts = [0; 2];
        for _ in 0..1000 {
            counts[balance.pick(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
        }
        // Only when all eight draws hit the busy one is there nothing to compare it with.
        assert!(counts[0] < 20, "{counts:?}");
    }
}
