//! What a client may send at all: the frames of a connection, looked at before h2 gets them.
//!
//! h2 answers every PING and every SETTINGS, skips frames it does not know for as long as they come, and stores as many
//! fields as fit into the size of a head. Each of these is an attack (CVE-2019-9512, -9515, -9518; the "bomb" of one-byte
//! references). Here frames that cost more than they are worth draw on an allowance, and a head with too many fields is
//! handed on alone, so that it is gone before the next one is read.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;
use crate::wire::frames::{Seen, Sight};

/// Bytes sent that earn another frame that asks for nothing: a window has to be opened for each part of a body.
const EARN: usize = 1024;

/// Whether a connection has gone too far.
#[derive(Debug, Default, Clone)]
pub struct Alarm(Rc<Cell<bool>>);

impl Alarm {
    /// Whether it has.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.get()
    }
}

/// A connection whose incoming frames are looked at.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    alarm: Alarm,
    sight: Sight,
    /// What was read behind the end of a large head.
    held: Vec<u8>,
    /// The large head is being dealt with.
    pause: bool,
    /// Bytes sent that have not earned anything yet.
    sent: usize,
}

impl<S> Guard<S> {
    /// Looks at heads of more than `fields` fields one by one.
    #[must_use]
    pub fn new(stream: S, fields: usize) -> (Self, Alarm) {
        let alarm = Alarm::default();
        let sight = Sight::new(fields, seconds());
        let guard =
            Self { stream, alarm: alarm.clone(), sight, held: Vec::new(), pause: false, sent: 0 };
        (guard, alarm)
    }

    fn earn(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= EARN {
            self.sight.earn(u32::try_from(self.sent / EARN).unwrap_or(u32::MAX));
            self.sent %= EARN;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.alarm.is_raised() {
            return Poll::Pending;
        }
        if this.pause {
            this.pause = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.held.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        } else {
            let n = this.held.len().min(buf.remaining());
            buf.put_slice(this.held.get(..n).unwrap_or_default());
            this.held.drain(..n);
        }
        let new = buf.filled().get(before..).unwrap_or_default();
        match this.sight.look(new, seconds) {
            Seen::Fine => {}
            Seen::Large(end) => {
                this.pause = true;
                let rest = new.get(end..).unwrap_or_default();
                this.held.splice(0..0, rest.iter().copied());
                buf.set_filled(before + end);
            }
            Seen::TooMuch => {
                this.alarm.0.set(true);
                buf.set_filled(before);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.earn(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices))?;
        this.earn(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Whole seconds on the process's clock.
fn seconds() -> u64 {
    clock::millis(clock::now()) / 1000
}
