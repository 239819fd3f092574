//! Escapes of a path: which are normal, and how they become so.

use super::PathFault;

/// The byte that two hex digits stand for.
pub(super) fn decode_hex(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let digit = |d: &u8| char::from(*d).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Returns whether a byte may stand in a target at all: visible ASCII except for `#`, which starts
/// a fragment that clients never send (RFC 9112 §3.2).
#[must_use]
pub fn is_target_byte(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) && byte != b'#'
}

/// Characters that RFC 3986 does not allow in a path and that clients send all the same. Servers
/// disagree about them, so they are forwarded encoded.
pub(super) fn must_be_encoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// RFC 3986 §2.3: characters that mean the same encoded or not.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

pub(super) fn escapes_are_normal(path: &[u8]) -> Result<bool, PathFault> {
    for at in memchr::memchr_iter(b'%', path) {
        if !escape_is_normal(path.get(at + 1..at + 3))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether an escape has upper-case digits and stands for something that must stay encoded.
pub(super) fn escape_is_normal(digits: Option<&[u8]>) -> Result<bool, PathFault> {
    let value = unescape_byte(digits)?;
    let upper = digits.is_some_and(|d| !d.iter().any(u8::is_ascii_lowercase));
    Ok(upper && !is_unreserved(value))
}

/// The byte that two hex digits stand for. An encoded slash, backslash or NUL is refused: whether
/// it separates segments depends on the server.
fn unescape_byte(digits: Option<&[u8]>) -> Result<u8, PathFault> {
    match decode_hex(digits).ok_or(PathFault::Escape)? {
        0 => Err(PathFault::Escape),
        b'/' | b'\\' => Err(PathFault::Ambiguous),
        value => Ok(value),
    }
}

/// Decodes what means the same unencoded, encodes what must be encoded, and leaves the rest.
pub(super) fn normalize_escapes(path: &[u8]) -> Result<Vec<u8>, PathFault> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        if must_be_encoded(*byte) || !is_target_byte(*byte) {
            out.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
            rest = after;
            continue;
        }
        if *byte != b'%' {
            out.push(*byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2);
        let value = unescape_byte(digits)?;
        if is_unreserved(value) {
            out.push(value);
        } else {
            out.push(b'%');
            out.extend(digits.unwrap_or_default().iter().map(u8::to_ascii_uppercase));
        }
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(out)
}

/// A hex digit, upper case as RFC 3986 §2.1 recommends.
pub(super) fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + value - 10 }
}
