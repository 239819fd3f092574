//! The room that one cache's responses take and may take, in bytes and number.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;

use bytes::Bytes;

use super::CacheStore;
use crate::cache::body::BodyWriter;
use crate::cache::housekeeping::HousekeepingCommand;
use crate::cache::memory::StoreMemory;

/// The share of a cache's memory that one response may take: one part in this many.
const LARGEST_SHARE: u64 = 8;
/// The share of memory that housekeeping keeps free for what is on its way in.
const HEADROOM_SHARE: u64 = 16;

impl CacheStore {
    /// Counts a response that found no room.
    pub(in crate::cache) fn count_no_room(&self) {
        self.counts.no_room.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes memory for a response on its way in. `false` when there is none to take.
    #[must_use]
    pub fn reserve_bytes(self: &Arc<Self>, bytes: u64) -> bool {
        let taken = self.used.take_bytes(bytes, self.memory());
        self.call_if_full();
        taken
    }

    /// Appends a part to the body of a response on its way in. Returns whether there was memory for
    /// it; it is appended, and not counted, otherwise.
    #[must_use]
    pub(in crate::cache) fn push_counted(
        self: &Arc<Self>,
        writer: &mut BodyWriter,
        part: Bytes,
    ) -> bool {
        let taken = writer.push_counted(part, &self.used, self.memory());
        self.call_if_full();
        taken
    }

    /// The memory that [`CacheStore::reserve_bytes`] takes of, for whoever gives it back.
    #[must_use]
    pub(in crate::cache) fn memory_used(&self) -> &Arc<StoreMemory> {
        &self.used
    }

    fn call_if_full(self: &Arc<Self>) {
        if self.excess_bytes() > 0 {
            self.call_housekeeping();
        }
    }

    fn call_housekeeping(self: &Arc<Self>) {
        if !self.called.swap(true, Ordering::AcqRel) {
            match self.housekeeping.try_send(HousekeepingCommand::MakeRoom(self.clone())) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    self.called.store(false, Ordering::Release);
                }
            }
        }
    }

    /// Returns how many bytes have to go, and how many entries.
    pub(in crate::cache) fn excess(&self) -> (u64, usize) {
        self.called.store(false, Ordering::Release);
        let entries = self.entries();
        let most = self.most_entries.load(Ordering::Relaxed);
        (self.excess_bytes(), entries.saturating_sub(most))
    }

    /// The bytes that responses take beyond what leaves room for those on their way in. What is
    /// held by clients alone is no reason to evict anything, because that would not free it.
    fn excess_bytes(&self) -> u64 {
        let memory = self.memory();
        self.used().saturating_sub(memory - memory / HEADROOM_SHARE)
    }

    /// Bytes that responses take: those in the table, and those on their way into it.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.stored()
    }

    /// Bytes of bodies that have left while clients are being sent them.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.used.held()
    }

    /// Responses stored.
    #[must_use]
    pub fn entries(&self) -> usize {
        let entries = self.entries.load(Ordering::Acquire);
        // One that leaves before whoever added it has counted it makes it less than none.
        if entries > usize::MAX / 2 { 0 } else { entries }
    }

    /// The most bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// The most responses.
    #[must_use]
    pub fn most_entries(&self) -> usize {
        self.most_entries.load(Ordering::Relaxed)
    }

    /// The most bytes that one response may take.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.memory() / LARGEST_SHARE
    }

    /// New bounds, from a reload.
    pub fn set_bounds(self: &Arc<Self>, memory: u64, entries: usize) {
        self.memory.store(memory, Ordering::Relaxed);
        self.most_entries.store(entries, Ordering::Relaxed);
        self.call_housekeeping();
    }
}
