//! `least_request`: of two servers drawn in proportion to weight, the one with fewer requests under
//! way per weight (power of two choices, Mitzenmacher 2001).
//!
//! Drawing uniformly and comparing by weight would cap a server's share at 2/n whatever its weight;
//! drawing by weight and comparing plain counts would flatten the shares. Drawing two different
//! servers by weight, comparing `in flight / weight`, and keeping the first on a tie holds them
//! within a few points at every load.

use std::sync::Arc;

use super::alias::AliasTable;
use super::{Ask, Balance, any_admitted};
use crate::endpoint::Endpoint;

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
    fn pick(&self, endpoints: &[Arc<Endpoint>], ask: &mut Ask<'_>) -> Option<usize> {
        let mut first: Option<(usize, &Endpoint)> = None;
        for _ in 0..DRAWS {
            let index = self.table.draw(ask.random)?;
            let Some(endpoint) = endpoints.get(index).filter(|e| ask.admits(index, e)) else {
                continue;
            };
            match first {
                None if endpoints.len() == 1 => return Some(index),
                None => first = Some((index, endpoint)),
                Some((a, _)) if a == index => {}
                Some((a, one)) => return Some(if less_loaded(endpoint, one) { index } else { a }),
            }
        }
        first.map(|(index, _)| index).or_else(|| any_admitted(endpoints, ask))
    }
}

/// Whether `a` carries less per weight than `b`.
#[inline]
fn less_loaded(a: &Endpoint, b: &Endpoint) -> bool {
    u64::from(a.in_flight()) * u64::from(b.weight) < u64::from(b.in_flight()) * u64::from(a.weight)
}

#[cfg(test)]
mod tests {
    use super::super::{Strategy, build, tests::endpoints};
    use super::*;
    use crate::clock::Random;

    #[test]
    fn the_busier_of_two_is_avoided() {
        let endpoints = endpoints(&[1, 1]);
        let _busy: Vec<_> = (0..10).map(|_| endpoints[0].begin()).collect();
        let balance = build(Strategy::LeastRequest, &endpoints);
        let mut random = Random::seeded(5);
        let mut counts = [0; 2];
        for _ in 0..1000 {
            let mut ask = Ask { tried: &[], random: &mut random };
            counts[balance.pick(&endpoints, &mut ask).unwrap()] += 1;
        }
        // Only when all eight draws hit the busy one is there nothing to compare it with.
        assert!(counts[0] < 20, "{counts:?}");
    }
}
