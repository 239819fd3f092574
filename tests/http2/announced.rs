//! Heads whose announcement and whose body are two things (RFC 9110 §9.3.6, RFC 9113 §8.1.1, §8.5):
//! what a tunnel may not announce, to a server of HTTP/1 and to one of HTTP/2, and whose request
//! comes next on the server's connection.

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Verdict, Wire, block, frame, get};
use crate::{Peer, proxy};
use support::{Nginx, Origin, SOON, Tidegate, wait_until};

/// The fields of `CONNECT` with a protocol, and more.
fn connect(protocol: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", "/public"),
        (":authority", "a.test"),
    ];
    block(&[&own[..], more].concat())
}

/// What a request that was smuggled would look like to the server.
const SMUGGLED: &str = "GET /admin HTTP/1.0\r\nHost: a.test\r\n\r\n";

/// Begins a stream with these fields, ended or not, and says how the proxy ends it.
fn verdict(proxy: &Tidegate, fields: &[u8], flags: u8, data: &[u8]) -> Verdict {
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_HEADERS | flags, 1, fields));
    if !data.is_empty() {
        client.send(&frame(DATA, 0, 1, data));
    }
    client.verdict(1)
}

fn is_refused(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Reset(1) | Verdict::GoAway(1) | Verdict::Status(400))
}

/// Heads that announce what a tunnel cannot have.
fn announcing() -> Vec<(String, Vec<u8>)> {
    let mut rows = Vec::new();
    for protocol in ["foo", "websocket", "connect-udp"] {
        for length in ["43", "0", "1", "043", "18446744073709551616", "x", ""] {
            let name = format!("{protocol} with a length of {length:?}");
            rows.push((name, connect(protocol, &[("content-length", length)])));
        }
        let two = connect(protocol, &[("content-length", "0"), ("content-length", "43")]);
        rows.push((format!("{protocol} with two lengths"), two));
        let coded = connect(protocol, &[("transfer-encoding", "chunked")]);
        rows.push((format!("{protocol} with a transfer coding"), coded));
    }
    rows
}

/// Heads that ask for no tunnel that there could be.
fn absurd() -> Vec<(String, Vec<u8>)> {
    let scheme = (":scheme", "http");
    let (path, host) = ((":path", "/public"), (":authority", "a.test"));
    let mut rows: Vec<(String, Vec<u8>)> =
        ["", "a b", "foo,bar", "foo, bar", "h2c", "H2C", "h2", "foo/1;", "\u{e4}"]
            .iter()
            .map(|protocol| (format!("protocol {protocol:?}"), connect(protocol, &[])))
            .collect();
    for method in ["GET", "POST", "OPTIONS", "connect"] {
        let fields = block(&[(":method", method), (":protocol", "foo"), scheme, path, host]);
        rows.push((format!("{method} with a protocol"), fields));
    }
    let method = (":method", "CONNECT");
    let protocol = (":protocol", "foo");
    rows.extend(
        [
            ("no path", vec![method, protocol, scheme, host]),
            ("no scheme", vec![method, protocol, path, host]),
            ("no authority", vec![method, protocol, scheme, path]),
            ("an asterisk", vec![method, protocol, scheme, (":path", "*"), host]),
            ("two protocols", vec![method, protocol, protocol, scheme, path, host]),
            ("a late protocol", vec![method, scheme, path, host, ("x-a", "1"), protocol]),
        ]
        .map(|(name, fields)| (name.to_owned(), block(&fields))),
    );
    rows
}

#[test]
fn s1_a_tunnel_announces_no_body_to_a_server_of_http_1() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let rows = [announcing(), absurd()].concat();
    assert!(rows.len() > 30);
    for (name, fields) in rows {
        for (flags, data) in [(0, &b""[..]), (END_STREAM, b""), (0, SMUGGLED.as_bytes())] {
            let seen = verdict(&proxy, &fields, flags, data);
            assert!(is_refused(seen), "{name}, {flags}, {} bytes: {seen:?}", data.len());
        }
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    let answer = proxy.client().exchange("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    assert_eq!(origin.only_request().target, "/next");
}

#[test]
fn s1_what_follows_a_tunnel_is_no_part_of_it() {
    let nginx = Nginx::start(&[("public", b"public"), ("admin", b"SECRET")]);
    let proxy = proxy(nginx.address, "");
    let length = SMUGGLED.len().to_string();
    for _ in 0..3 {
        let fields = connect("foo", &[("content-length", &length)]);
        assert!(is_refused(verdict(&proxy, &fields, 0, b"")));
        let next = format!("GET /public HTTP/1.1\r\nHost: a.test\r\nX-A: {SMUGGLED}")
            .replace("\r\nHost: a.test\r\n\r\n", "\r\n\r\n");
        let answer = proxy.client().exchange(&*next);
        assert_ne!(answer.text(), "SECRET");
    }
    // A tunnel without a length is a request that this server does not take for more than `GET`.
    for _ in 0..3 {
        assert_eq!(verdict(&proxy, &connect("foo", &[]), 0, b""), Verdict::Status(502));
        let answer = proxy.client().exchange("GET /public HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!((answer.status, answer.text().as_str()), (200, "public"));
    }
}

#[test]
fn s1_a_tunnel_announces_no_body_to_a_server_of_http_2() {
    let peer = Peer::start("h2_peer.py", "tunnels");
    let nginx = Nginx::h2c(&[("public", b"public")], "");
    for server in [peer.server(), nginx.address.to_string()] {
        let proxy = proxy(&server, "protocol = 'h2c'\nbreaker = { failures = 1 }");
        for (name, fields) in [announcing(), absurd()].concat() {
            let seen = verdict(&proxy, &fields, 0, b"");
            assert!(is_refused(seen), "{server}, {name}: {seen:?}");
        }
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &get(&[]));
        assert!(matches!(client.verdict(1), Verdict::Status(200 | 403 | 404)), "{server}");
        wait_until(SOON, "all are over", || proxy.stats()["routes"][0]["in_flight"] == 0);
    }
}
