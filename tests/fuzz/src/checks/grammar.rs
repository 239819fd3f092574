//! The grammar of heads, written a second time and in the plainest way.
//!
//! Nothing of the codec is used here: it splits complete heads at CRLF and compares bytes with the
//! rules of RFC 9112 §3 to §6. Where the codec and this disagree, one of them is wrong.

use super::reading::{Pairs, Start};
use http_codec::framing::Framing;
use http_codec::head::Version;

/// A head by the book.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub start: Start,
    pub version: Version,
    pub fields: Pairs,
    /// Bytes without the empty lines before it.
    pub len: usize,
}

/// Where the first head in `bytes`, its empty line included, ends.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

/// A request head that starts at the first byte.
pub fn request(bytes: &[u8]) -> Option<Head> {
    let len = end_of_head(bytes)?;
    let (line, fields) = lines(&bytes[..len])?;
    let mut parts = line.split(|b| *b == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !token(method) || target.is_empty() {
        return None;
    }
    if target.iter().any(|b| *b < 0x21 || *b == 0x7f) || std::str::from_utf8(target).is_err() {
        return None;
    }
    let start = Start::Request { method: method.to_vec(), target: target.to_vec() };
    Some(Head { start, version: self::version(version)?, fields, len })
}

/// A response head that starts at the first byte.
pub fn response(bytes: &[u8]) -> Option<Head> {
    let len = end_of_head(bytes)?;
    let (line, fields) = lines(&bytes[..len])?;
    let version = self::version(line.get(..8)?)?;
    let code = line.get(8..12)?;
    let reason = match line.get(12..)? {
        [] => &[][..],
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    if code[0] != b' ' || !code[1..].iter().all(u8::is_ascii_digit) || !text(reason) {
        return None;
    }
    let status = code[1..].iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
    if !(100..600).contains(&status) {
        return None;
    }
    Some(Head { start: Start::Response { status, reason: reason.to_vec() }, version, fields, len })
}

/// The framing that a request's fields announce; `None` where it must be refused.
pub fn request_framing(version: Version, fields: &Pairs) -> Option<Framing> {
    match (values(fields, "content-length").as_slice(), values(fields, "transfer-encoding")) {
        ([], encodings) if encodings.is_empty() => Some(Framing::None),
        ([length], encodings) if encodings.is_empty() => Some(measured(decimal(length)?)),
        ([], encodings) if version == Version::Http11 && chunked(&encodings) => {
            Some(Framing::Chunked)
        }
        _ => None,
    }
}

/// The framing of a response; `None` where it must be refused.
pub fn response_framing(head: &Head, status: u16, head_request: bool) -> Option<Framing> {
    let framing = match request_framing(head.version, &head.fields)? {
        Framing::None if values(&head.fields, "content-length").is_empty() => Framing::UntilClose,
        other => other,
    };
    let bodiless = head_request || status < 200 || status == 204 || status == 304;
    Some(if bodiless { Framing::None } else { framing })
}

fn lines(head: &[u8]) -> Option<(&[u8], Pairs)> {
    let text = head.strip_suffix(b"\r\n\r\n")?;
    let mut rest = Some(text);
    let mut all = Vec::new();
    while let Some(current) = rest {
        let at = current.windows(2).position(|w| w == b"\r\n");
        let (line, after) = match at {
            Some(at) => (&current[..at], Some(&current[at + 2..])),
            None => (current, None),
        };
        if line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return None;
        }
        all.push(line);
        rest = after;
    }
    let (first, fields) = all.split_first()?;
    Some((first, fields.iter().map(|line| field(line)).collect::<Option<Pairs>>()?))
}

fn field(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, mut value) = (&line[..colon], &line[colon + 1..]);
    while let [b' ' | b'\t', shorter @ ..] | [shorter @ .., b' ' | b'\t'] = value {
        value = shorter;
    }
    (token(name) && text(value)).then(|| (name.to_vec(), value.to_vec()))
}

fn token(bytes: &[u8]) -> bool {
    let symbol = |b: &u8| "!#$%&'*+-.^_`|~".contains(char::from(*b));
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || symbol(b))
}

fn text(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
}

fn version(bytes: &[u8]) -> Option<Version> {
    match bytes {
        b"HTTP/1.0" => Some(Version::Http10),
        b"HTTP/1.1" => Some(Version::Http11),
        _ => None,
    }
}

fn values(fields: &Pairs, name: &str) -> Vec<Vec<u8>> {
    let named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, v)| v.clone()).collect()
}

fn chunked(encodings: &[Vec<u8>]) -> bool {
    matches!(encodings, [one] if one.eq_ignore_ascii_case(b"chunked"))
}

fn decimal(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(bytes).ok().filter(|_| digits)?.parse().ok()
}

fn measured(length: i64) -> Framing {
    match u64::try_from(length) {
        Ok(0) | Err(_) => Framing::None,
        Ok(n) => Framing::Length(n),
    }
}
