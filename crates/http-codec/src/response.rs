//! Turns the bytes of a response head into a [`ResponseHead`] or a [`ResponseFault`].
//!
//! A server is as little trusted as a client: what is not certainly a response is never passed on.

use std::mem::MaybeUninit;

use super::fault::ResponseFault;
use super::head::{self, ResponseHead, Version, span_of};
use super::known;
use super::scan::HeadScanner;

/// The largest response head in bytes, unless another limit is configured. Twice what a client may
/// send: servers set long cookies and policies.
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
mod tests;
