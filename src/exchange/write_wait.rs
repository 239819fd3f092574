//! The deadline of a client or server that is to take more of what is sent to it.
//!
//! A socket takes more once about a third of its buffer is free, which may be megabytes: somebody
//! who reads steadily, but slowly, makes no room in it for a minute. What their system has
//! acknowledged meanwhile tells them from those who read nothing.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Client;
use crate::clock::{self, Instant};
use crate::net::Timer;
use crate::net::stalls::{Holdup, StallMark};

/// Returns how far a client has come, with what its system has acknowledged.
#[must_use]
pub fn mark_client<C: Client>(client: &C) -> Option<StallMark> {
    client.stall_mark().map(|mark| StallMark { untaken: client.count_untaken(), ..mark })
}

/// A wait for a peer to take more.
#[derive(Debug, Default)]
pub struct WriteWait {
    /// The last successful write, as it was when the peer was first looked at.
    since: Option<Instant>,
    /// The last movement of the peer that is known.
    moved: Option<Instant>,
    /// The peer's progress at that moment.
    mark: Option<StallMark>,
}

impl WriteWait {
    /// Returns when the peer is to be looked at; `since` is the last successful write, and `gap`
    /// the time after it in which the peer has to move.
    #[must_use]
    pub fn next_look(&self, since: Instant, gap: Option<Duration>) -> Option<Instant> {
        if self.since == Some(since) {
            clock::deadline(self.moved.unwrap_or(since), gap)
        } else {
            clock::deadline(since, gap.map(|gap| gap / 2))
        }
    }

    /// Takes the peer's progress at [`WriteWait::next_look`]; returns whether its time is over.
    #[cold]
    pub fn is_over(&mut self, since: Instant, mark: Option<StallMark>) -> bool {
        let first = self.since != Some(since);
        if first {
            self.since = Some(since);
            self.moved = Some(since);
            self.mark = mark;
            return false;
        }
        let moved = match (self.mark, mark) {
            (Some(before), Some(now)) => has_moved(&before, &now),
            _ => false,
        };
        if moved {
            self.moved = Some(clock::now());
            self.mark = mark;
        }
        !moved
    }

    /// Ready when the time of a peer is over that has to take something within `gap` after `since`;
    /// `look` returns its progress.
    pub fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        look: impl Fn() -> Option<StallMark>,
        (since, gap): (Instant, Option<Duration>),
    ) -> Poll<()> {
        loop {
            ready!(timer.poll_at(cx, self.next_look(since, gap)));
            if self.is_over(since, look()) {
                return Poll::Ready(());
            }
        }
    }
}

/// Returns whether a peer has taken something of what was written to its socket. A window of
/// HTTP/2 that is full says by itself that nothing was taken.
fn has_moved(before: &StallMark, now: &StallMark) -> bool {
    let taken = match (before.untaken, now.untaken) {
        (Some(before), Some(now)) => now < before,
        _ => false,
    };
    before.holdup == Holdup::Socket
        && now.holdup == Holdup::Socket
        && (taken || before.shared != now.shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(holdup: Holdup, shared: u64, untaken: Option<u32>) -> StallMark {
        StallMark { own: 0, shared, holdup, untaken }
    }

    #[test]
    fn fewer_bytes_that_nobody_has_acknowledged_are_a_movement() {
        let socket = |untaken| mark(Holdup::Socket, 0, untaken);
        assert!(has_moved(&socket(Some(10)), &socket(Some(9))));
        assert!(!has_moved(&socket(Some(10)), &socket(Some(10))));
        assert!(!has_moved(&socket(Some(10)), &socket(Some(11))));
        assert!(!has_moved(&socket(None), &socket(Some(9))));
        assert!(!has_moved(&socket(Some(10)), &socket(None)));
    }

    #[test]
    fn bytes_of_others_are_none_where_a_window_is_full() {
        for (before, now) in [
            (Holdup::Window, Holdup::Window),
            (Holdup::Window, Holdup::Socket),
            (Holdup::Socket, Holdup::OpenedWindow),
        ] {
            assert!(!has_moved(&mark(before, 1, Some(10)), &mark(now, 2, Some(9))));
        }
        assert!(has_moved(&mark(Holdup::Socket, 1, None), &mark(Holdup::Socket, 2, None)));
    }

    #[test]
    fn a_client_is_looked_at_after_half_its_time_and_again_at_its_end() {
        let gap = Some(Duration::from_secs(60));
        let since = clock::now();
        let mut wait = WriteWait::default();
        assert_eq!(wait.next_look(since, gap), Some(since + Duration::from_secs(30)));
        wait.since = Some(since);
        assert_eq!(wait.next_look(since, gap), Some(since + Duration::from_secs(60)));
        wait.moved = Some(since + Duration::from_secs(60));
        assert_eq!(wait.next_look(since, gap), Some(since + Duration::from_secs(120)));
        // It has taken more meanwhile.
        let later = since + Duration::from_secs(70);
        assert_eq!(wait.next_look(later, gap), Some(later + Duration::from_secs(30)));
        assert_eq!(wait.next_look(later, None), None);
    }
}
