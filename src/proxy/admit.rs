//! What a request must be before it is routed: one that has one meaning and that the proxy may pass
//! on.

use crate::exchange::{Refusal, forward};
use crate::snapshot::listener::Methods;
use crate::wire::head::list_items;
use crate::wire::{Fault, Framing, Known, RequestHead, Version, framing, grpc};

/// The demands of a request's head on the proxy itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<'a> {
    /// The protocol to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The length of the body: `Some(0)` for none, `None` when only its end will tell.
    pub length: Option<u64>,
    /// True for a call of gRPC.
    pub grpc: bool,
    /// `OPTIONS` with `Max-Forwards: 0` is for the first proxy that sees it (RFC 9110 §7.6.2).
    pub answer_options: bool,
}

/// Looks at everything in a head that does not depend on the route.
///
/// # Errors
/// The refusal to answer with.
pub fn admit_request(head: &RequestHead, methods: Methods) -> Result<Admitted<'_>, Refusal> {
    let fields = &head.fields;
    let method = head.method();
    if method == b"CONNECT" || method == b"TRACE" && methods.refuse_trace {
        return Err(Refusal::Method);
    }
    if !methods.any
        && !method.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-')
    {
        // Methods are case-sensitive: `get` is none that anybody has defined.
        return Err(Refusal::Malformed(Fault::MethodTooLong));
    }
    if fields.has(Known::Connection) && forward::nominates_protected(fields) {
        return Err(Refusal::BadRequest("connection nominates a field that must not be removed"));
    }
    let length = match framing::of_request(head).map_err(Refusal::Malformed)? {
        Framing::None => Some(0),
        Framing::Length(n) => Some(n),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut admitted = Admitted {
        upgrade: None,
        expects_continue: false,
        length,
        grpc: grpc::is_call(head),
        answer_options: false,
    };
    if fields.has(Known::Expect) {
        admitted.expects_continue = read_expectation(head)?;
    }
    if fields.has(Known::Upgrade) {
        admitted.upgrade = read_upgrade(head, length)?;
    }
    if method == b"OPTIONS" && fields.has(Known::MaxForwards) {
        admitted.answer_options = fields.first(Known::MaxForwards).is_some_and(is_zero);
    }
    Ok(admitted)
}

fn is_zero(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| *b == b'0')
}

/// `Expect` means something only as exactly `100-continue` from an HTTP/1.1 client
/// (RFC 9110 §10.1.1). Anything else is a way to make two servers disagree about the body.
fn read_expectation(head: &RequestHead) -> Result<bool, Refusal> {
    if head.version == Version::Http10 {
        return Ok(false);
    }
    let mut values = head.fields.values(Known::Expect);
    match (values.next(), values.next()) {
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(Refusal::Expectation),
    }
}

/// The protocol a request asks to switch to. `h2c` is never passed on (RFC 9113 §3.1: the mechanism
/// is obsolete, and through a proxy it opens a way around its rules). A body comes before the
/// switch, as with Docker's `attach`; a handshake of WebSocket has none, and is no handshake with
/// one.
fn read_upgrade(head: &RequestHead, length: Option<u64>) -> Result<Option<&[u8]>, Refusal> {
    let fields = &head.fields;
    if head.version == Version::Http10 || !fields.lists(Known::Connection, b"upgrade") {
        return Ok(None);
    }
    let mut protocols = fields.values(Known::Upgrade).flat_map(list_items);
    let Some(protocol) = protocols.next() else { return Ok(None) };
    if protocols.next().is_some() || protocol.eq_ignore_ascii_case(b"h2c") {
        return Ok(None);
    }
    if protocol.eq_ignore_ascii_case(b"websocket") {
        if length != Some(0) {
            return Ok(None);
        }
        check_handshake(head)?;
    }
    Ok(Some(protocol))
}

/// The parts of a WebSocket handshake that a server must find (RFC 6455 §4.2.1).
fn check_handshake(head: &RequestHead) -> Result<(), Refusal> {
    let fields = &head.fields;
    if head.method() != b"GET" {
        return Err(Refusal::BadRequest("a websocket handshake is a GET request"));
    }
    if fields.first(Known::SecWebSocketVersion) != Some(b"13") {
        return Err(Refusal::WebSocketVersion);
    }
    // 16 bytes in base64.
    let key = fields.first(Known::SecWebSocketKey).unwrap_or_default();
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let valid = key.strip_suffix(b"==").is_some_and(|k| k.len() == 22 && k.iter().all(is_base64));
    if valid { Ok(()) } else { Err(Refusal::BadRequest("invalid sec-websocket-key")) }
}

#[cfg(test)]
mod tests;
