//! A connection's socket: reads frames, as many as are there, and writes what all streams have to say with one call.

use std::cell::RefCell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use super::state::{Accept, Ended, State};
use crate::clock;
use crate::net::inbox::Inbox;
use crate::net::{Stream, Timer, Transport};
use crate::wire::frames;

/// Reads before others have their turn.
const READS: usize = 8;
/// Bytes that are kept of a frame that is not all there.
const LIMIT: usize = 2 * (frames::HEAD + frames::MOST);
/// The time, and the bytes, for which a side that broke a rule is read, so that it sees what it was told.
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

    /// Reads and writes until it has to wait. Ready when the connection is over and everything that can be said has been.
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
            // What streams say now leaves together with what is here already. That the socket takes more is told once: if
            // they say nothing, what was encrypted before still has to leave.
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

    /// Closes it. Whoever broke a rule is given the time to read which one: what it sent meanwhile would make the close a
    /// reset, and that would take the answer away.
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
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::h2::state::H2Config;
    use crate::wire::frames::{flag, kind};
    use crate::wire::request::Limits;
    use crate::wire::{Fault, RequestHead};

    /// A socket behind TLS: what is written is encrypted at once, and leaves when it is flushed, if the network takes it.
    #[derive(Debug, Default)]
    struct Reluctant {
        reads: VecDeque<Vec<u8>>,
        encrypted: usize,
        delivered: usize,
        takes: bool,
    }

    impl Transport for Reluctant {
        fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            let Some(bytes) = self.reads.pop_front() else { return Poll::Pending };
            buf[..bytes.len()].copy_from_slice(&bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write(
            &mut self,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let n = slices.iter().map(|slice| slice.len()).sum();
            self.encrypted += n;
            Poll::Ready(Ok(n))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.takes {
                return Poll::Pending;
            }
            self.delivered += std::mem::take(&mut self.encrypted);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Begun(Vec<u32>);

    impl Accept for Begun {
        fn head(&mut self) -> Box<RequestHead> {
            Box::default()
        }

        fn key(&mut self) -> String {
            String::new()
        }

        fn stream(&mut self, slot: u32, _: Box<RequestHead>, fault: Option<Fault>) {
            assert_eq!(fault, None);
            self.0.push(slot);
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frames::put(&mut out, kind, flags, stream, payload);
        out
    }

    #[test]
    fn w2_what_was_encrypted_leaves_although_another_stream_is_read_meanwhile() {
        let terms = H2Config {
            streams: 10,
            stream_window: frames::WINDOW,
            stream_window_most: frames::WINDOW,
            growth: 0,
            connection_window: 1 << 20,
            head: Limits::default(),
        };
        let shared = RefCell::new(State::server(terms, || 0));
        let mut socket = Socket::new(Reluctant::default(), &[]);
        let mut begun = Begun::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        // As a task is polled: again and again, until nothing wakes it any more.
        let mut run = |socket: &mut Socket<Reluctant>, begun: &mut Begun| {
            woken.0.store(true, Relaxed);
            while woken.0.swap(false, Relaxed) {
                assert!(socket.poll(&mut cx, &shared, begun).is_pending());
            }
        };
        let get = b"\x82\x86\x84\x01\x06a.test";
        let hello = [frames::PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
        let ends = flag::END_HEADERS | flag::END_STREAM;
        let requests = [
            frame(kind::HEADERS, ends, 1, get),
            frame(kind::HEADERS, flag::END_HEADERS, 3, b"\x83\x86\x84\x01\x06a.test"),
        ];
        socket.stream.reads.push_back([hello, requests.concat()].concat());
        run(&mut socket, &mut begun);
        assert_eq!(begun.0.len(), 2);
        // A response is encrypted, but the network takes none of it; the other stream waits for its body.
        let noop = Context::from_waker(Waker::noop());
        {
            let mut state = shared.borrow_mut();
            state.put_head(begun.0[0], false, &mut |encoder, out| encoder.status(out, 200));
            assert!(state.poll_data(&noop, begun.0[0], &[0; 14_000]).is_ready());
            assert!(state.poll_body(&noop, begun.0[1], &mut Vec::new()).is_pending());
        }
        run(&mut socket, &mut begun);
        assert!(socket.stream.encrypted > 14_000 && socket.stream.delivered == 0);
        // At once the network takes more, and DATA comes for the other stream, which has nothing to say to it.
        socket.stream.takes = true;
        socket.stream.reads.push_back(frame(kind::DATA, 0, 3, b"part"));
        run(&mut socket, &mut begun);
        assert_eq!(socket.stream.encrypted, 0, "what was encrypted has left");
        assert!(socket.stream.delivered > 14_000);
    }
}
