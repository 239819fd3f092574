//! `least_conn`: of all servers, the one with the fewest requests under way per weight.
//!
//! Looks at every server, so it finds the best where two choices only find the better. Requests
//! under way are counted in steps of `weight / lightest weight`: a server of weight 198 beside one
//! of weight 1 has the next step with 198 requests. Fractions of a step would let an idle light
//! server win against any heavy one, and flatten the shares; to ignore them would let heavy ones
//! have more than theirs. Those of more than a half are rounded up by chance, which keeps shares
//! within four points. Ties are broken at random in proportion to weight, or the first server of an
//! idle upstream would get everything. From [`SCANNED`] servers on a stretch of that many is looked
//! at, from a random place.

use super::{Balance, Member, PickContext, any_accepted};

/// The most servers that one pick looks at.
pub(super) const SCANNED: usize = 1024;

#[derive(Debug)]
pub(super) struct LeastConn {
    /// The smallest weight.
    lightest: u64,
}

impl LeastConn {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { lightest: weights.iter().copied().min().map_or(1, u64::from) }
    }
}

impl Balance for LeastConn {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        let n = members.len();
        let start =
            if n > SCANNED { usize::try_from(ask.random.below(n as u64)).unwrap_or(0) } else { 0 };
        let mut best: Option<(usize, u64)> = None;
        let mut equals = 1_u64;
        for step in 0..n.min(SCANNED) {
            let index = if start + step < n { start + step } else { start + step - n };
            let Some(member) = members.get(index) else { continue };
            let (load, weight) = (u64::from(member.endpoint.in_flight()), u64::from(member.weight));
            let part =
                if weight == self.lightest { 0 } else { ask.random.below(weight.div_ceil(2)) };
            let steps = (load * self.lightest + part) / weight.max(1);
            let order = best.map_or(std::cmp::Ordering::Less, |(_, least)| steps.cmp(&least));
            if order.is_gt() || !ask.admits(member) {
                continue;
            }
            if order.is_lt() {
                best = Some((index, steps));
                equals = weight;
                continue;
            }
            // Each of the equals ends up chosen in proportion to its weight (reservoir sampling).
            equals += weight;
            if ask.random.below(equals) < weight {
                best = Some((index, steps));
            }
        }
        best.map(|(index, _)| index).or_else(|| any_accepted(members, ask))
    }
}

#[cfg(test)]
mod tests;
