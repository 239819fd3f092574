//! The deadline of a server that is to answer a request which was written.
//!
//! Written is what this system has taken, and it may keep megabytes for a server that reads slowly.
//! As long as the server's system goes on acknowledging them, the request is still on its way, and
//! the wait for its answer begins again.

use std::time::Duration;

use super::write_wait::WriteWait;
use crate::clock::Instant;
use crate::net::stalls::StallMark;

/// Looks at one server at most, which bounds the wait: who needs more of them to take the 4 MiB
/// that Linux keeps for one connection reads 2 KB/s at the default of `first_byte`.
const LOOKS: u32 = 64;

/// A wait for the head of a response to a request with a body.
#[derive(Debug, Default)]
pub struct AnswerWait {
    wait: WriteWait,
    /// The end of the request among the bytes of its connection.
    end: u64,
    looks: u32,
}

impl AnswerWait {
    /// A wait for the answer to a request that ends behind so many bytes of its connection.
    #[must_use]
    pub fn new(end: u64) -> Self {
        Self { end, ..Self::default() }
    }

    /// Returns when the server is to be looked at; `since` is when the request was written, and
    /// `first_byte` the time for its answer.
    #[must_use]
    pub fn next_look(&self, since: Instant, first_byte: Option<Duration>) -> Option<Instant> {
        self.wait.next_look(since, first_byte)
    }

    /// Takes how many bytes of the connection the server's system has acknowledged at
    /// [`AnswerWait::next_look`], `None` where nobody tells; returns whether the server's time is
    /// over.
    #[cold]
    pub fn is_over(&mut self, since: Instant, acknowledged: Option<u64>) -> bool {
        let mark = acknowledged.map(|acknowledged| {
            // What others sent later on a shared connection is none of this request's.
            let left = self.end.saturating_sub(acknowledged);
            let untaken = Some(u32::try_from(left).unwrap_or(u32::MAX));
            StallMark { untaken, ..StallMark::default() }
        });
        self.looks += 1;
        self.wait.is_over(since, mark) || self.looks > LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_request_that_is_still_being_taken_is_given_more_time() {
        let since = clock::now();
        let mut wait = AnswerWait::new(1000);
        assert!(!wait.is_over(since, Some(100)));
        assert!(!wait.is_over(since, Some(200)));
        assert!(!wait.is_over(since, Some(1000)));
        assert!(wait.is_over(since, Some(1000)));
    }

    #[test]
    fn what_others_send_on_the_same_connection_gives_no_time() {
        let since = clock::now();
        let mut wait = AnswerWait::new(1000);
        assert!(!wait.is_over(since, Some(1500)), "the first look tells where it stands");
        assert!(wait.is_over(since, Some(2000)));
    }

    #[test]
    fn where_nobody_tells_the_time_is_what_was_set() {
        let since = clock::now();
        let mut wait = AnswerWait::new(1000);
        assert!(!wait.is_over(since, None));
        assert!(wait.is_over(since, None));
    }

    #[test]
    fn a_server_that_takes_a_byte_at_a_time_is_not_waited_for_without_end() {
        let since = clock::now();
        let mut wait = AnswerWait::new(5000);
        let looks = (0..1000).take_while(|taken| !wait.is_over(since, Some(*taken)));
        assert_eq!(looks.count(), 64);
    }
}
