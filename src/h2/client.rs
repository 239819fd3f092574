//! One stream of a client's HTTP/2 connection.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::clock::Instant;
use crate::exchange::{Client, Emit, Length, Outgoing, Sink, Source};
use crate::net::{BodyError, Fill};
use crate::wire::head::Fields;
use crate::wire::{Fault, ResponseHead, trailers};

/// A stream: a request that is being read and a response that is being written.
#[derive(Debug)]
pub struct H2Client {
    body: Option<RecvStream>,
    respond: SendResponse<Bytes>,
    out: Option<SendStream<Bytes>>,
    /// The head of the response, until its first body bytes, and whether it is all of it.
    head: Option<(Response<()>, bool)>,
    /// Body bytes at hand.
    data: Bytes,
    trailers: Option<HeaderMap>,
    received: u64,
    sent: u64,
    begun: bool,
    done: bool,
    /// Nothing waits for the client to take it.
    impatient: bool,
}

impl H2Client {
    /// Takes over a stream whose request head has been read.
    #[must_use]
    pub fn new(body: Option<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        Self {
            body,
            respond,
            out: None,
            head: None,
            data: Bytes::new(),
            trailers: None,
            received: 0,
            sent: 0,
            begun: false,
            done: false,
            impatient: false,
        }
    }

    /// From here on, what the client has no room for is an error: a flood of bad requests must not pile up answers.
    pub fn hurry(&mut self) {
        self.impatient = true;
    }

    /// Sends the head of the response, if it waits.
    fn open(&mut self) -> io::Result<()> {
        if let Some((response, whole)) = self.head.take() {
            self.out = Some(self.respond.send_response(response, whole).map_err(broken)?);
            self.done = whole;
        }
        Ok(())
    }
}

fn broken(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

/// Fields of a response; what HTTP/2 cannot carry is left out.
struct Map(HeaderMap);

impl Emit for Map {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            self.0.append(name, value);
        }
    }
}

impl Source for H2Client {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(Fill::End)) };
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.received += data.len() as u64;
                    self.data = data;
                }
                Some(Err(error)) => return Poll::Ready(Err(BodyError::Io(broken(error)))),
                None => {
                    let trailers = ready!(body.poll_trailers(cx));
                    self.trailers = trailers.map_err(|error| BodyError::Io(broken(error)))?;
                    self.body = None;
                    return Poll::Ready(Ok(Fill::End));
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn consume(&mut self, n: usize) {
        self.data.advance(n.min(self.data.len()));
        if let Some(body) = &mut self.body {
            // The client may send as much again. A stream that is gone needs none.
            let _gone = body.flow_control().release_capacity(n);
        }
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Fault> {
        let Some(map) = self.trailers.take() else { return Ok(None) };
        let mut lines = Vec::new();
        map.iter().for_each(|(name, value)| lines.field(name.as_ref(), value.as_bytes()));
        let fields = trailers::parse(&lines).ok_or(Fault::Trailer)?;
        Ok((!fields.is_empty()).then_some(fields))
    }
}

impl Sink for H2Client {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.open()?;
        let Some(out) = self.out.as_mut().filter(|_| !self.done) else {
            return Poll::Ready(Ok(data.len()));
        };
        // What the client's windows have no room for waits here, and with it the server.
        out.reserve_capacity(data.len());
        if self.impatient && out.capacity() == 0 {
            return Poll::Ready(Err(io::ErrorKind::WouldBlock.into()));
        }
        while out.capacity() == 0 {
            match ready!(out.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let part = data.get(..out.capacity()).unwrap_or(data);
        out.send_data(Bytes::copy_from_slice(part), false).map_err(broken)?;
        self.sent += part.len() as u64;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what all of its streams have.
        Poll::Ready(self.open())
    }

    fn poll_finish(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        self.open()?;
        let Some(out) = self.out.as_mut().filter(|_| !self.done) else {
            return Poll::Ready(Ok(()));
        };
        self.done = true;
        let ended = match trailers {
            Some(fields) => {
                let mut map = Map(HeaderMap::new());
                fields.iter().for_each(|field| map.field(field.name, field.value));
                out.send_trailers(map.0)
            }
            None => out.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.map_err(broken))
    }
}

impl Client for H2Client {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Pending;
        }
        match &mut self.out {
            Some(out) => out.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    fn look_again(&self) -> Option<Instant> {
        None
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn request_done(&self) -> bool {
        self.data.is_empty() && self.body.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn interim(&mut self, head: &ResponseHead) {
        if self.begun {
            return;
        }
        let mut map = Map(HeaderMap::new());
        crate::exchange::forward::response_fields(
            head,
            &crate::policy::HeaderEdits::default(),
            &mut map,
        );
        if let Ok(status) = StatusCode::from_u16(head.status) {
            let mut response = Response::new(());
            *response.status_mut() = status;
            *response.headers_mut() = map.0;
            // Nobody has to see it.
            let _unseen = self.respond.send_informational(response);
        }
    }

    fn begin(&mut self, outgoing: &Outgoing<'_>) {
        let mut map = Map(HeaderMap::with_capacity(16));
        (outgoing.fields)(&mut map);
        let Map(mut headers) = map;
        if let Length::Known(n) | Length::Bodiless(Some(n)) = outgoing.length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(n));
        }
        let whole = matches!(outgoing.length, Length::Bodiless(_) | Length::Known(0));
        let mut response = Response::new(());
        *response.status_mut() =
            StatusCode::from_u16(outgoing.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = headers;
        self.head = Some((response, whole));
        self.begun = true;
    }

    fn begun(&self) -> bool {
        self.begun
    }

    fn close_after(&mut self) {
        // Other streams go on.
    }

    fn upgrade(&mut self, _: &dyn Fn(&mut dyn Emit)) {
        // HTTP/2 has no `Upgrade` (RFC 9113 §8.6), so no server can have been asked for one.
        self.cut();
    }

    fn cut(&mut self) {
        if self.done {
            return;
        }
        self.done = true;
        match &mut self.out {
            Some(out) => out.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}
