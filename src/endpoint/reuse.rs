//! Whether a server's kept-alive connections can be trusted with a request that must not be lost.
//!
//! A server may close an idle connection at any moment, also while a request is on its way to it.
//! An idempotent request is then simply sent again. Any other must not be, because nobody knows
//! whether it was processed, so it goes out only where that cannot happen: on a fresh connection,
//! or on one that is proven. A connection is proven when its last answer ended a moment ago, or the
//! server said how long it keeps it, *and* the server has a record of answering on reused
//! connections. The record is earned by a number of reuses in a row and lost by a single
//! unannounced close. A server that sees nothing but such requests earns it like this: after many
//! answers on fresh connections, a request with a body is tried in two steps on a reused one. Its
//! head goes first and asks for `100 Continue`; only when that comes does the body follow. A server
//! that closes cannot have processed a request whose body it never saw. One that stays silent does
//! not know the expectation: it cannot be tried, and is trusted for its many answers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// An answer that ended longer ago than this proves nothing (servers with short keep-alive
/// timeouts use whole seconds).
pub const FRESH_ENOUGH: Duration = Duration::from_millis(500);
/// The time before an advertised timeout from which on a connection is no longer used.
pub const ADVERTISED_MARGIN: Duration = Duration::from_secs(1);
/// The time that the head of a request on probation waits until the server asks for the body.
pub const PROBATION: Duration = Duration::from_millis(50);
/// Answers without an unannounced close after which requests are tried in two steps.
const CANDIDATE_AFTER: u64 = 1000;
/// Reuses in a row that earn trust.
const EARNED: u32 = 32;
/// The time for which an unannounced close is held against a server.
const SUSPECT_FOR: Duration = Duration::from_mins(10);

/// The verdict of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReuseVerdict {
    /// Reused connections have been answered on, many times and lately without exception.
    Trusted,
    /// The server has behaved well for long enough to be tried.
    Candidate,
    /// Not enough is known.
    Unproven,
    /// A reused connection was closed without an answer not long ago.
    Suspect,
}

/// A server's record. Shared by all workers; exactness between them does not matter.
#[derive(Debug, Default)]
pub struct Trust {
    streak: AtomicU32,
    suspect_until: AtomicU64,
}

impl Trust {
    /// Returns what the record says at `now` about a server that has been sent so many `requests`.
    #[must_use]
    pub fn verdict_at(&self, now: Instant, requests: u64) -> ReuseVerdict {
        if self.streak.load(Ordering::Relaxed) >= EARNED {
            ReuseVerdict::Trusted
        } else if clock::millis(now) < self.suspect_until.load(Ordering::Relaxed) {
            ReuseVerdict::Suspect
        } else if requests >= CANDIDATE_AFTER {
            ReuseVerdict::Candidate
        } else {
            ReuseVerdict::Unproven
        }
    }

    /// A request on a reused connection was answered.
    #[inline]
    pub fn record_answer(&self) {
        // Once trusted, a request writes nothing here.
        if self.streak.load(Ordering::Relaxed) < EARNED {
            self.streak.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A candidate left the connection open but did not ask for the body.
    pub fn record_silence(&self) {
        self.streak.store(EARNED, Ordering::Relaxed);
    }

    /// A reused connection was closed without a byte of an answer.
    pub fn record_break(&self, now: Instant) {
        self.streak.store(0, Ordering::Relaxed);
        let until = clock::deadline(now, Some(SUSPECT_FOR)).map_or(u64::MAX, clock::millis);
        self.suspect_until.store(until, Ordering::Relaxed);
    }
}

/// Returns whether a connection at rest is recent enough, or promised for long enough, to be
/// proven.
#[must_use]
pub fn is_proven(idle: Duration, advertised: Option<Duration>) -> bool {
    match advertised {
        Some(timeout) => idle + ADVERTISED_MARGIN < timeout || idle < FRESH_ENOUGH.min(timeout / 2),
        None => idle < FRESH_ENOUGH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trust_is_earned_slowly_and_lost_at_once() {
        let trust = Trust::default();
        let _epoch = clock::millis(clock::now());
        assert_eq!(trust.verdict_at(clock::now(), 0), ReuseVerdict::Unproven);
        for _ in 0..EARNED {
            trust.record_answer();
        }
        assert_eq!(trust.verdict_at(clock::now(), 0), ReuseVerdict::Trusted);
        trust.record_break(clock::now());
        assert_eq!(trust.verdict_at(clock::now(), 0), ReuseVerdict::Suspect);
        trust.record_silence();
        assert_eq!(trust.verdict_at(clock::now(), 0), ReuseVerdict::Trusted);
        trust.record_break(clock::now());
        tokio::time::advance(SUSPECT_FOR).await;
        assert_eq!(trust.verdict_at(clock::now(), 0), ReuseVerdict::Unproven);
        assert_eq!(trust.verdict_at(clock::now(), 1000), ReuseVerdict::Candidate);
    }

    #[test]
    fn a_connection_is_proven_while_recent_or_promised() {
        let ms = Duration::from_millis;
        assert!(is_proven(ms(499), None));
        assert!(!is_proven(ms(500), None));
        assert!(is_proven(ms(3900), Some(ms(5000))));
        assert!(!is_proven(ms(4000), Some(ms(5000))));
        assert!(is_proven(ms(100), Some(ms(1000))));
        assert!(!is_proven(ms(600), Some(ms(1000))));
    }
}
