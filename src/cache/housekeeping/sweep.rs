//! A purge that is being carried out, step by step.
//!
//! It counts from the moment in which it was recorded; a sweep frees the memory and counts what
//! went. All sweeps take turns, so that a small one does not wait for the end of a large one.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::ward::{Expiry, KnownResponse};
use crate::cache::key;
use crate::cache::object::Object;
use crate::cache::purge::{Purge, RecordedPurge};
use crate::cache::store::CacheStore;

/// The responses that one step passes: some nanoseconds each.
const PASSED: usize = 4096;
/// The responses of these whose keys and tags are read: a microsecond or two each, as what is read
/// lies anywhere in memory.
const READ: usize = 128;
/// The responses of these that are removed: some ten microseconds each, for the same reason.
const REMOVED: usize = 16;

/// A purge that is being carried out.
#[derive(Debug)]
pub(super) struct PurgeUnderWay {
    pub(super) store: Arc<CacheStore>,
    recorded: Arc<RecordedPurge>,
    /// The hash of the one path that it concerns.
    path: Option<u32>,
    /// The last response that it has come to.
    pub(super) after: Option<Expiry>,
    purged: usize,
    reply: oneshot::Sender<usize>,
}

/// The rest of one step.
#[derive(Debug)]
pub(super) struct SweepStep {
    passes: usize,
    reads: usize,
    removes: usize,
}

impl SweepStep {
    /// Returns whether others have their turn now.
    pub(super) fn is_over(&self) -> bool {
        self.passes == 0 || self.reads == 0 || self.removes == 0
    }
}

/// The findings of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookedAt {
    /// A response that stays, perhaps as a stale one.
    Stays,
    /// None any more.
    Gone,
}

impl PurgeUnderWay {
    /// A purge that begins.
    pub(super) fn new(
        store: Arc<CacheStore>,
        recorded: Arc<RecordedPurge>,
        reply: oneshot::Sender<usize>,
    ) -> Self {
        let path = recorded.purge.exact_path().map(key::hash_path);
        Self { store, recorded, path, after: None, purged: 0, reply }
    }

    /// The purge as it was recorded.
    pub(super) fn recorded(&self) -> &Arc<RecordedPurge> {
        &self.recorded
    }

    /// Returns whether it concerns a response of a store.
    pub(super) fn concerns_object(&self, store: &Arc<CacheStore>, object: &Object) -> bool {
        Arc::ptr_eq(&self.store, store) && self.recorded.concerns_object(object)
    }

    /// Returns whether it is one of everything that a store has.
    pub(super) fn is_of_everything(&self, store: &Arc<CacheStore>) -> bool {
        Arc::ptr_eq(&self.store, store) && self.recorded.purge == Purge::everything()
    }

    /// Purges a response behind its back: it may be past the place of that.
    pub(super) fn remove_latecomer(&mut self, object: &Arc<Object>) {
        self.purged += usize::from(self.store.purge_one(&self.recorded.purge, object));
        if self.recorded.purge.soft {
            // It is not known to housekeeping, so it cannot stay.
            self.store.remove_object(object);
        }
    }

    /// Returns what one step may do.
    pub(super) fn begin_step(&self) -> SweepStep {
        SweepStep { passes: PASSED, reads: READ, removes: REMOVED }
    }

    /// Purges a response if it is to be.
    pub(super) fn look_at(
        &mut self,
        known: &KnownResponse,
        hash: u128,
        number: u64,
        step: &mut SweepStep,
    ) -> LookedAt {
        let purge = &self.recorded.purge;
        step.passes -= 1;
        let other_path = self.path.is_some_and(|path| path != known.path);
        if other_path || purge.tag.is_some() && !known.tagged {
            return LookedAt::Stays;
        }
        step.reads -= 1;
        let Some(object) = self.store.read_numbered(hash, number, Arc::clone) else {
            return LookedAt::Gone;
        };
        if !self.recorded.concerns_object(&object) {
            return LookedAt::Stays;
        }
        step.removes -= 1;
        self.purged += usize::from(self.store.purge_one(purge, &object));
        if purge.soft { LookedAt::Stays } else { LookedAt::Gone }
    }

    /// Tells its count, and returns what was carried out.
    pub(super) fn end_sweep(self) -> Arc<RecordedPurge> {
        // Whoever asked may have left.
        let _left = self.reply.send(self.purged);
        self.recorded
    }
}
