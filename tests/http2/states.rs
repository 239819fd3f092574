//! A stream's end is one state (RFC 9113 §5.1): what was cut never passes for whole, and what comes
//! after an end is an error that costs its sender something.

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Ending, GOAWAY, HEADERS, RST_STREAM, Verdict, WINDOW_UPDATE,
    Wire, block, frame, get, request,
};
use crate::server::{Asked, H2Server, fine, head};
use crate::{config, proxy};
use support::Tidegate;
use support::{Origin, SOON, assert_problem, wait_until};

const PROTOCOL_ERROR: u32 = 1;
const STREAM_CLOSED: u32 = 5;
const CALM: u32 = 11;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// No second attempt, so that the first answer is what the client sees.
const ONCE: &str = "protocol = 'h2c'\nretry = { attempts = 0 }\neject = false";

fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", more))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

#[test]
fn s2_a_request_that_is_reset_after_a_part_of_its_body_is_cut_at_the_server() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let part = frame(DATA, 0, 1, b"transfer 100 from a to b");
    let end = frame(DATA, END_STREAM, 1, b"");
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-a", "1")]));
    let zero = frame(WINDOW_UPDATE, 0, 1, &[0; 4]);
    let overflow = frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
    let not_the_end = frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "1")]));
    // What breaks the stream, what would have ended the request, and how the proxy says so.
    let rows: Vec<(&str, Vec<u8>, Verdict)> = vec![
        ("a window of 0", [zero.clone(), end.clone()].concat(), Verdict::Reset(PROTOCOL_ERROR)),
        ("a window of 0, trailers", [zero, trailers].concat(), Verdict::Reset(PROTOCOL_ERROR)),
        ("a window too large", [overflow, end.clone()].concat(), Verdict::Reset(3)),
        ("a head amid the body", [not_the_end, end.clone()].concat(), Verdict::Status(400)),
        ("the client gives up", [reset(1), end].concat(), Verdict::Reset(STREAM_CLOSED)),
    ];
    let count = rows.len();
    for (nth, (name, rest, verdict)) in rows.into_iter().enumerate() {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&[post(1, &[]), part.clone()].concat());
        wait_until(SOON, "the server has a part", || {
            let seen = origin.connections();
            seen.get(nth).is_some_and(|seen| seen.raw.windows(6).any(|part| part == b"a to b"))
        });
        client.send(&rest);
        assert_eq!(client.verdict(1), verdict, "{name}");
    }
    wait_until(SOON, "the server is left", || origin.open_connections() == 0);
    assert_eq!(origin.requests().len(), count);
    assert!(origin.complete().is_empty(), "{:?}", origin.complete());
}

#[test]
fn s2_a_request_that_was_broken_before_it_was_sent_is_not_whole_either() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    let all = [
        post(1, &[]),
        frame(DATA, 0, 1, b"part"),
        frame(WINDOW_UPDATE, 0, 1, &[0; 4]),
        frame(DATA, END_STREAM, 1, b""),
    ];
    client.send(&all.concat());
    assert_eq!(client.verdict(1), Verdict::Reset(PROTOCOL_ERROR));
    client.head(3, &get(&[]));
    assert_eq!(client.verdict(3), Verdict::Status(200));
    let complete: Vec<String> = origin.complete().iter().map(|r| r.method.clone()).collect();
    assert_eq!(complete, ["GET"]);
}

#[test]
fn s3_a_response_whose_trailers_do_not_end_it_is_not_whole() {
    let server = H2Server::start(&[], |asked| {
        let trailers =
            |flags| frame(HEADERS, END_HEADERS | flags, asked.stream, &block(&[("x-a", "1")]));
        let bad = frame(HEADERS, END_HEADERS | END_STREAM, asked.stream, &block(&[(":path", "/")]));
        let body = frame(DATA, 0, asked.stream, b"fine");
        let more = frame(DATA, END_STREAM, asked.stream, b"more");
        let begun = [head(asked.stream, &[]), body].concat();
        Some(match asked.nth / 2 {
            0 => [begun, trailers(0), more].concat(),
            1 => [begun, trailers(0), trailers(END_STREAM)].concat(),
            2 => [begun, bad].concat(),
            _ => [begun, trailers(END_STREAM)].concat(),
        })
    });
    let proxy = proxy(server.address, ONCE);
    for row in 0..3 {
        // All of it was wrong before anything was sent.
        assert_problem(&proxy.client().exchange(GET), 502, "upstream_invalid");
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &get(&[]));
        assert_eq!(client.verdict(1), Verdict::Status(502), "{row}");
    }
    assert_eq!(proxy.client().exchange(GET).text(), "fine");
}

#[test]
fn s3_a_response_that_breaks_after_its_beginning_was_sent_is_cut() {
    let server = H2Server::start(&[], |asked| {
        let trailers = frame(HEADERS, END_HEADERS, asked.stream, &block(&[("x-a", "1")]));
        let more = frame(DATA, END_STREAM, asked.stream, b"more");
        // The second request sets off the end of the first one.
        Some(match asked.nth {
            0 => [head(asked.stream, &[]), frame(DATA, 0, asked.stream, b"fine")].concat(),
            _ => {
                let first = asked.stream - 2;
                let trailers = frame(HEADERS, END_HEADERS, first, &trailers[9..]);
                let more = frame(DATA, END_STREAM, first, &more[9..]);
                [trailers, more, fine(asked.stream, "next")].concat()
            }
        })
    });
    let proxy = proxy(server.address, ONCE);
    let mut client = proxy.client();
    client.send(GET);
    assert_eq!(client.next_head().status, 200);
    client.wait_for("fine");
    assert_eq!(proxy.client().exchange(GET).text(), "next");
    let (rest, _) = client.end(SOON);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
}

#[test]
fn s5_trailers_follow_a_body_of_no_bytes() {
    let server = H2Server::start(&[], |asked| {
        let trailers = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            asked.stream,
            &block(&[("x-sum", "7"), ("grpc-status", "0")]),
        );
        Some([head(asked.stream, &[("content-length", "0")]), trailers].concat())
    });
    let proxy = proxy(server.address, ONCE);
    let response = proxy
        .client()
        .exchange("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_eq!(
        response.trailers.iter().filter(|(name, _)| name == "x-sum").count(),
        1,
        "{response:?}"
    );
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[("te", "trailers")]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    let trailers = client.next(|frame| frame.kind == HEADERS).expect("trailers");
    assert!(trailers.ends());
    assert!(trailers.payload.windows(5).any(|part| part == b"x-sum"), "{trailers:?}");
}

#[test]
fn s5_trailers_follow_a_request_of_no_bytes() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "7")]));
    client.send(&[post(1, &[("content-length", "0")]), trailers].concat());
    assert_eq!(client.verdict(1), Verdict::Status(200));
    let request = origin.only_request();
    assert_eq!((request.chunked, request.body.len()), (true, 0));
    assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn s6_data_where_no_body_may_be_is_dropped() {
    let server = H2Server::start(&[], |asked| {
        let status = ["200", "204", "304"][asked.nth % 3];
        let fields = block(&[(":status", status)]);
        let head = frame(HEADERS, END_HEADERS, asked.stream, &fields);
        Some([head, frame(DATA, END_STREAM, asked.stream, b"never")].concat())
    });
    let proxy = proxy(server.address, ONCE);
    let mut client = proxy.client();
    client.send(HEAD);
    let to_head = client.response_to_head();
    assert_eq!((to_head.status, to_head.text().as_str()), (200, ""));
    for status in [204, 304] {
        let response = client.exchange(GET);
        assert_eq!((response.status, response.text().as_str()), (status, ""));
    }
    // The same for a client of HTTP/2.
    let mut client = Wire::connect(proxy.address(), &[]);
    for (stream, method, status) in [(1, "HEAD", 200), (3, "GET", 204), (5, "GET", 304)] {
        client.head(stream, &request(method, &[]));
        assert_eq!(client.verdict_and_end(stream), (Verdict::Status(status), Ending::Whole(0)));
    }
    assert_eq!(server.accepts(), 1, "the connection is well");
}

#[test]
fn s8_an_end_right_behind_the_head_is_no_body() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    for (nth, method) in ["GET", "POST", "DELETE"].into_iter().enumerate() {
        let mut client = Wire::connect(proxy.address(), &[]);
        let head = frame(HEADERS, END_HEADERS, 1, &request(method, &[]));
        client.send(&[head, frame(DATA, END_STREAM, 1, b"")].concat());
        assert_eq!(client.verdict(1), Verdict::Status(200));
        let request = origin.requests().remove(nth);
        assert!(request.complete && !request.chunked, "{request:?}");
        assert_eq!(request.header("transfer-encoding"), None);
    }
}

#[test]
fn s12_what_a_server_gets_wrong_before_anything_was_sent_is_a_502() {
    let server = H2Server::start(&[], |asked| {
        let stream = asked.stream;
        let two = head(stream, &[("content-length", "2")]);
        let part = frame(DATA, 0, stream, b"1");
        Some(match asked.nth / 2 {
            0 => [two, frame(DATA, END_STREAM, stream, b"123456789")].concat(),
            1 => [two, frame(DATA, END_STREAM, stream, b"1")].concat(),
            2 => [head(stream, &[("content-length", "0")]), frame(DATA, END_STREAM, stream, b"1")]
                .concat(),
            3 => [two, part, frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes())].concat(),
            4 => [two, part, frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes())].concat(),
            5 => [
                head(stream, &[]),
                frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])),
            ]
            .concat(),
            _ => fine(stream, "fine"),
        })
    });
    let proxy = proxy(server.address, ONCE);
    for row in 0..6 {
        let response = proxy.client().exchange(GET);
        assert_eq!(response.status, 502, "{row}: {response:?}");
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &get(&[]));
        assert_eq!(client.verdict(1), Verdict::Status(502), "{row}");
    }
    assert_eq!(server.asked().len(), 12, "none was sent twice");
    assert_eq!(proxy.client().exchange(GET).text(), "fine");
    assert_eq!(server.accepts(), 1);
}

#[test]
fn s13_parts_of_messages_on_streams_that_have_ended_are_errors() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let data = frame(DATA, END_STREAM, 1, b"test");
    let empty = frame(DATA, END_STREAM, 1, b"");
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-a", "1")]));
    for (name, late) in [("DATA", &data), ("empty DATA", &empty), ("HEADERS", &trailers)] {
        // The client has broken it off.
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&[&post(1, &[])[..], &reset(1), late].concat());
        assert_eq!(client.verdict(1), Verdict::Reset(STREAM_CLOSED), "{name} after a reset");
        // It has ended the request, which is still under way.
        let mut client = Wire::connect(proxy.address(), &[]);
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[]));
        client.send(&[&head[..], late].concat());
        assert_eq!(client.verdict(1), Verdict::Reset(STREAM_CLOSED), "{name} after the end");
        // Both sides have.
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &get(&[]));
        assert_eq!(client.verdict_and_end(1), (Verdict::Status(200), Ending::Whole(4)));
        client.send(late);
        assert_eq!(client.end(), Some(STREAM_CLOSED), "{name} after both ends");
    }
}

#[test]
fn s13_such_errors_are_charged() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let head = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[]));
    let data = |stream| frame(DATA, 0, stream, b"x");
    let rows: [(&str, Abuse<'_>); 2] = [
        ("DATA after the end", &|stream| [head(stream), data(stream)].concat()),
        ("DATA after a reset", &|stream| [post(stream, &[]), reset(stream), data(stream)].concat()),
    ];
    for (name, abuse) in rows {
        let mut client = Wire::connect(proxy.address(), &[]);
        for n in 0..500 {
            client.send(&abuse(2 * n + 1));
        }
        assert_eq!(client.end(), Some(CALM), "{name}");
    }
}

/// What a client does to the proxy on a stream with this number.
type Abuse<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Sends so many streams made of what `abuse` says, and returns how many of them were answered
/// before the connection was ended, and with which code.
fn endless(proxy: &Tidegate, streams: u32, abuse: impl Fn(u32) -> Vec<u8>) -> (usize, Option<u32>) {
    let mut client = Wire::connect(proxy.address(), &[]);
    let mut ended = 0;
    for n in 0..streams {
        client.send(&abuse(2 * n + 1));
    }
    while let Some(frame) = client.frame() {
        ended += usize::from(frame.kind == HEADERS || frame.kind == RST_STREAM);
        if frame.kind == GOAWAY {
            return (ended, Some(frame.number(4)));
        }
    }
    (ended, None)
}

#[test]
fn s14_heads_that_are_refused_are_charged() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    // A field of 3.9 kB is put into the table once and named two hundred times in every request.
    let large = [&b"\x40\x03x-a\x7f\x81\x1e"[..], &[b'v'; 3_968]].concat();
    let bomb = |stream: u32| {
        let first = if stream == 1 { large.clone() } else { Vec::new() };
        let block = [get(&[]), first, vec![0xbe; 200]].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    let (_, code) = endless(&proxy, 1000, bomb);
    assert_eq!(code, Some(CALM), "431 for as long as it likes");
    let malformed =
        |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[("Upper", "case")]));
    let (_, code) = endless(&proxy, 1000, malformed);
    assert_eq!(code, Some(CALM), "400 for as long as it likes");
    assert!(origin.requests().is_empty());
    let listener = &proxy.stats()["listeners"][0];
    assert_eq!(listener["http2_floods"].as_u64(), Some(2), "{listener}");
}

#[test]
fn w13_every_way_to_be_reset_is_charged() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let trailers = |stream, flags, fields: &[(&str, &str)]| {
        frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
    };
    let window = |stream, n: u32| frame(WINDOW_UPDATE, 0, stream, &n.to_be_bytes());
    let short = |stream| {
        [post(stream, &[("content-length", "9")]), frame(DATA, END_STREAM, stream, b"short")]
            .concat()
    };
    let long = |stream| {
        [post(stream, &[("content-length", "2")]), frame(DATA, 0, stream, b"long")].concat()
    };
    let rows: [(&str, Abuse<'_>); 8] = [
        ("less than announced", &short),
        ("more than announced", &long),
        ("trailers that do not end", (&|s| [post(s, &[]), trailers(s, 0, &[("a", "1")])].concat())),
        (
            "bad trailers",
            (&|s| [post(s, &[]), trailers(s, END_STREAM, &[(":path", "/")])].concat()),
        ),
        ("a window of 0", (&|s| [post(s, &[]), window(s, 0)].concat())),
        ("a window too large", (&|s| [post(s, &[]), window(s, 0x7fff_ffff)].concat())),
        ("cancelled", (&|s| [post(s, &[]), reset(s)].concat())),
        (
            "a length without a body",
            (&|s| frame(HEADERS, END_HEADERS | END_STREAM, s, &get(&[("content-length", "5")]))),
        ),
    ];
    for (name, abuse) in rows {
        let (_, code) = endless(&proxy, 1500, abuse);
        assert_eq!(code, Some(CALM), "{name}");
    }
    // One that behaves is none of these.
    let mut client = Wire::connect(proxy.address(), &[]);
    for n in 0..300 {
        client.head(2 * n + 1, &get(&[]));
        assert_eq!(client.verdict(2 * n + 1), Verdict::Status(200));
    }
}

/// Malformed requests are answered, and their streams are reset (RFC 9113 §8.1.1).
#[test]
fn a_malformed_request_is_told_why_and_then_reset() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[("Upper", "case")]));
    let (verdict, ending) = client.verdict_and_end(1);
    assert_eq!(verdict, Verdict::Status(400));
    assert!(matches!(ending, Ending::Reset(PROTOCOL_ERROR, n) if n > 50), "{ending:?}");
    // A body that contradicts its length.
    client.send(&post(3, &[("content-length", "9")]));
    client.send(&frame(DATA, END_STREAM, 3, b"short"));
    let (verdict, ending) = client.verdict_and_end(3);
    assert_eq!(verdict, Verdict::Status(400));
    assert!(matches!(ending, Ending::Reset(PROTOCOL_ERROR, n) if n > 50), "{ending:?}");
    // What is too large is no less a request.
    let many: Vec<(String, &str)> = (0..300).map(|n| (format!("x-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    client.head(5, &get(&many));
    let (verdict, ending) = client.verdict_and_end(5);
    assert_eq!(verdict, Verdict::Status(431));
    assert!(matches!(ending, Ending::Whole(n) if n > 50), "{ending:?}");
    assert!(origin.complete().is_empty());
}

#[test]
fn w4_settings_are_applied_once_a_frame_and_are_not_many() {
    let origin = Origin::ok("fine");
    let proxy = Tidegate::start(&config(&format!("servers = ['{}']", origin.server()), ""));
    let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    // 2 730 of them in one frame, as in CVE-2020-11080.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(crate::frames::SETTINGS, 0, 0, &setting(4, 65_535).repeat(2_730)));
    assert_eq!(client.end(), Some(CALM));
    // As many as anybody has a use for.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(crate::frames::SETTINGS, 0, 0, &setting(4, 65_535).repeat(32)));
    client.head(1, &get(&[]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
}

/// RFC 7541 §6.2.3: what one side never wants in a table, no other side puts into one.
#[test]
fn s10_a_field_that_is_never_indexed_stays_so_on_both_ways() {
    let guarded = |name: &str, value: &str| {
        let mut literal = block(&[(name, value)]);
        literal[0] = 0x10;
        literal
    };
    let answer = guarded("x-token", "secret");
    let (seen, asked) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        assert!(wire.preface());
        wire.send(&frame(crate::frames::SETTINGS, 0, 0, &[]));
        while let Some(got) = wire.frame() {
            if got.kind == HEADERS {
                seen.send(got.payload).unwrap();
                let fields = [block(&[(":status", "200")]), answer.clone()].concat();
                wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, got.stream, &fields));
            }
        }
    });
    let proxy = proxy(address, "protocol = 'h2c'");
    let mut client = Wire::connect(proxy.address(), &[(1, 4096)]);
    // How a literal with a new name begins, and its name.
    let has = |block: &[u8], form: u8, name: &str| {
        let start = [&[form, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        block.windows(start.len()).any(|part| part == start)
    };
    for n in 0..4 {
        let fields = [get(&[]), guarded("x-api-key", "secret"), guarded("cookie", "a=1")].concat();
        client.head(2 * n + 1, &fields);
        let to_client = client.next(|frame| frame.kind == HEADERS).unwrap();
        let to_server = asked.recv_timeout(SOON).unwrap();
        assert!(has(&to_server, 0x10, "x-api-key"), "{n}: {to_server:?}");
        assert!(has(&to_client.payload, 0x10, "x-token"), "{n}: {to_client:?}");
    }
}

#[test]
fn s11_what_a_server_calls_malformed_is_not_held_against_it() {
    let server = H2Server::start(&[], |Asked { nth, stream, .. }| {
        Some(match nth {
            0..6 => frame(RST_STREAM, 0, stream, &PROTOCOL_ERROR.to_be_bytes()),
            _ => fine(stream, "fine"),
        })
    });
    let more =
        "protocol = 'h2c'\nbreaker = { failures = 1 }\neject = { failures = 1, at_most = '100%' }";
    let proxy = proxy(server.address, more);
    for n in 0..6 {
        assert_problem(&proxy.client().exchange(GET), 502, "upstream_closed");
        assert_eq!(server.asked().len(), n + 1, "it is not sent again");
    }
    assert_eq!(proxy.client().exchange(GET).text(), "fine");
}
