//! Turns the bytes of a request head into a [`RequestHead`] or a [`Fault`].

use std::mem::MaybeUninit;

use super::fault::Fault;
use super::head::{self, RequestHead, Version, span_of};
use super::known;
use super::scan::HeadScanner;

/// The most fields a head may be configured to have.
pub const MAX_FIELDS: usize = 1000;
/// No registered method is longer than 17 bytes; past this it is noise.
pub const MAX_METHOD: usize = 32;
/// RFC 9112 §2.2 asks to ignore at least one empty line before a request line.
const MAX_LEADING_CRLF: usize = 2;

/// The treatment of a field whose name has an underscore. Servers that follow CGI turn `-` into
/// `_`, so `X_Forwarded_For` reaches them as a forged `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// The field is removed and the request goes on.
    #[default]
    Drop,
    /// The request is answered 400.
    Refuse,
    /// The field is passed on.
    Keep,
}

/// The limits of a listener on a head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The whole head in bytes, request line included.
    pub bytes: usize,
    /// The number of fields, at most [`MAX_FIELDS`].
    pub fields: usize,
    /// Fields with `_` in their name.
    pub underscores: Underscores,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, fields: 100, underscores: Underscores::Drop }
    }
}

/// Reads request heads from a connection's bytes. Keeps its place between reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestParser {
    scanner: HeadScanner,
}

impl RequestParser {
    /// Looks at all bytes received since the last request. Returns the number of bytes the head
    /// took once it is complete and has been stored in `out`.
    ///
    /// # Errors
    /// A [`Fault`], as soon as it is certain: noise is refused without waiting for a line end.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        out: &mut RequestHead,
    ) -> Result<Option<usize>, Fault> {
        let skipped = leading_crlf(buf)?;
        let rest = buf.get(skipped..).unwrap_or_default();
        if rest == b"\r" {
            return Ok(None);
        }
        // What lies beyond the limit is not looked at: the same bytes get the same fault whether
        // they arrive at once or one by one.
        let head = rest.get(..limits.bytes).unwrap_or(rest);
        refuse_early(head)?;
        let Some(len) = self.scanner.advance(head).map_err(|_| Fault::BareLf)? else {
            return if head.len() < limits.bytes {
                Ok(None)
            } else if self.scanner.has_first_line() {
                Err(Fault::HeadTooLarge)
            } else {
                Err(Fault::TargetTooLong)
            };
        };
        let head = head.get(..len).unwrap_or_default();
        parse_complete(head, limits, out)?;
        self.scanner = HeadScanner::default();
        Ok(Some(skipped + len))
    }
}

/// Counts empty lines before the request line.
fn leading_crlf(buf: &[u8]) -> Result<usize, Fault> {
    let mut rest = buf;
    let mut skipped = 0;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        skipped += 2;
        if skipped > 2 * MAX_LEADING_CRLF {
            return Err(Fault::EmptyLines);
        }
        rest = after;
    }
    Ok(skipped)
}

/// Refuses what can no longer become a request: a TLS hello, binary noise, an endless method.
fn refuse_early(buf: &[u8]) -> Result<(), Fault> {
    for (at, byte) in buf.iter().take(MAX_METHOD + 1).enumerate() {
        match byte {
            b' ' if at > 0 => return Ok(()),
            _ if !is_token(*byte) => return Err(Fault::RequestLine),
            _ => {}
        }
    }
    if buf.len() > MAX_METHOD { Err(Fault::MethodTooLong) } else { Ok(()) }
}

/// RFC 9110 §5.6.2 `tchar`.
#[must_use]
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn parse_complete(head: &[u8], limits: &Limits, out: &mut RequestHead) -> Result<(), Fault> {
    let mut store = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let allowed = store.get_mut(..limits.fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, allowed) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(Fault::RequestLine),
        Err(error) => return Err(explain_error(error, head)),
    }
    let method = parsed.method.unwrap_or_default().as_bytes();
    let target = parsed.path.unwrap_or_default().as_bytes();
    if method.len() > MAX_METHOD {
        return Err(Fault::MethodTooLong);
    }
    head::copy_head(&mut out.fields, head);
    out.method = span_of(head, method);
    out.target = span_of(head, target);
    out.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    for header in parsed.headers.iter() {
        let name = header.name.as_bytes();
        if name.contains(&b'_') {
            match limits.underscores {
                Underscores::Drop => continue,
                Underscores::Refuse => return Err(Fault::Underscore),
                Underscores::Keep => {}
            }
        }
        out.fields.push_spans(
            span_of(head, name),
            span_of(head, header.value),
            known::lookup(name),
        );
    }
    Ok(())
}

fn explain_error(error: httparse::Error, head: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyFields,
        httparse::Error::Version => {
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let mut parts = line.split(|b| *b == b' ').skip(2);
            match (parts.next(), parts.next()) {
                (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    Fault::Version
                }
                _ => Fault::RequestLine,
            }
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Fault::Field,
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            Fault::RequestLine
        }
    }
}

#[cfg(test)]
mod tests;
