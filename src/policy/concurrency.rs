//! `concurrency`: how many requests may be under way at a time, for each value of a key.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::limit::{KEYS, Part};
use super::table::{Hashed, Table};

/// One `concurrency`.
#[derive(Debug)]
pub struct Concurrency {
    /// How many, for each value of the key.
    pub max: u32,
    /// What is counted by.
    pub key: Box<[Part]>,
    /// What is under way.
    pub state: std::sync::Arc<State>,
}

/// What is under way. One per route in the process; it survives reloads.
#[derive(Debug)]
pub struct State {
    table: Table,
    /// Requests refused.
    pub refused: AtomicU64,
}

impl Default for State {
    fn default() -> Self {
        Self { table: Table::new(KEYS), refused: AtomicU64::new(0) }
    }
}

/// A request that counts as under way until this is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    state: &'a State,
    key: Hashed,
}

impl State {
    /// The hash of a key made of parts.
    #[must_use]
    pub fn hash<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> Hashed {
        self.table.hash(parts)
    }

    /// Lets a request in unless `max` with its key are under way. With more keys under way than the table has
    /// places, the least busy one is forgotten: it may get more than it should, never less.
    #[must_use]
    pub fn enter(&self, key: Hashed, max: u32) -> Option<Place<'_>> {
        let one_more = |value: Option<u64>| {
            let count = value.unwrap_or(0);
            if count >= u64::from(max) { Err(()) } else { Ok(((), count + 1)) }
        };
        match self.table.update(key, |value| value == 0, one_more) {
            Ok(()) => Some(Place { state: self, key }),
            Err(()) => {
                self.refused.fetch_add(1, Relaxed);
                None
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let one_less = |value: Option<u64>| value.map(|count| ((), count - 1)).ok_or(());
        // A key that was forgotten meanwhile has nothing to be taken back.
        let _forgotten = self.state.table.update(self.key, |value| value == 0, one_less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_request_ends() {
        let state = State::default();
        let [one, two] = [b"1", b"2"].map(|key| state.hash([&key[..]].into_iter()));
        let first = state.enter(one, 2).unwrap();
        let _second = state.enter(one, 2).unwrap();
        assert!(state.enter(one, 2).is_none());
        assert!(state.enter(two, 2).is_some());
        drop(first);
        assert!(state.enter(one, 2).is_some());
        assert_eq!(state.refused.load(Relaxed), 1);
    }
}
