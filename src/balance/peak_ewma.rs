//! `peak_ewma`: of two servers drawn in proportion to weight, the one where a request is expected to
//! end sooner: latency times requests under way (Finagle's "peak EWMA" balancer).

use super::alias::AliasTable;
use super::{Ask, Balance, Member, any_accepted};

/// Draws before falling back to a scan, when servers are out or the two draws coincide.
const DRAWS: usize = 8;

#[derive(Debug)]
pub(super) struct PeakEwma {
    table: AliasTable,
}

impl PeakEwma {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { table: AliasTable::new(weights) }
    }
}

impl Balance for PeakEwma {
    fn pick(&self, members: &[Member], ask: &mut Ask<'_>) -> Option<usize> {
        let mut first: Option<(usize, f64)> = None;
        for _ in 0..DRAWS {
            let index = self.table.draw(ask.random)?;
            let Some(member) = members.get(index).filter(|m| ask.admits(m)) else { continue };
            match first {
                None if members.len() == 1 => return Some(index),
                None => first = Some((index, cost(member, ask))),
                Some((a, _)) if a == index => {}
                Some((a, least)) => return Some(if cost(member, ask) < least { index } else { a }),
            }
        }
        first.map(|(index, _)| index).or_else(|| any_accepted(members, ask))
    }
}

/// What one more request would wait for.
fn cost(member: &Member, ask: &Ask<'_>) -> f64 {
    let ahead = f64::from(member.endpoint.in_flight()) / f64::from(member.weight);
    member.endpoint.latency.micros(ask.now) * (ahead + 1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{ask, members};
    use super::*;
    use crate::clock::{self, Random};

    #[test]
    fn the_slower_of_two_is_avoided_until_the_faster_is_busy() {
        let members = members(&[1, 1]);
        let now = clock::now();
        members[0].endpoint.latency.observe(now, Duration::from_millis(1));
        members[1].endpoint.latency.observe(now, Duration::from_millis(5));
        let balance = PeakEwma::new(&[1, 1]);
        let mut random = Random::seeded(4);
        let mut slow = || -> usize {
            (0..1000)
                .filter(|_| balance.pick(&members, &mut ask(&[], &mut random)) == Some(1))
                .count()
        };
        assert!(slow() < 20);
        let _busy: Vec<_> = (0..10).map(|_| members[0].endpoint.begin()).collect();
        assert!(slow() > 980);
    }
}
