//! How slow a server has been lately: a peak-sensitive moving average.
//!
//! As in Finagle and linkerd: a response slower than the estimate becomes the estimate at once, a
//! faster one pulls it down with the weight of the time since the last one, `1 - exp(-dt / 10 s)`.
//! Of the first responses each has the same weight at least: the first one of a server that has
//! just started is slow, and must not count against it for a minute. A server that fails quickly
//! must not look fast, so failures, 429 and 503 count as five seconds, or as long as `Retry-After`
//! asks for (linkerd's load biaser).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The time after which an observation has lost 63 % of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// So many responses are the first ones.
const FIRST: u32 = 64;
/// The time that a failure counts as.
const FAILURE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is believed.
const LONGEST: Duration = Duration::from_mins(5);

/// The estimate for one server. Shared by all workers; of two that write at once one may be lost.
#[derive(Debug, Default)]
pub struct Latency {
    /// Microseconds as the bits of an `f64`; 0 for unknown.
    micros: AtomicU64,
    /// The moment of writing, in milliseconds.
    at: AtomicU64,
    /// The number of responses it comes from, up to [`FIRST`].
    seen: AtomicU32,
}

impl Latency {
    /// A response took this long.
    pub fn observe_response(&self, now: Instant, took: Duration) {
        let sample = took.as_secs_f64() * 1e6;
        let before = f64::from_bits(self.micros.load(Ordering::Relaxed));
        let millis = clock::millis(now);
        let seen = self.seen.load(Ordering::Relaxed);
        if seen < FIRST {
            self.seen.store(seen + 1, Ordering::Relaxed);
        }
        let since = millis.saturating_sub(self.at.swap(millis, Ordering::Relaxed));
        let estimate = if before <= 0.0 || sample >= before {
            sample
        } else {
            // Below a millisecond the clock of the estimate stands still; what counts is that
            // many fast responses together pull it down.
            let since = (since as f64).max(0.5);
            let kept = (-since / DECAY.as_millis() as f64).exp();
            let mean = 1.0 - 1.0 / (f64::from(seen) + 1.0);
            let kept = if seen < FIRST { kept.min(mean) } else { kept };
            before.mul_add(kept, sample * (1.0 - kept))
        };
        self.micros.store(estimate.max(1.0).to_bits(), Ordering::Relaxed);
    }

    /// A request failed, or the server asked to be left alone for a while.
    pub fn penalize_server(&self, now: Instant, retry_after: Option<Duration>) {
        self.observe_response(
            now,
            retry_after.map_or(FAILURE, |asked| asked.clamp(FAILURE, LONGEST)),
        );
    }

    /// Microseconds that a response is expected to take; `None` when nothing is known. Without
    /// observations an old estimate fades, so that a server once slow is tried again.
    #[inline]
    #[must_use]
    pub fn expected_micros(&self, now: Instant) -> Option<f64> {
        let last = f64::from_bits(self.micros.load(Ordering::Relaxed));
        if last <= 0.0 {
            return None;
        }
        let idle = clock::millis(now).saturating_sub(self.at.load(Ordering::Relaxed));
        if idle < 100 {
            return Some(last);
        }
        Some(last * (-(idle as f64) / DECAY.as_millis() as f64).exp())
    }
}

#[cfg(test)]
mod tests;
