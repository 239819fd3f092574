//! Weighted sampling in constant time: Walker's alias method in Vose's form (ACM TOMS 17, 1991).

use crate::clock::Random;

/// A table to draw indices from in proportion to weights.
#[derive(Debug)]
pub(super) struct AliasTable {
    /// Per slot: draw the slot itself below this threshold out of 2^32, its alias otherwise.
    slots: Box<[(u32, u32)]>,
}

impl AliasTable {
    /// Builds the table in O(n).
    pub(super) fn new(weights: &[u32]) -> Self {
        let n = weights.len();
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let scale = if total > 0.0 { n as f64 / total } else { 0.0 };
        let mut share: Vec<f64> = weights.iter().map(|w| f64::from(*w) * scale).collect();
        let mut slots: Vec<(u32, u32)> =
            (0..n).map(|i| (u32::MAX, u32::try_from(i).unwrap_or(0))).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..n).partition(|i| share.get(*i).is_some_and(|s| *s < 1.0));
        while let (Some(s), Some(l)) = (small.pop(), large.last().copied()) {
            let own = share.get(s).copied().unwrap_or(1.0);
            if let Some(slot) = slots.get_mut(s) {
                *slot = ((own * f64::from(u32::MAX)) as u32, u32::try_from(l).unwrap_or(0));
            }
            if let Some(rest) = share.get_mut(l) {
                *rest -= 1.0 - own;
                if *rest < 1.0 {
                    large.pop();
                    small.push(l);
                }
            }
        }
        Self { slots: slots.into_boxed_slice() }
    }

    /// Draws an index; `None` if there are none.
    #[inline]
    pub(super) fn draw_index(&self, random: &mut Random) -> Option<usize> {
        let bits = random.next_u64();
        // The high half picks the slot (Lemire's multiplication), the low half decides within it.
        let slot = ((bits >> 32) * self.slots.len() as u64) >> 32;
        let slot = usize::try_from(slot).ok()?;
        let (threshold, alias) = *self.slots.get(slot)?;
        Some(if bits as u32 <= threshold { slot } else { alias as usize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_extreme_weights() {
        let table = AliasTable::new(&[990, 5, 5]);
        let mut random = Random::seeded(3);
        let mut counts = [0_u32; 3];
        for _ in 0..100_000 {
            counts[table.draw_index(&mut random).unwrap()] += 1;
        }
        assert!((98_700..99_300).contains(&counts[0]), "{counts:?}");
        assert!((400..600).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn an_empty_table_draws_nothing() {
        assert_eq!(AliasTable::new(&[]).draw_index(&mut Random::seeded(1)), None);
    }

    #[test]
    fn a_slot_is_split_between_a_server_and_its_alias() {
        const HALF: u32 = u32::MAX / 2;
        let slots = |weights: &[u32]| AliasTable::new(weights).slots.to_vec();
        assert_eq!(slots(&[3, 2, 1]), [(u32::MAX, 0), (HALF, 0), (HALF, 1)]);
        assert_eq!(slots(&[7, 7]), [(u32::MAX, 0), (u32::MAX, 1)]);
        assert_eq!(slots(&[1, 3]), [(HALF, 1), (u32::MAX, 1)]);
        assert_eq!(slots(&[5]), [(u32::MAX, 0)]);
    }
}
