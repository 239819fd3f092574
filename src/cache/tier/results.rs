//! What became of reading from and writing to the tier, and how often.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What became of reading from and writing to the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum TierResult {
    /// A response was there and answers.
    Hit,
    /// There was none.
    Miss,
    /// It was too old, and a server is asked about it.
    Stale,
    /// It has been purged.
    Purged,
    /// It was not written by this version.
    Foreign,
    /// Redis did not answer in time, or it is not certain that all purges are known.
    Unanswered,
    /// A response was written.
    Stored,
    /// A response was not: it is too large, too many waited, or Redis did not answer.
    Skipped,
}

impl TierResult {
    /// All of them, with their words in metrics.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Hit, "hit"),
        (Self::Miss, "miss"),
        (Self::Stale, "stale"),
        (Self::Purged, "purged"),
        (Self::Foreign, "foreign"),
        (Self::Unanswered, "unanswered"),
        (Self::Stored, "stored"),
        (Self::Skipped, "skipped"),
    ];
}

/// How often each of them happened.
#[derive(Debug, Default)]
pub struct TierCounts([AtomicU64; TierResult::ALL.len()]);

impl TierCounts {
    pub(super) fn count_result(&self, result: TierResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Returns how often it happened.
    #[must_use]
    pub fn times_of(&self, result: TierResult) -> u64 {
        self.0.get(result as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}
