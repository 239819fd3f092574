//! What leaves a connection: a head that waits for its first body bytes, then the body in its
//! framing.
//!
//! Head and first body bytes go out with one system call. Body bytes are written from wherever
//! they were read into; only what has to be finished later (the rest of a head or of a chunk's
//! frame) is kept here, and then only while it waits.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::Stream;
use super::announced::{BodyFraming, BodyTally};
use super::held::Weight;
use crate::wire::encode::{self, ChunkPrefix};
use crate::wire::head::Fields;

/// The outgoing side of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Bytes to be written before anything else, from `at` on.
    pending: Vec<u8>,
    at: usize,
    chunked: bool,
    /// Nothing but the end of the connection ends the message.
    until_close: bool,
    /// Data bytes of the current chunk that have not been written yet.
    chunk_left: usize,
    /// The count of what was written, against what the head announced.
    tally: BodyTally,
    sent: u64,
    /// Nagle's algorithm is off.
    at_once: bool,
    /// The next write is tried whether or not the system has said that it is possible.
    insists: bool,
    /// The number of times that this made what was encrypted move on.
    moved: u64,
    /// Counted while it waits for a peer that does not read.
    weight: Weight,
}

impl Outbox {
    /// Starts a message. Its head is what [`Outbox::head_buffer`] collects.
    pub fn begin_message(&mut self, coding: BodyFraming) {
        self.chunked = coding == BodyFraming::Chunked;
        self.until_close = coding == BodyFraming::UntilClose;
        self.chunk_left = 0;
        self.tally = BodyTally::new(coding);
    }

    /// Returns whether the last message has ended, with exactly the body that its head announced.
    /// What is not may not be followed by another one, and its connection must not end as if it
    /// were.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.tally.is_whole()
    }

    /// Returns the buffer that a head is written to; it is sent with the first body bytes or at the
    /// next flush.
    pub fn head_buffer(&mut self) -> &mut Vec<u8> {
        if self.pending.capacity() == 0 {
            self.pending = spare::take_memory();
        }
        &mut self.pending
    }

    /// Returns whether the end of the connection is what ends the message.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        self.until_close
    }

    /// All bytes written to the socket so far.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Returns how far the peer has come: another number once it has taken more.
    #[must_use]
    pub fn taken_mark(&self) -> u64 {
        self.sent.wrapping_add(self.moved)
    }

    /// The next write is tried although the system has not said yet that it takes more.
    pub fn insist_on_write(&mut self) {
        self.insists = true;
    }

    /// Returns whether nothing waits to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.pending.len()
    }

    /// Writes a part of the body, and before it what was waiting. Returns how many bytes of `data`
    /// are done with; `data` must start with the bytes that were left over last time.
    ///
    /// # Errors
    /// Whatever the system says, or a [`super::Mismatch`] instead of more bytes than were
    /// announced. The connection is of no use afterwards.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tally.check_write(data.len())?;
        let written = if self.chunked {
            self.poll_chunk(cx, stream, data)
        } else {
            self.poll_plain(cx, stream, data)
        };
        if let Poll::Ready(Ok(n)) = written {
            self.tally.count_written(n);
        }
        written
    }

    /// Ends the body and writes everything that is left.
    ///
    /// # Errors
    /// Whatever the system says, or a [`super::Mismatch`] when fewer bytes were written than were
    /// announced.
    pub fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        if !self.tally.is_whole() {
            self.tally.check_end()?;
            if self.chunked {
                let fields = trailers.into_iter().flat_map(Fields::iter);
                encode::last_chunk(&mut self.pending, fields.map(|f| (f.name, f.value)));
            }
        }
        self.poll_flush(cx, stream)
    }

    /// Writes what is waiting.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            self.before_write(stream);
            let waiting = self.pending.get(self.at..).unwrap_or_default();
            let written = write_slices(&mut self.insists, cx, stream, &[IoSlice::new(waiting)]);
            let Poll::Ready(written) = written else {
                self.weight.set_bytes(self.pending.capacity());
                return Poll::Pending;
            };
            let n = written?;
            self.count_written(n)?;
            self.advance_by(n);
        }
        let flushed = stream.poll_flush(cx);
        if self.insists && flushed.is_pending() {
            self.insists = false;
            self.moved += u64::from(stream.flush_again()?);
        }
        flushed
    }

    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            self.before_write(stream);
            let n = ready!(write_slices(&mut self.insists, cx, stream, &[IoSlice::new(data)]))?;
            self.count_written(n)?;
            return Poll::Ready(Ok(n));
        }
        if self.pending.len() - self.at + data.len() <= COPY_BELOW {
            // One slice goes out cheaper than two, by more than copying a few bytes costs.
            self.pending.extend_from_slice(data);
            return match self.poll_flush(cx, stream) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(data.len())),
            };
        }
        self.before_write(stream);
        let waiting = self.pending.get(self.at..).unwrap_or_default();
        let slices = [waiting, data].map(IoSlice::new);
        let n = ready!(write_slices(&mut self.insists, cx, stream, &slices))?;
        self.count_written(n)?;
        Poll::Ready(Ok(self.advance_by(n)))
    }

    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            // A chunk of size 0 would end the body.
            ready!(self.poll_flush(cx, stream))?;
            return Poll::Ready(Ok(0));
        }
        self.before_write(stream);
        let starts = self.chunk_left == 0;
        let prefix = ChunkPrefix::new(data.len());
        let prefix = if starts { prefix.as_slice() } else { &[] };
        if starts {
            self.chunk_left = data.len();
        }
        let data = data.get(..self.chunk_left.min(data.len())).unwrap_or_default();
        let ends = data.len() == self.chunk_left;
        let suffix: &[u8] = if ends { b"\r\n" } else { b"" };
        let waiting = self.pending.get(self.at..).unwrap_or_default();
        let slices = [waiting, prefix, data, suffix].map(IoSlice::new);
        let n = match write_slices(&mut self.insists, cx, stream, &slices) {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                // Nothing of the prefix has been written, so the chunk has not begun.
                self.chunk_left = if starts { 0 } else { self.chunk_left };
                return Poll::Pending;
            }
        };
        self.count_written(n)?;
        let n = self.advance_by(n);
        let (prefix_done, data_done) = (n.min(prefix.len()), n.saturating_sub(prefix.len()));
        self.pending.extend_from_slice(prefix.get(prefix_done..).unwrap_or_default());
        let taken = data_done.min(data.len());
        self.chunk_left -= taken;
        if taken == data.len() && ends {
            let suffix_done = data_done - taken;
            self.pending.extend_from_slice(suffix.get(suffix_done..).unwrap_or_default());
        }
        Poll::Ready(Ok(taken))
    }

    /// From its second write on, a connection must not wait for acknowledgements.
    #[inline]
    fn before_write(&mut self, stream: &Stream) {
        if self.sent > 0 && !self.at_once {
            self.at_once = true;
            stream.send_at_once();
        }
    }

    /// Counts what was written; writing nothing at all means that the socket is gone.
    fn count_written(&mut self, n: usize) -> io::Result<()> {
        self.sent += n as u64;
        if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    /// Marks waiting bytes as written and returns how many bytes beyond them were.
    fn advance_by(&mut self, n: usize) -> usize {
        let waiting = self.pending.len() - self.at;
        if n < waiting {
            self.at += n;
            return 0;
        }
        self.pending.clear();
        self.weight.set_bytes(0);
        self.at = 0;
        n - waiting
    }

    /// Gives back memory before the connection becomes idle.
    pub fn release_memory(&mut self) {
        if self.is_empty() {
            self.at = 0;
            spare::put_memory(std::mem::take(&mut self.pending));
        }
    }
}

/// Writes what the system takes; where somebody insists on it, what it takes although it has not
/// said so too.
#[inline]
fn write_slices(
    insists: &mut bool,
    cx: &mut Context<'_>,
    stream: &mut Stream,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut written = stream.poll_write(cx, slices);
    if *insists && written.is_pending() {
        written = stream.poll_write_again(cx, slices);
        // Until nothing more is taken: what there was room for anyway is used up at once.
        *insists = written.is_ready();
    }
    written
}

/// A head and the start of a body that are smaller than this together leave as one slice.
const COPY_BELOW: usize = 2048;

/// Memory for heads, shared by the connections of a worker: an idle one has none.
mod spare {
    use std::cell::RefCell;

    use super::COPY_BELOW;

    /// The buffers that are kept, and up to which size.
    const KEEP: usize = 256;
    const KEEP_CAPACITY: usize = 8192;

    thread_local! {
        static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take_memory() -> Vec<u8> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(COPY_BELOW))
    }

    pub(super) fn put_memory(mut memory: Vec<u8>) {
        if memory.capacity() == 0 || memory.capacity() > KEEP_CAPACITY {
            return;
        }
        memory.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEEP {
                spare.push(memory);
            }
        });
    }
}

#[cfg(test)]
mod tests;
