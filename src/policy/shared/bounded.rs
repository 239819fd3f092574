//! The bytes of a Redis, which come neither without end nor in everybody's way.
//!
//! The `redis` crate keeps an answer until it is whole, however long it is said to be, and reads
//! for as long as there is something to read. So a connection is left when more has come than any
//! answer has, and after a part of it the other tasks of the thread have their turn.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may come between two answers to what requests wait for: twice the largest one, which
/// is a response of the cache with 1 MiB. Values of no length take up to 64 times their bytes once
/// they are read.
const REQUEST_BYTES: usize = 2 << 20;
/// The same where nobody waits: a page of the stream of purges or of the registry is longer.
const BACKGROUND_BYTES: usize = 8 << 20;
/// Bytes that are read in one turn.
const TURN_BYTES: usize = 64 << 10;

/// How much has come over a connection that may come. Whoever makes calls over it shares this with
/// it.
#[derive(Debug)]
pub(super) struct AnswerGate {
    /// Bytes that have come since a call was answered.
    come: AtomicUsize,
    /// The most of them.
    most: AtomicUsize,
}

impl Default for AnswerGate {
    fn default() -> Self {
        Self { come: AtomicUsize::new(0), most: AtomicUsize::new(REQUEST_BYTES) }
    }
}

impl AnswerGate {
    /// Expects long answers from now on.
    pub(super) fn expect_long(&self) {
        self.most.store(BACKGROUND_BYTES, Relaxed);
    }

    /// Notes that a call was answered: what comes now belongs to the next one.
    pub(super) fn note_answer(&self) {
        self.come.store(0, Relaxed);
    }

    /// Returns what is wrong when too much has come; the library does not pass it on.
    pub(super) fn fault(&self) -> Option<String> {
        let most = self.most.load(Relaxed);
        (self.come.load(Relaxed) > most)
            .then(|| format!("it has sent more than {} MiB without an answer", most >> 20))
    }

    fn count_bytes(&self, read: usize) -> io::Result<()> {
        self.come.fetch_add(read, Relaxed);
        self.fault().map_or(Ok(()), |why| Err(io::Error::new(ErrorKind::InvalidData, why)))
    }
}

/// A connection to a Redis.
#[derive(Debug)]
pub(super) struct BoundedStream<S> {
    stream: S,
    gate: Arc<AnswerGate>,
    /// Bytes that were read in this turn.
    turn: usize,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, gate: Arc<AnswerGate>) -> Self {
        Self { stream, gate, turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if polled.is_pending() {
            self.turn = 0;
        }
        ready!(polled)?;
        let read = into.filled().len().saturating_sub(before);
        self.turn += read;
        Poll::Ready(self.gate.count_bytes(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
