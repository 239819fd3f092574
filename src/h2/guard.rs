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
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::count::Count;
use crate::clock::{self, Instant};

/// Frames that ask for nothing, at once and in every second after that.
const ALLOWANCE: u32 = 1000;
/// Bytes sent that earn another such frame: a window has to be opened for each part of a body.
const EARN: usize = 1024;
/// Cancelled streams from which on they are compared with all streams.
const RESETS: u32 = 100;
/// How often what was counted is halved.
const PERIOD: Duration = Duration::from_secs(1);
/// What every connection begins with.
const PREFACE: usize = 24;
/// The head of a frame.
const HEAD: usize = 9;

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
    pub fn new(stream: S, fields: usize, now: Instant) -> (Self, Alarm) {
        let alarm = Alarm::default();
        let sight = Sight::new(fields, now);
        let guard =
            Self { stream, alarm: alarm.clone(), sight, held: Vec::new(), pause: false, sent: 0 };
        (guard, alarm)
    }

    fn earn(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent >= EARN {
            let earned = u32::try_from(self.sent / EARN).unwrap_or(u32::MAX);
            self.sight.allowance = self.sight.allowance.saturating_add(earned).min(ALLOWANCE);
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
        match this.sight.look(new) {
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

/// What was seen in some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing that matters.
    Fine,
    /// A head of many fields ends after so many of the bytes.
    Large(usize),
    /// More than a client may send.
    TooMuch,
}

/// Where in the frames the reader is, and what has come so far. Pure: bytes in, verdicts out.
#[derive(Debug)]
struct Sight {
    fields: usize,
    /// Bytes that are of no interest: the preface, and what frames carry.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    /// Fields of the block that is being read, if they have to be counted, and the bytes of it in this frame.
    block: Option<Count>,
    left: usize,
    /// The frame that is being read ends its block.
    ends: bool,
    allowance: u32,
    streams: u32,
    resets: u32,
    since: Instant,
}

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

impl Sight {
    fn new(fields: usize, now: Instant) -> Self {
        Self {
            fields,
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
            block: None,
            left: 0,
            ends: false,
            allowance: ALLOWANCE,
            streams: 0,
            resets: 0,
            since: now,
        }
    }

    fn look(&mut self, bytes: &[u8]) -> Seen {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.skip > 0 {
                let n = self.skip.min(rest.len());
                self.skip -= n;
                at += n;
            } else if self.left > 0 {
                let n = self.left.min(rest.len());
                self.left -= n;
                at += n;
                if let Some(block) = &mut self.block {
                    block.add(rest.get(..n).unwrap_or_default());
                }
                if self.left == 0
                    && self.ends
                    && self.block.take().is_some_and(|block| block.fields() > self.fields)
                {
                    return Seen::Large(at);
                }
            } else {
                let n = (HEAD - self.have).min(rest.len());
                let (Some(to), Some(from)) =
                    (self.head.get_mut(self.have..self.have + n), rest.get(..n))
                else {
                    return Seen::TooMuch;
                };
                to.copy_from_slice(from);
                self.have += n;
                at += n;
                if self.have == HEAD {
                    self.have = 0;
                    if !self.frame() {
                        return Seen::TooMuch;
                    }
                }
            }
        }
        Seen::Fine
    }

    /// The head of a frame is there. `false` when it is one too many.
    fn frame(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => true,
            HEADERS => {
                self.streams += 1;
                self.begin(length, flags);
                true
            }
            CONTINUATION => {
                self.ends = flags & END_HEADERS != 0;
                self.left = std::mem::take(&mut self.skip);
                self.spend()
            }
            RST_STREAM => {
                self.resets += 1;
                self.spend()
                    && (self.resets <= RESETS || self.resets <= self.streams / 2 || {
                        self.forget();
                        self.resets <= RESETS
                    })
            }
            // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, and what nobody knows.
            _ => self.spend(),
        }
    }

    /// A head begins. Its fields are counted if there can be too many of them: each takes a byte at least.
    fn begin(&mut self, length: usize, flags: u8) {
        self.ends = flags & END_HEADERS != 0;
        if self.ends && length <= self.fields {
            return;
        }
        // What stands before the fields is skipped; padding behind them may be taken for a few more.
        let padded = usize::from(flags & PADDED != 0);
        let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
        self.block = Some(Count::after(padded + priority));
        self.left = std::mem::take(&mut self.skip);
    }

    fn spend(&mut self) -> bool {
        if self.allowance == 0 {
            self.forget();
        }
        let left = self.allowance.checked_sub(1);
        self.allowance = left.unwrap_or(0);
        left.is_some()
    }

    /// With time, all of it counts less.
    fn forget(&mut self) {
        let now = clock::now();
        if now.saturating_duration_since(self.since) >= PERIOD {
            self.since = now;
            self.allowance = ALLOWANCE;
            self.resets /= 2;
            self.streams /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn sight() -> Sight {
        let mut sight = Sight::new(10, clock::now());
        assert_eq!(sight.look(&[0; PREFACE]), Seen::Fine);
        sight
    }

    const ENDS: u8 = END_HEADERS | END_STREAM;

    #[tokio::test(start_paused = true)]
    async fn a_large_head_is_found_however_it_arrives() {
        let large = [frame(HEADERS, 0, &[0x82; 8]), frame(CONTINUATION, END_HEADERS, &[0x82; 3])];
        let bytes =
            [frame(HEADERS, ENDS, &[0x82; 10]), large.concat(), frame(DATA, 0, b"x")].concat();
        let end = bytes.len() - HEAD - 1;
        assert_eq!(sight().look(&bytes), Seen::Large(end));
        let mut slow = sight();
        let found = bytes.iter().position(|byte| slow.look(&[*byte]) == Seen::Large(1));
        assert_eq!(found, Some(end - 1));
        // Priorities that look like a long string do not hide what follows.
        let hidden = [&[0x00, 0x7f, 0xff, 0xff, 0x7f][..], &[0x82; 11]].concat();
        let hidden = frame(HEADERS, ENDS | PRIORITY, &hidden);
        assert_eq!(sight().look(&hidden), Seen::Large(hidden.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_ask_for_nothing_are_too_many_at_some_point_but_not_over_time() {
        for kind in [2, 4, 6, 8, 99] {
            let mut sight = sight();
            let ping = frame(kind, 0, &[0; 8]);
            for _ in 0..ALLOWANCE {
                assert_eq!(sight.look(&ping), Seen::Fine);
            }
            assert_eq!(sight.look(&ping), Seen::TooMuch);
            tokio::time::advance(PERIOD).await;
            assert_eq!(sight.look(&ping), Seen::Fine);
        }
        let mut sight = sight();
        for _ in 0..10_000 {
            assert_eq!(sight.look(&frame(DATA, 0, b"x")), Seen::Fine);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_is_fine_as_long_as_it_is_not_all_there_is() {
        let (head, reset) = (frame(HEADERS, ENDS, &[0x82]), frame(RST_STREAM, 0, &[0; 4]));
        let mut rapid = sight();
        let pair = [head.clone(), reset.clone()].concat();
        let cut = (0..1000).position(|_| rapid.look(&pair) == Seen::TooMuch);
        assert_eq!(cut, Some(usize::try_from(RESETS).unwrap()));
        let mut third = sight();
        for _ in 0..900 {
            assert_eq!(third.look(&[&head[..], &head, &head, &reset].concat()), Seen::Fine);
        }
    }
}
