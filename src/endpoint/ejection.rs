//! Passive ejection: a server that keeps failing real requests is left out for a while.
//!
//! As Envoy's outlier detection: after a number of failures in a row, or above a rate of failures
//! in an interval; for a base time multiplied by how often that happened lately; and never so many
//! servers that the rest could not carry the load. What counts as a failure is decided elsewhere.
//! The places belong to servers that fail now: one that has been out for a while gives its place to
//! one that fails when there is none left ([`OutlierRecord::out_for`]).

mod group;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use self::group::{EjectionDecision, is_allowed};
pub use self::group::{EjectionGroup, GroupSize};
use crate::clock::{self, Instant};

/// The longest ejection, however often a server was ejected before.
pub const LONGEST: Duration = Duration::from_mins(5);
/// Fewer requests than this in an interval prove nothing about their rate of failures.
const MIN_REQUESTS: u64 = 10;

/// The rules for ejecting servers, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EjectionSettings {
    /// Failures in a row.
    pub failures: u32,
    /// The interval in which rates are measured and old ejections are forgiven.
    pub every: Duration,
    /// The length of the first ejection.
    pub base: Duration,
    /// The largest share of servers that may be out, 0 to 1. One always may.
    pub at_most: f64,
    /// The share of servers that must stay healthy, 0 to 1.
    pub min_healthy: f64,
    /// The rate of failures in an interval, 0 to 1.
    pub error_rate: Option<f64>,
}

impl EjectionSettings {
    /// Returns how long a server stays out before it may have to give its place to another one.
    #[must_use]
    pub fn keeps_place_for(&self) -> Duration {
        self.base / 10
    }
}

/// The recent record of one server.
#[derive(Debug, Default)]
pub struct OutlierRecord {
    streak: AtomicU32,
    failed: AtomicU64,
    /// The end of the ejection, in milliseconds; 0 when there is none.
    until: AtomicU64,
    /// The beginning of the ejection, in milliseconds.
    since: AtomicU64,
    /// Ejections that were not forgiven yet.
    times: AtomicU32,
    /// Ejections ever.
    total: AtomicU64,
    /// Requests and failures when the interval began.
    seen: AtomicU64,
    seen_failed: AtomicU64,
}

impl OutlierRecord {
    /// A request succeeded.
    #[inline]
    pub fn record_success(&self) {
        if self.streak.load(Ordering::Relaxed) != 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed; returns how many have in a row.
    pub fn record_failure(&self) -> u32 {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Returns whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// Returns how long it has been ejected; `None` if it is not.
    #[must_use]
    pub fn out_for(&self, now: Instant) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        self.is_ejected().then(|| Duration::from_millis(clock::millis(now).saturating_sub(since)))
    }

    /// Returns how often it was ejected.
    #[must_use]
    pub fn times_ejected(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Ejects the server if that leaves enough others; `size` is asked when the decision is ours.
    /// Returns for how long.
    pub fn eject_server(
        &self,
        group: &EjectionGroup,
        settings: &EjectionSettings,
        now: Instant,
        size: impl Fn() -> GroupSize,
    ) -> Option<Duration> {
        let _decision = EjectionDecision::try_take(group)?;
        if self.is_ejected() || !is_allowed(group, settings, size()) {
            return None;
        }
        let times = self.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let lasts = settings.base.saturating_mul(times).min(LONGEST);
        let until = clock::deadline(now, Some(lasts)).map_or(u64::MAX, clock::millis);
        self.streak.store(0, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        // Counted before anybody can end it, so that the count never falls below zero.
        group.ejected.fetch_add(1, Ordering::Relaxed);
        self.since.store(clock::millis(now), Ordering::Relaxed);
        self.until.store(until.max(1), Ordering::Release);
        Some(lasts)
    }

    /// Ends an ejection whose time is up; true if it did.
    pub fn readmit_if_due(&self, group: &EjectionGroup, now: Instant) -> bool {
        self.until.load(Ordering::Relaxed) <= clock::millis(now) && self.end_early(group)
    }

    /// Ends an ejection early; true if there was one.
    pub fn end_early(&self, group: &EjectionGroup) -> bool {
        // Only one of two that do it at once may count it.
        let ejected = self.until.swap(0, Ordering::AcqRel) != 0;
        if ejected {
            // Requests that were under way at the ejection failed after it; they were held against
            // the server already (Envoy resets its counters at the same point).
            self.streak.store(0, Ordering::Relaxed);
            // Never below zero, also when servers were counted anew meanwhile.
            let less = |ejected: u32| ejected.checked_sub(1);
            let _none = group.ejected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        ejected
    }

    /// Ends the interval: forgives one ejection, and returns whether failures exceeded the rate.
    /// `requests` is how many the server ever got.
    pub fn end_interval(&self, requests: u64, settings: &EjectionSettings) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        let new = requests.saturating_sub(self.seen.swap(requests, Ordering::Relaxed));
        let new_failed = failed.saturating_sub(self.seen_failed.swap(failed, Ordering::Relaxed));
        if !self.is_ejected() {
            let forgive = |times: u32| times.checked_sub(1);
            // An error means that there is nothing to forgive.
            let _none = self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forgive);
        }
        new >= MIN_REQUESTS
            && settings.error_rate.is_some_and(|rate| new_failed as f64 > rate * new as f64)
    }
}
