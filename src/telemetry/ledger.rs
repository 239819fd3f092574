//! What a worker writes down about requests, and gives away once a second.
//!
//! A worker writes into memory of its own, so that counting costs neither a lock nor a cache line
//! that others write to. A collector asks for the whole interval and adds it up elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::refusals::Remembered;
use crate::exchange::Outcome;
use crate::exchange::outcome::{CUTS, OUTCOMES};

/// The longest time that is told apart from longer ones, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// Significant digits of a recorded time: it is at most 1 % off.
pub(super) const DIGITS: u8 = 2;

/// Methods that are counted apart; everything else is one group, because clients may make methods
/// up.
pub const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// The place of a method in [`METHODS`].
#[must_use]
pub fn method_index(method: &[u8]) -> usize {
    let known = METHODS.iter().take(METHODS.len() - 1);
    known.clone().position(|m| m.as_bytes() == method).unwrap_or(METHODS.len() - 1)
}

/// Numbers of this process's own making need no defence against collisions.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing: spreads consecutive numbers over the high bits, which the map looks at
        // first.
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Stands for the route of requests that matched none.
pub const NO_ROUTE: u32 = u32::MAX;

/// By the id of a route, listener or server.
pub type ById<T> = HashMap<u32, T, BuildHasherDefault<IdHasher>>;

/// The events at one place in one interval.
#[derive(Debug, Clone)]
pub struct StatsBucket {
    /// Microseconds.
    pub latency: Histogram<u32>,
    /// The sum of all latencies in microseconds.
    pub micros: u64,
    /// The number of responses by status; 0 stands for attempts without a response.
    pub statuses: Vec<(u16, u32)>,
    /// The number of exchanges by their end, by [`Outcome::index`].
    pub outcomes: [u32; OUTCOMES.len()],
    /// The number of responses that the server did not end as it should, by [`Outcome::cut_index`].
    pub cuts: [u32; CUTS.len()],
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of response bodies.
    pub sent: u64,
}

impl Default for StatsBucket {
    fn default() -> Self {
        Self {
            // Grows with what is recorded. The number of digits is a constant that is allowed.
            latency: Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("constant digits")),
            micros: 0,
            statuses: Vec::new(),
            outcomes: [0; OUTCOMES.len()],
            cuts: [0; CUTS.len()],
            received: 0,
            sent: 0,
        }
    }
}

impl StatsBucket {
    /// Notes a response, or an attempt that had none.
    pub fn note_response(&mut self, status: u16, took: Option<Duration>) {
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LONGEST);
            // An error would mean that it cannot grow to an hour, which it can.
            let _recorded = self.latency.record(micros);
            self.micros += micros;
        }
        match self.statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
    }

    /// Notes what a server had to do with the end of an exchange.
    fn note_delivered(&mut self, outcome: Outcome, bytes: (u64, u64)) {
        self.note_end(outcome, bytes);
        if let Some(count) = outcome.cut_index().and_then(|at| self.cuts.get_mut(at)) {
            *count += 1;
        }
    }

    /// Notes the end of an exchange, with the bytes of its bodies.
    pub fn note_end(&mut self, outcome: Outcome, (received, sent): (u64, u64)) {
        if let Some(count) = self.outcomes.get_mut(outcome.index()) {
            *count += 1;
        }
        self.received += received;
        self.sent += sent;
    }
}

/// The events on a route, by method.
pub type ByMethod = [Option<Box<StatsBucket>>; METHODS.len()];

/// Everything since the last time.
#[derive(Debug, Default)]
pub struct Interval {
    /// By [`crate::snapshot::route::RouteCounts::id`].
    pub routes: ById<ByMethod>,
    /// By the listener's id.
    pub listeners: ById<Box<StatsBucket>>,
    /// By the endpoint's id: attempts, their time until the head of the response.
    pub servers: ById<Box<StatsBucket>>,
    /// Requests that were refused, by route and code.
    pub refusals: HashMap<(u32, &'static str), u32>,
    /// Clients that were not let in, by the name of what they should be known by, and by reason.
    pub auth: HashMap<(Arc<str>, &'static str), u32>,
    /// Some of the exchanges that did not end well.
    pub latest: Vec<Remembered>,
    /// Lines of the access log that were dropped.
    pub dropped_lines: u64,
}

/// Exchanges of one code that an interval remembers.
const REMEMBERED: usize = 4;

/// One request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct LedgerEntry {
    /// The route, if one was found.
    pub route: Option<u32>,
    /// The place of the method in [`METHODS`].
    pub method: usize,
    /// The listener.
    pub listener: u32,
    /// The server that was asked last.
    pub server: Option<u32>,
    /// The status that the client was answered.
    pub status: u16,
    /// The end of the exchange.
    pub outcome: Outcome,
    /// From the request's head to the end of the response.
    pub took: Duration,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
}

/// A worker's own.
#[derive(Debug, Default)]
pub struct Ledger(RefCell<Interval>);

impl Ledger {
    /// Notes an attempt at a server: its status, or 0 without one, and the time until its head.
    pub fn note_attempt(&self, server: u32, status: u16, took: Option<Duration>) {
        self.0.borrow_mut().servers.entry(server).or_default().note_response(status, took);
    }

    /// Notes a request.
    pub fn note_request(&self, entry: &LedgerEntry) {
        let LedgerEntry { route, method, listener, server, status, outcome, took, received, sent } =
            *entry;
        let bytes = (received, sent);
        let mut interval = self.0.borrow_mut();
        let tally = interval.listeners.entry(listener).or_default();
        tally.note_response(status, Some(took));
        tally.note_end(outcome, bytes);
        let methods = interval.routes.entry(route.unwrap_or(NO_ROUTE)).or_default();
        if let Some(place) = methods.get_mut(method) {
            let tally = place.get_or_insert_default();
            tally.note_response(status, Some(took));
            tally.note_end(outcome, bytes);
        }
        if let Some(server) = server {
            interval.servers.entry(server).or_default().note_delivered(outcome, bytes);
        }
        if let Outcome::Refused(refusal) = outcome {
            let place = (route.unwrap_or(NO_ROUTE), refusal.row().code);
            *interval.refusals.entry(place).or_default() += 1;
        }
    }

    /// Notes a response that was fetched on the proxy's own behalf: it belongs to its server, and
    /// to no request.
    pub fn note_fetched(&self, server: u32, outcome: Outcome, sent: u64) {
        self.0.borrow_mut().servers.entry(server).or_default().note_delivered(outcome, (0, sent));
    }

    /// Notes a client that was not let in.
    pub fn note_denied(&self, auth: &Arc<str>, reason: &'static str) {
        *self.0.borrow_mut().auth.entry((auth.clone(), reason)).or_default() += 1;
    }

    /// Remembers an exchange that did not end well, unless there are enough of its code.
    pub fn remember_exchange(&self, code: &'static str, make: impl FnOnce() -> Remembered) {
        let mut interval = self.0.borrow_mut();
        if interval.latest.iter().filter(|known| known.code == code).count() < REMEMBERED {
            interval.latest.push(make());
        }
    }

    /// Notes lines that could not be written.
    pub fn note_dropped(&self, lines: u64) {
        self.0.borrow_mut().dropped_lines += lines;
    }

    /// Gives away what was noted since the last time.
    #[must_use]
    pub fn hand_over(&self) -> Box<Interval> {
        Box::new(self.0.take())
    }
}

#[cfg(test)]
mod tests;
