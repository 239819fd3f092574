//! Turns the bytes of a response head into a [`ResponseHead`] or a [`ResponseFault`].
//!
//! A server is as little trusted as a client: what is not certainly a response is never passed on.

use std::mem::MaybeUninit;

use super::fault::ResponseFault;
use super::head::{self, ResponseHead, Version, span_of};
use super::known;
use super::scan::HeadScanner;

/// The largest response head in bytes, unless another limit is configured. Twice what a client may send: servers set long cookies
/// and policies.
pub const HEAD_BYTES: usize = 64 * 1024;
/// The most fields in a response head, unless more are configured.
pub const MAX_FIELDS: usize = 256;
/// The most fields that a response head may be configured to have.
pub const MOST_FIELDS: usize = 1000;

/// The limits of an upstream on the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head in bytes, status line included.
    pub bytes: usize,
    /// The number of fields, at most [`MOST_FIELDS`].
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: HEAD_BYTES, fields: MAX_FIELDS }
    }
}

/// Reads response heads from a server connection. Keeps its place between reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseParser {
    scanner: HeadScanner,
}

impl ResponseParser {
    /// Looks at all bytes received since the last head. Returns the number of bytes the head took
    /// once it is complete and has been stored in `out`.
    ///
    /// # Errors
    /// A [`ResponseFault`] as soon as it is certain that this is not a response.
    pub fn parse(
        &mut self,
        buf: &[u8],
        out: &mut ResponseHead,
    ) -> Result<Option<usize>, ResponseFault> {
        self.parse_within(buf, HeadLimits::default(), out)
    }

    /// The same with limits of an upstream's own.
    ///
    /// # Errors
    /// As for [`ResponseParser::parse`].
    pub fn parse_within(
        &mut self,
        buf: &[u8],
        limits: HeadLimits,
        out: &mut ResponseHead,
    ) -> Result<Option<usize>, ResponseFault> {
        if !may_begin(buf) {
            return Err(ResponseFault::StatusLine);
        }
        // What lies beyond the limit is not looked at: the same bytes get the same fault whether
        // they arrive at once or one by one.
        let head = buf.get(..limits.bytes).unwrap_or(buf);
        let Some(len) = self.scanner.advance(head).map_err(|_| ResponseFault::BareLf)? else {
            return if head.len() < limits.bytes {
                Ok(None)
            } else {
                Err(ResponseFault::HeadTooLarge)
            };
        };
        parse_complete(head.get(..len).unwrap_or_default(), limits.fields, out)?;
        self.scanner = HeadScanner::default();
        Ok(Some(len))
    }
}

/// Every response of a version this proxy speaks starts like this, so garbage is recognised at
/// its first byte instead of after a timeout.
const STATUS_PREFIX: &[u8] = b"HTTP/1.";

/// Returns whether a response may begin like this.
#[must_use]
pub fn may_begin(bytes: &[u8]) -> bool {
    let known = bytes.len().min(STATUS_PREFIX.len());
    bytes.get(..known) == STATUS_PREFIX.get(..known)
}

fn parse_complete(head: &[u8], fields: usize, out: &mut ResponseHead) -> Result<(), ResponseFault> {
    let mut store = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let allowed = store.get_mut(..fields.min(MOST_FIELDS)).unwrap_or_default();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, allowed) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(ResponseFault::StatusLine),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseFault::TooManyFields),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(ResponseFault::Field);
        }
        Err(
            httparse::Error::NewLine
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version,
        ) => return Err(ResponseFault::StatusLine),
    }
    let status = parsed.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(ResponseFault::Status);
    }
    head::copy_head(&mut out.fields, head);
    out.status = status;
    out.reason = span_of(head, find_reason(head));
    out.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    for header in parsed.headers.iter() {
        let name = header.name.as_bytes();
        out.fields.push_spans(
            span_of(head, name),
            span_of(head, header.value),
            known::lookup(name),
        );
    }
    Ok(())
}

/// The reason phrase, found by position: httparse blanks one that is not ASCII.
fn find_reason(head: &[u8]) -> &[u8] {
    let line = head.get(..memchr::memchr(b'\r', head).unwrap_or(0)).unwrap_or_default();
    line.get(13..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<(usize, ResponseHead)>, ResponseFault> {
        let mut head = ResponseHead::default();
        let used = ResponseParser::default().parse(bytes, &mut head)?;
        Ok(used.map(|n| (n, head)))
    }

    #[test]
    fn a_head_is_split_into_its_parts() {
        let (used, head) =
            parse(b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nrest").unwrap().unwrap();
        assert_eq!((used, head.status, head.reason()), (37, 404, &b"Not Found"[..]));
        assert_eq!(head.fields.first(super::super::Known::Server), Some(&b"x"[..]));
    }

    #[test]
    fn a_missing_reason_phrase_is_fine() {
        assert_eq!(parse(b"HTTP/1.1 200\r\n\r\n").unwrap().unwrap().1.reason(), b"");
        assert_eq!(parse(b"HTTP/1.0 200 \r\n\r\n").unwrap().unwrap().1.version, Version::Http10);
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        assert_eq!(parse(b"g").err(), Some(ResponseFault::StatusLine));
        assert_eq!(parse(b"<html>").err(), Some(ResponseFault::StatusLine));
        assert_eq!(parse(b"HTTP/2 200 OK\r\n\r\n").err(), Some(ResponseFault::StatusLine));
        assert!(parse(b"HTT").unwrap().is_none());
    }

    #[test]
    fn statuses_outside_the_registry_range_are_refused() {
        for status in ["000", "099", "99", "1000", "600", "999"] {
            let bytes = format!("HTTP/1.1 {status} X\r\n\r\n");
            assert!(parse(bytes.as_bytes()).is_err(), "{status}");
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        for line in ["A : b", "A: b\r\n c", "A: b\x00", "A: b\rc", "A b"] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
            assert!(parse(bytes.as_bytes()).is_err(), "{line:?}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\nA: b\n\n").err(), Some(ResponseFault::BareLf));
    }

    #[test]
    fn a_fault_does_not_depend_on_how_the_bytes_arrive() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\nB", "a".repeat(HEAD_BYTES));
        let mut parser = ResponseParser::default();
        let mut head = ResponseHead::default();
        for arrived in [1, HEAD_BYTES - 1] {
            assert_eq!(parser.parse(&long.as_bytes()[..arrived], &mut head), Ok(None));
        }
        let whole = ResponseParser::default().parse(long.as_bytes(), &mut head);
        assert_eq!(parser.parse(&long.as_bytes()[..HEAD_BYTES], &mut head), whole);
        assert_eq!(whole, Err(ResponseFault::HeadTooLarge));
    }

    #[test]
    fn oversized_heads_are_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(5000));
        assert_eq!(parse(many.as_bytes()).err(), Some(ResponseFault::TooManyFields));
        let limits = HeadLimits { bytes: 100, fields: 2 };
        let within = |text: &str| {
            let mut head = ResponseHead::default();
            ResponseParser::default().parse_within(text.as_bytes(), limits, &mut head).err()
        };
        assert_eq!(within("HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n"), None);
        let three = "HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\nA: b\r\n\r\n";
        assert_eq!(within(three), Some(ResponseFault::TooManyFields));
        assert_eq!(within(&"HTTP/1.1 200 ".repeat(8)), Some(ResponseFault::HeadTooLarge));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(200_000));
        assert_eq!(parse(long.as_bytes()).err(), Some(ResponseFault::HeadTooLarge));
    }
}
