//! How slow a server has been lately: a peak-sensitive moving average.
//!
//! As in Finagle and linkerd: a response slower than the estimate becomes the estimate at once, a
//! faster one pulls it down with the weight of the time since the last one, `1 - exp(-dt / 10 s)`.
//! A server that fails quickly must not look fast, so failures, 429 and 503 count as five seconds,
//! or as long as `Retry-After` asks for (linkerd's load biaser).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The time after which an observation has lost 63 % of its weight.
const DECAY: Duration = Duration::from_secs(10);
/// What a server costs about which nothing is known: little enough to be tried, enough not to be
/// flooded (Envoy assumes the same).
const UNKNOWN: Duration = Duration::from_millis(10);
/// What a failure counts as.
const FAILURE: Duration = Duration::from_secs(5);
/// The longest `Retry-After` that is believed.
const LONGEST: Duration = Duration::from_mins(5);

/// The estimate for one server. Shared by all workers; of two that write at once one may be lost.
#[derive(Debug, Default)]
pub struct Latency {
    /// Microseconds as the bits of an `f64`; 0 for unknown.
    micros: AtomicU64,
    /// When it was written, in milliseconds.
    at: AtomicU64,
}

impl Latency {
    /// A response took this long.
    pub fn observe(&self, now: Instant, took: Duration) {
        let sample = took.as_secs_f64() * 1e6;
        let before = f64::from_bits(self.micros.load(Ordering::Relaxed));
        let millis = clock::millis(now);
        let since = millis.saturating_sub(self.at.swap(millis, Ordering::Relaxed));
        let estimate = if before <= 0.0 || sample >= before {
            sample
        } else {
            // Below a millisecond the clock of the estimate stands still; what counts is that
            // many fast responses together pull it down.
            let since = (since as f64).max(0.5);
            let kept = (-since / DECAY.as_millis() as f64).exp();
            before.mul_add(kept, sample * (1.0 - kept))
        };
        self.micros.store(estimate.max(1.0).to_bits(), Ordering::Relaxed);
    }

    /// A request failed, or the server asked to be left alone for a while.
    pub fn penalize(&self, now: Instant, retry_after: Option<Duration>) {
        self.observe(now, retry_after.map_or(FAILURE, |asked| asked.clamp(FAILURE, LONGEST)));
    }

    /// Microseconds that a response is expected to take. Without observations an old estimate fades, so that a server
    /// once slow is tried again.
    #[inline]
    #[must_use]
    pub fn micros(&self, now: Instant) -> f64 {
        let last = f64::from_bits(self.micros.load(Ordering::Relaxed));
        let unknown = UNKNOWN.as_micros() as f64;
        if last <= 0.0 {
            return unknown;
        }
        let idle = clock::millis(now).saturating_sub(self.at.load(Ordering::Relaxed));
        if last <= unknown || idle < 100 {
            return last;
        }
        let kept = (-(idle as f64) / DECAY.as_millis() as f64).exp();
        last.mul_add(kept, unknown * (1.0 - kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn estimate(latency: &Latency) -> f64 {
        (latency.micros(clock::now()) / 1000.0).round()
    }

    #[tokio::test(start_paused = true)]
    async fn peaks_count_at_once_and_fade_slowly() {
        let _epoch = clock::millis(clock::now());
        let latency = Latency::default();
        assert_eq!(estimate(&latency), 10.0);
        latency.observe(clock::now(), ms(20));
        latency.observe(clock::now(), ms(500));
        assert_eq!(estimate(&latency), 500.0);
        tokio::time::advance(DECAY).await;
        latency.observe(clock::now(), ms(20));
        assert_eq!(estimate(&latency), 197.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_counts_as_slow() {
        let _epoch = clock::millis(clock::now());
        let latency = Latency::default();
        latency.observe(clock::now(), ms(1));
        latency.penalize(clock::now(), None);
        assert_eq!(estimate(&latency), 5000.0);
        latency.penalize(clock::now(), Some(Duration::from_secs(60)));
        assert_eq!(estimate(&latency), 60_000.0);
        latency.penalize(clock::now(), Some(Duration::from_hours(1)));
        assert_eq!(estimate(&latency), 300_000.0);
        tokio::time::advance(DECAY * 12).await;
        assert!(estimate(&latency) < 20.0);
    }
}
