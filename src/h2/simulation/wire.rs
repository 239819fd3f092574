//! Sockets that are as awkward as sockets may be: they take and give a few bytes at a time, accept
//! what they have not sent (as TLS does), tell of readiness late, and make a task wait although it
//! need not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::clock::Random;
use crate::net::Transport;

/// What rustls accepts before it has sent anything.
const ENCRYPTED: usize = 64 * 1024;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Writes are accepted first and sent by a flush, as TLS does it.
    encrypts: bool,
    /// Accepted and not sent.
    pub(super) held: VecDeque<u8>,
    /// Sent and not read: what the kernel has.
    kernel: VecDeque<u8>,
    capacity: usize,
    /// Nothing more will be sent.
    ended: bool,
    /// What the tasks have been told of the socket, until it turns out to be otherwise.
    readable: bool,
    writable: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(random: &mut Random) -> Self {
        let largest = [600, 9_000, 70_000, 300_000][random.below(4) as usize];
        Self {
            encrypts: random.below(2) == 0,
            held: VecDeque::new(),
            kernel: VecDeque::new(),
            capacity: 200 + random.below(largest) as usize,
            ended: false,
            readable: false,
            writable: true,
            reader: None,
            writer: None,
        }
    }

    /// Returns whether the kernel would take more.
    pub(super) fn has_room(&self) -> bool {
        self.kernel.len() < self.capacity
    }

    /// Returns whether there is something to read, the end included.
    pub(super) fn has_data(&self) -> bool {
        !self.kernel.is_empty() || self.ended
    }

    /// Returns whether the kernel takes these `n` bytes, which are no more than it has room for. If
    /// not, the task waits.
    fn takes(&mut self, cx: &Context<'_>, n: usize) -> bool {
        if self.writable && n > 0 {
            return true;
        }
        self.writable = false;
        self.writer = Some(cx.waker().clone());
        false
    }

    /// Sends what was accepted; `true` when all of it has left.
    fn flush(&mut self, cx: &Context<'_>) -> bool {
        while !self.held.is_empty() {
            let n = self.held.len().min(self.capacity - self.kernel.len());
            if !self.takes(cx, n) {
                return false;
            }
            self.kernel.extend(self.held.drain(..n));
        }
        true
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) pipes: Vec<Pipe>,
    pub(super) random: Random,
}

/// What the reactor may tell next: of which pipe, and whether it can be read or written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Readable(usize),
    Writable(usize),
}

impl Net {
    pub(super) fn new(seed: u64, connections: usize) -> Self {
        let mut random = Random::seeded(seed);
        let pipes = (0..2 * connections).map(|_| Pipe::new(&mut random)).collect();
        Self { pipes, random }
    }

    /// Returns what is true of sockets and their tasks have not been told.
    pub(super) fn events(&self) -> Vec<Event> {
        let pipes = || self.pipes.iter().enumerate();
        let readable = pipes().filter(|(_, pipe)| pipe.has_data() && !pipe.readable);
        let writable = pipes().filter(|(_, pipe)| pipe.has_room() && !pipe.writable);
        let readable = readable.map(|(at, _)| Event::Readable(at));
        readable.chain(writable.map(|(at, _)| Event::Writable(at))).collect()
    }

    pub(super) fn tell(&mut self, event: Event) {
        let waker = match event {
            Event::Readable(at) => {
                self.pipes[at].readable = true;
                self.pipes[at].reader.take()
            }
            Event::Writable(at) => {
                self.pipes[at].writable = true;
                self.pipes[at].writer.take()
            }
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    /// Returns how much of `n` is moved at once.
    fn part(&mut self, n: usize) -> usize {
        match self.random.below(8) {
            0..3 => 1 + self.random.below(n as u64) as usize,
            3 => n.min(9),
            _ => n,
        }
    }
}

/// One end of a connection.
#[derive(Debug, Clone)]
pub(super) struct End {
    net: Rc<RefCell<Net>>,
    reads: usize,
    writes: usize,
}

impl End {
    /// Both ends of this connection: of the side that opened it, and of the other.
    pub(super) fn pair(net: &Rc<RefCell<Net>>, connection: usize) -> (Self, Self) {
        let (up, down) = (2 * connection, 2 * connection + 1);
        let end = |reads, writes| Self { net: net.clone(), reads, writes };
        (end(down, up), end(up, down))
    }

    /// The pipe that this end writes to.
    pub(super) fn writes(&self) -> usize {
        self.writes
    }

    /// The pipe that this end reads from.
    pub(super) fn reads(&self) -> usize {
        self.reads
    }
}

/// Returns what tokio does when a task has had more than its share.
fn starved<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl Transport for End {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let net = &mut *self.net.borrow_mut();
        if net.chance(16) {
            return starved(cx);
        }
        let most = net.part(buf.len());
        let pipe = &mut net.pipes[self.reads];
        if !pipe.readable || !pipe.has_data() {
            pipe.readable = false;
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = most.min(pipe.kernel.len());
        buf[..n].copy_from_slice(&pipe.kernel.make_contiguous()[..n]);
        pipe.kernel.drain(..n);
        Poll::Ready(Ok(n))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let net = &mut *self.net.borrow_mut();
        if net.chance(16) {
            return starved(cx);
        }
        let bytes: Vec<u8> = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        let most = net.part(bytes.len());
        let pipe = &mut net.pipes[self.writes];
        if !pipe.encrypts {
            let n = most.min(pipe.capacity - pipe.kernel.len());
            if !pipe.takes(cx, n) {
                return Poll::Pending;
            }
            pipe.kernel.extend(&bytes[..n]);
            return Poll::Ready(Ok(n));
        }
        let mut accepted = 0;
        loop {
            let n = (bytes.len() - accepted).min(ENCRYPTED - pipe.held.len());
            pipe.held.extend(&bytes[accepted..accepted + n]);
            accepted += n;
            // It is accepted, whether it can be sent or not.
            if !pipe.flush(cx) || accepted == bytes.len() {
                return if accepted > 0 { Poll::Ready(Ok(accepted)) } else { Poll::Pending };
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let net = &mut *self.net.borrow_mut();
        if net.chance(16) {
            return starved(cx);
        }
        let pipe = &mut net.pipes[self.writes];
        if pipe.flush(cx) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let net = &mut *self.net.borrow_mut();
        let pipe = &mut net.pipes[self.writes];
        if !pipe.flush(cx) {
            return Poll::Pending;
        }
        pipe.ended = true;
        Poll::Ready(Ok(()))
    }
}
