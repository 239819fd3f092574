//! Which responses are worth compressing, and may be.

use crate::exchange::Length;
use crate::exchange::stage::SentShare;
use crate::wire::ResponseHead;
use crate::wire::head::{Fields, list_items};

/// Shorter bodies gain less than their framing costs.
const SMALLEST: u64 = 1024;

/// Returns whether a message may not be transformed (RFC 9110 §7.7).
pub(super) fn forbids_transform(fields: &Fields) -> bool {
    let mut directives = fields.named(b"cache-control").flat_map(list_items);
    directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// Returns whether a whole response, of which one with this head is a share, may be compressed as
/// far as its fields tell.
pub(super) fn is_compressible(head: &ResponseHead, length: Length, share: SentShare) -> bool {
    let fields = &head.fields;
    let long_enough = match length {
        // What a server says of a part, or with a 304, is not the length of the whole.
        _ if matches!(head.status, 206 | 304) => true,
        Length::Known(n) | Length::Bodiless(Some(n)) => n >= SMALLEST,
        // An answer to `HEAD` without a length is what `GET` would get in chunks.
        Length::Unknown | Length::Bodiless(None) => true,
    };
    let kind = fields.named(b"content-type").next();
    let shrinks = match share {
        SentShare::Whole => kind.is_some_and(is_text_type),
        SentShare::Part => kind.is_none_or(|kind| is_text_type(kind) || is_multipart(kind)),
        SentShare::Unmodified => kind.is_none_or(is_text_type),
    };
    // Encoded already, a part of something, or sealed by a digest of the bytes as they are (RFC
    // 9530 §2, §3; RFC 3230; RFC 1864).
    let untouchable =
        [&b"content-encoding"[..], b"content-digest", b"repr-digest", b"digest", b"content-md5"];
    let part = share != SentShare::Part && fields.named(b"content-range").next().is_some();
    long_enough
        && shrinks
        && !part
        && !matches!(head.status, 100..=199 | 204 | 205)
        && !untouchable.iter().any(|name| fields.named(name).next().is_some())
        && !forbids_transform(fields)
}

/// Returns whether a media type is that of several parts (RFC 9110 §14.6), which hides the one of
/// the whole.
fn is_multipart(media_type: &[u8]) -> bool {
    const PARTS: &[u8] = b"multipart/byteranges";
    media_type.get(..PARTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(PARTS))
}

/// Returns whether a media type is text in one form or another.
fn is_text_type(media_type: &[u8]) -> bool {
    const TYPES: [&[u8]; 14] = [
        b"application/json",
        b"application/javascript",
        b"application/x-javascript",
        b"application/xml",
        b"application/x-ndjson",
        b"application/wasm",
        b"application/graphql",
        b"application/vnd.ms-fontobject",
        b"application/x-yaml",
        b"application/yaml",
        b"application/toml",
        b"font/ttf",
        b"font/otf",
        b"image/bmp",
    ];
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let lower = essence.to_ascii_lowercase();
    let text = lower.starts_with(b"text/") && lower != b"text/event-stream";
    text || TYPES.contains(&&*lower) || lower.ends_with(b"+json") || lower.ends_with(b"+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_events_do_not_wait() {
        for yes in ["text/html", "Application/JSON; charset=utf-8", "image/svg+xml", "a/b+json"] {
            assert!(is_text_type(yes.as_bytes()), "{yes}");
        }
        for no in ["text/event-stream", "image/png", "application/grpc", "", "application/zip"] {
            assert!(!is_text_type(no.as_bytes()), "{no}");
        }
    }
}
