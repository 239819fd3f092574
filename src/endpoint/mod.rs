//! One server of an upstream, with the state that outlives configuration.
//!
//! There is one [`Endpoint`] per upstream and address in the process, shared by all workers and by
//! all snapshots that name it. What it counts is a handful of atomics; connections are kept per
//! worker in [`connections`] instead.

pub mod breaker;
pub mod connect;
pub mod connections;
pub mod ejection;
pub mod latency;
pub mod links;
pub mod origin;
pub mod reuse;
pub mod slot;
pub mod standing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use self::slot::{EndpointSlot as Numbered, Slots};
use self::standing::Standing;
use crate::clock;
use crate::net::{Address, OpenConnections};

/// A server and its live state.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process: no other server ever has it.
    pub id: u32,
    /// A small number that it has while it exists, for workers to index by.
    pub slot: Numbered,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The server's name: as configured, or its address.
    pub name: Arc<str>,
    /// The moment at which it became one of the upstream's, in seconds since 1970.
    pub joined: u64,
    /// The addresses to connect to; more than one when a host name has several, none when it leads
    /// nowhere. Tried in order.
    pub addresses: Box<[Address]>,
    /// The reasons why it may not be sent requests.
    pub standing: Standing,
    /// The trust in its idle connections with requests that must not be lost.
    pub reuse: reuse::Trust,
    /// The recent latency of the server.
    pub latency: latency::Latency,
    /// The recent failures of the server.
    pub record: ejection::OutlierRecord,
    /// The server's own circuit breaker, for upstreams that have one per server.
    pub breaker: breaker::Breaker,
    /// The open connections of the server.
    pub open: Arc<OpenConnections>,
    in_flight: AtomicU32,
    /// Requests sent, retries included.
    pub requests: AtomicU64,
    /// Requests that ended without a usable response.
    pub failures: AtomicU64,
    /// Connections opened.
    pub connects: AtomicU64,
    /// Active checks it passed.
    pub checks_passed: AtomicU64,
    /// Active checks it failed.
    pub checks_failed: AtomicU64,
    /// The end of the latest active check; none before the first one has.
    pub checked: ArcSwapOption<Checked>,
    /// The reason why the latest look-up of its name gave no address; none where all is well, or
    /// there is no name.
    pub name_fault: ArcSwapOption<String>,
}

impl Endpoint {
    /// A server nothing is known about yet.
    #[must_use]
    pub fn new(upstream: Arc<str>, name: Arc<str>, addresses: Box<[Address]>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SLOTS: Slots = Slots::new();
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            slot: SLOTS.take_lowest(),
            upstream,
            name,
            joined: clock::unix_seconds(),
            addresses,
            standing: Standing::default(),
            reuse: reuse::Trust::default(),
            latency: latency::Latency::default(),
            record: ejection::OutlierRecord::default(),
            breaker: breaker::Breaker::default(),
            open: Arc::default(),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            checks_passed: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
            checked: ArcSwapOption::empty(),
            name_fault: ArcSwapOption::empty(),
        }
    }

    /// Returns its addresses as text, for the log.
    #[must_use]
    pub fn where_it_is(&self) -> String {
        let mut all = self.addresses.iter();
        let first = all.next().map_or_else(String::new, ToString::to_string);
        all.fold(first, |text, address| format!("{text}, {address}"))
    }

    /// Requests under way, over all workers.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Starts a request. The returned value is the request's right to be counted: it ends with it,
    /// however that happens.
    #[inline]
    #[must_use]
    pub fn begin_request(&self) -> Slot<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Slot(self)
    }

    /// Starts a request unless `cap` are under way already.
    #[must_use]
    pub fn try_begin(&self, cap: u32) -> Option<Slot<'_>> {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= cap {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(Slot(self))
    }
}

/// The end of an active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The time, in seconds since 1970.
    pub at: u64,
    /// The fault that was found; none when it passed.
    pub fault: Option<String>,
}

/// One request under way at an endpoint, until it is dropped.
#[derive(Debug)]
pub struct Slot<'a>(&'a Endpoint);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_is_no_longer_in_flight() {
        let endpoint = Endpoint::new("u".into(), "e".into(), Box::default());
        let first = endpoint.begin_request();
        let second = endpoint.begin_request();
        assert_eq!(endpoint.in_flight(), 2);
        drop(first);
        drop(second);
        assert_eq!(endpoint.in_flight(), 0);
        assert_eq!(endpoint.requests.load(Ordering::Relaxed), 2);
    }
}
