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
            ready!(timer.poll_at(cx, clock::deadline(since, gap)));
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
        if !flushed || self.ended || self.tunnel {
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
    /// because something is unread, or comes while much is on its way. What is less than the first
    /// window of a connection has left already (RFC 6928).
    fn may_be_reset(&self) -> bool {
        const FIRST_WINDOW: u64 = 10 * 1460;
        let is_long = self.out.sent_bytes() > FIRST_WINDOW;
        self.stream.has_unread()
            || is_long && self.stream.count_untaken().is_some_and(|untaken| untaken > 0)
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

    /// Reads and forgets until the client has closed its side, within bounds.
    async fn linger_until_closed(&mut self, timer: &mut Timer) {
        let end = clock::deadline(clock::now(), Some(LINGER_TOTAL));
        let mut gap = clock::deadline(clock::now(), Some(LINGER_GAP));
        poll_fn(|cx| {
            loop {
                self.inbox.clear();
                match self.inbox.poll_fill(cx, &mut self.stream, usize::MAX) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => gap = clock::deadline(clock::now(), Some(LINGER_GAP)),
                    Poll::Pending => break,
                }
                if end.is_some_and(|end| clock::now() >= end) {
                    return Poll::Ready(());
                }
            }
            timer.poll_at(cx, earlier_of(end, gap))
        })
        .await;
    }
}
