//! One stream of an HTTP/2 connection to a server: a request that is being written and a response
//! that is being read.

use std::io;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};
use smallvec::SmallVec;

use super::handle::{FieldBlock, Handle};
use super::link::StreamPlace;
use super::state::{Ended, StreamEnd};
use crate::exchange::{HeadError, Length, Sink, Source};
use crate::net::stalls::StallMark;
use crate::net::{BodyError, BodyFraming, Fill};
use crate::wire::frames::ErrorCode;
use crate::wire::head::Fields;
use crate::wire::hpack::Pseudo;
use crate::wire::{Fault, Framing, Known, ResponseFault, ResponseHead, framing, grpc, known};

/// The text that a WebSocket key is hashed with (RFC 6455 §1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Another protocol that was asked for.
#[derive(Debug)]
struct RequestBodyState {
    protocol: Vec<u8>,
    /// The answer to the key of a WebSocket.
    accept: Option<String>,
}

/// A request and its response.
#[derive(Debug)]
pub struct H2Origin {
    // Before the place: a stream must be gone before its place is free.
    stream: Option<Handle>,
    head: ResponseHead,
    /// The head of the request as HTTP/1 writes it, until it is sent.
    draft: Vec<u8>,
    framing: Framing,
    /// A response that has no body, whatever the server sends: to HEAD, or 204 or 304.
    bodiless: bool,
    asked: Option<RequestBodyState>,
    /// Nothing goes up until the server has agreed to a tunnel.
    closed: bool,
    grpc_status: Option<u8>,
    /// The answers that had begun on the connection before this was sent.
    heard: u64,
    uses: u32,
    place: StreamPlace,
}

impl H2Origin {
    pub(super) fn new(place: StreamPlace, uses: u32) -> Self {
        Self {
            stream: None,
            head: ResponseHead::default(),
            draft: Vec::new(),
            framing: Framing::None,
            bodiless: false,
            asked: None,
            closed: false,
            grpc_status: None,
            heard: place.0.answers_heard(),
            uses,
            place,
        }
    }

    /// Ready once it is known whether the server lets requests turn into tunnels.
    pub fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        self.place.0.poll_settled(cx)
    }

    /// Returns whether the server has ever said anything in HTTP/2.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.place.0.has_settled()
    }

    /// Returns the buffer for the head of the request, in the form of HTTP/1: the one that all who
    /// write heads know.
    pub fn begin_request(&mut self) -> &mut Vec<u8> {
        self.draft = self.place.0.borrow_draft();
        &mut self.draft
    }

    /// Sends the head that was written, which has announced a body like this. What goes wrong shows
    /// when the response is read. What the client guarded in `request` is guarded here too (RFC
    /// 7541 §6.2.3).
    pub fn send_head(&mut self, coding: BodyFraming, request: Option<&Fields>) {
        let whole = coding == BodyFraming::Exactly(0);
        let draft = std::mem::take(&mut self.draft);
        let guards = |name: &[u8]| request.is_some_and(|fields| fields.guards(name));
        let mut request = OutgoingRequest::default();
        if request.read_draft(&draft).is_some() {
            self.stream = self.place.0.begin_stream();
            // A tunnel begins with its first byte: there is no place for a body in front of it.
            let takes = whole && self.place.0.takes_connect();
            self.asked = request.asked.filter(|_| takes).map(|protocol| {
                let accept = request.key.map(|key| {
                    let hash = Sha1::new().chain_update(key).chain_update(WEBSOCKET);
                    BASE64_STANDARD.encode(hash.finalize())
                });
                RequestBodyState { protocol: protocol.to_vec(), accept }
            });
            let tunnel = self.asked.is_some();
            self.closed = tunnel;
            let secure = self.place.0.is_secure();
            if let Some(stream) = &mut self.stream {
                let coding = if tunnel { BodyFraming::UntilClose } else { coding };
                let ends = whole && !tunnel;
                stream.send_head(coding, ends, &mut |block| {
                    request.write_fields(block, &guards, (secure, tunnel));
                });
            }
        }
        drop(request);
        self.place.0.return_draft(draft);
    }

    /// Returns whether earlier requests were sent on the connection.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.uses > 1
    }

    /// The last head that [`H2Origin::poll_head`] stored.
    #[must_use]
    pub fn response_head(&self) -> &ResponseHead {
        &self.head
    }

    /// Waits for the next head, informational ones included.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn poll_head(
        &mut self,
        cx: &Context<'_>,
        head_request: bool,
    ) -> Poll<Result<(), HeadError>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(HeadError::Unprocessed));
        };
        if let Err(over) = ready!(stream.poll_head(cx, &mut self.head)) {
            return Poll::Ready(Err(head_error(over)));
        }
        if matches!(self.head.status, 100..=199) {
            return Poll::Ready(Ok(()));
        }
        if let (Some(asked), 200..=299) = (self.asked.take(), self.head.status) {
            // The walk speaks of it as HTTP/1 does.
            self.head.status = 101;
            self.head.fields.push(b"upgrade", &asked.protocol);
            if let Some(accept) = asked.accept {
                self.head.fields.push(b"sec-websocket-accept", accept.as_bytes());
            }
        }
        self.framing = match framing::of_response(&self.head, head_request)? {
            Framing::UntilClose if stream.is_received() => Framing::None,
            framing => framing,
        };
        self.bodiless = head_request || matches!(self.head.status, 204 | 304);
        stream.expected = match self.framing {
            Framing::Length(n) => Some(n),
            Framing::None if self.head.status != 101 && !self.bodiless => Some(0),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        // What is known to be wrong before anything was sent to the client is an answer of the
        // proxy's own.
        match stream.broken_ahead() {
            Some(StreamEnd::Connection(Ended::Lost)) => {
                Poll::Ready(Err(HeadError::Closed { any: true }))
            }
            Some(end) => Poll::Ready(Err(head_error(end))),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The length of the response body as it can be told to a client.
    #[must_use]
    pub fn body_length(&self, head_request: bool) -> Length {
        match Length::from_head(&self.head, self.framing, head_request) {
            // Trailers may follow, or are here: no body may have a length then (RFC 9112 §7.1).
            Length::Known(0) if !self.has_ended() => Length::Unknown,
            length => length,
        }
    }

    /// Returns whether nothing follows what has been read.
    fn has_ended(&self) -> bool {
        self.stream.as_ref().is_none_or(Handle::has_nothing_left)
    }

    /// Returns the end of a call of gRPC, after its trailers.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    /// The server has agreed to a tunnel.
    pub fn become_tunnel(&mut self) {
        self.closed = false;
    }

    /// Notes that it took too long. Should the connection be dead, others must not wait on it too;
    /// who has heard another answer meanwhile knows that it is not.
    pub fn doubt_connection(&self) {
        if self.place.0.answers_heard() == self.heard {
            self.place.0.retire();
        }
    }

    /// Returns how far the server has come with what is sent to it and with what holds that up;
    /// `None` where no stream began.
    #[must_use]
    pub fn stall_mark(&self) -> Option<StallMark> {
        let mark = self.stream.as_ref()?.stall_mark();
        Some(StallMark { untaken: self.place.0.count_untaken(), ..mark })
    }

    /// Counts the bytes of its connection up to the end of what was queued.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.place.0.queued_bytes()
    }

    /// Counts those of them that the server's system has acknowledged; `None` where nobody tells.
    #[must_use]
    pub fn acknowledged_bytes(&self) -> Option<u64> {
        self.place.0.acknowledged_bytes()
    }

    /// Breaks it off: what was sent so far must not pass for a whole request.
    pub fn cut_request(&mut self) {
        self.stream.iter().for_each(|stream| stream.reset_stream(ErrorCode::CANCEL));
    }
}

/// Reads what the end of a stream says about its request.
fn head_error(end: StreamEnd) -> HeadError {
    match end {
        // RFC 9113 §6.8, §8.7: the server says that it has not looked at it.
        StreamEnd::Unprocessed => HeadError::Unprocessed,
        StreamEnd::Reset(ErrorCode::PROTOCOL_ERROR) => HeadError::Rejected,
        StreamEnd::Complete
        | StreamEnd::Stopped
        | StreamEnd::Reset(_)
        | StreamEnd::Cancelled
        | StreamEnd::Malformed(_) => HeadError::Reset,
        StreamEnd::Connection(Ended::Lost) => HeadError::Closed { any: false },
        StreamEnd::Connection(Ended::Failed(_)) => HeadError::Invalid(ResponseFault::Protocol),
        StreamEnd::Invalid(fault) => HeadError::Invalid(fault),
    }
}

/// A field, and what its name means.
type RequestLine<'a> = (&'a [u8], &'a [u8], Known);

/// A request in the form of HTTP/1.
#[derive(Default)]
struct OutgoingRequest<'a> {
    method: &'a [u8],
    target: &'a [u8],
    authority: Option<&'a [u8]>,
    /// The protocol that is asked for.
    asked: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    /// The other fields, but for those that concern a connection of HTTP/1.
    fields: SmallVec<[RequestLine<'a>; 24]>,
}

/// The first line, and what is behind it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    let (line, rest) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

impl<'a> OutgoingRequest<'a> {
    /// Reads all of it; `None` if it is none. It is read where it stays, because it is large.
    fn read_draft(&mut self, draft: &'a [u8]) -> Option<()> {
        let (first, mut lines) = split_line(draft)?;
        let mut words = first.split(|b| *b == b' ');
        (self.method, self.target) = (words.next()?, words.next()?);
        while let Some((field, rest)) = split_line(lines).filter(|(field, _)| !field.is_empty()) {
            lines = rest;
            let colon = memchr::memchr(b':', field)?;
            let (name, value) = (field.get(..colon)?, field.get(colon + 1..)?.trim_ascii());
            match known::lookup(name) {
                Known::Host => self.authority = Some(value),
                Known::Connection | Known::TransferEncoding => {}
                Known::Upgrade => self.asked = Some(value),
                known => {
                    if known == Known::SecWebSocketKey {
                        self.key = Some(value);
                    }
                    self.fields.push((name, value, known));
                }
            }
        }
        Some(())
    }

    /// Writes it as HTTP/2 does (RFC 9113 §8.3.1). It asks for a tunnel (RFC 8441 §4) only where
    /// the server takes that; elsewhere it is what it is without `Upgrade`, which nobody has to
    /// obey (RFC 9110 §7.8).
    fn write_fields(
        &self,
        block: &mut FieldBlock<'_>,
        guards: &dyn Fn(&[u8]) -> bool,
        (secure, tunnel): (bool, bool),
    ) {
        let FieldBlock { encoder, out } = block;
        let method = if tunnel { b"CONNECT" } else { self.method };
        encoder.put_pseudo(out, Pseudo::Method, method);
        if let Some(protocol) = self.asked.filter(|_| tunnel) {
            encoder.put_pseudo(out, Pseudo::Protocol, protocol);
        }
        encoder.put_pseudo(out, Pseudo::Scheme, if secure { b"https" } else { b"http" });
        // A client of HTTP/1.0 may have named none.
        if let Some(authority) = self.authority.filter(|authority| !authority.is_empty()) {
            encoder.put_pseudo(out, Pseudo::Authority, authority);
        }
        encoder.put_pseudo(out, Pseudo::Path, self.target);
        for (name, value, known) in &self.fields {
            if !(tunnel && *known == Known::SecWebSocketKey) {
                if guards(name) {
                    block.encoder.never_indexed(block.out, name, value);
                } else {
                    block.put_field(name, value, *known);
                }
            }
        }
    }
}

impl Source for H2Origin {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        match &mut self.stream {
            Some(stream) => match ready!(stream.poll_fill(cx)) {
                // RFC 9110 §6.4.1: it is dropped, as it is when a server of HTTP/1 sends it.
                Ok(Fill::Data) if self.bodiless => Poll::Ready(Ok(Fill::End)),
                filled => Poll::Ready(filled),
            },
            None => Poll::Ready(Ok(Fill::End)),
        }
    }

    fn body_data(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], Handle::body_data)
    }

    fn consume_body(&mut self, n: usize) {
        self.stream.iter_mut().for_each(|stream| stream.consume_body(n));
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        let trailers = self.stream.as_mut().and_then(Handle::take_trailers);
        self.grpc_status = trailers.as_ref().and_then(grpc::parse_status);
        Ok(trailers)
    }
}

impl Sink for H2Origin {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Some(stream) => stream.poll_write(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what all of its streams have.
        Poll::Ready(Ok(()))
    }

    fn poll_finish(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(match &mut self.stream {
            Some(stream) if !self.closed => stream.finish_message(trailers),
            _ => Ok(()),
        })
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        let head = std::mem::take(&mut self.head);
        if let Some(stream) = &mut self.stream {
            stream.spare_head(head);
        }
    }
}
