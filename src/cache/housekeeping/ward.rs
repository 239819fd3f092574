//! What housekeeping knows of one store: its responses in the order of eviction and by when they
//! are of no use any more.
//!
//! They are known by number. A weak handle would keep the memory of what has left: as much as its
//! head, for as long as it would have been fresh.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::sweep::PurgeUnderWay;
use super::sweeper::{SweepBatch, SweptBatch};
use crate::cache::object::Object;
use crate::cache::order::{Evictable, EvictionOrder};
use crate::cache::policy::Millis;
use crate::cache::store::CacheStore;
use crate::clock;

/// The moment from which a response is of no use, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expiry {
    at: Millis,
    pub(super) number: u64,
}

/// Where a response is, and what tells at a glance that a purge does not concern it.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownResponse {
    /// The halves of its key's hash, which need no gap before them.
    pub(super) hash: [u64; 2],
    /// The hash of its path.
    pub(super) path: u32,
    /// True if it has tags.
    pub(super) tagged: bool,
}

/// A response in the order of eviction.
#[derive(Debug)]
struct EvictionCandidate {
    expiry: Expiry,
    hash: [u64; 2],
    name: u64,
}

fn split_hash(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

/// Joins the halves of a hash.
pub(super) fn join_hash([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

impl Evictable for EvictionCandidate {
    type Owner = CacheStore;

    fn entry_name(&self) -> u64 {
        self.name
    }

    fn entry_size(&self, store: &CacheStore) -> u64 {
        let hash = join_hash(self.hash);
        store.read_numbered(hash, self.expiry.number, |object| object.size()).unwrap_or(0)
    }

    fn recent_uses(&self, store: &CacheStore) -> u8 {
        let hash = join_hash(self.hash);
        store.read_numbered(hash, self.expiry.number, |object| object.uses()).unwrap_or(0)
    }

    fn spend_use(&self, store: &CacheStore) -> bool {
        let hash = join_hash(self.hash);
        store.read_numbered(hash, self.expiry.number, |object| object.spend_use()) == Some(true)
    }
}

/// The state that the thread has of one store.
#[derive(Debug)]
pub(super) struct Ward {
    pub(super) store: Weak<CacheStore>,
    order: EvictionOrder<EvictionCandidate>,
    /// The responses, by when they are of no use any more.
    known: BTreeMap<Expiry, KnownResponse>,
    /// The last of these that was looked at for having left; `None` where the next is the first.
    compacted: Option<Expiry>,
}

impl Ward {
    /// Nothing is known of it so far.
    pub(super) fn new(store: &Arc<CacheStore>) -> Self {
        let store = Arc::downgrade(store);
        Self { store, order: EvictionOrder::default(), known: BTreeMap::new(), compacted: None }
    }

    /// Takes in a response that is stored now.
    pub(super) fn admit_response(&mut self, object: &Object) {
        let expiry = Expiry { at: object.timing.useful_until(), number: object.number };
        let hash = split_hash(object.key.hash());
        let name = object.key.hash() as u64 ^ object.variant;
        self.order.admit_entry(EvictionCandidate { expiry, hash, name }, object.size());
        let (path, tagged) = (object.key.path_hash(), !object.tags.is_empty());
        self.known.insert(expiry, KnownResponse { hash, path, tagged });
    }

    /// Removes responses until the store is within its bounds.
    pub(super) fn make_room(&mut self, store: &CacheStore) {
        let (mut bytes, mut entries) = store.excess();
        let now = clock::unix_millis();
        while bytes > 0 || entries > 0 {
            let victim = self.take_expired(now).or_else(|| self.take_next(store));
            let Some((hash, number)) = victim else { return };
            let object = store.read_numbered(hash, number, Arc::clone);
            let Some(object) = object.filter(|object| store.remove_object(object)) else {
                continue;
            };
            store.counts.evicted.fetch_add(1, Ordering::Relaxed);
            bytes = bytes.saturating_sub(object.size());
            entries = entries.saturating_sub(1);
        }
    }

    /// The response that has been of no use for longest.
    fn take_expired(&mut self, now: Millis) -> Option<(u128, u64)> {
        let first = self.known.first_entry().filter(|first| first.key().at <= now)?;
        let (expiry, known) = first.remove_entry();
        Some((join_hash(known.hash), expiry.number))
    }

    /// The response that the order of eviction names.
    fn take_next(&mut self, store: &CacheStore) -> Option<(u128, u64)> {
        let EvictionCandidate { expiry, hash, .. } = self.order.evict_next(store)?;
        self.known.remove(&expiry);
        Some((join_hash(hash), expiry.number))
    }

    /// Goes on to forget what has left by other ways, while that is half of what is known: the
    /// next 128 responses of a list. Returns whether there was something to do.
    pub(super) fn compact_step(&mut self, store: &CacheStore) -> bool {
        let most = 2 * store.entries() + 1024;
        let (order_is_long, known_is_long) = (self.order.len() > most, self.known.len() > most);
        if order_is_long {
            self.order.compact_part(store);
        } else if known_is_long {
            self.compact_known(store);
        }
        order_is_long || known_is_long
    }

    fn compact_known(&mut self, store: &CacheStore) {
        const LOOKED_AT: usize = 128;
        let from = self.compacted.map_or(Bound::Unbounded, Bound::Excluded);
        let next = || self.known.range((from, Bound::Unbounded)).take(LOOKED_AT);
        self.compacted = next().last().map(|(expiry, _)| *expiry);
        let has_left = |(expiry, known): &(&Expiry, &KnownResponse)| {
            store.read_numbered(join_hash(known.hash), expiry.number, |_| ()).is_none()
        };
        let gone: Vec<Expiry> = next().filter(has_left).map(|(expiry, _)| *expiry).collect();
        for expiry in gone {
            self.known.remove(&expiry);
        }
    }

    /// Goes on with a purge by one step. Returns the responses that have to be looked at.
    pub(super) fn sweep_step(&self, purge: &mut PurgeUnderWay) -> Option<SweepBatch> {
        let mut step = purge.begin_step()?;
        let from = purge.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut responses = self.known.range((from, Bound::Unbounded));
        while !step.is_over() {
            let Some((expiry, known)) = responses.next() else {
                purge.has_passed = true;
                break;
            };
            purge.pass_response(*expiry, known, &mut step);
        }
        purge.end_step(step)
    }

    /// Forgets what was purged.
    pub(super) fn forget_swept(&mut self, swept: &SweptBatch) {
        for expiry in &swept.gone {
            self.known.remove(expiry);
        }
    }

    /// The number of responses that are known: in the order of eviction, and by when they are of no
    /// use.
    #[cfg(test)]
    pub(super) fn known(&self) -> (usize, usize) {
        (self.order.len(), self.known.len())
    }
}
