//! The bytes that one cache takes of the process's memory: those of its responses, and those of
//! bodies that have left it while clients are still being sent them.
//!
//! A body is shared with those who are sent it, so what is evicted, purged or replaced frees its
//! bytes only when the last of them has it. Until then they are held: counted once, told apart from
//! what is stored, and within a bound of their own. Nothing is evicted for them, because that would
//! free nothing: clients that read slowly must not empty a cache. Where the bound is reached, new
//! responses are not stored.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;

use crate::wire::head::Fields;

/// The share of a cache's `memory` that what is held may take beyond it: one part in this many.
const HELD_SHARE: u64 = 4;
/// Memory that a part of a body takes beside its bytes, from the second one of a chain on: its
/// link, this record of it, and who shares its bytes.
const PART_OVERHEAD: u32 = 192;

/// Returns how much memory so many bytes take, in bytes: the allocator has four sizes from one
/// power of two to the next (mimalloc, `mi_bin`; jemalloc has the same).
#[must_use]
pub fn allocated(bytes: u64) -> u64 {
    let power = 1 << bytes.saturating_sub(1).max(1).ilog2();
    bytes.checked_next_multiple_of(16.max(power / 4)).unwrap_or(bytes)
}

/// The bytes of one cache.
#[derive(Debug, Default)]
pub struct StoreMemory {
    /// Bytes of responses in the table, and of responses on their way into it.
    stored: AtomicU64,
    /// Bytes of bodies that belong to no such response any more.
    held: AtomicU64,
}

impl StoreMemory {
    /// Takes so many bytes for a response, of the `most` that responses may take. Returns whether
    /// there was room for them.
    #[must_use]
    pub fn take_bytes(&self, bytes: u64, most: u64) -> bool {
        let stored = self.stored.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        let all = stored.saturating_add(self.held());
        if stored > most || all > most.saturating_add(most / HELD_SHARE) {
            self.give_back(bytes);
            return false;
        }
        true
    }

    /// Gives back what a response took.
    fn give_back(&self, bytes: u64) {
        self.stored.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Counts bytes as held that a response took: for a moment as both, so that nobody finds room
    /// that is not there.
    fn hold_bytes(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.stored.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Gives back what was held.
    fn give_back_held(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Bytes that responses take.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Bytes of bodies that have left while clients are being sent them.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }
}

/// Bytes that a response took beside those of its body; given back when dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    memory: Arc<StoreMemory>,
    bytes: AtomicU64,
}

impl Reservation {
    /// Nothing yet of this memory.
    #[must_use]
    pub fn new(memory: Arc<StoreMemory>) -> Self {
        Self { memory, bytes: AtomicU64::new(0) }
    }

    /// Notes what was taken.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The memory that it is of.
    #[must_use]
    pub fn memory(&self) -> &Arc<StoreMemory> {
        &self.memory
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes.load(Ordering::Acquire));
    }
}

/// A body, or a part of one, and who answers for its bytes: responses that have it as theirs, and
/// once there is none, those who are being sent it. Dropping the last share gives them back.
#[derive(Debug)]
pub struct BodyPiece {
    data: Bytes,
    /// Fields behind it, which few bodies have.
    trailers: Option<Box<Fields>>,
    /// The memory that its bytes were taken of, once they were.
    memory: OnceLock<Arc<StoreMemory>>,
    /// The responses whose body it is of.
    owners: AtomicU32,
    /// Bytes that it takes beside what it has.
    overhead: u32,
}

impl BodyPiece {
    /// A body that is not counted so far, or the first part of one, and what follows it.
    #[must_use]
    pub fn new(data: Bytes, trailers: Option<&Fields>) -> Self {
        let trailers = trailers.map(|trailers| Box::new(trailers.clone()));
        let (memory, owners) = (OnceLock::new(), AtomicU32::new(0));
        Self { data, trailers, memory, owners, overhead: 0 }
    }

    /// A further part of one.
    #[must_use]
    pub fn new_part(data: Bytes) -> Self {
        let mut part = Self::new(data, None);
        part.overhead = PART_OVERHEAD;
        part
    }

    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The fields behind it.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }

    /// Returns how much memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let trailers = self.trailers().map_or(0, |trailers| allocated(trailers.capacity() as u64));
        allocated(self.data.len() as u64) + trailers + u64::from(self.overhead)
    }

    /// Returns whether they have been taken of a cache's memory.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.memory.get().is_some()
    }

    /// Notes that [`BodyPiece::size`] was taken of a memory; a response owns it by then.
    pub fn set_counted(&self, memory: &Arc<StoreMemory>) {
        let _set_once = self.memory.set(memory.clone());
    }

    /// A response has it as its own from now on.
    pub fn add_owner(&self) {
        self.owners.fetch_add(1, Ordering::AcqRel);
    }

    /// A response that had it as its own is gone. Whoever still has it holds it.
    pub fn remove_owner(&self) {
        if self.owners.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(memory) = self.memory.get()
        {
            memory.hold_bytes(self.size());
        }
    }
}

impl Drop for BodyPiece {
    fn drop(&mut self) {
        // A response that owns it has a share of it, so there is none.
        if let Some(memory) = self.memory.get() {
            memory.give_back_held(self.size());
        }
    }
}

#[cfg(test)]
mod tests;
