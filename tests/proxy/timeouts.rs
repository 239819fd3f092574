//! Every wait has its key, and ends with its own answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::setup::one;
use support::{
    Blackhole, End, Gate, Origin, RawClient, SOON, Step, assert_problem, assert_problem_and_close,
    escape, ok, wait_until,
};

const NO_RETRY: &str = "retry = { attempts = 0 }\neject = false\n";

fn upstream(timeout: &str) -> String {
    format!("{NO_RETRY}timeout = {{ {timeout} }}")
}

/// The timeouts that are set here, in milliseconds: three of them leave room for what a busy
/// machine adds.
const SET: u64 = 500;

/// Runs `story`, in which a time-out of [`SET`] passes, and checks that it took so long and not
/// three times as long.
fn takes<T>(story: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = story();
    let took = start.elapsed();
    // Timers may be coarse, but never early by more than a tick; some began before the story did.
    assert!(took >= Duration::from_millis(SET * 8 / 10), "it took only {took:?}");
    assert!(took < Duration::from_millis(3 * SET), "it took {took:?}");
    result
}

/// Sends ten bytes, never silent for long but for more than [`SET`] in all.
fn send_steadily(client: &mut RawClient) {
    let began = Instant::now();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(SET / 6));
        client.send("x");
    }
    assert!(began.elapsed() > Duration::from_millis(3 * SET / 2));
}

#[test]
fn headers_bounds_the_time_to_a_whole_head() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).listen("timeout = { headers = \"500ms\" }").start();
    let mut client = proxy.client();
    takes(|| {
        client.send("GET / HTTP/1.1\r\nHost: a.te");
        let answer = client.response();
        assert_problem_and_close(&mut client, &answer, 408, "");
    });
    assert_eq!(origin.accepts(), 0);
}

#[test]
fn headers_is_not_prolonged_by_one_byte_at_a_time() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).listen("timeout = { headers = \"500ms\" }").start();
    let mut client = proxy.client();
    let mut seen = Vec::new();
    takes(|| {
        client.send("GET / HTTP/1.1\r\nX-Slow: ");
        // The refusal must come in time; until then a byte arrives every 20 ms.
        wait_until(SOON, "the slow head is refused", || {
            client.offer("x");
            let (bytes, end) = client.end(Duration::from_millis(20));
            seen.extend_from_slice(&bytes);
            end != End::StillOpen
        });
    });
    assert!(seen.starts_with(b"HTTP/1.1 408 "), "{}", escape(&seen));
}

#[test]
fn a_connection_without_a_byte_is_closed_silently() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).listen("timeout = { headers = \"500ms\", idle = \"500ms\" }").start();
    let mut client = proxy.client();
    takes(|| client.assert_closes(SOON));
}

#[test]
fn idle_closes_a_kept_connection_silently() {
    let origin = Origin::ok("ok");
    let proxy = one(&origin).listen("timeout = { idle = \"500ms\" }").start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    takes(|| client.assert_closes(SOON));
}

#[test]
fn body_gap_bounds_the_silence_within_a_request_body() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).listen("timeout = { body_gap = \"500ms\" }").start();
    let mut client = proxy.client();
    takes(|| {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello");
        let answer = client.response();
        assert_problem_and_close(&mut client, &answer, 408, "");
    });
    wait_until(SOON, "the origin is told", || origin.open_connections() == 0);
    assert!(origin.complete().is_empty());
}

#[test]
fn body_gap_does_not_bound_a_slow_but_steady_upload() {
    let origin = Origin::ok("ok");
    let proxy = one(&origin).listen("timeout = { body_gap = \"500ms\" }").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    send_steadily(&mut client);
    assert_eq!(client.response().status, 200);
}

#[test]
fn write_gap_ends_a_client_that_stops_reading() {
    let origin = Origin::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Fill(1_000_000_000)]
    });
    let proxy = one(&origin).listen("timeout = { write_gap = \"500ms\" }").start();
    let mut client = RawClient::connect_narrow(proxy.address());
    takes(|| {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        wait_until(SOON, "the origin is released", || {
            origin.accepts() == 1 && origin.open_connections() == 0
        });
    });
    assert!(origin.sent() < 1_000_000_000);
}

#[test]
fn write_gap_spares_a_client_that_reads_slowly_but_steadily() {
    let origin = Origin::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Fill(1_000_000_000)]
    });
    let proxy = one(&origin).listen("timeout = { write_gap = \"2s\" }").start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    // The system's buffers take more at a time than such a client reads within the gap; and on
    // loopback it says so for 128 KiB at a time, which it reads in less than half a second.
    for _ in 0..100 {
        assert_eq!(client.bytes(16 << 10).len(), 16 << 10);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(origin.open_connections(), 1);
}

#[test]
fn connect_bounds_a_connect_that_nobody_answers() {
    let hole = Blackhole::start();
    let proxy = one(hole.address).app(&upstream("connect = \"500ms\"")).start();
    let answer = takes(|| proxy.client().get("/"));
    assert_problem(&answer, 504, "upstream_timeout");
}

#[test]
fn send_bounds_an_origin_that_does_not_read() {
    let gate = Gate::default();
    let wait = gate.clone();
    let origin = Origin::on_head(move |_| vec![Step::Until(wait.clone()), Step::Close]);
    let proxy = one(&origin).app(&upstream("send = \"500ms\"")).start();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 60 << 20));
    takes(|| {
        // The answer comes once the proxy has found nobody to take more for so long.
        client.send_until_blocked(&[b'x'; 65536], Duration::from_millis(SET / 5), 60 << 20);
        assert_problem(&client.response(), 504, "upstream_timeout");
    });
    gate.open();
}

/// A server that takes 16 KiB of a body every 50 ms, while the systems keep what it has not taken,
/// and answers once it has `length` bytes. Counts the bytes that it has.
fn start_sipping(length: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut piece = vec![0; 16 << 10];
        while count.load(Ordering::SeqCst) < length {
            std::thread::sleep(Duration::from_millis(50));
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(n) => count.fetch_add(n, Ordering::SeqCst),
            };
        }
        stream.write_all(&ok("taken")).unwrap();
        let _until_it_is_closed = stream.read(&mut piece);
    });
    (address, taken)
}

#[test]
fn send_spares_a_server_that_reads_slowly_but_steadily() {
    let (address, taken) = start_sipping(usize::MAX);
    let proxy = one(address).app(&upstream("send = \"2s\"")).start();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 60 << 20));
    client.send_until_blocked(&[b'x'; 65536], Duration::from_millis(SET / 5), 60 << 20);
    // The system takes more of the proxy only once a third of what it keeps is read.
    wait_until(6 * SOON, "it has read for long enough", || {
        taken.load(Ordering::SeqCst) > 130 * (16 << 10)
    });
    assert_eq!(client.end(Duration::from_millis(1)).1, End::StillOpen);
}

#[test]
fn first_byte_starts_when_a_slow_server_has_the_request() {
    let length = 3 << 19;
    let (address, _) = start_sipping(length);
    let proxy = one(address).app(&upstream("first_byte = \"2s\"")).start();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"));
    client.send(vec![b'x'; length]);
    assert_eq!(client.response().text(), "taken");
}

#[test]
fn first_byte_bounds_the_wait_for_an_answer() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let proxy = one(&origin).app(&upstream("first_byte = \"500ms\"")).start();
    let mut client = proxy.client();
    takes(|| assert_problem(&client.get("/"), 504, "upstream_timeout"));
    wait_until(SOON, "the origin is told", || origin.open_connections() == 0);
}

#[test]
fn first_byte_starts_when_the_request_is_complete() {
    let origin = Origin::ok("ok");
    let proxy = one(&origin).app(&upstream("first_byte = \"500ms\"")).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    send_steadily(&mut client);
    assert_eq!(client.response().status, 200);
}

#[test]
fn gap_resets_a_client_whose_answer_stalls() {
    let origin = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec()), Step::Hold]
    });
    let proxy = one(&origin).app(&upstream("gap = \"500ms\"")).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (bytes, end) = takes(|| client.end(SOON));
    assert!(bytes.ends_with(b"hello"));
    assert_eq!(end, End::Reset);
    wait_until(SOON, "the origin is told", || origin.open_connections() == 0);
}

#[test]
fn total_bounds_a_request_that_gets_no_answer() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let proxy = one(&origin).app(&upstream("total = \"500ms\"")).start();
    let mut client = proxy.client();
    takes(|| assert_problem(&client.get("/"), 504, "upstream_timeout"));
}

#[test]
fn total_bounds_an_answer_that_trickles() {
    let origin = Origin::start(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
        let mut steps = vec![Step::Send(head)];
        for _ in 0..100 {
            steps.extend([Step::Send(b"x".to_vec()), Step::Pause(Duration::from_millis(50))]);
        }
        steps
    });
    let proxy = one(&origin).app(&upstream("total = \"500ms\"")).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (_, end) = takes(|| client.end(SOON));
    assert_eq!(end, End::Reset);
}

#[test]
fn a_routes_timeout_overrides_the_upstreams() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let upstream = upstream("first_byte = \"60s\"");
    let route = "timeout = { first_byte = \"500ms\" }";
    let proxy = one(&origin).app(&upstream).route(route).start();
    takes(|| assert_problem(&proxy.client().get("/"), 504, "upstream_timeout"));
}

#[test]
fn interim_answers_do_not_count_as_the_first_byte() {
    let origin = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".to_vec()), Step::Hold]
    });
    let proxy = one(&origin).app(&upstream("first_byte = \"500ms\"")).start();
    let mut client = proxy.client();
    takes(|| assert_problem(&client.get("/"), 504, "upstream_timeout"));
}

#[test]
fn a_client_can_go_on_after_a_504() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/slow" => vec![Step::Hold],
        _ => vec![Step::Send(ok("fine"))],
    });
    let proxy = one(&origin).app(&upstream("first_byte = \"500ms\"")).start();
    let mut client = proxy.client();
    let slow = client.get("/slow");
    assert_eq!(slow.status, 504);
    if slow.says_close() {
        client = proxy.client();
    }
    assert_eq!(client.get("/fast").text(), "fine");
}
