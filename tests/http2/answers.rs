//! What clients of HTTP/1.0, HTTP/1.1 and HTTP/2 make of the same bytes of a server: an answer that
//! was cut is whole to nobody, compressed or not, and one that is odd but whole is whole to all.

use crate::frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Wire, block, frame};
use crate::listening;
use support::{End, Origin, RawClient, SOON, Step, Tidegate, wait_until};

/// How an answer looks to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Whole(u16, Vec<u8>),
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http10,
    Http11,
    Http2,
}

const ALL: [Speaks; 3] = [Speaks::Http10, Speaks::Http11, Speaks::Http2];

/// What a client gets that asks with this method, and takes a compressed answer or not.
fn look(proxy: &Tidegate, speaks: Speaks, method: &str, zip: bool) -> Look {
    if speaks == Speaks::Http2 {
        return look_at_frames(proxy, method, zip);
    }
    let version = if speaks == Speaks::Http10 { "1.0" } else { "1.1" };
    let zip = if zip { "Accept-Encoding: gzip\r\n" } else { "" };
    let mut client = proxy.client();
    client.send(format!("{method} / HTTP/{version}\r\nHost: a.test\r\n{zip}\r\n"));
    match client.try_response(method) {
        Ok(answer) => Look::Whole(answer.status, answer.body),
        Err(_) => {
            assert_ne!(client.end(SOON).1, End::StillOpen, "{speaks:?} {method}: left waiting");
            Look::Cut
        }
    }
}

fn look_at_frames(proxy: &Tidegate, method: &str, zip: bool) -> Look {
    let mut fields =
        vec![(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    if zip {
        fields.push(("accept-encoding", "gzip"));
    }
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
    let (mut status, mut body) = (0, Vec::new());
    loop {
        let Some(frame) = client.next(|frame| frame.stream == 1) else { return Look::Cut };
        match frame.kind {
            HEADERS if status == 0 => status = frame.status(),
            RST_STREAM => return Look::Cut,
            _ => {}
        }
        if frame.kind == crate::frames::DATA {
            body.extend(&frame.payload);
        }
        if frame.ends() {
            return Look::Whole(status, body);
        }
    }
}

/// A proxy in front of a server that takes these steps for every request.
fn in_front_of(steps: Vec<Step>) -> (Origin, Tidegate) {
    let origin = Origin::start(move |_| steps.clone());
    let upstream = format!(
        "servers = ['{}']\nretry = {{ attempts = 0 }}\neject = {{ failures = 1000000 }}",
        origin.server()
    );
    let proxy = listening(&upstream, "").route("name = 'app'\ncompress = true").start();
    (origin, proxy)
}

fn send(text: impl Into<Vec<u8>>) -> Step {
    Step::Send(text.into())
}

fn text(n: usize) -> String {
    "some text ".repeat(n / 10)
}

#[test]
fn s1_an_answer_that_was_cut_is_whole_to_nobody() {
    let head =
        |lines: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{lines}\r\n\r\n");
    let length = || send(head("Content-Length: 50000") + &text(30_000));
    let chunk = |n: usize| format!("{n:x}\r\n{}\r\n", text(n));
    let chunked = || send(head("Transfer-Encoding: chunked") + &chunk(30_000));
    let close = || send(head("X-A: b") + &text(30_000));
    // By then the first part has reached the client.
    let pause = || Step::Pause(std::time::Duration::from_millis(50));
    let rows: Vec<(&str, Vec<Step>)> = vec![
        ("a length, then FIN", vec![length(), Step::Close]),
        ("a length, a pause, FIN", vec![length(), pause(), Step::Close]),
        ("a length, then RST", vec![length(), pause(), Step::Reset]),
        ("chunks, then FIN", vec![chunked(), Step::Close]),
        ("chunks, a pause, FIN", vec![chunked(), pause(), Step::Close]),
        ("chunks, then half a chunk", vec![chunked(), pause(), send("10\r\nab"), Step::Close]),
        ("chunks, then none", vec![chunked(), pause(), send("zz\r\n"), Step::Hold]),
        ("chunks, then half an end", vec![chunked(), pause(), send("0\r\n"), Step::Close]),
        ("chunks, then a bad end", vec![chunked(), pause(), send("0\r\nA b\r\n\r\n"), Step::Hold]),
        ("until the close, then RST", vec![close(), pause(), Step::Reset]),
    ];
    for (name, steps) in rows {
        let (origin, proxy) = in_front_of(steps);
        for speaks in ALL {
            for zip in [false, true] {
                let seen = look(&proxy, speaks, "GET", zip);
                // Where all of it comes at once, an answer of the proxy's own.
                let cut = seen == Look::Cut || matches!(seen, Look::Whole(502, _));
                assert!(cut, "{name}, {speaks:?}, zip: {zip}: {seen:?}");
            }
        }
        assert_eq!(origin.requests().len(), 6, "{name}");
        wait_until(SOON, "no connection is kept", || origin.open_connections() == 0);
    }
}

#[test]
fn s7_blanks_behind_the_size_of_a_chunk_are_let_through() {
    for size in ["5  ", "5 ", "5\t", "005 ", "5 ;x=y", "5 \t;x"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nhello\r\n0  \r\n\r\n"
        );
        let (origin, proxy) = in_front_of(vec![send(answer)]);
        for speaks in ALL {
            let seen = look(&proxy, speaks, "GET", false);
            assert_eq!(seen, Look::Whole(200, b"hello".to_vec()), "{size:?}, {speaks:?}");
        }
        assert_eq!(origin.accepts(), 1, "its connection is as good as any");
        // Never from a client.
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nhello\r\n0\r\n\r\n"
        ));
        assert_eq!(client.response().status, if size.contains([' ', '\t']) { 400 } else { 200 });
    }
}

#[test]
fn s12_chunks_that_are_none_from_the_start_are_an_answer_of_the_proxys_own() {
    for bad in ["zz\r\n", "\r\nhello", " 5\r\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "5\r\nhello!"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
        let (_origin, proxy) = in_front_of(vec![send(answer), Step::Hold]);
        for speaks in ALL {
            let seen = look(&proxy, speaks, "GET", false);
            assert!(matches!(seen, Look::Whole(502, _)), "{bad:?}, {speaks:?}: {seen:?}");
        }
    }
}

#[test]
fn s6_what_has_no_body_gets_none() {
    let rows = [
        ("HEAD", "200 OK\r\nContent-Length: 5", "hello", 200),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", 200),
        ("GET", "204 No Content\r\nContent-Length: 5", "hello", 204),
        ("GET", "204 No Content", "hello", 204),
        ("GET", "304 Not Modified\r\nContent-Length: 5", "hello", 304),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", 304),
    ];
    for (method, head, body, status) in rows {
        let head = format!("HTTP/1.1 {head}\r\n\r\n");
        let (_origin, proxy) = in_front_of(vec![send([&head, body].concat())]);
        for speaks in ALL {
            for zip in [false, true] {
                let seen = look(&proxy, speaks, method, zip);
                assert_eq!(seen, Look::Whole(status, Vec::new()), "{status}, {speaks:?}");
            }
            // A body that comes later than its head changes nothing, and its connection is found
            // out.
            let pause = Step::Pause(std::time::Duration::from_millis(20));
            let (origin, proxy) = in_front_of(vec![send(&*head), pause, send(body)]);
            assert_eq!(look(&proxy, speaks, method, false), Look::Whole(status, Vec::new()));
            wait_until(SOON, "the connection is not kept", || origin.open_connections() == 0);
        }
    }
}

#[test]
fn p10_an_answer_has_a_date() {
    let origin = Origin::start(|request| {
        let date =
            if request.target == "/old" { "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" } else { "" };
        vec![
            send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
            send(format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 4\r\n\r\nfine")),
        ]
    });
    let text = |route: &str| {
        let upstream = format!("servers = ['{origin}']");
        listening(&upstream, "").route(&format!("name = 'app'\n{route}")).text()
    };
    let proxy = Tidegate::start(&text(""));
    let mut client = proxy.client();
    let ask = |client: &mut RawClient, path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert!(client.next_head().header("date").is_none(), "an informational answer needs none");
        let answer = client.response();
        answer.all("date").iter().map(|date| (*date).to_owned()).collect::<Vec<_>>()
    };
    let [date] = &ask(&mut client, "/")[..] else { panic!("one date") };
    let at = httpdate::parse_http_date(date).unwrap();
    assert!(at.elapsed().unwrap_or_default() < SOON, "{date}");
    assert_eq!(ask(&mut client, "/old"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    // A route that takes it away, or that says its own, is obeyed.
    let without = Tidegate::start(&text("response_headers = { remove = ['date'] }"));
    assert!(ask(&mut without.client(), "/").is_empty());
    let own = Tidegate::start(&text("response_headers = { set = { date = 'today' } }"));
    assert_eq!(ask(&mut own.client(), "/"), ["today"]);
    // Over HTTP/2, in a literal that no table was agreed on for.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &crate::frames::get(&[]));
    let heads: Vec<_> = (0..2).map(|_| client.next(|f| f.kind == HEADERS).unwrap()).collect();
    let year = b"GMT";
    let dated = |payload: &[u8]| payload.windows(3).any(|part| part == year);
    assert!(!dated(&heads[0].payload), "{:?}", heads[0]);
    assert!(heads[1].payload.len() > heads[0].payload.len());
}
