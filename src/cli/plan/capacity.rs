//! How many instances a load takes, and which of the assumptions decides that. Whole numbers only:
//! 700 requests per second at 70 % of 10 are 100 instances, and never 101 by a rounding.

use super::figures::{MILLION, SECOND};

/// The most instances that are planned for.
const MOST: u128 = 1_000_000_000;

/// The load at the peak, and the room that is left above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedLoad {
    /// Requests per second, in millionths.
    pub(super) rate: u128,
    pub(super) room: LoadRoom,
    /// Instances that may be away at the peak.
    pub(super) spare: u64,
    /// Zones, one of which may be away at the peak; 1 plans for none.
    pub(super) zones: u64,
}

/// The share of an instance that is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoadRoom {
    /// So much of it, in millionths.
    Utilisation(u128),
    /// All of it, at so many times the peak, in millionths.
    HeadRoom(u128),
}

impl LoadRoom {
    /// The part of an instance that is used at the peak.
    fn used_share(self) -> (u128, u128) {
        match self {
            LoadRoom::Utilisation(share) => (share, MILLION),
            LoadRoom::HeadRoom(times) => (MILLION, times),
        }
    }
}

/// The resource that bounds an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Each request takes so many nanoseconds, and so many are handled at a time.
    Service { nanos: u128, at_a_time: u64 },
    /// So many requests per second, in millionths.
    Capacity(u128),
    /// So many things of the whole that each can hold, such as connections.
    Holds { all: u128, each: u128 },
}

impl Bound {
    /// Instances that this bound asks for at a load, without any to spare; `None` beyond a thousand
    /// million.
    pub(super) fn needed_instances(self, load: &PlannedLoad) -> Option<u64> {
        let (used, whole) = load.room.used_share();
        let needed = match self {
            Bound::Service { nanos, at_a_time } => {
                let done = u128::from(at_a_time) * SECOND * used * MILLION;
                (load.rate * nanos * whole).div_ceil(done)
            }
            Bound::Capacity(rate) => (load.rate * whole).div_ceil(rate * used),
            Bound::Holds { all, each } => (all * whole).div_ceil(each * used),
        };
        u64::try_from(needed.clamp(1, MOST + 1)).ok().filter(|n| u128::from(*n) <= MOST)
    }
}

/// Adds those that may be away: instances first, then a whole zone, with as many in each.
pub(super) fn with_spare(needed: u64, load: &PlannedLoad) -> u64 {
    let needed = needed.saturating_add(load.spare);
    match load.zones {
        0 | 1 => needed,
        zones => needed.div_ceil(zones - 1) * zones,
    }
}

#[cfg(test)]
mod tests;
