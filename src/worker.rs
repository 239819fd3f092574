//! What one worker thread owns. Nothing here is shared, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::Random;
use crate::endpoint::connections::IdleConnections;
use crate::net::seats::Seats;
use crate::net::{self, Timer};
use crate::policy::forward_auth::Idle;
use crate::policy::jwt::Verified;
use crate::policy::shared;
use crate::telemetry::access::{AccessLine, AccessLog, Lines};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::refusals::Quotas;
use crate::wire::RequestHead;

/// Unused heads and timers that a worker keeps.
const KEEP_HEADS: usize = 256;
/// A head that grew beyond this is freed instead of kept.
const KEEP_HEAD_BYTES: usize = 8 * 1024;

/// Verified tokens that a worker remembers.
const KEEP_TOKENS: usize = 1024;

/// One worker's state.
#[derive(Debug)]
pub struct Worker {
    /// The number of the worker, from 0.
    pub index: usize,
    /// The number of workers in the process.
    pub workers: usize,
    /// Idle connections to servers.
    pub connections: RefCell<IdleConnections>,
    /// The worker's source of randomness.
    pub random: RefCell<Random>,
    /// All workers' signals to let go of idle connections that somebody else waits for.
    pub peers: Arc<[Notify]>,
    /// Idle connections to servers that are asked who a client is.
    pub judges: Idle,
    /// Connections to Redis.
    pub redis: shared::RedisConnections,
    /// Tokens that were verified lately.
    pub tokens: RefCell<HashMap<[u8; 32], Rc<Verified>>>,
    /// Copies of requests under way.
    pub mirrored: Cell<u32>,
    /// Connections to the tier behind caches.
    pub cache_tier: shared::RedisConnections,
    /// Room in which keys of caches are written.
    pub cache_key: RefCell<Vec<u8>>,
    /// Fetches for caches under way.
    pub fetches: Cell<u32>,
    /// The counters of this worker.
    pub ledger: Ledger,
    /// Lines of the access log.
    pub access: Lines,
    /// The log lines that it may still write about what others can cause any number of times.
    pub quotas: Quotas,
    #[expect(clippy::vec_box, reason = "heads are handed out and must not be moved")]
    heads: RefCell<Vec<Box<RequestHead>>>,
    timers: RefCell<Vec<Timer>>,
    /// Client connections.
    pub seats: Seats,
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
            redis: shared::RedisConnections::default(),
            tokens: RefCell::default(),
            mirrored: Cell::new(0),
            cache_tier: shared::RedisConnections::default(),
            cache_key: RefCell::default(),
            fetches: Cell::new(0),
            ledger: Ledger::default(),
            access: Lines::default(),
            quotas: Quotas::default(),
            heads: RefCell::default(),
            timers: RefCell::default(),
            seats: Seats::default(),
        }
    }

    /// Remembers a verified token.
    pub fn remember_token(&self, fingerprint: [u8; 32], verified: Rc<Verified>) {
        let mut tokens = self.tokens.borrow_mut();
        if tokens.len() >= KEEP_TOKENS {
            // Those in use come back at the price of one verification each.
            tokens.clear();
        }
        tokens.insert(fingerprint, verified);
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

    /// Writes a line into the access log, if it is among those that are written.
    pub fn write_access(&self, log: &AccessLog, line: &AccessLine<'_>) {
        if self.draw_random(|random| log.samples(random)) {
            self.access.write_line(&self.ledger, log, line);
        }
    }

    /// Draws from the worker's randomness.
    pub fn draw_random<T>(&self, with: impl FnOnce(&mut Random) -> T) -> T {
        with(&mut self.random.borrow_mut())
    }

    /// Makes all workers let go of idle connections that somebody waits for.
    pub fn reclaim_idle(&self) {
        self.let_go();
        self.call_others();
    }

    /// Makes all other workers look whether somebody waits for what is idle with them.
    pub fn call_others(&self) {
        for (index, peer) in self.peers.iter().enumerate() {
            if index != self.index {
                peer.notify_one();
            }
        }
    }

    /// Waits for [`Worker::call_others`] of others.
    pub async fn wait_for_reclaim(&self) {
        if let Some(signal) = self.peers.get(self.index) {
            signal.notified().await;
        }
        self.let_go();
    }

    /// Closes an idle connection to each server that somebody waits for, and to any server when all
    /// have as many as they may have together.
    fn let_go(&self) {
        let mut connections = self.connections.borrow_mut();
        connections.let_go();
        let (open, most) = net::open::open_and_allowed();
        if open >= most {
            connections.let_go_of(1);
        }
    }

    /// Closes all idle connections to servers.
    pub fn close_idle(&self) {
        self.connections.borrow_mut().close_all();
    }
}
