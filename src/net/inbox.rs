//! Bytes that were received and not yet consumed. Holds memory only while it holds bytes.

use std::io;
use std::task::{Context, Poll, ready};

use super::Transport;
use super::buffer::Buffer;

/// Fewer bytes than this are moved into a buffer of their own size when the connection has to
/// wait, so that a thousand clients that stop after half a header line do not hold a thousand
/// large buffers.
const PARK_BELOW: usize = 4096;
/// Room beside parked bytes, so that a client that sends byte by byte does not move them each time.
const PARK_ROOM: usize = 512;

/// The unread part of a connection's input.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An inbox that holds what has been read already.
    #[must_use]
    pub fn with_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        let mut buffer = Buffer::with_size(bytes.len() + PARK_ROOM);
        if let Some(room) = buffer.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        Self { buffer: Some(buffer), start: 0, end: bytes.len() }
    }

    /// The bytes at hand.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => buffer.get(self.start..self.end).unwrap_or_default(),
            None => &[],
        }
    }

    /// The bytes at hand, to be decoded in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => buffer.get_mut(self.start..self.end).unwrap_or_default(),
            None => &mut [],
        }
    }

    /// Returns how many bytes are at hand.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns whether nothing is at hand.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops `n` bytes from the front; the buffer goes back when none is left.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.clear();
        }
    }

    /// Keeps the first `n` bytes only.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
        if self.start == self.end {
            self.clear();
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.buffer = None;
        self.start = 0;
        self.end = 0;
    }

    /// Reads more and returns how much; 0 is the end of the stream. Holds at most `limit` bytes:
    /// at the limit it returns an error of kind `OutOfMemory`, which callers that pass a limit
    /// check for before they read.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut impl Transport,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        if self.len() >= limit {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        if self.buffer.is_none() {
            ready!(stream.poll_readable(cx))?;
            let mut buffer = Buffer::take_buffer();
            let n = ready!(stream.poll_read(cx, &mut buffer))?;
            if n > 0 {
                self.buffer = Some(buffer);
                self.start = 0;
                self.end = n;
            }
            return Poll::Ready(Ok(n));
        }
        self.make_room(limit);
        let Some(buffer) = &mut self.buffer else { return Poll::Pending };
        let Some(room) = buffer.get_mut(self.end..) else { return Poll::Pending };
        match stream.poll_read(cx, room) {
            Poll::Ready(Ok(n)) => {
                self.end += n;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.park_bytes();
                Poll::Pending
            }
        }
    }

    /// Moves a few waiting bytes out of a large buffer.
    pub fn park_bytes(&mut self) {
        let len = self.len();
        let Some(buffer) = &self.buffer else { return };
        if len == 0 || len >= PARK_BELOW || buffer.len() <= 2 * PARK_BELOW {
            return;
        }
        let mut parked = Buffer::with_size(len + PARK_ROOM);
        if let Some(room) = parked.get_mut(..len) {
            room.copy_from_slice(self.data());
        }
        self.buffer = Some(parked);
        self.start = 0;
        self.end = len;
    }

    /// Makes sure that at least one byte can be read behind the data.
    fn make_room(&mut self, limit: usize) {
        let Some(buffer) = &mut self.buffer else { return };
        if self.end < buffer.len() {
            return;
        }
        if self.start > 0 && self.start >= buffer.len() / 2 {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return;
        }
        let len = self.end - self.start;
        let mut larger = Buffer::take_buffer();
        if larger.len() <= len {
            larger = Buffer::with_size(limit.max(len + 1).min(2 * len + PARK_ROOM));
        }
        if let Some(room) = larger.get_mut(..len) {
            room.copy_from_slice(self.data());
        }
        self.buffer = Some(larger);
        self.start = 0;
        self.end = len;
    }
}

#[cfg(test)]
mod tests;
