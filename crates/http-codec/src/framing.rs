//! Where a message ends (RFC 9112 §6.3), decided once and strictly for both directions.

use super::fault::{Fault, ResponseFault};
use super::head::{Fields, RequestHead, ResponseHead, Version, list_items};
use super::known::Known;

/// The way in which the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// Exactly this many bytes follow.
    Length(u64),
    /// Chunks follow until one of size 0.
    Chunked,
    /// The body ends when the connection does. Responses only.
    UntilClose,
}

/// Decides the framing of a request.
///
/// # Errors
/// A [`Fault`] wherever two parsers could disagree about the end of the request.
pub fn of_request(head: &RequestHead) -> Result<Framing, Fault> {
    let fields = &head.fields;
    let encoded = fields.has(Known::TransferEncoding);
    let measured = fields.has(Known::ContentLength);
    match (encoded, measured) {
        (false, false) => Ok(Framing::None),
        (false, true) => Ok(match content_length(fields).ok_or(Fault::ContentLength)? {
            0 => Framing::None,
            n => Framing::Length(n),
        }),
        (true, _) if head.version == Version::Http10 => Err(Fault::EncodingInHttp10),
        (true, true) => Err(Fault::LengthAndEncoding),
        (true, false) => match transfer_coding(fields) {
            Coding::Chunked => Ok(Framing::Chunked),
            Coding::Unknown => Err(Fault::UnknownCoding),
            Coding::Invalid => Err(Fault::TransferEncoding),
        },
    }
}

/// The length that a head announces, if it announces one and only one.
#[must_use]
pub fn length(head: &RequestHead) -> Option<u64> {
    if head.fields.has(Known::ContentLength) { content_length(&head.fields) } else { None }
}

/// Decides the framing of a response to a request with method `HEAD` (`head_request`) or another.
///
/// # Errors
/// A [`ResponseFault`] wherever two parsers could disagree about the end of the response.
pub fn of_response(head: &ResponseHead, head_request: bool) -> Result<Framing, ResponseFault> {
    let fields = &head.fields;
    let length = if fields.has(Known::ContentLength) {
        Some(content_length(fields).ok_or(ResponseFault::ContentLength)?)
    } else {
        None
    };
    let chunked = fields.has(Known::TransferEncoding);
    if chunked
        && (length.is_some()
            || head.version == Version::Http10
            || transfer_coding(fields) != Coding::Chunked)
    {
        return Err(ResponseFault::TransferEncoding);
    }
    if head_request || matches!(head.status, 100..=199 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(match length {
        Some(0) => Framing::None,
        Some(n) => Framing::Length(n),
        None if chunked => Framing::Chunked,
        None => Framing::UntilClose,
    })
}

/// The one Content-Length line as a number; `None` when there are several lines or it is anything
/// but digits (RFC 9110 §8.6). Lists of equal numbers are refused too: forwarding them is how
/// smuggling starts.
fn content_length(fields: &Fields) -> Option<u64> {
    let mut lines = fields.values(Known::ContentLength);
    let value = lines.next()?;
    if lines.next().is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut n: u64 = 0;
    for digit in value {
        n = n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    // Beyond i64 some peers wrap around.
    (n <= i64::MAX as u64).then_some(n)
}

#[derive(Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Unknown,
    Invalid,
}

/// Classifies Transfer-Encoding. Only one line that says exactly `chunked` is understood.
fn transfer_coding(fields: &Fields) -> Coding {
    let mut lines = fields.values(Known::TransferEncoding);
    let value = lines.next().unwrap_or_default();
    if lines.next().is_some() {
        return Coding::Invalid;
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let items = value.split(|b| *b == b',').count();
    let mut named = 0;
    let mut chunked_at = None;
    for (at, item) in list_items(value).enumerate() {
        named += 1;
        if item.eq_ignore_ascii_case(b"chunked") && chunked_at.replace(at).is_some() {
            return Coding::Invalid;
        }
        if !item.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b)) {
            return Coding::Invalid;
        }
    }
    if named != items || chunked_at.is_some_and(|at| at + 1 != named) {
        return Coding::Invalid;
    }
    Coding::Unknown
}

#[cfg(test)]
mod tests;
