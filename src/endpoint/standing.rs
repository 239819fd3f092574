//! Whether a server may be sent requests, and why not.
//!
//! Several parties have a say: active checks, passive ejection, an operator, and who looks names
//! up. Each owns one bit, so none has to know the others, and a pick reads all of them with a
//! single load. One of them is no more than a preference: a server that refused the last connection
//! is asked only when there is no other. A server that comes back gets its share gradually ("slow
//! start"): it is then a matter of chance whether a pick may choose it, which every strategy gets
//! without knowing.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{self, Instant};

/// Nothing is known about the server yet: its first check has not ended.
pub const UNCHECKED: u8 = 1;
/// Active checks failed.
pub const UNHEALTHY: u8 = 1 << 1;
/// The server failed real requests and is left out for a while.
pub const EJECTED: u8 = 1 << 2;
/// The server finishes what it has and gets nothing new.
pub const DRAINING: u8 = 1 << 3;
/// An operator took it out.
pub const DISABLED: u8 = 1 << 4;
/// The server did not take the last connection. Requests go there only if there is nowhere else.
pub const UNREACHABLE: u8 = 1 << 5;
/// The server's name leads nowhere: no address to connect to.
pub const UNRESOLVED: u8 = 1 << 6;
/// In use, with a growing share.
const RAMPING: u8 = 1 << 7;

/// The bits that `fail_open` overrides: opinions about health, not orders.
pub const OPINIONS: u8 = UNCHECKED | UNHEALTHY | EJECTED;
/// Everything that keeps requests away.
const REASONS: u8 = OPINIONS | DRAINING | DISABLED | UNREACHABLE | UNRESOLVED;
/// The bits that keep requests away even if there is nowhere else.
pub const HARD: u8 = !UNREACHABLE;

/// A server that could not be reached for less than this has not been restarted, and takes its
/// whole share at once.
const BLINK: u64 = 1000;

/// The smallest share during a slow start, as in Envoy: with less, nothing would be learnt.
const FLOOR: f64 = 0.1;

/// Rings when a server becomes unreachable, for the one thread that asks such servers again.
static LOST: Notify = Notify::const_new();

/// Waits until a server has become unreachable since this was waited for last.
pub async fn await_lost() {
    LOST.notified().await;
}

/// A server's standing. Shared by all workers.
#[derive(Debug, Default)]
pub struct Standing {
    bits: AtomicU8,
    /// The beginning of the slow start, in milliseconds of [`clock::millis`].
    joined: AtomicU64,
    /// The moment at which it became unreachable, in the same.
    lost: AtomicU64,
    /// The moment at which a reason last came or went, in seconds since 1970; 0 while none ever
    /// has.
    changed: AtomicU64,
}

/// The reasons that a pick wants to know, read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits(u8);

impl Bits {
    /// Returns whether one of these reasons keeps requests away.
    #[inline]
    #[must_use]
    pub fn has_any(self, reasons: u8) -> bool {
        self.0 & reasons & REASONS != 0
    }

    /// In use without any reservation.
    #[inline]
    #[must_use]
    pub fn is_clear(self) -> bool {
        self.0 == 0
    }

    /// In use with a growing share.
    #[inline]
    #[must_use]
    pub fn is_ramping(self) -> bool {
        self.0 & RAMPING != 0
    }
}

impl Standing {
    /// All reasons of this moment.
    #[inline]
    #[must_use]
    pub fn reason_bits(&self) -> Bits {
        Bits(self.bits.load(Ordering::Relaxed))
    }

    /// Returns when a reason last came or went, in seconds since 1970; `None` while none ever has.
    #[must_use]
    pub fn changed_at(&self) -> Option<u64> {
        Some(self.changed.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    fn note_change(&self, changed: bool) -> bool {
        if changed {
            self.changed.store(clock::unix_seconds(), Ordering::Relaxed);
        }
        changed
    }

    /// Takes the server out for one more reason; true when it had not been out for it.
    pub fn take_out(&self, reason: u8) -> bool {
        self.note_change(self.bits.fetch_or(reason, Ordering::AcqRel) & reason == 0)
    }

    /// Withdraws a reason; true when it was there. When it was the last one, the slow start begins.
    pub fn bring_back(&self, reason: u8, now: Instant) -> bool {
        // Whoever is back already goes on with the slow start that it is in.
        if self.bits.load(Ordering::Acquire) & reason != 0 {
            self.joined.store(clock::millis(now), Ordering::Relaxed);
        }
        let mut was = 0;
        let changed = self.bits.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |bits| {
            was = bits;
            let rest = bits & !reason;
            let back = bits & reason != 0 && rest & REASONS == 0;
            Some(if back { rest | RAMPING } else { rest })
        });
        self.note_change(changed.is_ok() && was & reason != 0)
    }

    /// The server did not take a connection.
    pub fn mark_unreachable(&self, now: Instant) {
        if self.take_out(UNREACHABLE) {
            self.lost.store(clock::millis(now), Ordering::Relaxed);
            // At a change alone, as it takes a lock and a system call where somebody waits.
            LOST.notify_one();
        }
    }

    /// The server took a connection; true when it had not taken the one before.
    #[inline]
    pub fn mark_reached(&self, now: Instant) -> bool {
        self.reason_bits().has_any(UNREACHABLE) && self.reach_again(now)
    }

    #[cold]
    fn reach_again(&self, now: Instant) -> bool {
        let away = clock::millis(now).saturating_sub(self.lost.load(Ordering::Relaxed));
        if away >= BLINK {
            return self.bring_back(UNREACHABLE, now);
        }
        self.note_change(self.bits.fetch_and(!UNREACHABLE, Ordering::AcqRel) & UNREACHABLE != 0)
    }

    /// Withdraws a reason without a slow start: for servers that were there from the beginning.
    pub fn admit_at_once(&self, reason: u8) {
        self.note_change(self.bits.fetch_and(!reason, Ordering::AcqRel) & reason != 0);
    }

    /// The server's share during a slow start that takes `whole`, from 0.1 to 1. Ends the slow
    /// start when it is over.
    #[must_use]
    pub fn ramp_share(&self, now: Instant, whole: Duration) -> f64 {
        let since = clock::millis(now).saturating_sub(self.joined.load(Ordering::Relaxed));
        let whole = whole.as_millis() as f64;
        if since as f64 >= whole {
            self.bits.fetch_and(!RAMPING, Ordering::Relaxed);
            return 1.0;
        }
        (since as f64 / whole).max(FLOOR)
    }
}

/// `up`, or the weightiest reason why a server gets no requests.
#[must_use]
pub fn standing_word(bits: Bits) -> &'static str {
    let reasons = [
        (DISABLED, "disabled"),
        (DRAINING, "draining"),
        (UNRESOLVED, "unresolved"),
        (UNHEALTHY, "unhealthy"),
        (UNCHECKED, "unchecked"),
        (EJECTED, "ejected"),
        (UNREACHABLE, "unreachable"),
    ];
    reasons.iter().find(|(reason, _)| bits.has_any(*reason)).map_or("up", |(_, word)| word)
}

#[cfg(test)]
mod tests;
