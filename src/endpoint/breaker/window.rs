//! The requests of the last while, in ten parts, so that what is old leaves a part at a time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The window is divided into this many parts; the oldest is dropped as a whole.
const BUCKETS: usize = 10;

/// The requests of a sliding window and how many of them failed.
#[derive(Debug, Default)]
pub(super) struct FailureWindow {
    buckets: [WindowBucket; BUCKETS],
}

#[derive(Debug, Default)]
struct WindowBucket {
    stamp: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
}

impl FailureWindow {
    /// Counts in a window of this length that ends now.
    pub(super) fn add_counts(
        &self,
        (window, now): (Duration, Instant),
        requests: u32,
        failures: u32,
    ) {
        let bucket = self.current_bucket(window, now);
        bucket.requests.fetch_add(requests, Ordering::Relaxed);
        bucket.failures.fetch_add(failures, Ordering::Relaxed);
    }

    /// Forgets all that was counted.
    pub(super) fn clear_counts(&self) {
        for bucket in &self.buckets {
            bucket.stamp.store(0, Ordering::Relaxed);
            bucket.requests.store(0, Ordering::Relaxed);
            bucket.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The requests in a window of this length that ends now, and those of them that failed.
    pub(super) fn sum_counts(&self, window: Duration, now: Instant) -> (u32, u32) {
        let stamp = window_stamp(window, now);
        let recent = |b: &&WindowBucket| b.stamp.load(Ordering::Relaxed) + BUCKETS as u64 > stamp;
        self.buckets.iter().filter(recent).fold((0, 0), |(requests, failures), bucket| {
            (
                requests + bucket.requests.load(Ordering::Relaxed),
                failures + bucket.failures.load(Ordering::Relaxed),
            )
        })
    }

    /// The bucket of this moment, emptied if it was used before.
    fn current_bucket(&self, window: Duration, now: Instant) -> &WindowBucket {
        let stamp = window_stamp(window, now);
        let index = usize::try_from(stamp % BUCKETS as u64).unwrap_or(0);
        let [first, ..] = &self.buckets;
        let bucket = self.buckets.get(index).unwrap_or(first);
        if bucket.stamp.swap(stamp, Ordering::AcqRel) != stamp {
            bucket.requests.store(0, Ordering::Relaxed);
            bucket.failures.store(0, Ordering::Relaxed);
        }
        bucket
    }
}

/// The number of a bucket since the process started; never 0, which stands for an empty one.
fn window_stamp(window: Duration, now: Instant) -> u64 {
    let width = u64::try_from(window.as_millis() / BUCKETS as u128).unwrap_or(u64::MAX).max(1);
    clock::millis(now) / width + BUCKETS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_window_has_ten_parts() {
        let now = clock::now();
        let at = |window: u64, after: u64| {
            let now = now + Duration::from_millis(after);
            window_stamp(Duration::from_millis(window), now)
        };
        let began = clock::millis(now);
        assert_eq!(at(10_000, 0), began / 1000 + 10);
        assert_eq!(at(10_000, 5000), (began + 5000) / 1000 + 10);
        // No part is shorter than a millisecond.
        assert_eq!(at(3, 0), began + 10);
    }
}
