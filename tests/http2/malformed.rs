//! Requests of HTTP/2 that are none (reliability.md §2, H1 to H20): each on its own stream, none of
//! them reaches a server.

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, Verdict, WINDOW_UPDATE, Wire, block, frame, get, request,
};
use crate::proxy;
use support::{Origin, SOON, wait_until};

/// What a refusal says in its `detail`.
const FIELD: &str = "malformed header field";
const LINE: &str = "malformed request line";
const LENGTH: &str = "invalid content-length";
const TRAILERS: &str = "malformed or oversized trailer section";
const ONE_HOST: &str = "exactly one host is required";

/// The codes of RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// The status of an answer, its `detail`, and the code of the reset behind it.
type Said = (u16, String, Option<u32>);

/// A stream that is malformed: the answer says why, and then it is reset (RFC 9113 §8.1.1).
fn malformed(detail: &str) -> Said {
    (400, detail.into(), Some(PROTOCOL_ERROR))
}

/// A request that is well formed as HTTP/2 has it, but contradicts itself or has no place here.
fn refused(status: u16, detail: &str) -> Said {
    (status, detail.into(), None)
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const HOST: (&str, &str) = (":authority", "a.test");
const PROTOCOL: (&str, &str) = (":protocol", "websocket");

/// The rows: a name, all fields of a request, and what is said to them.
#[allow(clippy::too_many_lines, reason = "a table")]
fn heads() -> Vec<(&'static str, Vec<u8>, Said)> {
    let with = |name: &'static str, value: &'static str| get(&[(name, value)]);
    let path = |path: &'static str| block(&[METHOD, SCHEME, (":path", path), HOST]);
    let authority = |host: &'static str| block(&[METHOD, SCHEME, PATH, (":authority", host)]);
    vec![
        ("H1 upper case", with("X-A", "1"), malformed(FIELD)),
        ("H1 CR LF in a value", with("x-a", "1\r\nx-b: 2"), malformed(FIELD)),
        ("H1 NUL in a value", with("x-a", "1\0"), malformed(FIELD)),
        ("H1 LF in a name", with("x\n-a", "1"), malformed(FIELD)),
        ("H1 colon in a name", with("x:a", "1"), malformed(FIELD)),
        ("H1 space in a name", with("x a", "1"), malformed(FIELD)),
        ("H1 empty name", with("", "1"), malformed(FIELD)),
        ("H2 control byte", with("x-a", "a\u{1}b"), malformed(FIELD)),
        ("H3 leading space", with("x-a", " 1"), malformed(FIELD)),
        ("H3 trailing tab", with("x-a", "1\t"), malformed(FIELD)),
        ("H4 connection", with("connection", "close"), malformed(FIELD)),
        ("H4 keep-alive", with("keep-alive", "timeout=5"), malformed(FIELD)),
        ("H4 upgrade", with("upgrade", "websocket"), malformed(FIELD)),
        ("H4 transfer-encoding", with("transfer-encoding", "chunked"), malformed(FIELD)),
        ("H4 te", with("te", "gzip"), malformed(FIELD)),
        (
            "H5 pseudo after field",
            block(&[METHOD, ("x-a", "1"), SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        ("H5 duplicated", block(&[METHOD, METHOD, SCHEME, PATH, HOST]), malformed(LINE)),
        ("H5 unknown", block(&[METHOD, SCHEME, PATH, HOST, (":x", "1")]), malformed(FIELD)),
        (
            "H5 of a response",
            block(&[METHOD, SCHEME, PATH, HOST, (":status", "200")]),
            malformed(LINE),
        ),
        ("H5 no path", block(&[METHOD, SCHEME, HOST]), malformed(LINE)),
        ("H5 no method", block(&[SCHEME, PATH, HOST]), malformed(LINE)),
        ("H5 no scheme", block(&[METHOD, PATH, HOST]), malformed(LINE)),
        ("H5 empty path", path(""), malformed(LINE)),
        ("H6 relative", path("admin"), malformed(LINE)),
        ("H6 CR LF", path("/\r\nx: y"), malformed(LINE)),
        ("H6 absolute", path("http://evil/p"), malformed(LINE)),
        ("H6 asterisk", path("*"), refused(400, "the request target has no valid form")),
        ("H6 space", path("/a b"), malformed(LINE)),
        (
            "H6 fragment",
            path("/a#b"),
            refused(400, "the request target contains an invalid character"),
        ),
        (
            "H7 method with space",
            block(&[(":method", "GET /x"), SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        (
            "H7 method with CR LF",
            block(&[(":method", "GET\r\n"), SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        ("H7 scheme", block(&[METHOD, (":scheme", "ht tp"), PATH, HOST]), malformed(LINE)),
        ("H9 userinfo", authority("user@a.test"), malformed(LINE)),
        ("H10 path in authority", authority("a.test/x"), refused(400, "invalid host")),
        ("H11 authority and another host", with("host", "b.test"), refused(400, ONE_HOST)),
        (
            "H11 two hosts",
            block(&[METHOD, SCHEME, PATH, ("host", "a.test"), ("host", "a.test")]),
            refused(400, ONE_HOST),
        ),
        ("H11 none", block(&[METHOD, SCHEME, PATH]), refused(400, ONE_HOST)),
        ("H12 length without a body", with("content-length", "5"), malformed(LENGTH)),
        (
            "H13 two lengths",
            get(&[("content-length", "0"), ("content-length", "0")]),
            refused(400, LENGTH),
        ),
        (
            "H13 different lengths",
            get(&[("content-length", "0"), ("content-length", "5")]),
            malformed(LENGTH),
        ),
        (
            "H15 connect",
            block(&[(":method", "CONNECT"), HOST]),
            refused(405, "the method is not allowed here"),
        ),
        (
            "H15 connect with path",
            block(&[(":method", "CONNECT"), SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        (
            "H15 a protocol after a field",
            block(&[("x-a", "1"), (":method", "CONNECT"), PROTOCOL, SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        (
            "H15 a protocol without CONNECT",
            block(&[METHOD, PROTOCOL, SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
        (
            "H15 a protocol without a path",
            block(&[(":method", "CONNECT"), PROTOCOL, SCHEME, HOST]),
            malformed(LINE),
        ),
        (
            "H15 a protocol that is none",
            block(&[(":method", "CONNECT"), (":protocol", "web socket"), SCHEME, PATH, HOST]),
            malformed(LINE),
        ),
    ]
}

#[test]
fn malformed_heads_are_refused() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut served = 0;
    let rows = heads();
    assert_eq!(rows.len(), 46);
    for (name, fields, expected) in rows {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &fields);
        assert_eq!(client.refusal(1), expected, "{name}");
        // It was the stream's fault alone.
        client.head(3, &get(&[]));
        assert_eq!(client.verdict(3), Verdict::Status(200), "{name}");
        served += 1;
    }
    // H20: bytes that are no text, where text is looked for.
    for name in ["connection", "te"] {
        let mut fields = get(&[(name, "xx")]);
        let at = fields.len() - 1;
        fields[at] = 0xff;
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &fields);
        assert_eq!(client.refusal(1), malformed(FIELD), "{name}");
    }
    assert_eq!(origin.requests().len(), served, "{:?}", origin.requests());
    assert_eq!(proxy.stats()["panics"], 0);
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
        assert_eq!(client.refusal(1), malformed(LENGTH), "{length} {data}");
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
        vec![support::Step::Send(support::ok(text))]
    });
    let proxy = proxy(origin.server(), "");
    let send = |flags: u8, fields: &[(&str, &str)]| {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", &[])));
        client.send(&frame(DATA, 0, 1, b"abc"));
        client.send(&frame(HEADERS, END_HEADERS | flags, 1, &block(fields)));
        client
    };
    let not_the_end = send(0, &[("x-a", "1")]).refusal(1);
    assert_eq!(not_the_end, malformed(TRAILERS));
    let pseudo = send(END_STREAM, &[(":path", "/sly"), ("x-sum", "7")]).refusal(1);
    assert_eq!(pseudo, malformed(TRAILERS));
    let all = [("content-length", "9"), ("host", "sly"), ("x-sum", "7"), ("authorization", "sly")];
    let mut client = send(END_STREAM, &all);
    assert_eq!(client.verdict(1), Verdict::Status(200));
    let body = client.next(|frame| frame.kind == DATA).unwrap().payload;
    let passed = String::from_utf8(body).unwrap();
    assert!(passed.contains("x-sum") && !passed.contains("sly") && !passed.contains("length"));
}

/// The rows: a name, the code of GOAWAY, and what is sent.
#[allow(clippy::too_many_lines, reason = "a table")]
fn frames() -> Vec<(&'static str, u32, Vec<u8>)> {
    let open = frame(HEADERS, END_HEADERS, 3, &request("POST", &[]));
    let setting = |id: u16, value: u32| {
        frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
    };
    let unfinished = frame(HEADERS, END_STREAM, 5, &get(&[]));
    vec![
        ("DATA on an idle stream", PROTOCOL_ERROR, frame(DATA, 0, 9, b"x")),
        ("DATA on stream 0", PROTOCOL_ERROR, frame(DATA, 0, 0, b"x")),
        ("an even stream", PROTOCOL_ERROR, frame(HEADERS, END_HEADERS, 2, &get(&[]))),
        (
            "a smaller stream",
            STREAM_CLOSED,
            [open.clone(), frame(HEADERS, END_HEADERS, 1, &get(&[]))].concat(),
        ),
        ("CONTINUATION alone", PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1, &get(&[]))),
        (
            "CONTINUATION elsewhere",
            PROTOCOL_ERROR,
            [unfinished.clone(), frame(CONTINUATION, END_HEADERS, 7, b"")].concat(),
        ),
        ("a frame between", PROTOCOL_ERROR, [unfinished, frame(PING, 0, 0, &[0; 8])].concat()),
        ("PUSH_PROMISE", PROTOCOL_ERROR, frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        (
            "padding longer than the frame",
            PROTOCOL_ERROR,
            [open.clone(), frame(DATA, PADDED, 3, &[200, 1])].concat(),
        ),
        ("PING of 7 bytes", FRAME_SIZE_ERROR, frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", PROTOCOL_ERROR, frame(PING, 0, 1, &[0; 8])),
        ("SETTINGS of 5 bytes", FRAME_SIZE_ERROR, frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", PROTOCOL_ERROR, frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS: push of 2", PROTOCOL_ERROR, setting(2, 2)),
        ("SETTINGS: a window of 2^31", FLOW_CONTROL_ERROR, setting(4, 1 << 31)),
        ("SETTINGS: frames of 100", PROTOCOL_ERROR, setting(5, 100)),
        (
            "a window that overflows",
            FLOW_CONTROL_ERROR,
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        ),
        ("a window opened by 0", PROTOCOL_ERROR, frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("RST_STREAM on an idle stream", PROTOCOL_ERROR, frame(RST_STREAM, 0, 9, &[0; 4])),
        (
            "RST_STREAM of 3 bytes",
            FRAME_SIZE_ERROR,
            [open.clone(), frame(RST_STREAM, 0, 3, &[0; 3])].concat(),
        ),
        (
            "HPACK: an index that is not there",
            COMPRESSION_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x7f]),
        ),
        ("HPACK: index 0", COMPRESSION_ERROR, frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        (
            "HPACK: a number without end",
            COMPRESSION_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40]),
        ),
        (
            "HPACK: a table too large",
            COMPRESSION_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0x7f]),
        ),
        (
            "HPACK: a string cut off",
            COMPRESSION_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 0x05, b'a']),
        ),
        (
            "a frame of 17 KiB",
            FRAME_SIZE_ERROR,
            [open, frame(DATA, 0, 3, &[0; 17 * 1024])].concat(),
        ),
    ]
}

#[test]
fn frames_that_must_not_be_end_the_connection() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let rows = frames();
    assert_eq!(rows.len(), 26);
    for (name, code, bytes) in rows {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&bytes);
        assert_eq!(client.end(), Some(code), "{name}");
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
    let said: Vec<_> = std::iter::from_fn(|| client.frame()).collect();
    let kinds: Vec<u8> = said.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [GOAWAY]);
    assert_eq!(said[0].number(4), PROTOCOL_ERROR);
    assert!(origin.requests().is_empty());
}
