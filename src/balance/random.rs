//! `random`: each server in proportion to its weight, independently of what went before.

use super::alias::AliasTable;
use super::{Balance, Member, PickContext, any_accepted};

/// Draws before giving up on the weighted choice: with half of the servers out, one in 256 picks
/// falls through to a scan.
const DRAWS: usize = 8;

#[derive(Debug)]
pub(super) struct WeightedRandom {
    table: AliasTable,
}

impl WeightedRandom {
    pub(super) fn new(weights: &[u32]) -> Self {
        Self { table: AliasTable::new(weights) }
    }
}

impl Balance for WeightedRandom {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        for _ in 0..DRAWS {
            let index = self.table.draw_index(ask.random)?;
            if members.get(index).is_some_and(|m| ask.admits(m)) {
                return Some(index);
            }
        }
        any_accepted(members, ask)
    }
}
