//! The thread that decides what leaves a full cache and carries out purges.
//!
//! What has run out goes first, the longest ago first; then what the order of eviction names. The
//! thread knows responses by number, so nothing that left by another way is kept alive by it.
//!
//! A purge counts as soon as it is recorded. To find and free a million responses takes seconds:
//! that goes in steps with a pause behind each, in which the commands that came meanwhile are
//! obeyed. Purges take turns, and another thread, which stands back, does what costs most.

mod sweep;
mod sweeper;
mod ward;

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use self::sweep::PurgeUnderWay;
use self::sweeper::{MOST_OUT, Sweeper, SweptBatch};
use self::ward::Ward;
use super::object::Object;
use super::policy::Millis;
use super::purge::{Purge, PurgeSource, RecordedPurge};
use super::store::CacheStore;
use crate::clock;

/// Commands that may wait; a response that finds no place among them is not stored.
const QUEUE: usize = 4096;
/// The pause between two searches for what is dead.
const ROUND: Duration = Duration::from_millis(ROUND_MS);
const ROUND_MS: Millis = 1000;
/// The pause behind steps of purges, or of forgetting what has left. These have the processor for
/// some tens of microseconds; a worker that has no other one loses as much of it as their share, so
/// pauses are many times as long.
const PAUSE: Duration = Duration::from_millis(1);
/// The steps of purges in one turn.
const STEPS: usize = 4;
/// The pause behind commands, in which further ones come together: whoever orders something wakes
/// nobody meanwhile, which would be a system call for each response that is stored.
const REST: Duration = Duration::from_micros(100);

/// The orders to housekeeping.
#[derive(Debug)]
pub enum HousekeepingCommand {
    /// A response was added.
    Stored(Arc<CacheStore>, Weak<Object>),
    /// There is little room left, or the bounds have changed.
    MakeRoom(Arc<CacheStore>),
    /// Remove what a recorded purge concerns, and say how many that were.
    Purge(Arc<CacheStore>, Arc<RecordedPurge>, oneshot::Sender<usize>),
}

/// Starts the thread. It ends when the last store that can call it is gone.
///
/// # Errors
/// Those of the operating system.
pub fn start_thread() -> io::Result<SyncSender<HousekeepingCommand>> {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    let housekeeping = Housekeeping::new(Sweeper::start_thread()?);
    let run = move || housekeeping.run_rounds(&receiver);
    std::thread::Builder::new().name("cache".into()).spawn(run)?;
    Ok(sender)
}

/// A purge that has been carried out, and where.
type SweptPurge = (Arc<CacheStore>, Arc<RecordedPurge>);

#[derive(Debug)]
struct Housekeeping {
    sweeper: Sweeper,
    wards: Vec<Ward>,
    /// The first one has the next turn.
    purges: VecDeque<PurgeUnderWay>,
    /// Batches that are with the sweeper.
    out: usize,
    /// Stores for which more purges came than can be told apart: what they concern goes with
    /// everything else.
    owed: Vec<Arc<CacheStore>>,
    /// Purges carried out since it last looked round, and before that.
    swept: [Vec<SweptPurge>; 2],
    /// When it last looked round.
    looked: Millis,
}

impl Housekeeping {
    fn new(sweeper: Sweeper) -> Self {
        let (wards, purges, owed, swept) = Default::default();
        Self { sweeper, wards, purges, out: 0, owed, swept, looked: 0 }
    }

    fn run_rounds(mut self, commands: &Receiver<HousekeepingCommand>) {
        let (mut has_more, mut compacts) = (false, false);
        loop {
            let wait = if has_more { Duration::ZERO } else { ROUND };
            match commands.recv_timeout(wait) {
                Ok(command) => self.obey_command(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A step is longer than all of them take.
            commands.try_iter().take(QUEUE).for_each(|command| self.obey_command(command));
            self.take_swept();
            // One or the other, as each has the processor for as long as is good for others.
            compacts = !compacts || self.purges.is_empty();
            let compacted = compacts && self.compact_step();
            if !compacted {
                (0..STEPS).for_each(|_| self.purge_step());
            }
            self.pay_owed();
            let now = clock::unix_millis();
            if now.abs_diff(self.looked) >= ROUND_MS {
                self.looked = now;
                self.look_round();
            }
            has_more = compacted || !self.purges.is_empty();
            std::thread::sleep(if has_more { PAUSE } else { REST });
        }
    }

    fn obey_command(&mut self, command: HousekeepingCommand) {
        match command {
            HousekeepingCommand::Stored(store, object) => {
                let Some(object) = object.upgrade() else { return };
                // A purge that was recorded meanwhile may have passed before it was known here.
                if store.is_purged_since(&object) && !self.is_purged_later(&store, &object) {
                    self.remove_latecomer(&store, &object);
                    return;
                }
                let ward = self.ward_of(&store);
                ward.admit_response(&object);
                // What leaves now is freed at once.
                drop(object);
                ward.make_room(&store);
            }
            HousekeepingCommand::MakeRoom(store) => self.ward_of(&store).make_room(&store),
            HousekeepingCommand::Purge(store, recorded, reply) => {
                self.purges.push_back(PurgeUnderWay::new(store, recorded, reply));
            }
        }
    }

    /// Returns whether a purge whose sweep has yet to begin concerns a response: that finds it, and
    /// counts it.
    fn is_purged_later(&self, store: &Arc<CacheStore>, object: &Object) -> bool {
        let swept = self.swept.iter().flatten().map(|(_, recorded)| recorded);
        let begun = |known: &Arc<RecordedPurge>| {
            let mut all = self.purges.iter().map(PurgeUnderWay::recorded).chain(swept.clone());
            all.any(|begun| Arc::ptr_eq(begun, known))
        };
        store.is_held_against(object, |recorded| !begun(recorded))
    }

    /// Removes a response that became known when the purge of it had begun.
    fn remove_latecomer(&mut self, store: &Arc<CacheStore>, object: &Arc<Object>) {
        let mut purges = self.purges.iter_mut();
        match purges.find(|purge| purge.concerns_object(store, object)) {
            Some(purge) => purge.remove_latecomer(object),
            None => _ = store.remove_object(object),
        }
    }

    /// Records a purge that nobody waits for.
    fn begin_purge(&mut self, store: Arc<CacheStore>, purge: Purge) {
        let recorded = store.record_purge(purge, clock::unix_millis());
        let (reply, _nobody_waits) = oneshot::channel();
        self.purges.push_back(PurgeUnderWay::new(store, recorded, reply));
    }

    /// Notes that all that a store has is to go, because nobody knows what alone would have to.
    fn owe_everything(&mut self, store: Arc<CacheStore>) {
        if !self.owed.iter().any(|owed| Arc::ptr_eq(owed, &store)) {
            self.owed.push(store);
        }
    }

    /// Begins the purges of everything that are owed, one at a time for each store.
    fn pay_owed(&mut self) {
        let stores: Vec<_> = self.wards.iter().filter_map(|ward| ward.store.upgrade()).collect();
        for store in stores.into_iter().filter(|store| store.takes_lost_names()) {
            self.owe_everything(store);
        }
        let purges = &self.purges;
        let under_way =
            |store: &Arc<CacheStore>| purges.iter().any(|of| of.is_of_everything(store));
        let due: Vec<_> = self.owed.extract_if(.., |store| !under_way(store)).collect();
        for store in due {
            store.counts.purges.count(PurgeSource::Overrun);
            self.begin_purge(store, Purge::everything());
        }
    }

    /// Goes on with the purge whose turn it is, and tells its count at its end.
    fn purge_step(&mut self) {
        if self.out == MOST_OUT {
            return;
        }
        let Some(mut purge) = self.purges.pop_front() else { return };
        let batch = self.ward_of(&purge.store.clone()).sweep_step(&mut purge);
        let has_ended = purge.has_ended();
        if has_ended {
            self.finish_purge(purge);
        } else {
            self.purges.push_back(purge);
        }
        let Some(batch) = batch else { return };
        self.out += 1;
        if let Some(swept) = self.sweeper.hand_over(batch) {
            self.note_swept(&swept);
        }
    }

    /// Tells the count of a purge that has been carried out. What was on its way into the table
    /// when it passed is held against it for a while, if others do not need its place.
    fn finish_purge(&mut self, purge: PurgeUnderWay) {
        let store = purge.store.clone();
        let recorded = purge.end_sweep();
        if store.has_crowded_purges() {
            store.end_purge(&recorded);
        } else {
            self.swept[0].push((store, recorded));
        }
    }

    /// Takes in what the sweeper has done.
    fn take_swept(&mut self) {
        while let Some(swept) = self.sweeper.take_back() {
            self.note_swept(&swept);
        }
    }

    fn note_swept(&mut self, swept: &SweptBatch) {
        self.out -= 1;
        self.ward_of(&swept.store).forget_swept(swept);
        let mut purges = self.purges.iter_mut();
        if let Some(purge) = purges.find(|purge| Arc::ptr_eq(purge.recorded(), &swept.recorded)) {
            purge.take_swept(swept);
        }
    }

    /// Goes on to forget what has left by other ways than housekeeping's. Returns whether there was
    /// something to do.
    fn compact_step(&mut self) -> bool {
        self.wards.iter_mut().any(|ward| {
            let store = ward.store.upgrade();
            store.is_some_and(|store| ward.compact_step(&store))
        })
    }

    fn ward_of(&mut self, store: &Arc<CacheStore>) -> &mut Ward {
        let known = self.wards.iter().position(|ward| ward.store.as_ptr() == Arc::as_ptr(store));
        let at = known.unwrap_or_else(|| {
            self.wards.push(Ward::new(store));
            self.wards.len() - 1
        });
        &mut self.wards[at]
    }

    fn look_round(&mut self) {
        // What was on its way into the table when a purge passed has been held against it
        // meanwhile.
        for (store, recorded) in self.swept[1].drain(..) {
            store.end_purge(&recorded);
        }
        self.swept.swap(0, 1);
        self.wards.retain(|ward| ward.store.strong_count() > 0);
        for ward in &mut self.wards {
            let Some(store) = ward.store.upgrade() else { continue };
            store.forget_landed(clock::unix_millis());
            ward.make_room(&store);
        }
    }
}

#[cfg(test)]
mod tests;
