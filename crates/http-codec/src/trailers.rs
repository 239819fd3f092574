//! Trailer fields: which of them may follow a body (RFC 9110 §6.5.1).
//!
//! A trailer arrives after every decision about a message was taken. A field that would have
//! changed one of them, by framing, routing, authentication, caching or content, must not be
//! merged late; those are dropped, all others are passed on.

use super::head::Fields;
use super::known::Known;

/// The most trailer fields in one message.
pub const MAX_FIELDS: usize = 64;

/// Names that are dropped beside the known ones; all in lower case.
const FORBIDDEN: &[&str] = &[
    "age",
    "allow",
    "cache-control",
    "content-encoding",
    "content-location",
    "content-range",
    "content-type",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
];

/// Parses a trailer section (field lines, no final empty line) and keeps what may be forwarded.
/// `None` when a line is malformed or there are more than 64.
#[must_use]
pub fn parse(section: &[u8]) -> Option<Fields> {
    let mut kept = Fields::default();
    if section.is_empty() {
        return Some(kept);
    }
    let mut bytes = section.to_vec();
    bytes.extend_from_slice(b"\r\n");
    let mut store = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(&bytes, &mut store) {
        Ok(httparse::Status::Complete((n, headers))) if n == bytes.len() => {
            for header in headers {
                if allowed(header.name.as_bytes()) {
                    kept.push(header.name.as_bytes(), header.value);
                }
            }
            Some(kept)
        }
        Ok(_) | Err(_) => None,
    }
}

/// Returns whether a field may be sent after the body.
#[must_use]
pub fn allowed(name: &[u8]) -> bool {
    super::known::lookup(name) == Known::Other
        && !name.contains(&b'_')
        && !FORBIDDEN.iter().any(|f| name.eq_ignore_ascii_case(f.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(section: &[u8]) -> Option<Vec<String>> {
        let fields = parse(section)?;
        Some(fields.iter().map(|f| String::from_utf8_lossy(f.name).into_owned()).collect())
    }

    #[test]
    fn framing_routing_and_identity_are_dropped() {
        let section = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\
            Authorization: b\r\nX-Forwarded-For: c\r\nSet-Cookie: d\r\ngrpc-status: 0\r\nDigest: e\r\n";
        assert_eq!(names(section).unwrap(), ["grpc-status", "Digest"]);
    }

    #[test]
    fn malformed_sections_are_refused() {
        for bad in [&b"A b\r\n"[..], b"A : b\r\n", b" A: b\r\n", b"A: b\x01\r\n"] {
            assert_eq!(names(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(names("A: b\r\n".repeat(65).as_bytes()), None);
        assert_eq!(names(b"").unwrap().len(), 0);
    }
}
