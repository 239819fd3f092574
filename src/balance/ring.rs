//! A hash ring: servers own points on a circle, a key belongs to the next point.
//!
//! The number of points follows ketama, in proportion to weight, but with four times its 160 per
//! server of average weight: shares then stray by 4 % instead of 8 %. Where they lie depends only
//! on the server's name, so the order of the list and the other servers do not matter. They are
//! found with XXH3 instead of MD5.

use super::key::server_place;

/// Points of a server of average weight.
const POINTS: f64 = 640.0;
/// The most points altogether: 16 bytes each.
const MOST: f64 = 1_048_576.0;

#[derive(Debug)]
pub(super) struct Ring {
    /// Sorted by place; each with the index of its server.
    points: Box<[(u64, u32)]>,
    servers: usize,
}

impl Ring {
    pub(super) fn new(names: &[&str], weights: &[u32]) -> Self {
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let all = (POINTS * weights.len() as f64).min(MOST);
        let mut points = Vec::new();
        for (index, (name, weight)) in names.iter().zip(weights).enumerate() {
            let own = (all * f64::from(*weight) / total.max(1.0)).round().max(1.0) as u64;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            points.extend((0..own).map(|n| (server_place(name, n), index)));
        }
        // Two servers at the same place are ordered by name, not by their places in the list.
        let name = |index: u32| names.get(index as usize).copied().unwrap_or_default();
        points.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
        Self { points: points.into_boxed_slice(), servers: names.len() }
    }

    /// The first server from the key's place on that `takes` the request. Each is asked at least
    /// once before giving up, some repeatedly.
    pub(super) fn find_server(
        &self,
        hash: u64,
        takes: &mut impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let start = self.points.partition_point(|(place, _)| *place < hash);
        let (before, after) = self.points.split_at(start.min(self.points.len()));
        let mut last = usize::MAX;
        // With every server refused once the rest of the circle has nothing new to offer; how many
        // points that takes is not known exactly, so the bound is generous.
        let most = self.servers.saturating_mul(64).max(1024);
        for (_, index) in after.iter().chain(before).take(most) {
            let index = *index as usize;
            if index == last {
                continue;
            }
            if takes(index) {
                return Some(index);
            }
            last = index;
        }
        (0..self.servers).find(|index| takes(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_the_next_point_and_one_at_a_point_to_that() {
        let ring = Ring::new(&["a", "b", "c"], &[1, 1, 1]);
        assert_eq!(ring.points.len(), 3 * 640);
        assert!(ring.points.is_sorted());
        let owner = |hash| ring.find_server(hash, &mut |_| true);
        for (before, next) in ring.points.iter().zip(&ring.points[1..]) {
            assert_eq!(owner(before.0), Some(before.1 as usize));
            assert_eq!(owner(before.0 + 1), Some(next.1 as usize));
        }
        // Behind the last point comes the first one.
        let last = ring.points.last().unwrap();
        assert_eq!(owner(last.0 + 1), Some(ring.points[0].1 as usize));
        assert_eq!(owner(u64::MAX), Some(ring.points[0].1 as usize));
    }
}
