//! WebSocket over HTTP/2 (RFC 8441), from clients and to servers; the peer is the Python library
//! h2.

use crate::frames::{END_HEADERS, HEADERS, Wire, block, frame};
use crate::{Peer, ask, proxy};
use support::{Nginx, Origin, Step};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: x\r\n\r\n";

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn arguments(proxy: &support::Tidegate) -> [String; 2] {
    [proxy.address().ip().to_string(), proxy.address().port().to_string()]
}

#[test]
fn a_client_of_http_2_reaches_a_server_of_http_1() {
    let origin = Origin::start(|_| vec![Step::Send(SWITCH.into()), Step::Echo, Step::Close]);
    let proxy = proxy(origin.server(), "");
    let [host, port] = arguments(&proxy);
    let seen = ask("h2_peer.py", &["socket", &host, &port]);
    assert_eq!(seen["offered"], 1, "{seen}");
    assert_eq!(seen["head"][":status"], "200");
    assert_eq!(seen["head"]["sec-websocket-protocol"], "chat");
    assert!(seen["head"]["sec-websocket-accept"].is_null() && seen["head"]["upgrade"].is_null());
    assert_eq!((&seen["echo"], &seen["ended"]), (&"ping".into(), &true.into()));
    let asked = origin.only_request();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/chat"));
    assert_eq!(asked.header("upgrade"), Some("websocket"));
    assert_eq!(asked.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(asked.header("sec-websocket-key").map(str::len), Some(24));
    assert_eq!(asked.header("sec-websocket-protocol"), Some("chat"));
}

#[test]
fn a_refusal_is_an_answer() {
    let origin = Origin::ok("no sockets here");
    let proxy = proxy(origin.server(), "");
    let [host, port] = arguments(&proxy);
    let seen = ask("h2_peer.py", &["refused", &host, &port]);
    // 200 would say that the tunnel is there.
    assert_eq!(seen["head"][":status"], "502", "{seen}");
    assert_eq!(seen["body"], "no sockets here");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_server_that_takes_no_tunnels_is_sent_an_ordinary_request_and_not_to_blame() {
    let nginx = Nginx::h2c(&[("chat", b"no sockets here")], "");
    let proxy = proxy(nginx.address, "protocol = 'h2c'\nbreaker = { failures = 2 }");
    let [host, port] = arguments(&proxy);
    for _ in 0..4 {
        let answer = proxy.client().exchange(UPGRADE);
        assert_eq!((answer.status, answer.text().as_str()), (200, "no sockets here"));
        let seen = ask("h2_peer.py", &["refused", &host, &port]);
        assert_eq!(seen["head"][":status"], "502", "{seen}");
    }
}

#[test]
fn servers_of_http_2_are_asked_in_their_way() {
    let peer = Peer::start("h2_peer.py", "tunnels");
    let proxy = proxy(peer.server(), "protocol = 'h2c'");
    // From a client of HTTP/1.1.
    let mut client = proxy.client();
    let answer = client.exchange(UPGRADE);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("x-method"), Some("CONNECT"));
    assert_eq!(answer.header("x-protocol"), Some("websocket"));
    assert_eq!(answer.header("x-keys"), Some("0"));
    client.send("ping");
    assert_eq!(client.bytes(4), b"ping");
    // And from one of HTTP/2, from end to end.
    let [host, port] = arguments(&proxy);
    let seen = ask("h2_peer.py", &["socket", &host, &port]);
    assert_eq!((&seen["echo"], &seen["ended"]), (&"ping".into(), &true.into()));
    assert_eq!(seen["head"]["x-protocol"], "websocket");
}

#[test]
fn an_answer_has_no_fields_of_http_1() {
    // To a client of HTTP/1.1, it says which protocol is meant.
    let origin = Origin::ok("nobody asks");
    let proxy = proxy(origin.server(), "");
    let old = UPGRADE.replace("Version: 13", "Version: 12");
    let answer = proxy.client().exchange(&*old);
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")));
    let fields = block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a.test"),
        ("sec-websocket-version", "12"),
    ]);
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &fields));
    let head = client.next(|frame| frame.kind == HEADERS).expect("an answer");
    assert_eq!(head.status(), 426);
    // They are literals: no table was agreed on.
    let has = |name: &str| head.payload.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(has("sec-websocket-version") && !has("upgrade") && !has("connection"), "{head:?}");
}
