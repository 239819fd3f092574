//! Reads one message body, in whatever framing, as a series of slices.

use std::io;
use std::task::{Context, Poll, ready};

use thiserror::Error;

use super::{Inbox, Stream};
use crate::wire::head::Fields;
use crate::wire::{ChunkedDecoder, Fault, Framing, Sender, trailers};

/// The next thing that a body reader has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// At least one byte of data.
    Data,
    /// The body is complete.
    End,
}

/// A reason why reading a body failed.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The connection ended before the body did.
    #[error("the connection ended inside a message body")]
    Truncated,
    /// The framing is broken.
    #[error("{0}")]
    Framing(Fault),
    /// More bytes came than a limit allows.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[derive(Debug)]
enum BodyKind {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

/// The reading side of one body. The bytes themselves stay in the connection's [`Inbox`].
#[derive(Debug)]
pub struct BodyReader {
    kind: BodyKind,
    /// Decoded bytes at the front of the inbox.
    ready: usize,
    /// Bytes between the decoded data and the next message.
    gap: usize,
    /// All of the body has been decoded; `ready` bytes may be left to take.
    complete: bool,
    received: u64,
    /// What is wrong with the framing behind the decoded bytes, if that was read ahead.
    fault: Option<Fault>,
}

impl Default for BodyReader {
    fn default() -> Self {
        Self::new(Framing::None, Sender::Client)
    }
}

impl BodyReader {
    /// A reader for a body whose first bytes may already be in the inbox.
    #[must_use]
    pub fn new(framing: Framing, sender: Sender) -> Self {
        let (kind, complete) = match framing {
            Framing::None => (BodyKind::Length(0), true),
            Framing::Length(n) => (BodyKind::Length(n), n == 0),
            Framing::Chunked => (BodyKind::Chunked(Box::new(ChunkedDecoder::new(sender))), false),
            Framing::UntilClose => (BodyKind::UntilClose, false),
        };
        Self { kind, ready: 0, gap: 0, complete, received: 0, fault: None }
    }

    /// Waits until there is data, or nothing more to come.
    ///
    /// # Errors
    /// [`BodyError`]; the connection is of no use afterwards.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut Inbox,
        stream: &mut Stream,
    ) -> Poll<Result<Fill, BodyError>> {
        loop {
            if self.ready > 0 {
                return Poll::Ready(Ok(Fill::Data));
            }
            if self.complete {
                return Poll::Ready(Ok(Fill::End));
            }
            if let Some(fault) = self.fault {
                return Poll::Ready(Err(BodyError::Framing(fault)));
            }
            if inbox.is_empty() {
                let n = ready!(inbox.poll_fill(cx, stream, usize::MAX))?;
                if n == 0 {
                    if matches!(self.kind, BodyKind::UntilClose) {
                        self.complete = true;
                        return Poll::Ready(Ok(Fill::End));
                    }
                    return Poll::Ready(Err(BodyError::Truncated));
                }
            }
            self.decode_inbox(inbox)?;
        }
    }

    /// Reads on although nobody takes the data: until `limit` bytes wait, or all of the body is
    /// here. A fault of the framing is told by [`BodyReader::poll_fill`], behind what was read
    /// before.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] and [`BodyError::Io`].
    pub fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        (inbox, stream): (&mut Inbox, &mut Stream),
        limit: usize,
    ) -> Poll<Result<(), BodyError>> {
        loop {
            if self.complete || self.fault.is_some() {
                return Poll::Ready(Ok(()));
            }
            if self.ready < inbox.len() {
                if let Err(BodyError::Framing(fault)) = self.decode_inbox(inbox) {
                    self.fault = Some(fault);
                }
            } else if inbox.len() >= limit {
                return Poll::Ready(Ok(()));
            } else if ready!(inbox.poll_fill(cx, stream, limit))? == 0 {
                return Poll::Ready(Err(BodyError::Truncated));
            }
        }
    }

    /// Decodes everything in the inbox behind the first `ready` bytes. Afterwards the inbox starts
    /// with `ready` bytes of data, and what else it holds belongs to the next message.
    fn decode_inbox(&mut self, inbox: &mut Inbox) -> Result<(), BodyError> {
        let before = self.ready;
        match &mut self.kind {
            BodyKind::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len() - before);
                *left -= n as u64;
                self.ready += n;
                self.complete = *left == 0;
            }
            BodyKind::UntilClose => self.ready = inbox.len(),
            BodyKind::Chunked(decoder) => {
                let progress =
                    decoder.decode(inbox.data_mut(), before, before).map_err(BodyError::Framing)?;
                self.ready = progress.data_end;
                self.complete = progress.done;
                self.gap = progress.raw - progress.data_end;
                if !progress.done {
                    // Everything has been looked at: only the data is still needed.
                    inbox.truncate(progress.data_end);
                    self.gap = 0;
                } else if self.ready == 0 {
                    inbox.consume(std::mem::take(&mut self.gap));
                }
            }
        }
        self.received += (self.ready - before) as u64;
        Ok(())
    }

    /// The data at hand after [`Fill::Data`].
    #[inline]
    #[must_use]
    pub fn ready_data<'a>(&self, inbox: &'a Inbox) -> &'a [u8] {
        inbox.data().get(..self.ready).unwrap_or_default()
    }

    /// Drops `n` bytes of the data.
    #[inline]
    pub fn consume_data(&mut self, inbox: &mut Inbox, n: usize) {
        let n = n.min(self.ready);
        self.ready -= n;
        let gap = if self.ready == 0 { std::mem::take(&mut self.gap) } else { 0 };
        inbox.consume(n + gap);
    }

    /// Returns whether the body has been read and taken to its end.
    #[inline]
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.complete && self.ready == 0
    }

    /// Body bytes decoded so far, framing not counted.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Returns whether all of the body is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Returns how many more bytes will come at most; `None` when only the end will tell.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match &self.kind {
            BodyKind::Length(left) => Some(left + self.ready as u64),
            BodyKind::Chunked(_) | BodyKind::UntilClose => {
                self.complete.then_some(self.ready as u64)
            }
        }
    }

    /// The trailer fields that may be passed on, after [`Fill::End`]. `None` when there are none.
    ///
    /// # Errors
    /// [`Fault::Trailer`] when the trailer section is malformed.
    #[inline]
    pub fn parsed_trailers(&self) -> Result<Option<Fields>, Fault> {
        match &self.kind {
            BodyKind::Chunked(decoder) if !decoder.trailers().is_empty() => {
                parse_section(decoder.trailers())
            }
            BodyKind::Chunked(_) | BodyKind::Length(_) | BodyKind::UntilClose => Ok(None),
        }
    }
}

/// Few bodies have any.
#[cold]
fn parse_section(section: &[u8]) -> Result<Option<Fields>, Fault> {
    let fields = trailers::parse(section).ok_or(Fault::Trailer)?;
    Ok((!fields.is_empty()).then_some(fields))
}

#[cfg(test)]
mod tests;
