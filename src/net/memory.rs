//! Connections between the two ends of a fuzz target, without a socket. Compiled for fuzzing alone.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// The number of bytes that one end takes that the other one does not read.
const ROOM: usize = 64 * 1024;

thread_local! {
    /// The function that takes what the proxy connects to.
    static SERVER: RefCell<Option<Box<dyn FnMut(Memory)>>> = const { RefCell::new(None) };
}

/// One end of a connection.
#[derive(Debug)]
pub struct Memory {
    stream: DuplexStream,
    /// The wish that this end is reset when it is dropped.
    resets: Arc<AtomicBool>,
    /// The same of the other end.
    was_reset: Arc<AtomicBool>,
}

impl Memory {
    /// A connection: its two ends.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (one, other) = tokio::io::duplex(ROOM);
        let (a, b) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let first = Self { stream: one, resets: a.clone(), was_reset: b.clone() };
        (first, Self { stream: other, resets: b, was_reset: a })
    }

    /// Says who takes the connections that the proxy opens on this thread.
    pub fn serve(server: impl FnMut(Memory) + 'static) {
        SERVER.set(Some(Box::new(server)));
    }

    /// Opens one.
    ///
    /// # Errors
    /// Nobody takes them.
    pub fn connect() -> io::Result<Self> {
        let (here, there) = Self::pair();
        SERVER.with_borrow_mut(|server| match server {
            Some(server) => {
                server(there);
                Ok(here)
            }
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        })
    }

    /// The other end will see a reset when this one is dropped.
    pub fn reset_on_close(&self) {
        self.resets.store(true, Relaxed);
    }

    /// Takes that back.
    pub fn close_in_order(&self) {
        self.resets.store(false, Relaxed);
    }

    /// Returns whether the other end has reset the connection, or will when it closes.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.was_reset.load(Relaxed)
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        Poll::Ready(if ended && self.was_reset() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
