//! A table's share of something, which ends when its entry leaves the table.
//!
//! What was removed from a lock-free table is freed once no thread can still be reading it, and by
//! the thread that removed it: if others were reading in that moment, with its next removal, which
//! may be minutes later. A response would be counted, and keep its memory, until then. So an entry
//! has no more than a share, which is taken out of it after it was removed. Whoever reads a removed
//! entry finds the share gone and looks again; whoever took the response out before has a share of
//! its own, as with any other `Arc`.
//!
//! To have each thread free what it removed by a timer would be less exact, because even that has
//! to be put off while others read, and would ask every worker for a turn at every cache.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

/// A share that an entry of a table has.
#[derive(Debug)]
pub(super) struct TableShare<T>(ArcSwapOption<T>);

impl<T> TableShare<T> {
    /// The share of an entry that is about to be added.
    pub(super) fn new(of: Arc<T>) -> Self {
        Self(ArcSwapOption::new(Some(of)))
    }

    /// Reads it; empty once the entry has been removed or replaced.
    pub(super) fn read_share(&self) -> Guard<Option<Arc<T>>> {
        self.0.load()
    }

    /// Returns a further share; `None` once the entry has been removed or replaced.
    pub(super) fn clone_share(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    /// Gives it up. The entry has been removed or replaced by then: those who look again find what
    /// is there now.
    pub(super) fn give_up(&self) {
        self.0.store(None);
    }
}
