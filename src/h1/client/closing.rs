//! What follows a response: the next request, or an end that destroys nothing.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use super::{DRAIN_BYTES, H1Client};
use crate::clock::{self, Instant};
use crate::exchange::Source as _;
use crate::net::timer::earlier_of;
use crate::net::{Fill, Timer};

/// The time for which a closing connection goes on reading, so that a client that is still sending
/// gets to see its answer instead of a reset (RFC 9112 §9.6).
const LINGER_TOTAL: Duration = Duration::from_secs(10);
const LINGER_GAP: Duration = Duration::from_secs(2);
/// The same for a client that takes more of its answer from one look to the next.
const TAKING_TOTAL: Duration = Duration::from_secs(60);
/// The time for which the rest of a body nobody wants may come.
const SETTLE_TOTAL: Duration = Duration::from_secs(10);

impl H1Client {
    /// After a response: makes the connection ready for the next request. `false` when it has to
    /// be closed. Waits at most `gap` for each part of a body nobody wanted.
    pub async fn settle(&mut self, timer: &mut Timer, gap: Option<Duration>) -> bool {
        if self.begun && !self.out.is_whole() {
            self.cut = true;
        }
        if self.cut || self.tunnel || !self.begun || !self.keep_alive || !self.out.is_empty() {
            return false;
        }
        if self.body.is_done() {
            return true;
        }
        let mut since = clock::now();
        let end = clock::deadline(since, Some(SETTLE_TOTAL));
        let most = self.body.received_bytes().saturating_add(DRAIN_BYTES);
        poll_fn(|cx| {
            loop {
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(Fill::End)) => return Poll::Ready(true),
                    Poll::Ready(Ok(Fill::Data)) if self.body.received_bytes() <= most => {
                        let n = self.body_data().len();
                        self.consume_body(n);
                        since = clock::now();
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => break,
                }
            }
            ready!(timer.poll_at(cx, earlier_of(clock::deadline(since, gap), end)));
            Poll::Ready(false)
        })
        .await
    }

    /// Sends what is left and closes without destroying an answer that is still on its way.
    pub async fn close_gracefully(mut self, timer: &mut Timer, write_gap: Option<Duration>) {
        if self.cut {
            self.stream.reset_on_close();
            return;
        }
        let flush_by = clock::deadline(clock::now(), write_gap);
        let flushed = poll_fn(|cx| {
            if let Poll::Ready(result) = self.out.poll_flush(cx, &mut self.stream) {
                return Poll::Ready(result.is_ok());
            }
            ready!(timer.poll_at(cx, flush_by));
            Poll::Ready(false)
        })
        .await;
        // A tunnel has shut down its sending side already, and nothing of it is left to be read.
        if !flushed || self.tunnel {
            return;
        }
        if self.ended {
            if self.stream.is_tls() {
                // It may still read, and hears that this was all.
                self.shut_down(timer, flush_by).await;
            }
            return;
        }
        if self.begun && self.body.is_done() && self.inbox.is_empty() && !self.may_be_reset() {
            if self.stream.is_tls() {
                // The end of TLS: without it a body that lasts until the close looks cut.
                self.shut_down(timer, flush_by).await;
            }
            return;
        }
        if self.shut_down(timer, flush_by).await {
            self.linger_until_closed(timer).await;
        }
    }

    /// Returns whether a close may turn into a reset that destroys what the client has yet to get:
    /// because something is unread, or comes while much is on its way. What is less than the
    /// smallest first window of a connection has left already (RFC 5681: four segments of 536).
    fn may_be_reset(&self) -> bool {
        const FIRST_WINDOW: u64 = 4 * 536;
        let is_long = self.out.sent_bytes() > FIRST_WINDOW && self.stream.can_reset();
        self.stream.has_unread()
            || is_long && self.stream.count_untaken().is_none_or(|untaken| untaken > 0)
    }

    /// Says that nothing more will be sent, which with TLS has to fit into the socket. `false` when
    /// that failed, or was not done in time.
    async fn shut_down(&mut self, timer: &mut Timer, until: Option<Instant>) -> bool {
        poll_fn(|cx| match self.stream.poll_shutdown(cx) {
            Poll::Pending => timer.poll_at(cx, until).map(|()| false),
            Poll::Ready(ended) => Poll::Ready(ended.is_ok()),
        })
        .await
    }

    /// Reads and forgets until the client has closed its side, within bounds, which are wider while
    /// it takes what was sent.
    async fn linger_until_closed(&mut self, timer: &mut Timer) {
        let begun = clock::now();
        let (mut end, mut gap) = (begun + LINGER_TOTAL, begun + LINGER_GAP);
        let mut untaken = self.stream.count_untaken();
        poll_fn(|cx| {
            loop {
                self.inbox.clear();
                match self.inbox.poll_fill(cx, &mut self.stream, usize::MAX) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => gap = clock::now() + LINGER_GAP,
                    Poll::Pending => ready!(timer.poll_at(cx, Some(end.min(gap)))),
                }
                let now = clock::now();
                if now < end.min(gap) {
                    continue;
                }
                let left = self.stream.count_untaken();
                let takes = left.zip(untaken).is_some_and(|(left, before)| left < before);
                if !takes || now >= begun + TAKING_TOTAL {
                    return Poll::Ready(());
                }
                (untaken, gap, end) = (left, now + LINGER_GAP, now + LINGER_TOTAL);
            }
        })
        .await;
    }
}
