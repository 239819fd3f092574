//! What is done when requests under way hold as much memory as they may: work that stands still
//! makes room, that of this worker first, then that of others. Only when none does is a new request
//! told so, with 503.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::worker::Local;
use crate::clock;
use crate::net::{MemoryReservation, held, stalls};

/// Requests that may wait for memory, over all workers: they hold some themselves. Those beyond are
/// refused at once.
const MOST_WAITING: u32 = 48;
/// The longest wait while others make room, and for what other workers make.
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_WITH_OTHERS: Duration = Duration::from_millis(30);
/// The pause between two looks when nobody here was asked to go.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Turns that whoever was asked to go gets: to try once more, to have its connection try, and to
/// end.
const TURNS: usize = 4;

/// Requests that wait for memory.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// A request that waits, until this is dropped.
struct WaitingRequest;

impl WaitingRequest {
    fn new() -> Option<Self> {
        let one_more = |waiting: u32| (waiting < MOST_WAITING).then_some(waiting + 1);
        WAITING.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for WaitingRequest {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Relaxed);
    }
}

impl Local {
    /// Takes so many of the `most` bytes of memory that requests may hold, once others have made
    /// room; `None`, and counted, when nobody has.
    #[cold]
    pub(super) async fn find_memory(&self, bytes: usize, most: usize) -> Option<MemoryReservation> {
        if let Some(_waiting) = WaitingRequest::new() {
            let until = clock::now() + PATIENCE;
            let mut alone_until = None;
            loop {
                // Who holds a part of a head and says no more makes room too.
                self.worker.seats.shed_slowest();
                let asked = stalls::ask_stillest(bytes);
                if !asked {
                    let now = clock::now();
                    let others = self.worker.workers > 1;
                    if !others || now >= *alone_until.get_or_insert(now + PATIENCE_WITH_OTHERS) {
                        break;
                    }
                    let workers = u32::try_from(self.worker.workers).unwrap_or(u32::MAX);
                    stalls::want_others(bytes, workers);
                    self.worker.call_others();
                    sleep(LOOK_AGAIN).await;
                }
                for_turns().await;
                if let Some(taken) = MemoryReservation::try_new(bytes, most) {
                    return Some(taken);
                }
                if clock::now() >= until {
                    break;
                }
            }
        }
        MemoryReservation::new(bytes, most)
    }

    /// Makes the room in memory that other workers have asked for, as far as something stands still
    /// here.
    pub(super) async fn make_wanted_memory(&self) {
        stalls::heed_others();
        for_turns().await;
    }
}

/// Lets those that were asked to go do so, and counts what they gave back.
async fn for_turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
    held::tell_changes();
}
