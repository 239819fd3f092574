//! A table of counters by key that never grows: what is known about clients that may come in any
//! number.
//!
//! Keys are 64-bit hashes with a secret of the process, so that nobody can choose keys that meet. A
//! hash leads to a bucket of eight places; a place is one word, 24 bits of the hash and 40 bits of
//! value. Two keys are taken for one when they share a bucket and 24 bits: with 200 000 keys that
//! happens to one pair in twenty tables. A new key takes the place whose value is lowest, idle ones
//! first.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places of a bucket: one cache line.
const PLACES: usize = 8;
/// Bits of a value.
pub const VALUE_BITS: u32 = 40;
const VALUE: u64 = (1 << VALUE_BITS) - 1;

#[derive(Debug, Default)]
#[repr(align(64))]
struct KeyBucket([AtomicU64; PLACES]);

/// The table.
#[derive(Debug)]
pub struct KeyTable {
    buckets: Box<[KeyBucket]>,
    secret: RandomState,
    /// Keys that took the place of another one that was not idle.
    pub evicted: AtomicU64,
}

/// A key whose place another one took, or which had been idle itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displaced {
    /// The key was there, or its place was empty.
    Nothing,
    /// A key that was idle.
    Idle,
    /// A key that was in use; `evicted` counts it.
    InUse,
}

/// The keys of a table after a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Keys that are left.
    pub left: usize,
    /// Keys that were idle and are gone.
    pub removed: usize,
}

/// A key's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashedKey(u64);

impl KeyTable {
    /// A table for this many keys, rounded up to a multiple of eight.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let buckets = (0..keys.div_ceil(PLACES).max(1)).map(|_| KeyBucket::default()).collect();
        Self { buckets, secret: RandomState::new(), evicted: AtomicU64::new(0) }
    }

    /// The hash of a key made of parts.
    #[must_use]
    pub fn hash<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> HashedKey {
        let mut hasher = self.secret.build_hasher();
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        HashedKey(hasher.finish())
    }

    /// Replaces the value of a key by what `change` makes of it, unless that is an error; `None` is
    /// a key that is not there. A value for which `idle` holds counts as not there. Values must fit
    /// into [`VALUE_BITS`].
    ///
    /// # Errors
    /// Those of `change`; the table is as before.
    pub fn update_key<T, E>(
        &self,
        key: HashedKey,
        idle: impl Fn(u64) -> bool,
        change: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<T, E> {
        self.replace(key, idle, change).map(|(told, _)| told)
    }

    /// Does what [`Self::update_key`] does, and tells which key was lost by it.
    ///
    /// # Errors
    /// Those of `change`; the table is as before.
    pub fn replace<T, E>(
        &self,
        HashedKey(hash): HashedKey,
        idle: impl Fn(u64) -> bool,
        change: impl Fn(Option<u64>) -> Result<(T, u64), E>,
    ) -> Result<(T, Displaced), E> {
        let tag = (hash & 0xff_ffff).max(1) << VALUE_BITS;
        let nowhere = |(told, _)| (told, Displaced::Nothing);
        let Some(KeyBucket(places)) = self.buckets.get(self.index(hash)) else {
            return change(None).map(nowhere);
        };
        loop {
            let words = places.each_ref().map(|place| place.load(Relaxed));
            let own = words.iter().position(|word| word & !VALUE == tag);
            // A place that is idle has the lowest rank, then the lowest value.
            let rank = |word: u64| if idle(word & VALUE) { 0 } else { (word & VALUE) + 1 };
            let lowest = || words.iter().enumerate().min_by_key(|(_, word)| rank(**word));
            let at = own.or_else(|| lowest().map(|(at, _)| at)).unwrap_or_default();
            let (Some(place), Some(before)) = (places.get(at), words.get(at).copied()) else {
                return change(None).map(nowhere);
            };
            let value = own.map(|_| before & VALUE).filter(|value| !idle(*value));
            let (told, new) = change(value)?;
            let after = tag | new & VALUE;
            if place.compare_exchange_weak(before, after, Relaxed, Relaxed).is_ok() {
                let displaced = match value {
                    Some(_) => Displaced::Nothing,
                    None if before == 0 => Displaced::Nothing,
                    None if own.is_some() || idle(before & VALUE) => Displaced::Idle,
                    None => Displaced::InUse,
                };
                if displaced == Displaced::InUse {
                    self.evicted.fetch_add(1, Relaxed);
                }
                return Ok((told, displaced));
            }
        }
    }

    /// Empties the places for which `idle` holds.
    pub fn empty_idle(&self, idle: impl Fn(u64) -> bool) -> Swept {
        let (mut left, mut removed) = (0, 0);
        for place in self.buckets.iter().flat_map(|KeyBucket(places)| places) {
            let word = place.load(Relaxed);
            if word != 0 && idle(word & VALUE) {
                // Somebody who has just used it keeps it.
                removed += usize::from(place.compare_exchange(word, 0, Relaxed, Relaxed).is_ok());
            } else if word != 0 {
                left += 1;
            }
        }
        Swept { left, removed }
    }

    /// Returns how many keys fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buckets.len() * PLACES
    }

    /// Returns how many keys are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        let places = self.buckets.iter().flat_map(|KeyBucket(places)| places);
        places.filter(|place| place.load(Relaxed) != 0).count()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The high bits choose the bucket, because the low ones tell keys in it apart.
    fn index(&self, hash: u64) -> usize {
        let wide = u128::from(hash) * self.buckets.len() as u128;
        usize::try_from(wide >> 64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
