//! The thread that looks at the responses that a purge may concern, and removes them.
//!
//! A response takes some microseconds: what is read and freed lies anywhere in memory. That is
//! seconds for a million, which nobody waits for, as a purge counts from the start. So the thread
//! stands back: where workers want all the CPUs it takes a small part of one, and every CPU that is
//! idle otherwise. What cannot wait, such as making room, is not with it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use machine::pace;

use super::ward::{self, Expiry};
use crate::cache::purge::RecordedPurge;
use crate::cache::store::CacheStore;

/// The most batches that wait for the thread, are with it or come back from it.
pub(super) const MOST_OUT: usize = 4;

/// A response that a purge may concern.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) expiry: Expiry,
    /// The halves of its key's hash.
    pub(super) hash: [u64; 2],
}

/// Responses that a purge may concern.
#[derive(Debug)]
pub(super) struct SweepBatch {
    pub(super) store: Arc<CacheStore>,
    pub(super) recorded: Arc<RecordedPurge>,
    pub(super) suspects: Vec<Suspect>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct SweptBatch {
    pub(super) store: Arc<CacheStore>,
    pub(super) recorded: Arc<RecordedPurge>,
    /// Those that are not there any more.
    pub(super) gone: Vec<Expiry>,
    /// The number of those that this purge removed or made stale.
    pub(super) purged: usize,
}

impl SweepBatch {
    /// Looks at each of them, and purges it if it is to be.
    pub(super) fn sweep_suspects(self) -> SweptBatch {
        let Self { store, recorded, suspects } = self;
        let (mut gone, mut purged) = (Vec::new(), 0);
        for Suspect { expiry, hash } in suspects {
            pace::step();
            let hash = ward::join_hash(hash);
            let Some(object) = store.read_numbered(hash, expiry.number, Arc::clone) else {
                gone.push(expiry);
                continue;
            };
            if recorded.concerns_object(&object) {
                purged += usize::from(store.purge_one(&recorded.purge, &object));
                if !recorded.purge.soft {
                    gone.push(expiry);
                }
            }
        }
        SweptBatch { store, recorded, gone, purged }
    }
}

/// Housekeeping's end of the way to the thread and back.
#[derive(Debug)]
pub(super) struct Sweeper {
    batches: SyncSender<SweepBatch>,
    swept: Receiver<SweptBatch>,
}

/// The thread's end of it.
#[derive(Debug)]
pub(super) struct SweeperWork {
    batches: Receiver<SweepBatch>,
    swept: SyncSender<SweptBatch>,
}

/// Returns the two ends.
pub(super) fn new_sweeper() -> (Sweeper, SweeperWork) {
    let ((batches, to_do), (done, swept)) =
        (mpsc::sync_channel(MOST_OUT), mpsc::sync_channel(MOST_OUT));
    (Sweeper { batches, swept }, SweeperWork { batches: to_do, swept: done })
}

impl Sweeper {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(super) fn start_thread() -> io::Result<Self> {
        let (sweeper, work) = new_sweeper();
        let run = move || {
            pace::stand_back();
            pace::can_wait();
            while work.sweep_next() {}
        };
        std::thread::Builder::new().name("cache-sweep".into()).spawn(run)?;
        Ok(sweeper)
    }

    /// Hands a batch over, without a wait while fewer than [`MOST_OUT`] are out. Where the thread
    /// is gone, it is returned as swept.
    pub(super) fn hand_over(&self, batch: SweepBatch) -> Option<SweptBatch> {
        self.batches.send(batch).err().map(|unsent| unsent.0.sweep_suspects())
    }

    /// Returns a batch that has come back.
    pub(super) fn take_back(&self) -> Option<SweptBatch> {
        self.swept.try_recv().ok()
    }
}

impl SweeperWork {
    /// Waits for a batch and sweeps it. `false` when there will be none.
    pub(super) fn sweep_next(&self) -> bool {
        let Ok(batch) = self.batches.recv() else { return false };
        self.swept.send(batch.sweep_suspects()).is_ok()
    }

    /// Sweeps what has been handed over.
    #[cfg(test)]
    pub(super) fn sweep_waiting(&self) {
        for batch in self.batches.try_iter() {
            self.swept.send(batch.sweep_suspects()).unwrap();
        }
    }
}
