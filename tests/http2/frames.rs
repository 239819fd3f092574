//! HTTP/2 byte by byte: frames that are written as they should be or as they must not be, and read
//! without a library.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// How long the other side may be silent where it has something to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The status in the head of a response.
    pub fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS, "{self:?}");
        status(&self.payload)
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals that are not indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            number(&mut bytes, 7, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A number after a prefix of `bits` bits (RFC 7541 §5.1).
fn number(bytes: &mut Vec<u8>, bits: u8, mut n: usize) {
    let most = (1 << bits) - 1;
    if n < most {
        bytes.push(u8::try_from(n).unwrap());
        return;
    }
    bytes.push(u8::try_from(most).unwrap());
    n -= most;
    while n >= 128 {
        bytes.push(u8::try_from(n % 128).unwrap() | 128);
        n /= 128;
    }
    bytes.push(u8::try_from(n).unwrap());
}

/// The fields of `GET /` with `more`.
pub fn get(more: &[(&str, &str)]) -> Vec<u8> {
    request("GET", more)
}

pub fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    block(&[&own[..], more].concat())
}

/// A status is an index of the static table, or three digits, Huffman-coded or not.
fn status(block: &[u8]) -> u16 {
    // Changes of the table's size may come first.
    let block = &block[block.iter().take_while(|b| **b & 0xe0 == 0x20).count()..];
    match block[0] {
        index @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        0x08 | 0x18 | 0x48 => {
            let length = usize::from(block[1] & 0x7f);
            let text = &block[2..2 + length];
            if block[1] & 0x80 == 0 {
                return std::str::from_utf8(text).unwrap().parse().unwrap();
            }
            let mut bits = text.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            bits <<= 64 - 8 * length;
            let mut value = 0;
            for _ in 0..3 {
                // RFC 7541, appendix B: 0, 1 and 2 have five bits, the others six.
                let (digit, length) = match bits >> 59 {
                    small @ 0..=2 => (small, 5),
                    _ => ((bits >> 58) - 0x19 + 3, 6),
                };
                value = value * 10 + u16::try_from(digit).unwrap();
                bits <<= length;
            }
            value
        }
        other => panic!("a head that begins with {other:#x}"),
    }
}

/// One end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// A client that has said hello with these settings, and that wants no references to a table in
    /// answers.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self::new(TcpStream::connect(address).unwrap());
        let mut payload = Vec::new();
        for (id, value) in [&[(1, 0)], settings].concat() {
            payload.extend(u16::to_be_bytes(id));
            payload.extend(u32::to_be_bytes(value));
        }
        wire.send(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        wire
    }

    /// Sends; that the other side has closed shows when it is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _closed = self.stream.write_all(bytes);
    }

    /// Sends a request without a body.
    pub fn head(&mut self, stream: u32, block: &[u8]) {
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, block));
    }

    /// Sends until all is sent or the other side has closed; says how much was taken.
    pub fn flood(&mut self, bytes: &[u8], times: usize) -> usize {
        (0..times).take_while(|_| self.stream.write_all(bytes).is_ok()).count()
    }

    fn fill(&mut self, n: usize) -> bool {
        let mut buffer = [0; 16384];
        while self.unread.len() < n {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => self.unread.extend(&buffer[..read]),
                // Silence is not an end.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing was said for {PATIENCE:?}, and the connection was not closed")
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads what a client says first.
    pub fn preface(&mut self) -> bool {
        let there = self.fill(PREFACE.len());
        if there {
            assert_eq!(&self.unread[..PREFACE.len()], PREFACE);
            self.unread.drain(..PREFACE.len());
        }
        there
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        if !self.fill(9) {
            return None;
        }
        let length = u32::from_be_bytes([0, self.unread[0], self.unread[1], self.unread[2]]);
        let length = usize::try_from(length).unwrap();
        if !self.fill(9 + length) {
            return None;
        }
        let bytes: Vec<u8> = self.unread.drain(..9 + length).collect();
        Some(Frame {
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
            payload: bytes[9..].to_vec(),
        })
    }

    /// The next frame that `wanted` wants.
    pub fn next(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        std::iter::from_fn(|| self.frame()).find(wanted)
    }

    /// What the other side says about a stream in the end: the status of its response, or how it
    /// was broken off.
    pub fn verdict(&mut self, stream: u32) -> Verdict {
        let said = self.next(|frame| {
            frame.kind == GOAWAY && frame.number(4) != 0
                || frame.stream == stream && matches!(frame.kind, HEADERS | RST_STREAM)
        });
        match said {
            Some(frame) if frame.kind == HEADERS => Verdict::Status(frame.status()),
            Some(frame) if frame.kind == RST_STREAM => Verdict::Reset(frame.number(0)),
            Some(frame) => Verdict::GoAway(frame.number(4)),
            None => Verdict::Closed,
        }
    }

    /// As [`Self::verdict`], and how the stream ended behind it.
    pub fn verdict_and_end(&mut self, stream: u32) -> (Verdict, Ending) {
        let mut verdict = None;
        let mut body = 0;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY && frame.number(4) != 0 {
                return (verdict.unwrap_or(Verdict::GoAway(frame.number(4))), Ending::Lost);
            }
            match frame.kind {
                _ if frame.stream != stream => continue,
                HEADERS => verdict = verdict.or_else(|| Some(Verdict::Status(frame.status()))),
                DATA => body += frame.payload.len(),
                RST_STREAM => {
                    let code = frame.number(0);
                    return (verdict.unwrap_or(Verdict::Reset(code)), Ending::Reset(code, body));
                }
                _ => continue,
            }
            if frame.ends() {
                return (verdict.expect("a head comes first"), Ending::Whole(body));
            }
        }
        (verdict.unwrap_or(Verdict::Closed), Ending::Lost)
    }

    /// The proxy's own answer on a stream: its status, the `detail` of its body, and the code of
    /// the reset behind it if it is reset.
    pub fn refusal(&mut self, stream: u32) -> (u16, String, Option<u32>) {
        let (mut status, mut body) = (0, Vec::new());
        let detail = |status: u16, body: &[u8]| {
            let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(problem["status"], status);
            problem["detail"].as_str().unwrap().to_owned()
        };
        loop {
            let frame = self.next(|frame| frame.stream == stream).expect("the stream ends first");
            match frame.kind {
                HEADERS => status = frame.status(),
                DATA => body.extend(&frame.payload),
                RST_STREAM => return (status, detail(status, &body), Some(frame.number(0))),
                _ => continue,
            }
            if frame.ends() {
                return (status, detail(status, &body), None);
            }
        }
    }

    /// Reads until the connection has ended; the code of its GOAWAY, if there was one.
    pub fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY {
                code = Some(frame.number(4));
            }
        }
        code
    }
}

/// How a stream ended behind the head of its response, and the bytes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Whole(usize),
    Reset(u32, usize),
    /// With its connection.
    Lost,
}

/// What the other side said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}
