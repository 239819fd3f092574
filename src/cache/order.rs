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
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::rc::Rc;

    use super::*;
    use crate::clock::Random;

    #[derive(Debug)]
    struct One {
        name: u64,
        uses: Cell<u8>,
        gone: Cell<bool>,
    }

    impl Evictable for Rc<One> {
        type Owner = ();
        fn entry_name(&self) -> u64 {
            self.name
        }
        fn entry_size(&self, (): &()) -> u64 {
            u64::from(!self.gone.get())
        }
        fn recent_uses(&self, (): &()) -> u8 {
            self.uses.get()
        }
        fn spend_use(&self, (): &()) -> bool {
            let uses = self.uses.get();
            self.uses.set(uses.saturating_sub(1));
            uses > 0
        }
    }

    /// A cache of so many entries, driven by names; returns the hits.
    fn hits(room: usize, names: impl Iterator<Item = u64>) -> usize {
        let mut order = EvictionOrder::default();
        let mut known: HashMap<u64, Rc<One>> = HashMap::new();
        let mut hits = 0;
        for name in names {
            if let Some(one) = known.get(&name) {
                one.uses.set((one.uses.get() + 1).min(3));
                hits += 1;
                continue;
            }
            let one = Rc::new(One { name, uses: Cell::new(0), gone: Cell::new(false) });
            known.insert(name, one.clone());
            order.admit_entry(one, 1);
            while known.len() > room {
                let leaves = order.evict_next(&()).unwrap();
                assert!(known.remove(&leaves.name).is_some());
            }
            assert_eq!(order.len(), known.len());
        }
        hits
    }

    #[test]
    fn a_scan_displaces_nothing_that_is_in_use() {
        let hot = |n: u64| n % 50;
        let warm: Vec<u64> = (0..1000).map(hot).collect();
        let scan: Vec<u64> = (1000..3000).collect();
        let again: Vec<u64> = (0..50).collect();
        let before = hits(100, warm.iter().chain(&scan).copied());
        let after = hits(100, warm.iter().chain(&scan).chain(&again).copied());
        assert_eq!(after - before, 50, "all of what was in use is still there");
    }

    #[test]
    fn it_is_better_than_first_in_first_out_on_skewed_names() {
        let mut random = Random::seeded(7);
        // Squaring twice makes low names much more frequent than high ones.
        let names: Vec<u64> = (0..50_000)
            .map(|_| {
                let u = random.unit();
                (u * u * u * u * 10_000.0) as u64
            })
            .collect();
        let got = hits(300, names.iter().copied());
        let mut queue = VecDeque::new();
        let mut fifo = 0;
        for name in names {
            if queue.contains(&name) {
                fifo += 1;
            } else {
                queue.push_back(name);
                if queue.len() > 300 {
                    queue.pop_front();
                }
            }
        }
        assert!(got > fifo + fifo / 10, "{got} hits, first in first out has {fifo}");
    }

    #[test]
    fn entries_that_left_by_other_ways_are_passed_over() {
        let mut order = EvictionOrder::default();
        let ones: Vec<_> = (0..10)
            .map(|name| Rc::new(One { name, uses: Cell::new(0), gone: Cell::new(false) }))
            .collect();
        ones.iter().cloned().for_each(|one| order.admit_entry(one, 1));
        ones.iter().take(5).for_each(|one| one.gone.set(true));
        assert_eq!(order.evict_next(&()).map(|one| one.name), Some(5));
        order.compact_queues(&());
        assert_eq!(order.len(), 4);
        assert_eq!(std::iter::from_fn(|| order.evict_next(&())).count(), 4);
        assert!(order.evict_next(&()).is_none());
    }

    #[test]
    fn who_comes_back_soon_goes_to_the_main_queue() {
        // Two passes over a loop slightly longer than the cache: pure FIFO and LRU hit nothing.
        let pass = || 0..120_u64;
        let got = hits(100, pass().chain(pass()).chain(pass()).chain(pass()));
        assert!(got > 60, "{got}");
    }
}
