//! What the walk needs from a client, whichever protocol it speaks.

use std::io;
use std::task::{Context, Poll};

use thiserror::Error;

use crate::clock::Instant;
use crate::net::stalls::StallPeer;
use crate::net::{BodyError, Fill};
use crate::wire::head::{FieldRef, Fields};
use crate::wire::{Fault, Framing, Known, ResponseFault, ResponseHead, encode};

/// Takes the fields of a head, whatever form they have there.
pub trait Emit {
    /// One field.
    fn emit_field(&mut self, name: &[u8], value: &[u8]);

    /// Passes on those of the received fields that `keep` keeps.
    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        for field in fields.iter().filter(|field| keep(*field)) {
            self.emit_field(field.name, field.value);
        }
    }
}

/// As they are, for later.
impl Emit for Fields {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        self.push(name, value);
    }

    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        for field in fields.iter().filter(|field| keep(*field)) {
            self.push_known(field.name, field.value, field.known);
            if field.never_indexed {
                self.guard_last();
            }
        }
    }
}

/// HTTP/1: lines of bytes.
impl Emit for Vec<u8> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        encode::field(self, name, value);
    }

    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        fields.write_lines(self, keep);
    }
}

/// The side that a body comes from.
pub trait Source {
    /// Waits until there is data, or nothing more to come.
    ///
    /// # Errors
    /// [`BodyError`]; nothing more can be read afterwards.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>>;
    /// The data at hand after [`Fill::Data`].
    fn body_data(&self) -> &[u8];
    /// Drops `n` bytes of the data at hand.
    fn consume_body(&mut self, n: usize);
    /// The trailer fields that may be passed on, after [`Fill::End`]. Those of a request are given
    /// as often as they are asked for, because it may be sent more than once.
    ///
    /// # Errors
    /// [`Fault::Trailer`] when they are malformed.
    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault>;
}

/// The side that a body goes to.
pub trait Sink {
    /// Takes a part of `data` and says how much. What is not taken is offered again.
    ///
    /// # Errors
    /// Whatever the connection says; it is of no use afterwards.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;
    /// Sends what was taken.
    ///
    /// # Errors
    /// As for [`Sink::poll_write`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends the body and sends what is left.
    ///
    /// # Errors
    /// As for [`Sink::poll_write`].
    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>>;
}

/// The length of a response's body, as far as anyone knows when its head is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// No body may follow: an answer to `HEAD`, or 204 or 304. Carries the length that would have
    /// been, if the server told it.
    Bodiless(Option<u64>),
    /// Exactly this many bytes.
    Known(u64),
    /// Until it ends.
    Unknown,
}

impl Length {
    /// Reads it from the head of a response.
    #[must_use]
    pub fn from_head(head: &ResponseHead, framing: Framing, head_request: bool) -> Self {
        match framing {
            Framing::Length(n) => Length::Known(n),
            Framing::Chunked | Framing::UntilClose => Length::Unknown,
            Framing::None if head_request || head.status == 304 => {
                let told = head.fields.first(Known::ContentLength);
                Length::Bodiless(told.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()))
            }
            Framing::None if head.status == 204 => Length::Bodiless(None),
            Framing::None => Length::Known(0),
        }
    }
}

/// A reason why no response head came.
#[derive(Debug, Error)]
pub enum HeadError {
    /// The connection ended; `any` is whether a byte of an answer had come.
    #[error("the connection ended before the response head did")]
    Closed {
        /// True if a byte of an answer had come.
        any: bool,
    },
    /// The server gave up this request alone.
    #[error("the server gave up the request")]
    Reset,
    /// The server gave up this request alone, because it is malformed.
    #[error("the server calls the request malformed")]
    Rejected,
    /// The server has not looked at the request, and never will.
    #[error("the request was not processed")]
    Unprocessed,
    /// The bytes that came are not a response.
    #[error("{0}")]
    Invalid(#[from] ResponseFault),
}

/// The head of a response on its way to a client, without framing and connection fields: those
/// are the client side's own.
pub struct Outgoing<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The reason phrase to use; may be empty.
    pub reason: &'a [u8],
    /// Writes every field to send, in order.
    pub fields: &'a dyn Fn(&mut dyn Emit),
    /// The body's length.
    pub length: Length,
}

/// The client's side of one exchange.
pub trait Client: Source + Sink + StallPeer {
    /// Ready when the client has gone away and nobody will read an answer.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// As [`Client::poll_gone`], for a wait during which nobody reads the body: some of it is read
    /// ahead, within a bound.
    fn poll_gone_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_gone(cx)
    }
    /// Returns when [`Client::poll_gone`] wants to be asked again although nothing happened.
    fn look_again(&self) -> Option<Instant>;
    /// Body bytes received so far.
    fn received_bytes(&self) -> u64;
    /// Bytes of the response's body sent so far.
    fn sent_bytes(&self) -> u64;
    /// Returns whether the whole request has been received.
    fn request_done(&self) -> bool;
    /// Returns whether the whole request has been received, and had neither a body nor trailers.
    fn is_empty(&self) -> bool;
    /// Queues an informational (1xx) head, if the client's protocol version has them.
    fn send_interim(&mut self, head: &ResponseHead);
    /// Queues the head of the final response. It leaves with the first body bytes or a flush.
    fn begin_response(&mut self, response: &Outgoing<'_>);
    /// Returns whether [`Client::begin_response`] has been called.
    fn has_begun(&self) -> bool;
    /// No further request may come on this connection, because this one will not be read to its
    /// end.
    fn close_after(&mut self);
    /// Switches protocols: queues a 101 with these fields; from now on the connection carries
    /// bytes of no known meaning.
    fn become_tunnel(&mut self, fields: &dyn Fn(&mut dyn Emit));
    /// Makes sure that what was sent so far cannot pass for a complete response.
    fn cut_response(&mut self);
    /// As [`Client::cut_response`], because the client has stood still and others need its memory.
    fn cut_stalled(&mut self) {
        self.cut_response();
    }
}
