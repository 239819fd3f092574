//! How much is under way at a time, for each value of a key: requests of a route, connections of a
//! client.

use std::sync::atomic::AtomicU64;

use super::limit::KEYS;
use super::table::{HashedKey, KeyTable};
use crate::exchange::Queue;

/// The counts of what is under way. One per route, and one per listener that counts, in the
/// process; they survive reloads.
#[derive(Debug)]
pub struct InFlight {
    table: KeyTable,
    /// Requests that wait.
    pub queue: Queue,
    /// Requests refused.
    pub refused: AtomicU64,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { table: KeyTable::new(KEYS), queue: Queue::default(), refused: AtomicU64::new(0) }
    }
}

/// A request that counts as under way until this is dropped.
#[derive(Debug)]
pub struct InFlightPlace<'a> {
    state: &'a InFlight,
    key: HashedKey,
}

impl InFlight {
    /// The hash of a key made of parts.
    #[must_use]
    pub fn hash<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> HashedKey {
        self.table.hash(parts)
    }

    /// Lets a request in unless `max` with its key are under way. With more keys under way than the
    /// table has places, the least busy one is forgotten: it may get more than it should, never
    /// less.
    #[must_use]
    pub fn admit_key(&self, key: HashedKey, max: u32) -> Option<InFlightPlace<'_>> {
        let one_more = |value: Option<u64>| {
            let count = value.unwrap_or(0);
            if count >= u64::from(max) { Err(()) } else { Ok(((), count + 1)) }
        };
        let entered = self.table.update_key(key, |value| value == 0, one_more);
        entered.ok().map(|()| InFlightPlace { state: self, key })
    }
}

impl Drop for InFlightPlace<'_> {
    fn drop(&mut self) {
        let one_less = |value: Option<u64>| value.map(|count| ((), count - 1)).ok_or(());
        // A key that was forgotten meanwhile has nothing to be taken back.
        let _forgotten = self.state.table.update_key(self.key, |value| value == 0, one_less);
        self.state.queue.release_to_any();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_request_ends() {
        let state = InFlight::default();
        let [one, two] = [b"1", b"2"].map(|key| state.hash([&key[..]].into_iter()));
        let first = state.admit_key(one, 2).unwrap();
        let _second = state.admit_key(one, 2).unwrap();
        assert!(state.admit_key(one, 2).is_none());
        assert!(state.admit_key(two, 2).is_some());
        drop(first);
        assert!(state.admit_key(one, 2).is_some());
    }
}
