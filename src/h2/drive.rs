//! A connection's socket: reads frames, as many as are there, and writes what all streams have to say with one call.

use std::cell::RefCell;
use std::io::IoSlice;
use std::task::{Context, Poll};

use super::state::{Accept, Ended, State};
use crate::clock;
use crate::net::inbox::Inbox;
use crate::net::{Stream, Timer, Transport};
use crate::wire::frames;

/// Reads before others have their turn.
const READS: usize = 8;
/// What is kept of a frame that is not all there.
const LIMIT: usize = 2 * (frames::HEAD + frames::MOST);
/// How long, and how much, is read of a side that broke a rule, so that it sees what it was told.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
const LINGER_READS: usize = 64;

/// A socket.
#[derive(Debug)]
pub(super) struct Socket<S = Stream> {
    stream: S,
    inbox: Inbox,
    /// What was encrypted has not all left yet.
    flushing: bool,
    /// The write waits until the streams have had their turn.
    waits: bool,
}

impl<S: Transport> Socket<S> {
    /// `read` has been read from it already.
    pub(super) fn new(stream: S, read: &[u8]) -> Self {
        let inbox = Inbox::holding(read);
        Self { stream, inbox, flushing: false, waits: false }
    }

    /// Reads and writes until it has to wait. Ready when the connection is over and everything that can be said has been.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        shared: &RefCell<State>,
        accept: &mut dyn Accept,
    ) -> Poll<()> {
        let mut state = shared.borrow_mut();
        state.set_task(cx);
        let stopped = self.read(cx, &mut state, accept);
        state.heeded();
        if state.take_stirred() && !self.waits && state.ended().is_none() {
            // What streams say now leaves together with what is here already.
            self.waits = true;
            if self.flushing || !state.unsent().is_empty() {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        self.waits = false;
        self.write(cx, &mut state);
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
    fn read(&mut self, cx: &mut Context<'_>, state: &mut State, accept: &mut dyn Accept) -> bool {
        if !self.inbox.is_empty() && state.ended().is_none() {
            // It was there before the first read.
            self.receive(state, accept);
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
                    self.receive(state, accept);
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn receive(&mut self, state: &mut State, accept: &mut dyn Accept) {
        let used = state.receive(self.inbox.data(), accept);
        self.inbox.consume(used);
    }

    fn write(&mut self, cx: &mut Context<'_>, state: &mut State) {
        while !state.unsent().is_empty() {
            match self.stream.poll_write(cx, &[IoSlice::new(state.unsent())]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    state.left(n);
                    self.flushing = true;
                }
                Poll::Ready(Ok(_) | Err(_)) => return state.lose(),
                Poll::Pending => break,
            }
        }
        if self.flushing {
            match self.stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flushing = false,
                Poll::Ready(Err(_)) => state.lose(),
                Poll::Pending => {}
            }
        }
    }

    /// Closes it. Whoever broke a rule is given the time to read which one: what it sent meanwhile would make the close a
    /// reset, and that would take the answer away.
    pub(super) async fn close(mut self, ended: Option<Ended>, timer: &mut Timer) {
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
