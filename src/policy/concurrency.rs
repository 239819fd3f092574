//! `concurrency`: how many requests may be under way at a time, for each value of a key, and how many may wait
//! until one of them has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::limit::{KEYS, Part};
use super::table::{Hashed, Table};
use crate::clock;
use crate::exchange::queue::Unserved;
use crate::exchange::{Client, Queue};
use crate::net::Timer;

/// One `concurrency`.
#[derive(Debug)]
pub struct Concurrency {
    /// The most requests at a time, for each value of the key.
    pub max: u32,
    /// The parts of a request that are counted by.
    pub key: Box<[Part]>,
    /// The most requests that may wait, over all keys.
    pub pending: u32,
    /// The longest time that they may wait.
    pub pending_timeout: Duration,
    /// The requests under way.
    pub state: Arc<State>,
}

/// A reason why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Too many are under way, and too many wait or this one has waited too long.
    Out,
    /// The client left while it waited.
    Gone,
}

impl Concurrency {
    /// Lets a request in, at once or when its turn comes. Those that wait are served in their order; with several
    /// keys, whoever comes while there is room for his own does not wait.
    ///
    /// # Errors
    /// [`Kept`].
    pub async fn enter<C: Client>(
        &self,
        key: Hashed,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<Place<'_>, Kept> {
        let state = &*self.state;
        let queue = &state.queue;
        if (queue.depth() == 0 || !self.one_key())
            && let Some(place) = state.enter(key, self.max)
        {
            return Ok(place);
        }
        let waited = if self.pending == 0 {
            Err(Unserved::Full)
        } else {
            let until = clock::deadline(clock::now(), Some(self.pending_timeout));
            let bounds = (self.pending, until);
            queue.wait(client, timer, bounds, || state.enter(key, self.max)).await
        };
        waited.map_err(|unserved| match unserved {
            Unserved::Full | Unserved::TimedOut => {
                state.refused.fetch_add(1, Relaxed);
                Kept::Out
            }
            Unserved::Gone => Kept::Gone,
        })
    }

    fn one_key(&self) -> bool {
        self.key.iter().all(|part| *part == Part::Route)
    }
}

/// The requests under way. One per route in the process; it survives reloads.
#[derive(Debug)]
pub struct State {
    table: Table,
    /// Requests that wait.
    pub queue: Queue,
    /// Requests refused.
    pub refused: AtomicU64,
}

impl Default for State {
    fn default() -> Self {
        Self { table: Table::new(KEYS), queue: Queue::default(), refused: AtomicU64::new(0) }
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
        let entered = self.table.update(key, |value| value == 0, one_more);
        entered.ok().map(|()| Place { state: self, key })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let one_less = |value: Option<u64>| value.map(|count| ((), count - 1)).ok_or(());
        // A key that was forgotten meanwhile has nothing to be taken back.
        let _forgotten = self.state.table.update(self.key, |value| value == 0, one_less);
        self.state.queue.release_to_any();
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
    }
}
