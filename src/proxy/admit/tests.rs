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
    assert_eq!(admit_request(&head("CONNECT", Version::Http11, &[]), OPEN), Err(Refusal::Method));
    assert_eq!(admit_request(&head("TRACE", Version::Http11, &[]), STRICT), Err(Refusal::Method));
    assert!(admit_request(&head("TRACE", Version::Http11, &[]), OPEN).is_ok());
    assert!(admit_request(&head("get", Version::Http11, &[]), STRICT).is_err());
    assert!(admit_request(&head("get", Version::Http11, &[]), OPEN).is_ok());
    assert!(admit_request(&head("M-SEARCH", Version::Http11, &[]), STRICT).is_ok());
}

#[test]
fn only_one_expectation_is_known() {
    assert!(admit_request(&get(&[("Expect", "100-Continue")]), STRICT).unwrap().expects_continue);
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
    let full =
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), KEY];
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
    assert_eq!(admit_request(&head("GET", Version::Http10, &ask), STRICT).unwrap().upgrade, None);
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
        assert_eq!(admit_request(&post, STRICT).unwrap().upgrade, Some(&b"tcp"[..]), "{framing:?}");
    }
    let h2c = [ask[0], ("Upgrade", "h2c"), ("Content-Length", "2")];
    assert_eq!(admit_request(&head("POST", Version::Http11, &h2c), STRICT).unwrap().upgrade, None);
}

#[test]
fn options_for_the_proxy_itself_are_recognised() {
    let zero = head("OPTIONS", Version::Http11, &[("Max-Forwards", "0")]);
    assert!(admit_request(&zero, STRICT).unwrap().answer_options);
    let one = head("OPTIONS", Version::Http11, &[("Max-Forwards", "1")]);
    assert!(!admit_request(&one, STRICT).unwrap().answer_options);
}
