//! How a client that leaves before its answer is noticed.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{H1Client, PIPELINE_BYTES};
use crate::clock::{self, Instant};
use crate::wire::Version;

/// A client that ended its sending side may still want the answer (`printf … | nc`), or may have
/// gone away: both look alike. nginx, Go and hyper take both for departure. Here it is asked, by an
/// unneeded `100 Continue`, which every HTTP/1.1 client skips (RFC 9110 §15.2) and a closed socket
/// answers with a reset; but only when the answer takes longer than this.
const ASK_AFTER: Duration = Duration::from_millis(150);
/// The pause between two looks for the outcome: the end of the stream hides a reset from the
/// reactor.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl H1Client {
    /// Returns whether the client has left; reads ahead while its request is all here.
    pub(super) fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let all_here = self.body.bytes_left().is_some_and(|left| left <= self.inbox.len() as u64);
        if !self.body.is_done() && !all_here || self.tunnel {
            // Reading the body tells.
            return Poll::Pending;
        }
        while !self.ended && self.inbox.len() < PIPELINE_BYTES {
            match ready!(self.inbox.poll_fill(cx, &mut self.stream, PIPELINE_BYTES)) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        if self.ended {
            return self.poll_half_closed(cx);
        }
        // An end in order would stand behind what is unread.
        self.brimful = true;
        if self.stream.has_failed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The same while its body is not read: as much of it is read ahead as may be.
    pub(super) fn poll_departure_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.tunnel {
            return Poll::Pending;
        }
        let ends = (&mut self.inbox, &mut self.stream);
        let ahead = ready!(self.body.poll_ahead(cx, ends, PIPELINE_BYTES));
        if ahead.is_err() {
            return Poll::Ready(());
        }
        if self.body.is_complete() {
            return self.poll_departure(cx);
        }
        // An end in order would stand behind what is unread: whether it is one is not known yet.
        self.brimful = true;
        if self.stream.has_failed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns when to look once more: nothing wakes whoever waits for it.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if self.brimful {
            return Some(clock::now() + LOOK_EVERY);
        }
        let (since, now) = (self.half_closed?, clock::now());
        // A time that has passed would wake the task at once, again and again.
        let ask = Some(since + ASK_AFTER).filter(|at| self.can_ask() && *at > now);
        Some(ask.unwrap_or(now + LOOK_EVERY))
    }

    /// Returns whether an interim response can find out if a client that ended its sending side
    /// still listens.
    fn can_ask(&self) -> bool {
        !self.asked && !self.begun && self.version != Version::Http10
    }

    /// Returns whether a client that ended its sending side has closed the other one too.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.half_closed.get_or_insert_with(clock::now);
        if self.stream.has_failed() {
            return Poll::Ready(());
        }
        if self.can_ask() && since.elapsed() >= ASK_AFTER {
            self.asked = true;
            self.out.head_buffer().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            if let Poll::Ready(Err(_)) = self.out.poll_flush(cx, &mut self.stream) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
