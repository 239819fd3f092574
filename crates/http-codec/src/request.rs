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
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, Fault> {
        let mut head = RequestHead::default();
        let used = RequestParser::default().parse(bytes, &Limits::default(), &mut head)?;
        Ok(used.map(|n| (n, head)))
    }

    fn fault(bytes: &[u8]) -> Option<Fault> {
        parse(bytes).err()
    }

    #[test]
    fn a_head_is_split_into_its_parts() {
        let (used, head) =
            parse(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\nbody").unwrap().unwrap();
        assert_eq!(used, 42);
        assert_eq!(head.method(), b"GET");
        assert_eq!(head.target(), b"/a?b=c");
        assert_eq!(head.version, Version::Http11);
        let fields: Vec<_> = head.fields.iter().map(|f| (f.name, f.value)).collect();
        assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"X-Y", b"z")]);
    }

    #[test]
    fn every_split_of_a_head_gives_the_same_result() {
        let bytes = b"\r\nPOST /p HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..bytes.len() {
            let mut parser = RequestParser::default();
            let mut head = RequestHead::default();
            let first = parser.parse(&bytes[..cut], &Limits::default(), &mut head).unwrap();
            let used = match first {
                Some(n) => n,
                None => parser.parse(bytes, &Limits::default(), &mut head).unwrap().unwrap(),
            };
            assert_eq!((used, head.method()), (41, &b"POST"[..]), "cut at {cut}");
        }
    }

    #[test]
    fn noise_is_refused_before_a_line_ends() {
        assert_eq!(fault(b"\x16\x03\x01\x02\x00"), Some(Fault::RequestLine));
        assert_eq!(fault(&[b'A'; 33]), Some(Fault::MethodTooLong));
        assert_eq!(fault(b" GET"), Some(Fault::RequestLine));
    }

    #[test]
    fn a_method_has_up_to_thirty_two_bytes() {
        let (longest, longer) = ("A".repeat(32), "A".repeat(33));
        assert!(parse(longest.as_bytes()).unwrap().is_none());
        let (_, head) = parse(format!("{longest} / HTTP/1.1\r\n\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(head.method(), longest.as_bytes());
        assert_eq!(fault(longer.as_bytes()), Some(Fault::MethodTooLong));
        let line = format!("{longer} / HTTP/1.1\r\n\r\n");
        assert_eq!(fault(line.as_bytes()), Some(Fault::MethodTooLong));
    }

    #[test]
    fn a_fault_does_not_depend_on_how_the_bytes_arrive() {
        let limits = Limits { bytes: 40, ..Limits::default() };
        let line_of_41 = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(25));
        for (bytes, expected) in [
            (&b"\x16\x03\n"[..], Fault::RequestLine),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n", Fault::MethodTooLong),
            (b"\r\n\nGET", Fault::RequestLine),
            (line_of_41.as_bytes(), Fault::TargetTooLong),
            (b"GET / HTTP/1.1\r\nA: 0123456789012345678901234567\n\r\n", Fault::HeadTooLarge),
            (b"GET /012345678901234567890123456789012345\n", Fault::TargetTooLong),
        ] {
            for cut in 0..=bytes.len() {
                let mut parser = RequestParser::default();
                let mut head = RequestHead::default();
                let first = parser.parse(&bytes[..cut], &limits, &mut head);
                let got = first.and_then(|_| parser.parse(bytes, &limits, &mut head));
                assert_eq!(got, Err(expected), "{} cut at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn a_cr_that_ends_no_line_is_refused_at_once() {
        assert!(parse(b"\r").unwrap().is_none());
        assert_eq!(fault(b"\rGET"), Some(Fault::RequestLine));
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(fault(b"GET / HTTP/2.0\r\n\r\n"), Some(Fault::Version));
        assert_eq!(fault(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Fault::Version));
        assert_eq!(fault(b"GET / HTTP/1.01\r\n\r\n"), Some(Fault::RequestLine));
        assert_eq!(fault(b"GET / http/1.1\r\n\r\n"), Some(Fault::RequestLine));
        assert_eq!(fault(b"GET /p\r\n\r\n"), Some(Fault::RequestLine));
        assert_eq!(fault(b"GET /p  HTTP/1.1\r\n\r\n"), Some(Fault::RequestLine));
        assert_eq!(fault(b"GET /p q HTTP/1.1\r\n\r\n"), Some(Fault::RequestLine));
    }

    #[test]
    fn malformed_fields_are_refused() {
        for line in [
            "A : b",
            ": b",
            "A b",
            " A: b",
            "A: b\r\n c",
            "A: b\x00",
            "A: \x1b",
            "A: b\rc",
            "\u{e9}: b",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\n{line}\r\n\r\n");
            assert!(
                matches!(fault(bytes.as_bytes()), Some(Fault::Field | Fault::RequestLine)),
                "{line:?} gave {:?}",
                parse(bytes.as_bytes())
            );
        }
    }

    #[test]
    fn limits_have_their_own_faults() {
        let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
        assert_eq!(fault(long_target.as_bytes()), Some(Fault::TargetTooLong));
        assert_eq!(fault(&long_target.as_bytes()[..40_000]), Some(Fault::TargetTooLong));
        let long_field = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(40_000));
        assert_eq!(fault(long_field.as_bytes()), Some(Fault::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(fault(many.as_bytes()), Some(Fault::TooManyFields));
    }

    #[test]
    fn one_or_two_empty_lines_are_ignored_and_three_are_not() {
        assert!(parse(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").unwrap().is_some());
        assert_eq!(fault(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some(Fault::EmptyLines));
    }

    #[test]
    fn underscored_names_follow_the_setting() {
        let bytes = b"GET / HTTP/1.1\r\nX_A: b\r\n\r\n";
        assert!(parse(bytes).unwrap().unwrap().1.fields.is_empty());
        let mut head = RequestHead::default();
        let refuse = Limits { underscores: Underscores::Refuse, ..Limits::default() };
        let got = RequestParser::default().parse(bytes, &refuse, &mut head);
        assert_eq!(got, Err(Fault::Underscore));
    }
}
