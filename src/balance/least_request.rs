//! `least_request`: of two servers drawn in proportion to weight, the one with fewer requests under
//! way per weight (power of two choices, Mitzenmacher 2001).
//!
//! Drawing uniformly and comparing by weight would cap a server's share at 2/n whatever its weight;
//! drawing by weight and comparing plain counts would flatten the shares; insisting on two
//! different servers would let an idle light one win against any heavy one. Drawing by weight,
//! comparing `in flight / weight`, and keeping the first on a tie holds them within four points at
//! every load.

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

/// Of a few servers of equal weight the one with the fewest requests. Idle ones are equals, chosen
/// at random; of busy ones with as many requests each, the one that answers sooner has more room.
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
mod tests;
