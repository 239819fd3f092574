//! A client that sends exactly the bytes it is given and reads one response at a time, strictly.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustls::StreamOwned;

use super::certificates::Authority;
use super::message::{Chunks, Framing, Response, escape, framing, head_end, parse_head};
use super::socket::{End, Fill, Socket};

/// How long one response may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct RawClient {
    socket: Socket,
    buffer: Vec<u8>,
    end: Option<End>,
    patience: Duration,
}

impl RawClient {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        Self::over(Socket::tcp(stream))
    }

    /// Over TLS, HTTP/1.1 alone, to a server that must be `name` by what this authority signed.
    pub fn connect_tls(address: SocketAddr, name: &str, authority: &Authority) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(authority.client_of(name), stream);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .unwrap_or_else(|e| panic!("handshake with {address} as {name}: {e}"));
        }
        Self::over(Socket::Tls(Box::new(stream)))
    }

    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path)
            .unwrap_or_else(|e| panic!("connect to {}: {e}", path.display()));
        Self::over(Socket::Unix(stream))
    }

    /// A client whose receive buffer is as small as the kernel allows: a slow reader.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        Self::connect_with_buffer(address, 4096)
    }

    /// A client whose receive buffer has so many bytes and does not grow.
    pub fn connect_with_buffer(address: SocketAddr, bytes: usize) -> Self {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(Socket::tcp(socket.into()))
    }

    fn over(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new(), end: None, patience: PATIENCE }
    }

    /// This end's address.
    pub fn local_address(&self) -> SocketAddr {
        match &self.socket {
            Socket::Tcp(stream) => stream.local_addr().unwrap(),
            Socket::Tls(stream) => stream.sock.local_addr().unwrap(),
            Socket::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends everything; panics when the peer does not take it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        assert_eq!(self.offer(bytes), bytes.len(), "the peer stopped reading: {}", escape(bytes));
    }

    /// Sends as much as the peer takes before it closes or `patience` passes; returns how much.
    pub fn offer(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        let bytes = bytes.as_ref();
        let deadline = Instant::now() + self.patience;
        let mut sent = 0;
        while sent < bytes.len() && Instant::now() < deadline {
            match self.socket.write_some(&bytes[sent..], Duration::from_millis(100)) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        sent
    }

    /// Sends in pieces of `size` bytes, each its own segment as far as the kernel allows.
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece);
        }
    }

    /// Writes pieces of `piece` until nothing was taken for `quiet`, at most `limit` bytes.
    pub fn send_until_blocked(&mut self, piece: &[u8], quiet: Duration, limit: usize) -> usize {
        let mut sent = 0;
        while sent < limit {
            match self.socket.write_some(piece, quiet) {
                Ok(0) | Err(_) => break,
                Ok(n) => sent += n,
            }
        }
        sent
    }

    pub fn close_write(&mut self) {
        self.socket.close_write();
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.socket.abort_on_drop();
    }

    /// Sends a request and reads its final response.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    }

    /// `GET` of the admin endpoint, which answers to local names only.
    pub fn ask(&mut self, path: &str) -> Response {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// The final response, interim ones inside; panics when there is none.
    pub fn response(&mut self) -> Response {
        self.try_response("GET").unwrap_or_else(|e| panic!("no response: {e}"))
    }

    /// As [`Self::response`], to a HEAD request.
    pub fn response_to_head(&mut self) -> Response {
        self.try_response("HEAD").unwrap_or_else(|e| panic!("no response: {e}"))
    }

    /// # Errors
    /// What was missing or malformed, with the bytes that did arrive.
    pub fn try_response(&mut self, method: &str) -> Result<Response, String> {
        let deadline = Instant::now() + self.patience;
        let mut interim = Vec::new();
        loop {
            let mut response = self.head(deadline)?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response);
                continue;
            }
            response.interim = interim;
            self.body(&mut response, method, deadline)?;
            return Ok(response);
        }
    }

    /// The next head alone, interim or final; what follows stays in the buffer.
    pub fn next_head(&mut self) -> Response {
        self.head(Instant::now() + self.patience).unwrap_or_else(|e| panic!("no head: {e}"))
    }

    fn head(&mut self, deadline: Instant) -> Result<Response, String> {
        let end = loop {
            if let Some(end) = head_end(&self.buffer) {
                break end;
            }
            self.more(deadline, "the head")?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let (start, headers) =
            parse_head(&head).map_err(|e| format!("{e} in {}", escape(&head)))?;
        let bad = || format!("bad status line {start:?}");
        let (version, rest) = start.split_once(' ').ok_or_else(bad)?;
        let (code, reason) = rest.split_once(' ').ok_or_else(bad)?;
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || code.len() != 3 {
            return Err(bad());
        }
        let status = code.parse().map_err(|_| bad())?;
        Ok(Response {
            status,
            version: version.into(),
            reason: reason.into(),
            headers,
            head,
            ..Response::default()
        })
    }

    fn body(
        &mut self,
        response: &mut Response,
        method: &str,
        deadline: Instant,
    ) -> Result<(), String> {
        let empty = method == "HEAD" || matches!(response.status, 101 | 204 | 304);
        let framing = framing(&response.headers)?.unwrap_or(Framing::UntilClose);
        match if empty { Framing::Empty } else { framing } {
            Framing::Empty => {}
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.more(deadline, "the body")?;
                }
                response.body = self.buffer.drain(..length).collect();
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                while !chunks.advance(&mut self.buffer)? {
                    self.more(deadline, "the chunked body")?;
                }
                response.chunked = true;
                response.body = chunks.body;
                response.trailers = chunks.trailers;
            }
            Framing::UntilClose => match self.read_to_end(deadline) {
                End::Closed => response.body = std::mem::take(&mut self.buffer),
                other => return Err(format!("{other:?} instead of a close that ends the body")),
            },
        }
        Ok(())
    }

    /// Reads until exactly `count` raw bytes are there and returns them.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.buffer.len() < count {
            self.more(deadline, "raw bytes").unwrap_or_else(|e| panic!("{e}"));
        }
        self.buffer.drain(..count).collect()
    }

    /// Waits until these bytes have arrived, leaving everything in the buffer.
    pub fn wait_for(&mut self, needle: &str) {
        let deadline = Instant::now() + self.patience;
        while !self.buffer.windows(needle.len()).any(|w| w == needle.as_bytes()) {
            self.more(deadline, needle).unwrap_or_else(|e| panic!("{e}"));
        }
    }

    /// What is left to read, and how the connection ended.
    pub fn end(&mut self, within: Duration) -> (Vec<u8>, End) {
        let end = self.read_to_end(Instant::now() + within);
        (std::mem::take(&mut self.buffer), end)
    }

    /// Panics unless the connection ends without another byte.
    pub fn assert_closes(&mut self, within: Duration) {
        let (rest, end) = self.end(within);
        assert!(rest.is_empty(), "unexpected bytes before the end: {}", escape(&rest));
        assert_ne!(end, End::StillOpen, "the connection is still open after {within:?}");
    }

    fn read_to_end(&mut self, deadline: Instant) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::StillOpen;
            }
            match self.socket.read_some(&mut self.buffer, left) {
                Fill::Bytes(_) | Fill::Nothing => {}
                Fill::Closed => self.end = Some(End::Closed),
                Fill::Reset => self.end = Some(End::Reset),
            }
        }
    }

    fn more(&mut self, deadline: Instant, what: &str) -> Result<(), String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let trouble = match self.end {
            Some(end) => end,
            None if left.is_zero() => End::StillOpen,
            None => match self.socket.read_some(&mut self.buffer, left) {
                Fill::Bytes(_) => return Ok(()),
                Fill::Closed => End::Closed,
                Fill::Reset => End::Reset,
                Fill::Nothing => End::StillOpen,
            },
        };
        if trouble != End::StillOpen {
            self.end = Some(trouble);
        }
        Err(format!("{trouble:?} while reading {what}; so far: {}", escape(&self.buffer)))
    }
}
