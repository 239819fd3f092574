//! Where requests wait for what only so many may have at a time.
//!
//! One queue per upstream, and one per route that limits requests at a time; first come first
//! served over all workers: whoever comes later joins the end even if a place is free at that
//! moment. A place that becomes free wakes exactly one; one that leaves passes its turn on. The
//! counters show what waiting costs: `tidegate` never queues silently.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::task::{Poll, ready};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Notify;

use super::sides::Client;
use crate::clock::Instant;
use crate::net::Timer;

/// Requests that wait.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicU32,
    /// The number that may still be woken for a place that not everybody has a use for.
    passes: AtomicU32,
    freed: Notify,
    /// Requests that had to wait.
    pub queued: AtomicU64,
    /// Requests refused because the queue was full.
    pub overflowed: AtomicU64,
    /// Requests that waited too long.
    pub timed_out: AtomicU64,
}

/// A reason why waiting brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// The queue is full.
    Full,
    /// The time is up.
    TimedOut,
    /// The client has gone.
    Gone,
}

/// The counts of a queue, as `/stats` shows it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QueueStats {
    depth: u32,
    limit: Option<u32>,
    queued: u64,
    full: u64,
    timeouts: u64,
}

impl Queue {
    /// Reads what is counted. `limit` is the most that may wait; the largest number there is means
    /// no limit.
    #[must_use]
    pub fn read_stats(&self, limit: u32) -> QueueStats {
        QueueStats {
            depth: self.depth(),
            limit: Some(limit).filter(|limit| *limit != u32::MAX),
            queued: self.queued.load(Ordering::Relaxed),
            full: self.overflowed.load(Ordering::Relaxed),
            timeouts: self.timed_out.load(Ordering::Relaxed),
        }
    }

    /// Returns how many wait now.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A place became free.
    pub fn release_place(&self) {
        // Pairs with the fence in `enter`: either this sees who waits, or they see the free place.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }

    /// A place became free that may be of no use to the one who waits longest: whoever has none for
    /// it passes it on, until everybody has seen it.
    pub fn release_to_any(&self) {
        fence(Ordering::SeqCst);
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > 0 {
            self.passes.fetch_max(waiting, Ordering::Relaxed);
            self.freed.notify_one();
        }
    }

    /// Somebody had no use for the place he was woken for.
    fn pass_on(&self) {
        let one_less = |passes: u32| passes.checked_sub(1);
        if self.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            self.freed.notify_one();
        }
    }

    /// Many places may have become free: a server came back.
    pub fn release_all(&self) {
        for _ in 0..self.depth() {
            self.freed.notify_one();
        }
    }

    /// Waits until `serve` finds a place, at most until `until`. No more than `limit` wait.
    ///
    /// # Errors
    /// [`Unserved`].
    pub async fn wait_for_turn<C: Client, T>(
        &self,
        client: &mut C,
        timer: &mut Timer,
        (limit, until): (u32, Option<Instant>),
        mut serve: impl FnMut() -> Option<T>,
    ) -> Result<T, Unserved> {
        let (_place, first) = self.join_queue(limit)?;
        let mut my_turn = first;
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on no release is missed.
            freed.as_mut().enable();
            if my_turn {
                if let Some(served) = serve() {
                    return Ok(served);
                }
                self.pass_on();
            }
            let ended = poll_fn(|cx| {
                if freed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if client.poll_gone_unread(cx).is_ready() {
                    return Poll::Ready(Some(Unserved::Gone));
                }
                let look_again = client.look_again().filter(|at| until.is_none_or(|u| *at < u));
                ready!(timer.poll_at(cx, look_again.or(until)));
                if look_again.is_some() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Unserved::TimedOut))
            });
            match ended.await {
                None => my_turn = true,
                Some(unserved) => {
                    if unserved == Unserved::TimedOut {
                        self.timed_out.fetch_add(1, Ordering::Relaxed);
                    }
                    return Err(unserved);
                }
            }
        }
    }

    /// Joins the end; true when nobody was there.
    fn join_queue(&self, limit: u32) -> Result<(QueuePlace<'_>, bool), Unserved> {
        let before = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < limit).then_some(waiting + 1)
        });
        fence(Ordering::SeqCst);
        let Ok(before) = before else {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return Err(Unserved::Full);
        };
        self.queued.fetch_add(1, Ordering::Relaxed);
        Ok((QueuePlace(self), before == 0))
    }
}

/// A place in the queue, until it is dropped.
struct QueuePlace<'a>(&'a Queue);

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes whoever waits when it is dropped. To be dropped after the place was given up.
#[derive(Debug)]
pub struct Freed<'a>(pub Option<&'a Queue>);

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.0 {
            queue.release_place();
        }
    }
}
