//! The server's side of an attempt: a connection of its own, or a stream of one that is shared.

use std::io;
use std::task::{Context, Poll};

use crate::exchange::{HeadError, Length, Sink, Source};
use crate::h1;
use crate::h2::H2Origin;
use crate::net::stalls::StallMark;
use crate::net::{BodyError, BodyFraming, Fill};
use crate::wire::head::Fields;
use crate::wire::response::HeadLimits;
use crate::wire::{Fault, ResponseHead};

/// The connection that a request goes to and its response comes from.
#[derive(Debug)]
pub enum Origin {
    /// A connection.
    H1(Box<h1::H1Origin>),
    /// A stream.
    H2(Box<H2Origin>),
}

/// Does the same with either.
macro_rules! either {
    ($self:ident, $origin:ident => $do:expr) => {
        match $self {
            Origin::H1($origin) => $do,
            Origin::H2($origin) => $do,
        }
    };
}

impl Origin {
    /// Bounds the heads of responses. A shared connection has the bounds that it was made with.
    pub fn bound_heads(&mut self, limits: HeadLimits) {
        if let Origin::H1(origin) = self {
            origin.limits = limits;
        }
    }

    /// Starts a request; its head is written to what is returned, in the form of HTTP/1.
    pub fn begin_request(&mut self) -> &mut Vec<u8> {
        either!(self, origin => origin.begin_request())
    }

    /// The head has been written, and has announced a body like this. `request` is what the client
    /// sent.
    pub fn send_head(&mut self, coding: BodyFraming, request: Option<&Fields>) {
        match self {
            Origin::H1(origin) => origin.send_head(coding),
            Origin::H2(origin) => origin.send_head(coding, request),
        }
    }

    /// Returns whether what was read last begins no response of HTTP/1 at all.
    pub fn is_astray(&self) -> bool {
        matches!(self, Origin::H1(origin) if origin.is_astray())
    }

    /// Returns whether the connection has carried requests before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        match self {
            Origin::H1(origin) => origin.use_count() > 0,
            Origin::H2(origin) => origin.is_reused(),
        }
    }

    /// Returns whether the connection is for one request at a time.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, Origin::H1(_))
    }

    /// The last head that [`Origin::poll_head`] stored.
    #[must_use]
    pub fn response_head(&self) -> &ResponseHead {
        either!(self, origin => origin.response_head())
    }

    /// Waits for the next head, informational ones included.
    ///
    /// # Errors
    /// [`HeadError`]; there is nothing more to come.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head_request: bool,
    ) -> Poll<Result<(), HeadError>> {
        either!(self, origin => origin.poll_head(cx, head_request))
    }

    /// Returns whether the start of the response body may be none, so that it has to be looked at.
    #[must_use]
    pub fn may_be_broken(&self) -> bool {
        match self {
            Origin::H1(origin) => origin.may_be_broken(),
            Origin::H2(_) => true,
        }
    }

    /// The length of the response body as it can be told to a client.
    #[must_use]
    pub fn body_length(&self, head_request: bool) -> Length {
        either!(self, origin => origin.body_length(head_request))
    }

    /// Turns it into a tunnel after a 101.
    pub fn become_tunnel(&mut self) {
        either!(self, origin => origin.become_tunnel());
    }

    /// Returns how far the server has come with what is sent to it and with what holds that up.
    pub fn stall_mark(&self) -> Option<StallMark> {
        match self {
            Origin::H1(origin) => Some(origin.stall_mark()),
            Origin::H2(origin) => origin.stall_mark(),
        }
    }

    /// Counts the bytes of the connection up to the end of what was queued.
    pub fn queued_bytes(&self) -> u64 {
        either!(self, origin => origin.queued_bytes())
    }

    /// Counts those of them that the server's system has acknowledged; `None` where nobody tells.
    pub fn acknowledged_bytes(&self) -> Option<u64> {
        either!(self, origin => origin.acknowledged_bytes())
    }

    /// Makes sure that an upload that was cut short does not look complete.
    pub fn cut_request(&mut self) {
        either!(self, origin => origin.cut_request());
    }

    /// Returns the end of a call of gRPC, after its trailers.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u8> {
        match self {
            Origin::H1(_) => None,
            Origin::H2(origin) => origin.grpc_status(),
        }
    }

    /// Waits until the server has said what it can do, where it says so before it answers.
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Origin::H1(_) => Poll::Ready(()),
            Origin::H2(origin) => origin.poll_settled(cx),
        }
    }

    /// Returns whether what is spoken is known to be understood.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        match self {
            Origin::H1(_) => true,
            Origin::H2(origin) => origin.has_settled(),
        }
    }

    /// Notes that it took too long: what is shared may be dead.
    pub fn doubt_connection(&self) {
        if let Origin::H2(origin) = self {
            origin.doubt_connection();
        }
    }
}

impl Source for Origin {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        either!(self, origin => origin.poll_fill(cx))
    }

    fn body_data(&self) -> &[u8] {
        either!(self, origin => origin.body_data())
    }

    fn consume_body(&mut self, n: usize) {
        either!(self, origin => origin.consume_body(n));
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        either!(self, origin => origin.read_trailers())
    }
}

impl Sink for Origin {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, origin => origin.poll_write(cx, data))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, origin => origin.poll_flush(cx))
    }

    fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        either!(self, origin => origin.poll_finish(cx, trailers))
    }
}
