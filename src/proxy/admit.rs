//! What a request must be before it is routed: one that has one meaning and that the proxy may pass on.

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

/// The protocol a request asks to switch to. `h2c` is never passed on (RFC 9113 §3.1: the
/// mechanism is obsolete, and through a proxy it opens a way around its rules). A body comes before the
/// switch, as with Docker's `attach`; a handshake of WebSocket has none, and is no handshake with one.
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
mod tests {
    use super::*;

    const STRICT: Methods = Methods { refuse_trace: true, any: false };
    const OPEN: Methods = Methods { refuse_trace: false, any: true };

    fn head(method: &str, version: Version, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set(method.as_bytes(), b"/", version);
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn get(fields: &[(&str, &str)]) -> RequestHead {
        head("GET", Version::Http11, fields)
    }

    const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");

    #[test]
    fn methods_that_reveal_or_tunnel_are_refused() {
        assert_eq!(
            admit_request(&head("CONNECT", Version::Http11, &[]), OPEN),
            Err(Refusal::Method)
        );
        assert_eq!(
            admit_request(&head("TRACE", Version::Http11, &[]), STRICT),
            Err(Refusal::Method)
        );
        assert!(admit_request(&head("TRACE", Version::Http11, &[]), OPEN).is_ok());
        assert!(admit_request(&head("get", Version::Http11, &[]), STRICT).is_err());
        assert!(admit_request(&head("get", Version::Http11, &[]), OPEN).is_ok());
        assert!(admit_request(&head("M-SEARCH", Version::Http11, &[]), STRICT).is_ok());
    }

    #[test]
    fn only_one_expectation_is_known() {
        assert!(
            admit_request(&get(&[("Expect", "100-Continue")]), STRICT).unwrap().expects_continue
        );
        for bad in ["200-ok", "y 100-continue", "100-continue, x", ""] {
            assert_eq!(
                admit_request(&get(&[("Expect", bad)]), STRICT),
                Err(Refusal::Expectation),
                "{bad}"
            );
        }
        let old = head("POST", Version::Http10, &[("Expect", "100-continue")]);
        assert!(!admit_request(&old, STRICT).unwrap().expects_continue);
    }

    #[test]
    fn a_websocket_handshake_is_checked() {
        let full = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            KEY,
        ];
        assert_eq!(admit_request(&get(&full), STRICT).unwrap().upgrade, Some(&b"websocket"[..]));
        let mut other_version = full;
        other_version[2].1 = "777";
        assert_eq!(admit_request(&get(&other_version), STRICT), Err(Refusal::WebSocketVersion));
        let mut short = full;
        short[3].1 = "abc";
        assert!(matches!(admit_request(&get(&short), STRICT), Err(Refusal::BadRequest(_))));
    }

    #[test]
    fn an_upgrade_that_cannot_be_meant_is_ignored() {
        let ask = [("Connection", "upgrade"), ("Upgrade", "foo")];
        assert_eq!(admit_request(&get(&ask), STRICT).unwrap().upgrade, Some(&b"foo"[..]));
        assert_eq!(admit_request(&get(&ask[1..]), STRICT).unwrap().upgrade, None);
        assert_eq!(
            admit_request(&head("GET", Version::Http10, &ask), STRICT).unwrap().upgrade,
            None
        );
        let h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")];
        assert_eq!(admit_request(&get(&h2c), STRICT).unwrap().upgrade, None);
        let socket = [ask[0], ("Upgrade", "websocket"), ("Content-Length", "5")];
        assert_eq!(admit_request(&get(&socket), STRICT).unwrap().upgrade, None);
    }

    #[test]
    fn p5_another_protocol_may_follow_a_body() {
        let ask = [("Connection", "Upgrade"), ("Upgrade", "tcp")];
        for framing in [("Content-Length", "2"), ("Transfer-Encoding", "chunked")] {
            let post = head("POST", Version::Http11, &[ask[0], ask[1], framing]);
            assert_eq!(
                admit_request(&post, STRICT).unwrap().upgrade,
                Some(&b"tcp"[..]),
                "{framing:?}"
            );
        }
        let h2c = [ask[0], ("Upgrade", "h2c"), ("Content-Length", "2")];
        assert_eq!(
            admit_request(&head("POST", Version::Http11, &h2c), STRICT).unwrap().upgrade,
            None
        );
    }

    #[test]
    fn options_for_the_proxy_itself_are_recognised() {
        let zero = head("OPTIONS", Version::Http11, &[("Max-Forwards", "0")]);
        assert!(admit_request(&zero, STRICT).unwrap().answer_options);
        let one = head("OPTIONS", Version::Http11, &[("Max-Forwards", "1")]);
        assert!(!admit_request(&one, STRICT).unwrap().answer_options);
    }
}
