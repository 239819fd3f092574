//! A connection as the proxy reads it: heads, framing and bodies one after the other.
//!
//! It holds what arrived in a buffer, as the proxy does, so that the places where one message ends
//! and the next begins are part of what is checked.

use http_codec::chunked::ChunkedDecoder;
use http_codec::fault::{Fault, ResponseFault};
use http_codec::framing::{self, Framing};
use http_codec::head::{Fields, RequestHead, ResponseHead, Version};
use http_codec::known::Known;
use http_codec::request::{Limits, RequestParser};
use http_codec::response::ResponseParser;
use http_codec::trailers;

/// More messages than this on one connection show nothing new.
pub const MAX_MESSAGES: usize = 32;

/// Names and values as bytes.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// One message as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The bytes of the head, empty lines before it included.
    pub raw: Vec<u8>,
    pub start: Start,
    pub version: Version,
    pub fields: Pairs,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Pairs,
}

/// The first line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Request { method: Vec<u8>, target: Vec<u8> },
    Response { status: u16, reason: Vec<u8> },
}

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Nothing is left, or [`MAX_MESSAGES`] were read, or the protocol changes here.
    Complete,
    /// The last bytes are the beginning of a head.
    InHead,
    /// The last message, which is not in the list, lacks a part of its body.
    InBody(Box<Message>),
    /// A request was refused.
    Refused(Fault),
    /// A response was refused.
    RefusedResponse(ResponseFault),
}

impl End {
    /// The word with which the name of a seed says what is to happen to it.
    pub fn verdict(&self) -> &'static str {
        match self {
            End::Complete => "ok",
            End::InHead | End::InBody(_) => "cut",
            End::Refused(_) | End::RefusedResponse(_) => "no",
        }
    }
}

/// All that was understood from one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub messages: Vec<Message>,
    pub end: End,
}

impl Reading {
    /// Every message whose head was accepted, the one without its whole body included.
    pub fn accepted(&self) -> impl Iterator<Item = &Message> {
        let unfinished = match &self.end {
            End::InBody(message) => Some(&**message),
            End::Complete | End::InHead | End::Refused(_) | End::RefusedResponse(_) => None,
        };
        self.messages.iter().chain(unfinished)
    }
}

/// Which side is read, its parser, and the head that one message after the other is stored in.
enum Side {
    Client(RequestParser, Limits, RequestHead),
    Server(ResponseParser, bool, ResponseHead),
}

enum Body {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

struct Reader {
    side: Side,
    buf: Vec<u8>,
    messages: Vec<Message>,
    open: Option<(Message, Body)>,
}

/// Reads requests that arrive in the given pieces.
pub fn requests(pieces: &[&[u8]], limits: Limits) -> Reading {
    read(Side::Client(RequestParser::default(), limits, RequestHead::default()), pieces)
}

/// Reads the responses to one request: interim ones and the final one.
pub fn responses(pieces: &[&[u8]], head_request: bool) -> Reading {
    read(Side::Server(ResponseParser::default(), head_request, ResponseHead::default()), pieces)
}

/// Copies fields out.
pub fn pairs(fields: &Fields) -> Pairs {
    fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect()
}

fn read(side: Side, pieces: &[&[u8]]) -> Reading {
    let mut reader = Reader { side, buf: Vec::new(), messages: Vec::new(), open: None };
    for piece in pieces {
        reader.buf.extend_from_slice(piece);
        if let Some(end) = reader.advance() {
            return Reading { messages: reader.messages, end };
        }
    }
    let end = match reader.open.take() {
        Some((message, Body::UntilClose)) => {
            reader.messages.push(message);
            End::Complete
        }
        Some((message, Body::Length(_) | Body::Chunked(_))) => End::InBody(Box::new(message)),
        None if reader.buf.is_empty() => End::Complete,
        None => End::InHead,
    };
    Reading { messages: reader.messages, end }
}

impl Reader {
    /// Goes as far as the buffer allows; `Some` when no further byte can matter.
    fn advance(&mut self) -> Option<End> {
        loop {
            let Some((message, body)) = self.open.take() else {
                if self.ended() {
                    return Some(End::Complete);
                }
                match self.head() {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(end) => return Some(end),
                }
            };
            match self.body(message, body) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(end) => return Some(end),
            }
        }
    }

    fn ended(&self) -> bool {
        let last = self.messages.last().map(|m| &m.start);
        let answered = matches!(last, Some(Start::Response { status: 101 | 200.., .. }));
        answered || self.messages.len() >= MAX_MESSAGES
    }

    /// Parses a head if it is complete. An empty buffer is never shown to a parser, as on a
    /// connection where nothing arrived.
    fn head(&mut self) -> Result<bool, End> {
        if self.buf.is_empty() {
            return Ok(false);
        }
        let parsed = match &mut self.side {
            Side::Client(parser, limits, head) => {
                let used = parser.parse(&self.buf, limits, head).map_err(End::Refused)?;
                used.map(|used| request_message(&self.buf, used, head)).transpose()
            }
            Side::Server(parser, head_request, head) => {
                let used = parser.parse(&self.buf, head).map_err(End::RefusedResponse)?;
                used.map(|used| response_message(&self.buf, used, head, *head_request)).transpose()
            }
        }?;
        let Some(message) = parsed else { return Ok(false) };
        self.buf.drain(..message.raw.len());
        match message.framing {
            Framing::None => self.messages.push(message),
            Framing::Length(n) => self.open = Some((message, Body::Length(n))),
            Framing::Chunked => {
                self.open = Some((message, Body::Chunked(ChunkedDecoder::default())))
            }
            Framing::UntilClose => self.open = Some((message, Body::UntilClose)),
        }
        Ok(true)
    }

    /// Moves body bytes from the buffer into the message; `true` when the body is complete.
    fn body(&mut self, mut message: Message, body: Body) -> Result<bool, End> {
        let (body, done) = match body {
            Body::Length(left) => {
                let n = self.buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                message.body.extend(self.buf.drain(..n));
                (Body::Length(left - n as u64), left == n as u64)
            }
            Body::UntilClose => {
                message.body.append(&mut self.buf);
                (Body::UntilClose, false)
            }
            Body::Chunked(mut decoder) => {
                let progress =
                    decoder.decode(&mut self.buf, 0, 0).map_err(|f| self.refuse_body(f))?;
                assert!(progress.data_end <= progress.raw && progress.raw <= self.buf.len());
                assert_eq!(progress.done, decoder.is_done());
                message.body.extend_from_slice(&self.buf[..progress.data_end]);
                self.buf.drain(..progress.raw);
                if progress.done {
                    let kept = trailers::parse(decoder.trailers())
                        .ok_or_else(|| self.refuse_body(Fault::Trailer))?;
                    message.trailers = pairs(&kept);
                }
                (Body::Chunked(decoder), progress.done)
            }
        };
        if done {
            self.messages.push(message);
        } else {
            self.open = Some((message, body));
        }
        Ok(done)
    }

    fn refuse_body(&self, fault: Fault) -> End {
        match self.side {
            Side::Client(..) => End::Refused(fault),
            Side::Server(..) => End::RefusedResponse(ResponseFault::Chunk),
        }
    }
}

fn request_message(buf: &[u8], used: usize, head: &RequestHead) -> Result<Message, End> {
    assert!(used <= buf.len(), "a head cannot be longer than what arrived");
    let framing = framing::of_request(head).map_err(End::Refused)?;
    assert_ne!(framing, Framing::UntilClose, "no request is ended by closing");
    let start = Start::Request { method: head.method().to_vec(), target: head.target().to_vec() };
    Ok(message(&buf[..used], start, head.version, &head.fields, framing))
}

fn response_message(
    buf: &[u8],
    used: usize,
    head: &ResponseHead,
    head_request: bool,
) -> Result<Message, End> {
    assert!(used <= buf.len(), "a head cannot be longer than what arrived");
    let framing = framing::of_response(head, head_request).map_err(End::RefusedResponse)?;
    let start = Start::Response { status: head.status, reason: head.reason().to_vec() };
    Ok(message(&buf[..used], start, head.version, &head.fields, framing))
}

fn message(
    raw: &[u8],
    start: Start,
    version: Version,
    fields: &Fields,
    framing: Framing,
) -> Message {
    for field in fields.iter() {
        assert!(fields.has(field.known), "a field that is there is not found");
        let known = Known::ALL.iter().find(|(_, n)| field.name.eq_ignore_ascii_case(n.as_bytes()));
        assert_eq!(field.known, known.map_or(Known::Other, |(k, _)| *k));
    }
    let fields = pairs(fields);
    let (body, trailers) = (Vec::new(), Vec::new());
    Message { raw: raw.to_vec(), start, version, fields, framing, body, trailers }
}
