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

/// A socket behind TLS: what is written is encrypted at once, and leaves when it is flushed, if the
/// network takes it.
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
    // A response is encrypted, but the network takes none of it; the other stream waits for its
    // body.
    let noop = Context::from_waker(Waker::noop());
    {
        let mut state = shared.borrow_mut();
        state.put_head(begun.0[0], false, &mut |encoder, out| encoder.status(out, 200));
        assert!(state.poll_data(&noop, begun.0[0], &[0; 14_000]).is_ready());
        assert!(state.poll_body(&noop, begun.0[1], &mut Vec::new()).is_pending());
    }
    run(&mut socket, &mut begun);
    assert!(socket.stream.encrypted > 14_000 && socket.stream.delivered == 0);
    // At once the network takes more, and DATA comes for the other stream, which has nothing to say
    // to it.
    socket.stream.takes = true;
    socket.stream.reads.push_back(frame(kind::DATA, 0, 3, b"part"));
    run(&mut socket, &mut begun);
    assert_eq!(socket.stream.encrypted, 0, "what was encrypted has left");
    assert!(socket.stream.delivered > 14_000);
}
