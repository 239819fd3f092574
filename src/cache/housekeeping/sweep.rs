//! A purge that is being carried out, step by step.
//!
//! It counts from the moment in which it was recorded; a sweep frees the memory and counts what
//! went. All sweeps take turns, so that a small one does not wait for the end of a large one.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::sweeper::{Suspect, SweepBatch, SweptBatch};
use super::ward::{Expiry, KnownResponse};
use crate::cache::key;
use crate::cache::object::Object;
use crate::cache::purge::{Purge, RecordedPurge};
use crate::cache::store::CacheStore;

/// The responses that one step passes: some nanoseconds each.
const PASSED: usize = 1024;
/// The responses of these that one batch has.
const SUSPECTS: usize = 128;

/// A purge that is being carried out.
#[derive(Debug)]
pub(super) struct PurgeUnderWay {
    pub(super) store: Arc<CacheStore>,
    recorded: Arc<RecordedPurge>,
    /// The hash of the one path that it concerns.
    path: Option<u32>,
    /// The last response that it has come to.
    pub(super) after: Option<Expiry>,
    /// All responses have been passed.
    pub(super) has_passed: bool,
    /// A batch of it is with the sweeper.
    is_out: bool,
    purged: usize,
    reply: oneshot::Sender<usize>,
}

/// The rest of one step.
#[derive(Debug)]
pub(super) struct SweepStep {
    passes: usize,
    suspects: Vec<Suspect>,
}

impl SweepStep {
    /// Returns whether others have their turn now.
    pub(super) fn is_over(&self) -> bool {
        self.passes == 0 || self.suspects.len() == SUSPECTS
    }
}

impl PurgeUnderWay {
    /// A purge that begins.
    pub(super) fn new(
        store: Arc<CacheStore>,
        recorded: Arc<RecordedPurge>,
        reply: oneshot::Sender<usize>,
    ) -> Self {
        let path = recorded.purge.exact_path().map(key::hash_path);
        let (after, has_passed, is_out, purged) = (None, false, false, 0);
        Self { store, recorded, path, after, has_passed, is_out, purged, reply }
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

    /// Begins a step, unless what the last one found is still being looked at, or was the last.
    pub(super) fn begin_step(&self) -> Option<SweepStep> {
        let may_go_on = !self.is_out && !self.has_passed;
        may_go_on.then(|| SweepStep { passes: PASSED, suspects: Vec::new() })
    }

    /// Passes a response, and takes it along if it has to be looked at.
    pub(super) fn pass_response(
        &mut self,
        expiry: Expiry,
        known: &KnownResponse,
        step: &mut SweepStep,
    ) {
        self.after = Some(expiry);
        step.passes -= 1;
        let other_path = self.path.is_some_and(|path| path != known.path);
        let untagged = self.recorded.purge.tag.is_some() && !known.tagged;
        if !other_path && !untagged {
            step.suspects.push(Suspect { expiry, hash: known.hash });
        }
    }

    /// Ends a step: what it took along is to be looked at.
    pub(super) fn end_step(&mut self, step: SweepStep) -> Option<SweepBatch> {
        let suspects = step.suspects;
        self.is_out = !suspects.is_empty();
        let (store, recorded) = (self.store.clone(), self.recorded.clone());
        self.is_out.then(|| SweepBatch { store, recorded, suspects })
    }

    /// Takes in what was found.
    pub(super) fn take_swept(&mut self, swept: &SweptBatch) {
        self.is_out = false;
        self.purged += swept.purged;
    }

    /// Returns whether nothing of it is left to do.
    pub(super) fn has_ended(&self) -> bool {
        self.has_passed && !self.is_out
    }

    /// Tells its count, and returns what was carried out.
    pub(super) fn end_sweep(self) -> Arc<RecordedPurge> {
        // Whoever asked may have left.
        let _left = self.reply.send(self.purged);
        self.recorded
    }
}
