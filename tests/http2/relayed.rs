//! How a request of HTTP/2 is written to a server: what is known of its body when its head is, and
//! what belongs to it when it is sent again or copied.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, SETTINGS, Verdict, Wire, block, frame,
    request,
};
use crate::server::fine;
use crate::{config, listening, proxy};
use support::{Origin, Request, SOON, Step, Tidegate, ok, wait_until};

/// A server of HTTP/2 that writes down the HEADERS and DATA it gets, and answers what has ended
/// with the next of these statuses, and with 200 after the last.
struct Recorder {
    address: SocketAddr,
    frames: Arc<Mutex<Vec<Frame>>>,
}

impl Recorder {
    fn start(statuses: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = Self { address, frames: Arc::default() };
        let frames = recorder.frames.clone();
        let mut statuses = statuses.iter();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut wire = Wire::new(stream.unwrap());
                if !wire.preface() {
                    continue;
                }
                wire.send(&frame(SETTINGS, 0, 0, &[]));
                while let Some(seen) = wire.next(|frame| matches!(frame.kind, HEADERS | DATA)) {
                    let (stream, ends) = (seen.stream, seen.ends());
                    frames.lock().unwrap().push(seen);
                    if ends {
                        let status = statuses.next();
                        wire.send(&status.map_or_else(
                            || fine(stream, "fine"),
                            |status| {
                                let head = block(&[(":status", status)]);
                                frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
                            },
                        ));
                    }
                }
            }
        });
        recorder
    }

    /// Kinds, whether they ended the stream, and lengths of DATA.
    fn seen(&self) -> Vec<(u8, bool, usize)> {
        let frames = self.frames.lock().unwrap();
        let length = |frame: &Frame| if frame.kind == DATA { frame.payload.len() } else { 0 };
        frames.iter().map(|frame| (frame.kind, frame.ends(), length(frame))).collect()
    }
}

const EMPTY: &[u8] = &[];

/// A request, its head not ended, and these frames behind it, all in one write.
fn send_at_once(proxy: &Tidegate, method: &str, fields: &[(&str, &str)], behind: &[Vec<u8>]) {
    let mut client = Wire::connect(proxy.address(), &[]);
    let head = frame(HEADERS, END_HEADERS, 1, &request(method, fields));
    client.send(&[head, behind.concat()].concat());
    assert_eq!(client.verdict(1), Verdict::Status(200), "{method} {fields:?}");
}

#[test]
fn s8_a_request_that_has_ended_with_its_head_has_no_body() {
    let ends = || frame(DATA, END_STREAM, 1, EMPTY);
    let padded = || frame(DATA, END_STREAM | PADDED, 1, &[3, 0, 0, 0]);
    let rows = [
        ("GET", vec![ends()]),
        ("GET", vec![padded()]),
        ("GET", vec![frame(DATA, 0, 1, EMPTY), ends()]),
        ("HEAD", vec![ends()]),
        ("DELETE", vec![ends()]),
        ("POST", vec![ends()]),
        ("OPTIONS", vec![ends()]),
    ];
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    for (method, behind) in &rows {
        send_at_once(&proxy, method, &[], behind);
    }
    // A length that was told stays.
    send_at_once(&proxy, "POST", &[("content-length", "0")], &[ends()]);
    let asked = origin.requests();
    assert_eq!(asked.len(), rows.len() + 1);
    for (asked, (method, _)) in asked.iter().zip(&rows) {
        assert_eq!(asked.method, *method);
        assert!(!asked.chunked && asked.header("content-length").is_none(), "{asked:?}");
    }
    assert_eq!(asked[rows.len()].header("content-length"), Some("0"));
}

#[test]
fn s8_the_same_to_a_server_of_http_2() {
    let recorder = Recorder::start(&[]);
    let proxy = proxy(recorder.address, "protocol = 'h2c'");
    send_at_once(&proxy, "GET", &[], &[frame(DATA, END_STREAM, 1, EMPTY)]);
    assert_eq!(recorder.seen(), [(HEADERS, true, 0)]);
}

#[test]
fn s8_what_has_a_body_or_trailers_keeps_them() {
    let origin = Origin::ok("fine");
    let h1 = proxy(origin.server(), "");
    let recorder = Recorder::start(&[]);
    let h2 = proxy(recorder.address, "protocol = 'h2c'");
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "7")]));
    for proxy in [&h1, &h2] {
        send_at_once(proxy, "POST", &[], &[frame(DATA, END_STREAM, 1, b"abc")]);
        send_at_once(proxy, "POST", &[], std::slice::from_ref(&trailers));
        // A body of no bytes may be followed by something too.
        send_at_once(proxy, "POST", &[("content-length", "0")], std::slice::from_ref(&trailers));
        let empty = frame(DATA, 0, 1, EMPTY);
        send_at_once(proxy, "POST", &[("content-length", "0")], &[empty, trailers.clone()]);
    }
    let asked = origin.requests();
    let sum = [("x-sum".to_owned(), "7".to_owned())];
    assert_eq!(asked[0].body, b"abc");
    assert_eq!(asked.len(), 4);
    for asked in &asked[1..] {
        assert!(asked.chunked && asked.body.is_empty(), "{asked:?}");
        assert_eq!(asked.trailers, sum);
    }
    let trailed = [(HEADERS, false, 0), (HEADERS, true, 0)];
    let seen = recorder.seen();
    assert_eq!(seen[..2], [(HEADERS, false, 0), (DATA, true, 3)]);
    assert_eq!(seen[2..], [trailed, trailed, trailed].concat());
}

/// `PUT` with a body and trailers, in as many writes as there are frames.
fn put(proxy: &Tidegate) -> Verdict {
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &request("PUT", &[])));
    client.send(&frame(DATA, 0, 1, b"abc"));
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-sum", "7")])));
    client.verdict(1)
}

/// The same by a client of HTTP/1.1.
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
    3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";

fn assert_whole(asked: &Request) {
    assert_eq!((asked.method.as_str(), &asked.body[..]), ("PUT", &b"abc"[..]));
    let [(name, value)] = &asked.trailers[..] else { panic!("{asked:?}") };
    assert!(name.eq_ignore_ascii_case("x-sum") && value == "7", "{asked:?}");
}

#[test]
fn s4_trailers_are_a_part_of_what_is_sent_again() {
    let busy = || {
        Origin::start(|_| vec![Step::Send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into())])
    };
    let (first, second, last) = (busy(), busy(), Origin::ok("fine"));
    let servers = [&first, &second, &last].map(|origin| format!("'{}'", origin.server()));
    let upstream = format!(
        "servers = [{}]\nbalance = 'round_robin'\nretry = {{ attempts = 2, budget = '100%' }}",
        servers.join(", ")
    );
    let proxy = Tidegate::start(&config(&upstream, ""));
    // The strategy begins anywhere.
    for _ in 0..3 {
        assert_eq!(put(&proxy), Verdict::Status(200));
        assert_eq!(proxy.client().exchange(PUT).status, 200);
    }
    for origin in [&first, &second, &last] {
        let asked = origin.requests();
        assert!(!asked.is_empty());
        asked.iter().for_each(assert_whole);
    }
    assert_eq!(last.requests().len(), 6);
}

#[test]
fn s4_the_same_to_servers_of_http_2() {
    let (first, second) = (Recorder::start(&["503"]), Recorder::start(&["503"]));
    let upstream = format!(
        "servers = ['{}', '{}']\nprotocol = 'h2c'\nretry = {{ attempts = 2, budget = '100%' }}",
        first.address, second.address
    );
    let proxy = Tidegate::start(&config(&upstream, ""));
    let whole = [(HEADERS, false, 0), (DATA, false, 3), (HEADERS, true, 0)];
    assert_eq!(put(&proxy), Verdict::Status(503), "both are busy once");
    assert_eq!(first.seen(), whole);
    assert_eq!(second.seen(), whole);
}

#[test]
fn s4_a_copy_has_its_trailers_too() {
    let origin = Origin::ok("fine");
    let shadow = Origin::start(|_| vec![Step::Send(ok("shadow"))]);
    let proxy = listening(&format!("servers = ['{origin}']"), "")
        .route("name = 'app'\nmirror = { upstream = 'shadow' }")
        .upstream("shadow", [&shadow], "")
        .start();
    assert_eq!(put(&proxy), Verdict::Status(200));
    assert_eq!(proxy.client().exchange(PUT).status, 200);
    wait_until(SOON, "both copies have come", || shadow.complete().len() == 2);
    shadow.requests().iter().for_each(assert_whole);
    origin.requests().iter().for_each(assert_whole);
}
