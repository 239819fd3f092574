//! Writes heads and chunks. Callers decide what to write; these know how it looks on the wire.

use std::io::Write;

/// Appends `name: value` and CRLF.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number.
#[inline]
pub fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends `Content-Length: n` and CRLF.
#[inline]
pub fn content_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, n);
    out.extend_from_slice(b"\r\n");
}

/// Appends a status line. An empty `reason` is replaced by the usual phrase, or stays empty.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if status == 200 && (reason.is_empty() || reason == b"OK") {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(if reason.is_empty() {
        reason_phrase(status).as_bytes()
    } else {
        reason
    });
    out.extend_from_slice(b"\r\n");
}

/// The registered reason phrase of a status, or an empty one.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("")
}

/// The line before a chunk's data, kept on the stack.
#[derive(Debug, Clone, Copy)]
pub struct ChunkPrefix {
    bytes: [u8; 20],
    len: u8,
}

impl ChunkPrefix {
    /// The line for a chunk of `size` bytes of data.
    #[inline]
    #[must_use]
    pub fn new(size: usize) -> Self {
        let mut bytes = [0; 20];
        let mut cursor = &mut bytes[..];
        let written = write!(cursor, "{size:x}\r\n");
        debug_assert!(written.is_ok(), "20 bytes hold CRLF and 16 digits");
        let left = cursor.len();
        Self { bytes, len: u8::try_from(20 - left).unwrap_or(20) }
    }

    /// The bytes to send.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Appends the end of a chunked body with the given trailer fields.
pub fn last_chunk<'a>(out: &mut Vec<u8>, trailers: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_preceded_by_its_size_in_hex() {
        let mut out = Vec::new();
        out.extend_from_slice(ChunkPrefix::new(usize::MAX).as_slice());
        out.extend_from_slice(ChunkPrefix::new(26).as_slice());
        last_chunk(&mut out, [(&b"a"[..], &b"b"[..])].into_iter());
        assert_eq!(String::from_utf8_lossy(&out), "ffffffffffffffff\r\n1a\r\n0\r\na: b\r\n\r\n");
    }

    #[test]
    fn an_empty_body_is_one_zero_chunk() {
        let mut out = Vec::new();
        last_chunk(&mut out, std::iter::empty());
        assert_eq!(out, b"0\r\n\r\n");
    }

    #[test]
    fn status_lines_keep_the_servers_phrase() {
        let mut out = Vec::new();
        status_line(&mut out, 200, b"Fine");
        status_line(&mut out, 404, b"");
        status_line(&mut out, 299, b"");
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\nHTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\n");
    }
}
