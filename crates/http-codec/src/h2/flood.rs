//! What the other side may make this one do for nothing: one budget for all of it.
//!
//! Charged as a frame that asks for nothing (1000 at once and in every second after that; what is
//! sent earns more): PING, SETTINGS, PRIORITY, WINDOW_UPDATE, GOAWAY, CONTINUATION, empty DATA,
//! frames that nobody knows, RST_STREAM on a stream that is closed, next to empty DATA and all
//! HEADERS on a stream that was broken off, and every RST_STREAM that this side has to send, for
//! whatever reason (CVE-2019-9512 to -9518, CVE-2024-27316).
//!
//! Charged as a stream that came to nothing as well (100, or half of all streams; both count less
//! with time): RST_STREAM (CVE-2023-44487) and every way to have a stream refused or reset by a
//! fault of one's own (CVE-2025-8671): heads that are malformed or too large (an HPACK bomb is
//! one), bodies that contradict their content-length, malformed trailers, WINDOW_UPDATE of 0 or
//! beyond 2^31-1, DATA beyond the window, DATA and HEADERS on a stream that the sender has ended or
//! reset.
//!
//! Whoever exceeds it is told ENHANCE_YOUR_CALM, and its connection ends. A server is charged for
//! frames only: what is wrong with its responses is a matter of their requests.

/// Frames that ask for nothing, at once and in every second after that.
const FRAMES: u32 = 1000;
/// Streams that came to nothing from which on they are compared with all streams.
const STREAMS: u32 = 100;
/// Bytes sent that earn another frame that asks for nothing: a window has to be opened for each
/// part of a body.
const EARN: usize = 1024;

/// The rest of the budget.
#[derive(Debug)]
pub(super) struct FloodBudget {
    frames: u32,
    streams: u32,
    failed: u32,
    /// Bytes sent that have not earned anything yet.
    sent: usize,
    since: u64,
}

impl FloodBudget {
    /// At the beginning of a connection, in this second.
    pub(super) fn new(now: u64) -> Self {
        Self { frames: FRAMES, streams: 0, failed: 0, sent: 0, since: now }
    }

    /// The other side has been sent so much; it may answer that.
    pub(super) fn earn_frames(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= EARN {
            self.allow_frames(u32::try_from(self.sent / EARN).unwrap_or(u32::MAX));
            self.sent %= EARN;
        }
    }

    /// Allows it to answer something by so many frames.
    pub(super) fn allow_frames(&mut self, frames: u32) {
        self.frames = self.frames.saturating_add(frames).min(FRAMES);
    }

    /// A stream has begun.
    pub(super) fn count_stream(&mut self) {
        self.streams = self.streams.saturating_add(1);
    }

    /// A frame that asks for nothing. `false` when it is one too many. `now` is the current second,
    /// asked for only where it matters.
    #[must_use]
    pub(super) fn spend_frame(&mut self, now: impl Fn() -> u64) -> bool {
        if self.frames == 0 {
            self.forget_old(&now);
        }
        let left = self.frames.checked_sub(1);
        self.frames = left.unwrap_or(0);
        left.is_some()
    }

    /// A stream came to nothing. `false` when it is one too many.
    #[must_use]
    pub(super) fn count_failure(&mut self, now: impl Fn() -> u64) -> bool {
        self.failed = self.failed.saturating_add(1);
        self.spend_frame(&now)
            && (self.failed <= STREAMS || self.failed <= self.streams / 2 || {
                self.forget_old(&now);
                self.failed <= STREAMS
            })
    }

    /// With time, all of it counts less.
    fn forget_old(&mut self, now: &impl Fn() -> u64) {
        let now = now();
        if now > self.since {
            self.since = now;
            self.frames = FRAMES;
            self.failed /= 2;
            self.streams /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_ask_for_nothing_are_too_many_at_some_point_but_not_over_time() {
        let mut budget = FloodBudget::new(7);
        assert!((0..FRAMES).all(|_| budget.spend_frame(|| 7)));
        assert!(!budget.spend_frame(|| 7));
        assert!(budget.spend_frame(|| 8));
        // Who is sent something may open windows for it.
        let mut budget = FloodBudget::new(7);
        for _ in 0..10_000 {
            budget.earn_frames(EARN / 2);
            budget.earn_frames(EARN / 2);
            assert!(budget.spend_frame(|| 7));
        }
    }

    #[test]
    fn cancelling_is_fine_as_long_as_it_is_not_all_there_is() {
        let mut rapid = FloodBudget::new(0);
        let cut = (0..1000).position(|_| {
            rapid.count_stream();
            !rapid.count_failure(|| 0)
        });
        assert_eq!(cut, Some(100));
        // The next second forgives half of it.
        assert!(rapid.count_failure(|| 1));
        let mut third = FloodBudget::new(0);
        for _ in 0..300 {
            (0..3).for_each(|_| third.count_stream());
            assert!(third.count_failure(|| 0));
        }
    }
}
