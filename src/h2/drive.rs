//! A connection's socket: reads frames, as many as are there, and writes what all streams have to
//! say with one call.

use std::cell::RefCell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::state::{Accept, Ended, State};
use crate::clock;
use crate::net::inbox::Inbox;
use crate::net::stalls::StallMark;
use crate::net::{Stream, Timer, Transport};
use crate::wire::frames;

/// Reads before others have their turn.
const READS: usize = 8;
/// Bytes that are kept of a frame that is not all there.
const LIMIT: usize = 2 * (frames::HEAD + frames::MOST);
/// The time, and the bytes, for which a side that broke a rule is read, so that it sees what it was
/// told.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
const LINGER_READS: usize = 64;

/// A socket.
#[derive(Debug)]
pub(super) struct Socket<S = Stream> {
    stream: S,
    inbox: Inbox,
    /// True while something that was encrypted has not left yet.
    flushing: bool,
    /// The write waits until the streams have had their turn.
    waits: bool,
}

impl Socket {
    /// Returns whether something that was encrypted has not left yet.
    pub(super) fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// As [`Stream::flush_again`]. What goes wrong is found out by whoever reads or writes next.
    pub(super) fn flush_again(&mut self) -> bool {
        self.stream.flush_again().unwrap_or(false)
    }

    /// As [`Stream::both_ends`].
    pub(super) fn both_ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.stream.both_ends()
    }

    /// Returns how far the other side has come with what was sent to it.
    pub(super) fn stall_mark(&self) -> StallMark {
        StallMark { untaken: self.count_untaken(), ..StallMark::default() }
    }

    /// As [`Stream::count_untaken`].
    pub(super) fn count_untaken(&self) -> Option<u32> {
        self.stream.count_untaken()
    }

    /// Makes the coming close a reset.
    pub(super) fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }
}

impl<S: Transport> Socket<S> {
    /// `read` has been read from it already.
    pub(super) fn new(stream: S, read: &[u8]) -> Self {
        let inbox = Inbox::with_bytes(read);
        Self { stream, inbox, flushing: false, waits: false }
    }

    /// Reads and writes until it has to wait. Ready when the connection is over and everything that
    /// can be said has been.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &RefCell<State>,
        accept: &mut dyn Accept,
    ) -> Poll<()> {
        let mut state = shared.borrow_mut();
        state.set_task(cx);
        let stopped = self.read_socket(cx, &mut state, accept);
        state.heeded();
        if state.take_stirred() && !self.waits && state.ended().is_none() {
            // What streams say now leaves together with what is here already. That the socket takes
            // more is told once: if they say nothing, what was encrypted before still has to leave.
            self.waits = true;
            if self.flushing || !state.unsent().is_empty() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        self.waits = false;
        self.write_socket(cx, &mut state);
        if stopped && !state.is_full() {
            // Nothing else would wake it to read on.
            cx.waker().wake_by_ref();
        }
        let over = match state.ended() {
            Some(Ended::Lost) => true,
            Some(Ended::Failed(_)) => state.unsent().is_empty() && !self.flushing,
            None => state.is_done() && state.unsent().is_empty() && !self.flushing,
        };
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// `true` when it has stopped before everything was read, because too much waits to be sent.
    fn read_socket(
        &mut self,
        cx: &mut Context<'_>,
        state: &mut State,
        accept: &mut dyn Accept,
    ) -> bool {
        if !self.inbox.is_empty() && state.ended().is_none() {
            // It was there before the first read.
            self.receive_bytes(state, accept);
        }
        for _ in 0..READS {
            // Who takes no answers is not asked for more.
            if state.ended().is_some() || state.is_full() {
                return state.ended().is_none();
            }
            if state.take_paused() {
                break;
            }
            match self.inbox.poll_fill(cx, &mut self.stream, LIMIT) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => {
                    state.lose();
                    return false;
                }
                Poll::Ready(Ok(_)) => {
                    self.receive_bytes(state, accept);
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn receive_bytes(&mut self, state: &mut State, accept: &mut dyn Accept) {
        let used = state.receive(self.inbox.data(), accept);
        self.inbox.consume(used);
    }

    fn write_socket(&mut self, cx: &mut Context<'_>, state: &mut State) {
        let mut insists = state.take_insists();
        while !state.unsent().is_empty() {
            let unsent = [IoSlice::new(state.unsent())];
            let mut written = self.stream.poll_write(cx, &unsent);
            if insists && written.is_pending() {
                written = self.stream.poll_write_again(cx, &unsent);
                insists = written.is_ready();
            }
            match written {
                Poll::Ready(Ok(n)) if n > 0 => {
                    state.left(n);
                    self.flushing = true;
                }
                Poll::Ready(Ok(_) | Err(_)) => return state.lose(),
                Poll::Pending => break,
            }
        }
        if insists {
            // What streams say now is tried too: what there was room for anyway is used up at once.
            state.go_on_insisting();
        }
        state.wait(|| clock::now().into_std());
        if self.flushing {
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushing = false,
                Poll::Ready(Err(_)) => state.lose(),
                Poll::Pending => {}
            }
        }
    }

    /// Closes it. Whoever broke a rule is given the time to read which one: what it sent meanwhile
    /// would make the close a reset, and that would take the answer away.
    pub(super) async fn close_socket(mut self, ended: Option<Ended>, timer: &mut Timer) {
        if ended == Some(Ended::Lost) {
            return;
        }
        let until = clock::deadline(clock::now(), Some(LINGER));
        let mut reads = 0;
        let mut shut = false;
        std::future::poll_fn(|cx| {
            if !shut && let Poll::Ready(result) = self.stream.poll_shutdown(cx) {
                shut = true;
                if result.is_err() || ended.is_none() {
                    return Poll::Ready(());
                }
            }
            self.inbox.clear();
            while reads < LINGER_READS {
                match self.inbox.poll_fill(cx, &mut self.stream, LIMIT) {
                    Poll::Pending => return timer.poll_at(cx, until),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => {
                        reads += 1;
                        self.inbox.clear();
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
