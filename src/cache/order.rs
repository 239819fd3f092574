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

#[derive(Debug)]
struct EvictionQueue<E> {
    entries: VecDeque<(E, u64)>,
    bytes: u64,
}

impl<E: Evictable> EvictionQueue<E> {
    fn push_entry(&mut self, entry: E, size: u64) {
        self.bytes += size;
        self.entries.push_back((entry, size));
    }

    fn pop_entry(&mut self) -> Option<(E, u64)> {
        let (entry, size) = self.entries.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size);
        Some((entry, size))
    }
}

impl<E> Default for EvictionQueue<E> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
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
            let from_small =
                !self.small.entries.is_empty() && (small_is_full || self.main.entries.is_empty());
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
        let most = self.len().max(16);
        while self.remembered_order.len() > most {
            let Some(oldest) = self.remembered_order.pop_front() else { break };
            self.remembered.remove(&oldest);
        }
    }

    /// Returns how many entries are kept in order, those that left by other ways included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.entries.len() + self.main.entries.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets entries that have left by other ways, so that they hold no memory.
    pub fn compact_queues(&mut self, owner: &E::Owner) {
        for queue in [&mut self.small, &mut self.main] {
            let mut gone = 0;
            queue.entries.retain(|(entry, size)| {
                let stays = entry.entry_size(owner) > 0;
                gone += if stays { 0 } else { *size };
                stays
            });
            queue.bytes = queue.bytes.saturating_sub(gone);
            let wanted = queue.entries.len() * 2;
            if queue.entries.capacity() > 2 * wanted {
                queue.entries.shrink_to(wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests;
