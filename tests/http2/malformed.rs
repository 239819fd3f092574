//! Requests of HTTP/2 that are none (reliability.md §2, H1 to H20): each on its own stream, none of them reaches a server.

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, Verdict, WINDOW_UPDATE, Wire, block, frame, get, request,
};
use crate::proxy;
use crate::support::{Origin, SOON, wait_until};

/// What may happen to a malformed stream: a stream error, a connection error, or 400.
fn is_refused(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Reset(_) | Verdict::GoAway(_) | Verdict::Status(400 | 405 | 431))
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const HOST: (&str, &str) = (":authority", "a.test");

/// The rows: a name, and all fields of a request.
fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let with = |name: &'static str, value: &'static str| get(&[(name, value)]);
    let path = |path: &'static str| block(&[METHOD, SCHEME, (":path", path), HOST]);
    let authority = |host: &'static str| block(&[METHOD, SCHEME, PATH, (":authority", host)]);
    vec![
        ("H1 upper case", with("X-A", "1")),
        ("H1 CR LF in a value", with("x-a", "1\r\nx-b: 2")),
        ("H1 NUL in a value", with("x-a", "1\0")),
        ("H1 LF in a name", with("x\n-a", "1")),
        ("H1 colon in a name", with("x:a", "1")),
        ("H1 space in a name", with("x a", "1")),
        ("H1 empty name", with("", "1")),
        ("H2 control byte", with("x-a", "a\u{1}b")),
        ("H3 leading space", with("x-a", " 1")),
        ("H3 trailing tab", with("x-a", "1\t")),
        ("H4 connection", with("connection", "close")),
        ("H4 keep-alive", with("keep-alive", "timeout=5")),
        ("H4 upgrade", with("upgrade", "websocket")),
        ("H4 transfer-encoding", with("transfer-encoding", "chunked")),
        ("H4 te", with("te", "gzip")),
        ("H5 pseudo after field", block(&[METHOD, ("x-a", "1"), SCHEME, PATH, HOST])),
        ("H5 duplicated", block(&[METHOD, METHOD, SCHEME, PATH, HOST])),
        ("H5 unknown", block(&[METHOD, SCHEME, PATH, HOST, (":x", "1")])),
        ("H5 of a response", block(&[METHOD, SCHEME, PATH, HOST, (":status", "200")])),
        ("H5 no path", block(&[METHOD, SCHEME, HOST])),
        ("H5 no method", block(&[SCHEME, PATH, HOST])),
        ("H5 no scheme", block(&[METHOD, PATH, HOST])),
        ("H5 empty path", path("")),
        ("H6 relative", path("admin")),
        ("H6 CR LF", path("/\r\nx: y")),
        ("H6 absolute", path("http://evil/p")),
        ("H6 asterisk", path("*")),
        ("H6 space", path("/a b")),
        ("H6 fragment", path("/a#b")),
        ("H7 method with space", block(&[(":method", "GET /x"), SCHEME, PATH, HOST])),
        ("H7 method with CR LF", block(&[(":method", "GET\r\n"), SCHEME, PATH, HOST])),
        ("H7 scheme", block(&[METHOD, (":scheme", "ht tp"), PATH, HOST])),
        ("H9 userinfo", authority("user@a.test")),
        ("H10 path in authority", authority("a.test/x")),
        ("H11 authority and another host", with("host", "b.test")),
        ("H11 two hosts", block(&[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "a.test")])),
        ("H11 none", block(&[METHOD, SCHEME, PATH])),
        ("H12 length without a body", with("content-length", "5")),
        ("H13 two lengths", get(&[("content-length", "0"), ("content-length", "0")])),
        ("H13 different lengths", get(&[("content-length", "0"), ("content-length", "5")])),
        ("H15 connect", block(&[(":method", "CONNECT"), HOST])),
        ("H15 connect with path", block(&[(":method", "CONNECT"), SCHEME, PATH, HOST])),
        (
            "H15 unknown protocol",
            request("POST", &[]).into_iter().chain(block(&[(":protocol", "websocket")])).collect(),
        ),
    ]
}

#[test]
fn malformed_heads_are_refused() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    for (name, fields) in heads() {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &fields);
        let verdict = client.verdict(1);
        assert!(is_refused(verdict), "{name}: {verdict:?}");
    }
    // H20: bytes that are no text, where text is looked for.
    for name in ["connection", "te"] {
        let mut fields = get(&[(name, "xx")]);
        let at = fields.len() - 1;
        fields[at] = 0xff;
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &fields);
        let verdict = client.verdict(1);
        assert!(is_refused(verdict), "{name}: {verdict:?}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    assert_eq!(proxy.stats()["panics"].as_u64().unwrap_or(0), 0);
    // A request that is one.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[("te", "trailers")]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
}

#[test]
fn the_scheme_is_what_was_spoken() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &block(&[METHOD, (":scheme", "https"), PATH, HOST]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    assert_eq!(origin.only_request().all("x-forwarded-proto"), ["http"]);
}

#[test]
fn a_body_is_as_long_as_it_was_said_to_be() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    for (length, data) in [("5", "abc"), ("2", "abc")] {
        let mut client = Wire::connect(proxy.address(), &[]);
        let head = request("POST", &[("content-length", length)]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &head));
        client.send(&frame(DATA, END_STREAM, 1, data.as_bytes()));
        let verdict = client.verdict(1);
        assert!(is_refused(verdict), "{length} {data}: {verdict:?}");
    }
    wait_until(SOON, "nothing is left behind", || {
        proxy.stats()["routes"][0]["in_flight"] == 0 && origin.open_connections() == 0
    });
    assert!(origin.complete().is_empty(), "a part passed for the whole");
}

#[test]
fn trailers_are_fields_and_nothing_else() {
    let origin = Origin::start(|request| {
        let text = format!("{:?}", request.trailers);
        vec![crate::support::Step::Send(crate::support::ok(text))]
    });
    let proxy = proxy(origin.server(), "");
    let send = |flags: u8, fields: &[(&str, &str)]| {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", &[])));
        client.send(&frame(DATA, 0, 1, b"abc"));
        client.send(&frame(HEADERS, END_HEADERS | flags, 1, &block(fields)));
        let verdict = client.verdict(1);
        if is_refused(verdict) {
            return (verdict, String::new());
        }
        let body = client.next(|frame| frame.kind == DATA).map(|frame| frame.payload);
        (verdict, String::from_utf8(body.unwrap_or_default()).unwrap())
    };
    let (verdict, _) = send(0, &[("x-a", "1")]);
    assert!(is_refused(verdict), "not the end: {verdict:?}");
    let (verdict, _) = send(END_STREAM, &[(":path", "/sly"), ("x-sum", "7")]);
    assert!(is_refused(verdict), "pseudo-fields: {verdict:?}");
    let all = [("content-length", "9"), ("host", "sly"), ("x-sum", "7"), ("authorization", "sly")];
    let (verdict, passed) = send(END_STREAM, &all);
    assert_eq!(verdict, Verdict::Status(200));
    assert!(passed.contains("x-sum") && !passed.contains("sly") && !passed.contains("length"));
}

#[test]
fn frames_that_must_not_be_end_the_connection() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let open = frame(HEADERS, END_HEADERS, 3, &request("POST", &[]));
    let setting = |id: u16, value: u32| {
        frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
    };
    let unfinished = frame(HEADERS, END_STREAM, 5, &get(&[]));
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on an idle stream", frame(DATA, 0, 9, b"x")),
        ("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        ("an even stream", frame(HEADERS, END_HEADERS, 2, &get(&[]))),
        ("a smaller stream", [open.clone(), frame(HEADERS, END_HEADERS, 1, &get(&[]))].concat()),
        ("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, &get(&[]))),
        (
            "CONTINUATION elsewhere",
            [unfinished.clone(), frame(CONTINUATION, END_HEADERS, 7, b"")].concat(),
        ),
        ("a frame between", [unfinished, frame(PING, 0, 0, &[0; 8])].concat()),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        (
            "padding longer than the frame",
            [open.clone(), frame(DATA, PADDED, 3, &[200, 1])].concat(),
        ),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS: push of 2", setting(2, 2)),
        ("SETTINGS: a window of 2^31", setting(4, 1 << 31)),
        ("SETTINGS: frames of 100", setting(5, 100)),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("a window opened by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 9, &[0; 4])),
        ("RST_STREAM of 3 bytes", [open, frame(RST_STREAM, 0, 3, &[0; 3])].concat()),
        (
            "HPACK: an index that is not there",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x7f]),
        ),
        ("HPACK: index 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        ("HPACK: a number without end", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40])),
        (
            "HPACK: a table too large",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f]),
        ),
        (
            "HPACK: a string cut off",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 0x05, b'a']),
        ),
        ("a frame of 17 KiB", frame(DATA, 0, 1, &[0; 17 * 1024])),
    ];
    for (name, bytes) in rows {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&bytes);
        let code = client.end();
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
    }
    assert!(origin.complete().is_empty());
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[]));
    assert_eq!(client.verdict(1), Verdict::Status(200), "the process stays");
}

#[test]
fn something_else_after_the_preface_ends_the_connection() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::new(std::net::TcpStream::connect(proxy.address()).unwrap());
    client.send(b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut said = Vec::new();
    let goodbye =
        std::iter::from_fn(|| client.frame()).inspect(|f: &Frame| said.push(f.kind)).count();
    assert!(goodbye <= 2 && !said.contains(&HEADERS), "{said:?}");
    assert!(origin.requests().is_empty());
}
