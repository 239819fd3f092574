//! One stream of an HTTP/2 connection to a server: a request that is being written and a response that is being read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use h2::Reason;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri};
use sha1::{Digest, Sha1};

use super::body::{Incoming, Sending};
use super::fields::Map;
use super::link::Place;
use crate::exchange::{Emit, HeadError, Length, Sink, Source};
use crate::net::{BodyError, Fill};
use crate::wire::head::Fields;
use crate::wire::response::MAX_FIELDS;
use crate::wire::{Fault, Framing, ResponseFault, ResponseHead, framing, grpc};

/// What a WebSocket key is hashed with (RFC 6455 §1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Another protocol that was asked for.
#[derive(Debug)]
struct Asked {
    protocol: String,
    /// The answer to the key of a WebSocket.
    accept: Option<String>,
}

/// A request and its response.
#[derive(Debug)]
pub struct H2Origin {
    // Before the place: a stream must be gone before its place is free.
    response: Option<ResponseFuture>,
    body: Incoming,
    out: Sending,
    head: ResponseHead,
    /// The head of the request as HTTP/1 writes it, until it is sent.
    draft: Vec<u8>,
    /// Why it could not be sent.
    unsent: Option<HeadError>,
    framing: Framing,
    asked: Option<Asked>,
    /// Nothing goes up until the server has agreed to a tunnel.
    closed: bool,
    grpc_status: Option<u8>,
    /// The answers that had begun on the connection before this was sent.
    heard: u64,
    uses: u32,
    place: Place,
}

impl H2Origin {
    pub(super) fn new(place: Place, uses: u32) -> Self {
        Self {
            response: None,
            body: Incoming::default(),
            out: Sending::default(),
            head: ResponseHead::default(),
            draft: Vec::new(),
            unsent: None,
            framing: Framing::None,
            asked: None,
            closed: false,
            grpc_status: None,
            heard: place.0.heard(),
            uses,
            place,
        }
    }

    /// Ready once it is known whether the server lets requests turn into tunnels.
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.place.0.poll_settled(cx)
    }

    /// Whether the server has ever said anything in HTTP/2.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        self.place.0.has_settled()
    }

    /// Where the head of the request is written, in the form of HTTP/1: the one that all who write heads know.
    pub fn begin(&mut self) -> &mut Vec<u8> {
        self.draft = self.place.0.borrow_draft();
        &mut self.draft
    }

    /// Sends the head that was written; `whole` when no body follows. What goes wrong shows when the response is read.
    pub fn send(&mut self, whole: bool) {
        let draft = std::mem::take(&mut self.draft);
        let request = self.request(&draft);
        self.place.0.return_draft(draft);
        let Some(request) = request else {
            self.unsent = Some(HeadError::Reset);
            return;
        };
        let whole = whole && self.asked.is_none();
        match self.place.0.send(request, whole) {
            Ok((response, stream)) => {
                self.response = Some(response);
                self.out.begin(stream, whole);
            }
            Err(_) => self.unsent = Some(HeadError::Unprocessed),
        }
    }

    /// The request in a head that HTTP/1 would be sent (RFC 9113 §8.3.1). It asks for a tunnel (RFC 8441 §4) only where the
    /// server takes that; elsewhere it is what it is without `Upgrade`, which nobody has to obey (RFC 9110 §7.8).
    fn request(&mut self, draft: &[u8]) -> Option<Request<()>> {
        let mut lines = draft.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let mut words = lines.next()?.split(|b| *b == b' ');
        let (method, target) = (words.next()?, words.next()?);
        let mut map = Map(HeaderMap::with_capacity(16));
        let (mut authority, mut protocol) = (None, None);
        for line in lines.filter(|line| !line.is_empty()) {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?.trim_ascii());
            match name {
                b"host" => authority = Authority::try_from(value).ok(),
                b"connection" | b"transfer-encoding" => {}
                b"upgrade" => protocol = std::str::from_utf8(value).ok(),
                _ => map.field(name, value),
            }
        }
        let scheme = if self.place.0.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut uri =
            Uri::builder().scheme(scheme).path_and_query(PathAndQuery::try_from(target).ok()?);
        uri = uri.authority(authority?);
        let mut request = Request::new(());
        *request.uri_mut() = uri.build().ok()?;
        *request.method_mut() = Method::from_bytes(method).ok()?;
        if let Some(protocol) = protocol.filter(|_| self.place.0.takes_connect()) {
            let accept = map.0.remove("sec-websocket-key").map(|key| {
                let hash = Sha1::new().chain_update(key.as_bytes()).chain_update(WEBSOCKET);
                BASE64_STANDARD.encode(hash.finalize())
            });
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(Protocol::from(protocol));
            self.asked = Some(Asked { protocol: protocol.to_owned(), accept });
            self.closed = true;
        }
        *request.headers_mut() = map.0;
        Some(request)
    }

    /// Whether earlier requests were sent on the connection.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.uses > 1
    }

    /// The last head that [`H2Origin::poll_head`] stored.
    #[must_use]
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Waits for the next head, informational ones included.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head_request: bool,
    ) -> Poll<Result<(), HeadError>> {
        if let Some(unsent) = self.unsent.take() {
            return Poll::Ready(Err(unsent));
        }
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(HeadError::Reset));
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            read(&interim, &mut self.head);
            return Poll::Ready(Ok(()));
        }
        let answered = ready!(Pin::new(response).poll(cx));
        self.place.0.hear();
        self.response = None;
        let response = answered.map_err(|error| self.failure(&error))?;
        if response.headers().len() > MAX_FIELDS {
            return Poll::Ready(Err(ResponseFault::HeadTooLarge.into()));
        }
        read(&response, &mut self.head);
        let stream = response.into_body();
        if let (Some(asked), 200..=299) = (self.asked.take(), self.head.status) {
            // The walk speaks of it as HTTP/1 does.
            self.head.status = 101;
            self.head.fields.push(b"upgrade", asked.protocol.as_bytes());
            if let Some(accept) = asked.accept {
                self.head.fields.push(b"sec-websocket-accept", accept.as_bytes());
            }
        }
        self.framing = match framing::of_response(&self.head, head_request)? {
            Framing::UntilClose if stream.is_end_stream() => Framing::None,
            framing => framing,
        };
        self.body = Incoming::new(Some(stream));
        Poll::Ready(Ok(()))
    }

    /// What an error says about the request.
    fn failure(&self, error: &h2::Error) -> HeadError {
        if error.is_io() || error.is_go_away() {
            self.place.0.retire();
        }
        if error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
        {
            // RFC 9113 §6.8, §8.7: the server says that it has not looked at it.
            HeadError::Unprocessed
        } else if error.is_io() {
            HeadError::Closed { any: false }
        } else if error.is_remote() {
            HeadError::Reset
        } else {
            HeadError::Invalid(ResponseFault::StatusLine)
        }
    }

    /// The length of the response body as it can be told to a client.
    #[must_use]
    pub fn length(&self, head_request: bool) -> Length {
        Length::of(&self.head, self.framing, head_request)
    }

    /// How a call of gRPC ended, after its trailers.
    #[must_use]
    pub fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    /// The server has agreed to a tunnel.
    pub fn upgrade(&mut self) {
        self.closed = false;
    }

    /// It took too long. Should the connection be dead, others must not wait on it too; who has heard another answer
    /// meanwhile knows that it is not.
    pub fn doubt(&self) {
        if self.place.0.heard() == self.heard {
            self.place.0.retire();
        }
    }

    /// What was sent so far must not pass for a whole request.
    pub fn cut(&mut self) {
        self.out.reset(Reason::CANCEL);
    }
}

/// Copies the head of a response.
fn read<B>(response: &Response<B>, head: &mut ResponseHead) {
    head.set(response.status().as_u16(), b"");
    for (name, value) in response.headers() {
        head.fields.push(name.as_str().as_bytes(), value.as_bytes().trim_ascii());
    }
}

impl Source for H2Origin {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        self.body.poll_fill(cx)
    }

    fn data(&self) -> &[u8] {
        self.body.data()
    }

    fn consume(&mut self, n: usize) {
        self.body.consume(n);
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        let trailers = self.body.trailers()?;
        self.grpc_status = trailers.as_ref().and_then(grpc::status);
        Ok(trailers)
    }
}

impl Sink for H2Origin {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.out.poll_write(cx, data)
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
        Poll::Ready(if self.closed { Ok(()) } else { self.out.finish(trailers) })
    }
}
