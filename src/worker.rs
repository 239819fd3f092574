//! What one worker thread owns. Nothing here is shared, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;

use crate::clock::Random;
use crate::endpoint::connections::Connections;
use crate::net::Timer;
use crate::policy::forward_auth::Idle;
use crate::policy::jwt::Verified;
use crate::policy::shared;
use crate::telemetry::access::Lines;
use crate::telemetry::ledger::Ledger;
use crate::telemetry::refusals::Quotas;
use crate::wire::RequestHead;

/// How many unused heads and timers a worker keeps.
const KEEP_HEADS: usize = 64;
/// A head that grew beyond this is freed instead of kept.
const KEEP_HEAD_BYTES: usize = 16 * 1024;

/// How many verified tokens a worker remembers.
const KEEP_TOKENS: usize = 1024;

/// One worker's state.
#[derive(Debug)]
pub struct Worker {
    /// Its number, from 0.
    pub index: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Idle connections to servers.
    pub connections: RefCell<Connections>,
    /// The worker's source of randomness.
    pub random: RefCell<Random>,
    /// All workers' signals to let go of idle connections that somebody else waits for.
    pub peers: Arc<[Notify]>,
    /// Idle connections to servers that are asked who a client is.
    pub judges: Idle,
    /// Connections to Redis.
    pub redis: shared::Connections,
    /// Tokens that were verified lately.
    pub tokens: RefCell<HashMap<[u8; 32], Rc<Verified>>>,
    /// Passwords that were right lately, and until when that counts.
    pub passwords: RefCell<HashMap<[u8; 32], u64>>,
    /// Copies of requests under way.
    pub mirrored: Cell<u32>,
    /// Fetches for caches under way.
    pub fetches: Cell<u32>,
    /// What it counts.
    pub ledger: Ledger,
    /// Lines of the access log.
    pub access: Lines,
    /// How many log lines it may still write about what others can cause any number of times.
    pub quotas: Quotas,
    #[expect(clippy::vec_box, reason = "heads are handed out and must not be moved")]
    heads: RefCell<Vec<Box<RequestHead>>>,
    timers: RefCell<Vec<Timer>>,
    sleepers: RefCell<Sleepers>,
}

/// The tasks of all client connections, so that a drain can wake the idle ones.
#[derive(Debug, Default)]
struct Sleepers {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Worker {
    /// A worker with nothing open.
    #[must_use]
    pub fn new(index: usize, peers: Arc<[Notify]>, random: Random) -> Self {
        Self {
            index,
            workers: peers.len().max(1),
            connections: RefCell::default(),
            random: RefCell::new(random),
            peers,
            judges: Idle::default(),
            redis: shared::Connections::default(),
            tokens: RefCell::default(),
            passwords: RefCell::default(),
            mirrored: Cell::new(0),
            fetches: Cell::new(0),
            ledger: Ledger::default(),
            access: Lines::default(),
            quotas: Quotas::default(),
            heads: RefCell::default(),
            timers: RefCell::default(),
            sleepers: RefCell::default(),
        }
    }

    /// Remembers a verified token.
    pub fn remember(&self, fingerprint: [u8; 32], verified: Rc<Verified>) {
        let mut tokens = self.tokens.borrow_mut();
        if tokens.len() >= KEEP_TOKENS {
            // Those in use come back at the price of one verification each.
            tokens.clear();
        }
        tokens.insert(fingerprint, verified);
    }

    /// Remembers a password that was right.
    pub fn remember_password(&self, fingerprint: [u8; 32], until: u64) {
        let mut passwords = self.passwords.borrow_mut();
        if passwords.len() >= KEEP_TOKENS {
            passwords.clear();
        }
        passwords.insert(fingerprint, until);
    }

    /// Borrows an empty head.
    #[must_use]
    pub fn take_head(&self) -> Box<RequestHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a head back.
    pub fn put_head(&self, head: Box<RequestHead>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < KEEP_HEADS && head.fields.capacity() <= KEEP_HEAD_BYTES {
            heads.push(head);
        }
    }

    /// Borrows a timer.
    #[must_use]
    pub fn take_timer(&self) -> Timer {
        self.timers.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a timer back.
    pub fn put_timer(&self, timer: Timer) {
        let mut timers = self.timers.borrow_mut();
        if timers.len() < KEEP_HEADS {
            timers.push(timer.handed_on());
        }
    }

    /// Draws from the worker's randomness.
    pub fn draw<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.random.borrow_mut())
    }

    /// Makes all workers let go of idle connections that somebody waits for.
    pub fn reclaim(&self) {
        self.connections.borrow_mut().let_go();
        for (index, peer) in self.peers.iter().enumerate() {
            if index != self.index {
                peer.notify_one();
            }
        }
    }

    /// Waits for [`Worker::reclaim`] of others.
    pub async fn reclaimed(&self) {
        if let Some(signal) = self.peers.get(self.index) {
            signal.notified().await;
        }
        self.connections.borrow_mut().let_go();
    }

    /// Registers a connection's task. Its place in the list goes back when the value is dropped.
    pub fn register(&self, waker: Waker) -> Registration<'_> {
        let mut sleepers = self.sleepers.borrow_mut();
        let place = match sleepers.free.pop() {
            Some(place) => place,
            None => {
                sleepers.wakers.push(None);
                sleepers.wakers.len() - 1
            }
        };
        if let Some(slot) = sleepers.wakers.get_mut(place) {
            *slot = Some(waker);
        }
        Registration { worker: self, place }
    }

    /// How many client connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        let sleepers = self.sleepers.borrow();
        sleepers.wakers.len() - sleepers.free.len()
    }

    /// Closes all idle connections to servers.
    pub fn close(&self) {
        self.connections.borrow_mut().clear();
    }

    /// Wakes the tasks of all client connections, so that those that are to end notice.
    pub fn wake_all(&self) {
        for waker in self.sleepers.borrow().wakers.iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

/// A connection's place among those that a drain wakes.
#[derive(Debug)]
pub struct Registration<'a> {
    worker: &'a Worker,
    place: usize,
}

impl Registration<'_> {
    /// Its number; small, and free again when this is dropped.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut sleepers = self.worker.sleepers.borrow_mut();
        if let Some(slot) = sleepers.wakers.get_mut(self.place) {
            *slot = None;
        }
        sleepers.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_connections_are_counted_until_dropped() {
        let worker = Worker::new(0, Arc::new([Notify::new()]), Random::seeded(1));
        let first = worker.register(Waker::noop().clone());
        let second = worker.register(Waker::noop().clone());
        assert_eq!(worker.open(), 2);
        drop(first);
        let third = worker.register(Waker::noop().clone());
        assert_eq!((worker.open(), third.place), (2, 0));
        drop((second, third));
        assert_eq!(worker.open(), 0);
    }
}
