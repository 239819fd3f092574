//! When the control thread looks after what no command tells it of. It sleeps until something is
//! due: what comes from outside rings, and time is watched only where time decides.

use std::time::Duration;

use crate::clock::Instant;

/// The shortest pause between two looks after the upstreams. An ejection ends at most this much
/// late.
const LOOK: Duration = Duration::from_millis(100);
/// The pause between two looks at files, names and sources while one of them is to be watched, and
/// the shortest one between two that nothing has rung for.
const OUTSIDE: Duration = Duration::from_millis(500);
/// The pause between two sweeps of idle keys, and the longest one between two looks.
const SWEEP: Duration = Duration::from_secs(10);

/// The looks that were taken, and the next one.
#[derive(Debug)]
pub(in crate::server) struct Rounds {
    next: Instant,
    outside: Instant,
    /// Something outside has changed: the next look is one at that.
    is_asked: bool,
    swept: Instant,
}

impl Rounds {
    pub(in crate::server) fn new(now: Instant) -> Self {
        Self { next: now, outside: now, is_asked: false, swept: now }
    }

    /// Returns how long nothing is to be done.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Something was done that may be the reason for a look: it comes soon.
    pub(super) fn hasten_look(&mut self, now: Instant) {
        self.next = self.next.min(now + LOOK);
    }

    /// Has the next look be one at what comes from outside, however lately the last one was.
    pub(super) fn ask_outside(&mut self) {
        self.is_asked = true;
    }

    /// Returns whether this look is one at what comes from outside too.
    pub(super) fn begin_outside(&mut self, now: Instant) -> bool {
        let pause = if std::mem::take(&mut self.is_asked) { Duration::ZERO } else { OUTSIDE };
        begin_after(&mut self.outside, pause, now)
    }

    /// Returns whether this look sweeps too.
    pub(super) fn begin_sweep(&mut self, now: Instant) -> bool {
        begin_after(&mut self.swept, SWEEP, now)
    }

    /// Sets the next look: after `left` at the latest, which is the time until something is due.
    pub(super) fn set_next(&mut self, now: Instant, left: Option<Duration>, outside: Outside) {
        let most = match outside {
            Outside::Rings => SWEEP,
            Outside::Watched => OUTSIDE,
        };
        let pause = left.unwrap_or(most).min(most).max(LOOK);
        self.next = now + pause;
    }
}

/// Whether what comes from outside has to be looked at again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outside {
    /// It tells by itself.
    Rings,
    /// Time passes for it.
    Watched,
}

fn begin_after(last: &mut Instant, pause: Duration, now: Instant) -> bool {
    let due = now.saturating_duration_since(*last) >= pause;
    if due {
        *last = now;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn nothing_is_looked_at_until_something_is_due() {
        let now = clock::now();
        let mut rounds = Rounds::new(now);
        for (left, outside, expected) in [
            (None, Outside::Rings, 10_000),
            (None, Outside::Watched, 500),
            (Some(millis(7000)), Outside::Rings, 7000),
            (Some(millis(7000)), Outside::Watched, 500),
            (Some(millis(0)), Outside::Rings, 100),
        ] {
            rounds.set_next(now, left, outside);
            assert_eq!(rounds.time_left(now), millis(expected), "{left:?} {outside:?}");
        }
        assert_eq!(rounds.time_left(now + millis(300)), millis(0));
    }

    #[test]
    fn what_has_rung_is_looked_at_with_the_next_look() {
        let now = clock::now();
        let mut rounds = Rounds::new(now);
        rounds.ask_outside();
        rounds.hasten_look(now);
        assert!(rounds.begin_outside(now + rounds.time_left(now)));
        assert!(!rounds.begin_outside(now + millis(200)), "once");
        assert!(rounds.begin_outside(now + millis(600)), "and by time from that one on");
    }

    #[test]
    fn a_command_brings_a_look_and_a_second_one_where_the_first_was_too_soon() {
        let now = clock::now();
        let mut rounds = Rounds::new(now);
        rounds.set_next(now, None, Outside::Rings);
        rounds.hasten_look(now);
        assert_eq!(rounds.time_left(now), millis(100));
        let first = now + millis(100);
        assert!(!rounds.begin_outside(first));
        rounds.set_next(first, None, Outside::Watched);
        let second = first + rounds.time_left(first);
        assert!(rounds.begin_outside(second));
        assert!(!rounds.begin_sweep(second));
        assert!(rounds.begin_sweep(now + millis(10_000)));
    }
}
