//! `round_robin`: smooth weighted round robin, exact over every cycle.
//!
//! The sequence is the one nginx produces (each step every server gains its weight, the largest is
//! picked and loses the total), which spreads a heavy server's turns instead of bunching them. It
//! is computed once per set of servers; a pick is one atomic increment and one load.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Balance, Member, PickContext, any_accepted};

/// The longest cycle: with larger weights they are scaled down, which moves no share by more than
/// 0.01 % of the total.
const MAX_CYCLE: u64 = 65_536;

#[derive(Debug)]
pub(super) struct RoundRobin {
    cycle: Box<[u32]>,
    next: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { cycle: smooth_cycle(&reduce_weights(weights)), next: AtomicUsize::new(0) }
    }
}

impl Balance for RoundRobin {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        if self.cycle.is_empty() {
            return None;
        }
        // Taking the next turn skips a server that is out; after a whole cycle
        // only servers in a slow start can be left.
        for _ in 0..self.cycle.len() {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.cycle.len();
            let index = *self.cycle.get(turn)? as usize;
            if members.get(index).is_some_and(|m| ask.admits(m)) {
                return Some(index);
            }
        }
        any_accepted(members, ask)
    }
}

/// The smallest weights with the same proportions.
fn reduce_weights(weights: &[u32]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let reduced: Vec<u64> = weights.iter().map(|w| u64::from(w / divisor)).collect();
    let total: u64 = reduced.iter().sum();
    if total <= MAX_CYCLE {
        return reduced;
    }
    reduced.iter().map(|w| (w * MAX_CYCLE / total).max(1)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// nginx's sequence for these weights.
fn smooth_cycle(weights: &[u64]) -> Box<[u32]> {
    let total: u64 = weights.iter().sum();
    let total_signed = i64::try_from(total).unwrap_or(i64::MAX);
    if weights.iter().all(|w| *w == 1) {
        return (0..u32::try_from(weights.len()).unwrap_or(u32::MAX)).collect();
    }
    let mut current = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        let mut best = 0;
        let mut best_value = i64::MIN;
        for (index, (value, weight)) in current.iter_mut().zip(weights).enumerate() {
            *value += i64::try_from(*weight).unwrap_or(i64::MAX);
            if *value > best_value {
                best = index;
                best_value = *value;
            }
        }
        if let Some(value) = current.get_mut(best) {
            *value -= total_signed;
        }
        turns.push(u32::try_from(best).unwrap_or(u32::MAX));
    }
    turns.into_boxed_slice()
}

#[cfg(test)]
mod tests;
