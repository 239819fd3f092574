//! What purges and unsafe requests make invalid: recorded here, held against what is found and what
//! comes, and carried out by housekeeping.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::CacheStore;
use crate::cache::housekeeping::HousekeepingCommand;
use crate::cache::key::StoreKey;
use crate::cache::object::{self, Object};
use crate::cache::policy::Millis;
use crate::cache::purge::{Purge, PurgeSource, RecordedPurge};
use crate::clock;

/// The most purges that count before they have been carried out: each response that is found is
/// held against them. What further ones concern is found until it is removed.
const MOST_AT_ONCE: usize = 64;

/// A purge that housekeeping was told of.
#[derive(Debug)]
pub(crate) struct OrderedPurge {
    /// What it concerns is not found any more.
    pub(crate) counts_at_once: bool,
    /// The number of responses that went or became stale, once all have.
    pub(crate) purged: oneshot::Receiver<usize>,
}

impl CacheStore {
    /// Orders a purge, which counts at once where few others are under way; `None` while
    /// housekeeping has too much to do.
    pub(crate) fn order_purge(
        self: &Arc<Self>,
        purge: Purge,
        source: PurgeSource,
    ) -> Option<OrderedPurge> {
        if !self.takes_purges() {
            return None;
        }
        let (reply, purged) = oneshot::channel();
        let recorded = self.record_purge(purge, clock::unix_millis());
        let counts_at_once = self.is_under_way(&recorded);
        let command = HousekeepingCommand::Purge(self.clone(), recorded.clone(), reply);
        if self.housekeeping.try_send(command).is_err() {
            self.end_purge(&recorded);
            return None;
        }
        self.counts.purges.count(source);
        Some(OrderedPurge { counts_at_once, purged })
    }

    /// Removes whatever answers requests of a key, and keeps out what was asked for before.
    pub fn invalidate_key(&self, key: &StoreKey, now: Millis, source: PurgeSource) {
        self.counts.purges.count(source);
        self.invalidate_one(key, now);
        for canonical in self.search_rules.load().iter().filter_map(|rule| key.to_canonical(rule)) {
            if canonical != *key {
                self.invalidate_one(&canonical, now);
            }
        }
    }

    fn invalidate_one(&self, key: &StoreKey, now: Millis) {
        /// More than so many are not told apart any more.
        const MOST: usize = 65_536;
        let at = self.moments.time_invalidation(now);
        let invalidated = self.invalidated.pin();
        if invalidated.len() < MOST {
            // Of two at once the later one counts, whichever is recorded last.
            invalidated.update_or_insert(key.hash(), |known| at.max(*known), at);
        } else {
            self.all_invalidated_at.fetch_max(at, Ordering::AcqRel);
        }
        self.remove_key(key);
    }

    /// Hands what a header names, paths and tags, to housekeeping.
    pub fn invalidate_named<'v>(
        self: &Arc<Self>,
        values: impl Iterator<Item = &'v [u8]>,
        host: &[u8],
        mut also: impl FnMut(&Purge),
    ) {
        /// More than so many names of one response are not told apart.
        const MOST: usize = 64;
        let listed = values.flat_map(|value| value.split(|b| matches!(b, b',' | b' ' | b'\t')));
        for (n, name) in listed.filter(|name| !name.is_empty()).take(MOST + 1).enumerate() {
            let purge = if name.starts_with(b"/") {
                Purge { host: Some(host.into()), path: Some(name.into()), ..Purge::default() }
            } else {
                Purge { tag: Some(name.into()), ..Purge::default() }
            };
            let purge = if n < MOST { purge } else { Purge::everything() };
            also(&purge);
            self.counts.purges.count(PurgeSource::Header);
            if n == MOST || !self.takes_purges() || !self.order_unheard(purge) {
                self.names_lost.store(true, Ordering::Release);
            }
        }
    }

    /// Orders a purge whose end nobody waits for; it counts from here on. Returns whether it found
    /// a place in the queue.
    fn order_unheard(self: &Arc<Self>, purge: Purge) -> bool {
        let recorded = self.record_purge(purge, clock::unix_millis());
        let (reply, _nobody_waits) = oneshot::channel();
        let command = HousekeepingCommand::Purge(self.clone(), recorded.clone(), reply);
        let is_told = self.housekeeping.try_send(command).is_ok();
        if !is_told {
            self.end_purge(&recorded);
        }
        is_told
    }

    /// Returns whether names were lost since this was last asked: what they concern goes with
    /// everything else.
    pub(crate) fn takes_lost_names(&self) -> bool {
        self.names_lost.swap(false, Ordering::AcqRel)
    }

    /// Returns whether a purge since its request was sent counts for a response.
    #[must_use]
    pub fn is_purged_since(&self, object: &Object) -> bool {
        if self.invalidated_at(object.key.hash()) >= object.asked_at {
            return true;
        }
        // In no certain order: several threads record them.
        self.recent_purges.load().iter().rev().any(|recorded| recorded.concerns_object(object))
    }

    /// Returns whether a purge or an unsafe request has made a stored response invalid for good.
    #[must_use]
    pub(in crate::cache) fn is_purged_for_good(&self, object: &Object) -> bool {
        let recent = self.recent_purges.load();
        let mut hard = recent.iter().filter(|recorded| !recorded.purge.soft);
        self.invalidated_at(object.key.hash()) >= object.asked_at
            || hard.any(|recorded| recorded.concerns_object(object))
    }

    /// Returns the moment of a request that is about to be made, by which it is known which
    /// invalidations count for its response.
    #[must_use]
    pub fn time_request(&self, now: Millis) -> Millis {
        self.moments.time_request(now)
    }

    /// Returns when what is stored for the key with a hash was last made invalid.
    pub(super) fn invalidated_at(&self, hash: u128) -> Millis {
        let one = self.invalidated.pin().get(&hash).copied().unwrap_or(0);
        one.max(self.all_invalidated_at.load(Ordering::Acquire))
    }

    /// Returns whether a response is there to be found while purges are being carried out; what a
    /// soft one concerns is stale at once.
    pub(super) fn outlives_purges(&self, object: &Object) -> bool {
        if self.purging.load(Ordering::Acquire) == 0 {
            return true;
        }
        let under_way = self.held_against.load();
        let mut all = under_way.iter().filter(|recorded| recorded.concerns_object(object));
        all.all(|recorded| {
            if recorded.purge.soft {
                object.purge_softly();
            }
            recorded.purge.soft
        })
    }

    /// Returns whether a purge that is being carried out, and that `which` picks, concerns a
    /// response.
    pub(crate) fn is_held_against(
        &self,
        object: &Object,
        which: impl Fn(&Arc<RecordedPurge>) -> bool,
    ) -> bool {
        let under_way = self.held_against.load();
        under_way.iter().any(|recorded| recorded.concerns_object(object) && which(recorded))
    }

    /// Records a purge before it is carried out, and parts newcomers from fetches before it.
    pub(crate) fn record_purge(&self, purge: Purge, now: Millis) -> Arc<RecordedPurge> {
        /// A fetch that takes longer than this has been cut.
        const KEEP: Millis = 10 * 60 * 1000;
        /// More than this in ten minutes count as a purge of everything.
        const MOST: usize = 1000;
        // Before its moment is known it concerns all that is added, so that nothing slips in
        // between the two.
        let at_once = RecordedPurge { at: Millis::MAX, before: u64::MAX, purge: purge.clone() };
        let at_once = Arc::new(at_once);
        self.recent_purges.rcu(|known| known.iter().chain([&at_once]).cloned().collect::<Vec<_>>());
        // In this order: what has a lower number was asked for before that moment.
        let before = object::next_number();
        let at = self.moments.time_invalidation(now);
        let recorded = Arc::new(RecordedPurge { at, before, purge });
        self.recent_purges.rcu(|known| {
            let is_recent = |known: &&Arc<RecordedPurge>| {
                known.at.saturating_add(KEEP) > now && !Arc::ptr_eq(known, &at_once)
            };
            let mut purges: Vec<_> = known.iter().filter(is_recent).cloned().collect();
            if purges.len() >= MOST {
                let purge = Purge::everything();
                purges = vec![Arc::new(RecordedPurge { at, before, purge })];
            }
            purges.push(recorded.clone());
            purges
        });
        self.purging.fetch_add(1, Ordering::AcqRel);
        self.held_against.rcu(|known| {
            let mut purges = Vec::clone(known);
            if purges.len() < MOST_AT_ONCE {
                purges.push(recorded.clone());
            }
            purges
        });
        self.purge_flights(&recorded.purge);
        recorded
    }

    /// Returns whether what a purge concerns is not found any more, although it has not been
    /// removed.
    fn is_under_way(&self, recorded: &Arc<RecordedPurge>) -> bool {
        self.held_against.load().iter().any(|known| Arc::ptr_eq(known, recorded))
    }

    /// Purges that are being carried out, or were a moment ago.
    #[must_use]
    pub fn purges_under_way(&self) -> usize {
        self.purging.load(Ordering::Acquire)
    }

    /// Returns whether so many purges are under way, or were a moment ago, that the next ones may
    /// not count at once.
    #[must_use]
    pub(crate) fn has_crowded_purges(&self) -> bool {
        self.purges_under_way() > MOST_AT_ONCE / 2
    }

    /// Returns whether there are few enough purges under way for one more.
    #[must_use]
    pub(crate) fn takes_purges(&self) -> bool {
        /// More than so many have enough to do for seconds.
        const MOST: usize = 4096;
        self.purges_under_way() < MOST
    }

    /// Removes one response that a purge concerns, or makes it stale. `false` when it had left
    /// already.
    pub(crate) fn purge_one(&self, purge: &Purge, object: &Arc<Object>) -> bool {
        if purge.soft {
            object.purge_softly();
        } else if !self.remove_object(object) {
            return false;
        }
        self.counts.purged.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Forgets a purge that has been carried out.
    pub(crate) fn end_purge(&self, recorded: &Arc<RecordedPurge>) {
        self.held_against.rcu(|known| {
            let left = known.iter().filter(|known| !Arc::ptr_eq(known, recorded));
            left.cloned().collect::<Vec<_>>()
        });
        self.purging.fetch_sub(1, Ordering::AcqRel);
    }
}
