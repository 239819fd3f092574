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
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::super::Stream;
    use super::*;

    fn pair() -> (UnixStream, Stream) {
        let (a, b) = UnixStream::pair().unwrap();
        (a, Stream::Unix(b))
    }

    #[tokio::test]
    async fn an_empty_inbox_holds_no_memory() {
        let (mut far, mut near) = pair();
        let mut inbox = Inbox::default();
        far.write_all(b"hello").await.unwrap();
        let n = poll_fn(|cx| inbox.poll_fill(cx, &mut near, 100)).await.unwrap();
        assert_eq!((n, inbox.data()), (5, &b"hello"[..]));
        inbox.consume(5);
        assert!(inbox.buffer.is_none());
    }

    #[tokio::test]
    async fn waiting_bytes_are_parked_and_growth_keeps_them() {
        let (mut far, mut near) = pair();
        let mut inbox = Inbox::default();
        let mut sent = Vec::new();
        for round in 0..40_u8 {
            let piece = vec![round; 97];
            far.write_all(&piece).await.unwrap();
            sent.extend_from_slice(&piece);
            poll_fn(|cx| inbox.poll_fill(cx, &mut near, 100_000)).await.unwrap();
            while poll_fn(|cx| Poll::Ready(inbox.poll_fill(cx, &mut near, 100_000)))
                .await
                .is_ready()
            {}
            assert!(inbox.buffer.as_ref().unwrap().len() <= 2 * PARK_BELOW, "round {round}");
        }
        assert_eq!(inbox.data(), sent);
    }

    #[tokio::test]
    async fn the_limit_is_not_exceeded() {
        let (mut far, mut near) = pair();
        let mut inbox = Inbox::default();
        far.write_all(&[7; 64]).await.unwrap();
        poll_fn(|cx| inbox.poll_fill(cx, &mut near, 64)).await.unwrap();
        let full = poll_fn(|cx| inbox.poll_fill(cx, &mut near, 64)).await;
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }
}
