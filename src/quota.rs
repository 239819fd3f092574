//! Bounds of log lines that others can cause any number of, where no single worker owns them.
//!
//! A few lines are written in each window of time, and the rest is counted: the next line tells how
//! many were left out. Beside each such line in the code stands a quota of its own, so that one
//! kind of line leaves no other out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The lines of one kind that may still be written in the current window. Threads that come at the
/// moment at which a window ends may write a few lines more.
#[derive(Debug)]
pub struct LineQuota {
    /// The most lines in a window.
    lines: u32,
    /// The length of a window in milliseconds.
    window_ms: u64,
    /// The beginning of the window, a millisecond after that of [`clock::millis`]; 0 before the
    /// first line.
    since: AtomicU64,
    written: AtomicU32,
    left_out: AtomicU64,
}

impl LineQuota {
    /// A quota of so many lines in each window of this length.
    #[must_use]
    pub const fn new(lines: u32, window: Duration) -> Self {
        let (since, written, left_out) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU64::new(0));
        // No window is longer than some minutes.
        let window_ms = window.as_millis() as u64;
        Self { lines, window_ms, since, written, left_out }
    }

    /// A quota of ten lines a second.
    #[must_use]
    pub const fn ten_a_second() -> Self {
        Self::new(10, Duration::from_secs(1))
    }

    /// Returns whether one more line may be written; if so, the number of lines left out before it.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let now = clock::millis(now).saturating_add(1);
        let since = self.since.load(Relaxed);
        let is_over = since == 0 || now.saturating_sub(since) >= self.window_ms;
        if is_over && self.since.compare_exchange(since, now, Relaxed, Relaxed).is_ok() {
            self.written.store(0, Relaxed);
        }
        if self.written.load(Relaxed) >= self.lines
            || self.written.fetch_add(1, Relaxed) >= self.lines
        {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_written_and_the_rest_is_counted() {
        let (quota, begin) = (LineQuota::ten_a_second(), clock::now());
        let written = (0..35).filter_map(|_| quota.take(begin)).count();
        assert_eq!(written, 10);
        assert_eq!(quota.take(begin + Duration::from_millis(999)), None);
        let later = begin + Duration::from_millis(1000);
        assert_eq!(quota.take(later), Some(26));
        assert_eq!(quota.take(later), Some(0));
    }
}
