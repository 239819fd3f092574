//! A client that is nobody's connection: what sends a request on the proxy's own behalf.
//!
//! Its task goes on when whoever caused it has left. What becomes of the response is a
//! [`Receiver`]'s business.

use std::io;
use std::task::{Context, Poll};

use crate::clock::Instant;
use crate::exchange::{Client, Emit, Outgoing, Sink, Source};
use crate::net::stalls::StallPeer;
use crate::net::{BodyError, Fill};
use crate::wire::head::Fields;
use crate::wire::{Fault, ResponseHead};

/// Takes a response that nobody's connection waits for.
pub trait Receiver {
    /// The head of an informational response.
    fn receive_interim(&mut self, _head: &ResponseHead) {}
    /// The head of the final response.
    fn begin_response(&mut self, response: &Outgoing<'_>);
    /// Takes a part of `data` and says how much.
    ///
    /// # Errors
    /// The rest of the response is not wanted.
    fn poll_take(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;
    /// Nothing more has come for now.
    fn flush_body(&mut self);
    /// The response is whole.
    fn finish_response(&mut self, trailers: Option<&Fields>);
    /// The response was cut.
    fn cut_response(&mut self);
    /// Ready when nobody wants the response any more.
    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A client without a connection: it has a body to send, and a receiver for the response.
///
/// One type for all receivers, as the whole walk is compiled once for each type of client.
pub struct DetachedClient<'a> {
    receiver: &'a mut dyn Receiver,
    body: &'a [u8],
    trailers: Option<&'a Fields>,
    at: usize,
    taken: u64,
    begun: bool,
    ended: bool,
}

impl<'a> DetachedClient<'a> {
    /// A client that sends this body.
    pub fn new(body: &'a [u8], receiver: &'a mut dyn Receiver) -> Self {
        Self { receiver, body, trailers: None, at: 0, taken: 0, begun: false, ended: false }
    }

    /// The same, with fields behind the body.
    #[must_use]
    pub fn with_trailers(self, trailers: Option<&'a Fields>) -> Self {
        Self { trailers, ..self }
    }
}

impl Source for DetachedClient<'_> {
    fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        let fill = if self.body_data().is_empty() { Fill::End } else { Fill::Data };
        Poll::Ready(Ok(fill))
    }

    fn body_data(&self) -> &[u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    fn consume_body(&mut self, n: usize) {
        self.at += n;
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        Ok(self.trailers.cloned())
    }
}

impl Sink for DetachedClient<'_> {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.receiver.poll_take(cx, data);
        if let Poll::Ready(Ok(n)) = &polled {
            self.taken += *n as u64;
        }
        polled
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.receiver.flush_body();
        Poll::Ready(Ok(()))
    }

    fn poll_finish(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            self.receiver.finish_response(trailers);
        }
        Poll::Ready(Ok(()))
    }
}

impl StallPeer for DetachedClient<'_> {}

impl Client for DetachedClient<'_> {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_unwanted(cx)
    }

    fn look_again(&self) -> Option<Instant> {
        None
    }

    fn received_bytes(&self) -> u64 {
        self.at as u64
    }

    fn sent_bytes(&self) -> u64 {
        self.taken
    }

    fn is_empty(&self) -> bool {
        self.body.is_empty() && self.trailers.is_none()
    }

    fn request_done(&self) -> bool {
        self.body_data().is_empty()
    }

    fn send_interim(&mut self, head: &ResponseHead) {
        self.receiver.receive_interim(head);
    }

    fn begin_response(&mut self, response: &Outgoing<'_>) {
        self.begun = true;
        self.receiver.begin_response(response);
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {}

    fn become_tunnel(&mut self, _: &dyn Fn(&mut dyn Emit)) {}

    fn cut_response(&mut self) {
        if !self.ended {
            self.ended = true;
            self.receiver.cut_response();
        }
    }
}
