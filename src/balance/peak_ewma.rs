//! `peak_ewma`: of two servers drawn in proportion to weight, the one where a request is expected
//! to end sooner: latency times requests under way (Finagle's "peak EWMA" balancer).
//!
//! A server about which nothing is known is compared by its requests under way alone, and so is,
//! now and then, any other: one that would never be chosen could never show that it has become
//! fast.

use std::cmp::Ordering;

use super::alias::AliasTable;
use super::{Balance, Member, PickContext, any_accepted};

/// Draws before falling back to a scan, when servers are out or the two draws coincide.
const DRAWS: usize = 8;
/// One choice in so many does not look at latency.
const EXPLORES: u64 = 64;

#[derive(Debug)]
pub(super) struct PeakEwma {
    table: AliasTable,
    /// As for `least_request`: with different weights, drawing the same server twice is what keeps
    /// a heavy one's share.
    distinct: bool,
}

impl PeakEwma {
    pub(super) fn new(weights: &[u32]) -> Self {
        let distinct = weights.iter().zip(weights.iter().skip(1)).all(|(a, b)| a == b);
        Self { table: AliasTable::new(weights), distinct }
    }
}

impl Balance for PeakEwma {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        if let [only] = members {
            return ask.accepts(only).then_some(0);
        }
        let mut first: Option<(usize, &Member)> = None;
        for _ in 0..DRAWS {
            let index = self.table.draw_index(ask.random)?;
            let Some(member) = members.get(index).filter(|m| ask.admits(m)) else { continue };
            match first {
                None => first = Some((index, member)),
                Some((a, _)) if a == index && self.distinct => {}
                Some((a, one)) => {
                    return Some(if ends_sooner(member, one, ask) { index } else { a });
                }
            }
        }
        first.map(|(index, _)| index).or_else(|| any_accepted(members, ask))
    }
}

/// Returns whether one more request is expected to end sooner at `a` than at `b`.
fn ends_sooner(a: &Member, b: &Member, ask: &mut PickContext<'_>) -> bool {
    let ahead = |of: &Member| f64::from(of.endpoint.in_flight()) / f64::from(of.weight);
    let (ahead_a, ahead_b) = (ahead(a), ahead(b));
    let known =
        (a.endpoint.latency.expected_micros(ask.now), b.endpoint.latency.expected_micros(ask.now));
    match known {
        (Some(a), Some(b)) if ask.random.below(EXPLORES) != 0 => {
            a * (ahead_a + 1.0) < b * (ahead_b + 1.0)
        }
        (known_a, known_b) => match ahead_a.total_cmp(&ahead_b) {
            Ordering::Less => true,
            Ordering::Equal => known_a.is_none() && known_b.is_some(),
            Ordering::Greater => false,
        },
    }
}

#[cfg(test)]
mod tests;
