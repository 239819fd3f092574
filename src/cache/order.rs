//! The order in which entries leave a full cache: S3-FIFO (Yang et al., SOSP '23).
//!
//! Three queues. What is new waits in a small one, a tenth of the whole; what was used twice while
//! it waited moves on to the main one, and all else leaves and is remembered by name in the third.
//! Who comes back while it is remembered goes to the main queue at once. A scan of things that are
//! asked for once therefore passes through the small queue and displaces nothing that is in use.

use std::collections::{HashSet, VecDeque};

/// The small queue's share of all bytes: one part in this many.
const SMALL_SHARE: u64 = 10;
/// Uses while it waited that take an entry from the small queue to the main one.
const USES_TO_STAY: u8 = 1;

/// The most entries of one part of a queue.
const PART: usize = 128;

/// Something that can be evicted: an entry of an owner, which knows what has become of it.
pub trait Evictable {
    /// What the entries belong to.
    type Owner: ?Sized;
    /// Returns what it is remembered by.
    fn entry_name(&self) -> u64;
    /// The size in bytes; 0 when it has left already.
    fn entry_size(&self, owner: &Self::Owner) -> u64;
    /// The recent uses.
    fn recent_uses(&self, owner: &Self::Owner) -> u8;
    /// Takes one use off, and says whether there was one.
    fn spend_use(&self, owner: &Self::Owner) -> bool;
}

/// The order of one cache's entries.
#[derive(Debug)]
pub struct EvictionOrder<E> {
    small: EvictionQueue<E>,
    main: EvictionQueue<E>,
    remembered: HashSet<u64>,
    remembered_order: VecDeque<u64>,
}

/// A queue in parts, so that what has left by other ways can be forgotten a part at a time, in
/// between other work, and in order.
#[derive(Debug)]
struct EvictionQueue<E> {
    parts: VecDeque<VecDeque<(E, u64)>>,
    /// The entries of all parts.
    entries: usize,
    bytes: u64,
    /// The part that compaction looks at next.
    next_part: usize,
}

impl<E: Evictable> EvictionQueue<E> {
    fn push_entry(&mut self, entry: E, size: u64) {
        self.bytes += size;
        self.entries += 1;
        match self.parts.back_mut().filter(|part| part.len() < PART) {
            Some(part) => part.push_back((entry, size)),
            None => self.parts.push_back(VecDeque::from([(entry, size)])),
        }
    }

    fn pop_entry(&mut self) -> Option<(E, u64)> {
        let first = self.parts.front_mut()?;
        let popped = first.pop_front();
        if first.is_empty() {
            self.parts.pop_front();
            self.next_part = self.next_part.saturating_sub(1);
        }
        let (entry, size) = popped?;
        self.entries -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        Some((entry, size))
    }

    /// Forgets the entries of one part that have left by other ways.
    fn compact_part(&mut self, owner: &E::Owner) {
        if self.next_part >= self.parts.len() {
            self.next_part = 0;
        }
        let Some(part) = self.parts.get_mut(self.next_part) else { return };
        let before = part.len();
        let mut gone = 0;
        part.retain(|(entry, size)| {
            let stays = entry.entry_size(owner) > 0;
            gone += if stays { 0 } else { *size };
            stays
        });
        self.bytes = self.bytes.saturating_sub(gone);
        self.entries -= before - part.len();
        let left = part.len();
        let joins = |before: &VecDeque<_>| before.len() + left <= PART;
        let before = self.next_part.checked_sub(1).and_then(|at| self.parts.get(at));
        if left == 0 || before.is_some_and(joins) {
            // What is left of it goes to the part before it, so that few parts hold much.
            let mut part = self.parts.remove(self.next_part).unwrap_or_default();
            if let Some(before) =
                self.next_part.checked_sub(1).and_then(|at| self.parts.get_mut(at))
            {
                before.append(&mut part);
            }
            if self.parts.capacity() > 4 * self.parts.len() + PART {
                self.parts.shrink_to(2 * self.parts.len());
            }
            return;
        }
        self.next_part += 1;
    }
}

impl<E> Default for EvictionQueue<E> {
    fn default() -> Self {
        Self { parts: VecDeque::new(), entries: 0, bytes: 0, next_part: 0 }
    }
}

impl<E> Default for EvictionOrder<E> {
    fn default() -> Self {
        Self {
            small: EvictionQueue::default(),
            main: EvictionQueue::default(),
            remembered: HashSet::new(),
            remembered_order: VecDeque::new(),
        }
    }
}

impl<E: Evictable> EvictionOrder<E> {
    /// Adds a new entry of so many bytes.
    pub fn admit_entry(&mut self, entry: E, size: u64) {
        if self.remembered.remove(&entry.entry_name()) {
            self.main.push_entry(entry, size);
        } else {
            self.small.push_entry(entry, size);
        }
    }

    /// Chooses the entry that leaves next and forgets it; `None` when there is none.
    pub fn evict_next(&mut self, owner: &E::Owner) -> Option<E> {
        loop {
            let small_is_full = self.small.bytes.saturating_mul(SMALL_SHARE)
                >= self.small.bytes.saturating_add(self.main.bytes);
            let from_small = self.small.entries > 0 && (small_is_full || self.main.entries == 0);
            if from_small {
                let (entry, size) = self.small.pop_entry()?;
                if entry.entry_size(owner) == 0 {
                    continue;
                }
                if entry.recent_uses(owner) >= USES_TO_STAY {
                    while entry.spend_use(owner) {}
                    self.main.push_entry(entry, size);
                    continue;
                }
                self.remember_name(entry.entry_name());
                return Some(entry);
            }
            let (entry, size) = self.main.pop_entry()?;
            if entry.entry_size(owner) == 0 {
                continue;
            }
            if entry.spend_use(owner) {
                self.main.push_entry(entry, size);
                continue;
            }
            return Some(entry);
        }
    }

    /// Remembers one that left, for as long as as many others leave as there are entries.
    fn remember_name(&mut self, name: u64) {
        if self.remembered.insert(name) {
            self.remembered_order.push_back(name);
        }
        self.forget_names(2);
    }

    /// Forgets at most so many of the names that are too many, the oldest first.
    fn forget_names(&mut self, at_once: usize) {
        let most = self.len().max(16);
        for _ in 0..at_once.min(self.remembered_order.len().saturating_sub(most)) {
            let Some(oldest) = self.remembered_order.pop_front() else { break };
            self.remembered.remove(&oldest);
        }
        // Only small ones, as all that is left moves.
        if self.remembered.len() < PART && self.remembered.capacity() > 64 * PART {
            self.remembered.shrink_to(2 * PART);
            self.remembered_order.shrink_to(2 * PART);
        }
    }

    /// Returns how many entries are kept in order, those that left by other ways included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.entries + self.main.entries
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets entries that have left by other ways, so that they hold no memory: those among the
    /// next 128 of each queue. What stays keeps its order.
    pub fn compact_part(&mut self, owner: &E::Owner) {
        self.small.compact_part(owner);
        self.main.compact_part(owner);
        self.forget_names(PART);
    }
}

#[cfg(test)]
mod tests;
