//! What gRPC puts into fields (PROTOCOL-HTTP2.md of grpc/grpc).

use std::time::Duration;

use super::head::{Fields, RequestHead, Version};

/// No error.
pub const OK: u8 = 0;
/// `INTERNAL`.
pub const INTERNAL: u8 = 13;
/// `UNAVAILABLE`.
pub const UNAVAILABLE: u8 = 14;
/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u8 = 4;
/// `DATA_LOSS`.
pub const DATA_LOSS: u8 = 15;

/// Returns whether a request is a call of gRPC, and not of gRPC-Web, whose answers have no
/// trailers.
#[must_use]
pub fn is_call(head: &RequestHead) -> bool {
    head.version == Version::Http2 && head.method() == b"POST" && is_grpc(&head.fields)
}

fn is_grpc(fields: &Fields) -> bool {
    fields.named(b"content-type").next().is_some_and(is_type)
}

/// Returns whether a type of content is that of gRPC, and not of gRPC-Web.
#[must_use]
pub fn is_type(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Returns how long the client waits: up to eight digits and a unit. `None` without, and for
/// anything else.
#[must_use]
pub fn parse_timeout(fields: &Fields) -> Option<Duration> {
    let value = fields.named(b"grpc-timeout").next()?;
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_hours(n),
        b'M' => Duration::from_mins(n),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// The value of `grpc-timeout` for this long.
#[must_use]
pub fn timeout_value(left: Duration) -> String {
    match left.as_micros() {
        micros @ 0..=99_999_999 => format!("{micros}u"),
        _ => match left.as_millis() {
            millis @ 0..=99_999_999 => format!("{millis}m"),
            _ => format!("{}S", left.as_secs().min(99_999_999)),
        },
    }
}

/// The status in a head or in trailers. What is no number is `UNKNOWN`.
#[must_use]
pub fn parse_status(fields: &Fields) -> Option<u8> {
    const UNKNOWN: u8 = 2;
    let value = fields.named(b"grpc-status").next()?;
    let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
    Some(number.unwrap_or(UNKNOWN))
}

/// Returns whether a status speaks against the server, and not against the call.
#[must_use]
pub fn is_failure(status: u8) -> bool {
    matches!(status, DEADLINE_EXCEEDED | INTERNAL | UNAVAILABLE | DATA_LOSS)
}

/// The status that says what an HTTP status says (http-grpc-status-mapping.md of grpc/grpc), but
/// for what only a proxy that answers itself can know: that it is out of time, or somebody out of
/// quota.
#[must_use]
pub fn of_http(status: u16) -> u8 {
    match status {
        401 => 16,
        403 => 7,
        404 | 405 | 501 => 12,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => 8,
        421 | 502 | 503 => UNAVAILABLE,
        // A loop is no fault of the server that finds it: FAILED_PRECONDITION.
        508 => 9,
        400..=599 => INTERNAL,
        _ => 2,
    }
}

/// A text as the value of `grpc-message`: percent-encoded but for printable ASCII.
#[must_use]
pub fn encode_message(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                // Writing to a string does not fail.
                let _written = write!(out, "%{byte:02X}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests;
