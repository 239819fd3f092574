//! Bodies flow: piece by piece, in both directions, and no faster than the slower side takes them.

use std::time::{Duration, Instant};

use crate::setup::plain;
use support::{End, Gate, Origin, RawClient, SOON, Step, ok, resident_kib, wait_until};

const MIB: usize = 1 << 20;
/// What four socket buffers on loopback may hold together, and then some.
const IN_KERNEL: usize = 40 * MIB;
/// What the proxy may grow by while a body of 64 MiB waits.
const GROWTH_KIB: u64 = 16 * 1024;

#[test]
fn a_slow_reader_slows_the_origin_down_and_costs_no_memory() {
    let origin = Origin::start(|_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB);
        vec![Step::Send(head.into_bytes()), Step::Fill(64 * MIB as u64)]
    });
    let proxy = plain(&origin);
    let before = resident_kib(proxy.pid());
    let mut client = RawClient::connect_narrow(proxy.address()).patience(Duration::from_secs(60));
    client.send("GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (mut last, mut since) = (0, Instant::now());
    wait_until(Duration::from_secs(20), "the origin can send no more", || {
        let sent = origin.sent();
        if sent != last {
            (last, since) = (sent, Instant::now());
        }
        sent > 0 && since.elapsed() > Duration::from_millis(500)
    });
    assert!(last < IN_KERNEL as u64, "{last} bytes were taken from the origin");
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "memory grew by {grown} KiB");
    assert_eq!(client.response().body.len(), 64 * MIB);
}

#[test]
fn a_slow_origin_slows_the_upload_down_and_costs_no_memory() {
    let gate = Gate::default();
    let wait = gate.clone();
    let origin = Origin::on_head(move |_| {
        vec![Step::Until(wait.clone()), Step::ReadBody, Step::Send(ok("stored"))]
    });
    let proxy = plain(&origin);
    let before = resident_kib(proxy.pid());
    let mut client = proxy.client().patience(Duration::from_secs(60));
    client
        .send(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 56 * MIB));
    let sent = client.send_until_blocked(&[b'x'; 65536], Duration::from_millis(500), 56 * MIB);
    assert!(sent < IN_KERNEL, "{sent} bytes were taken from the client");
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < GROWTH_KIB, "memory grew by {grown} KiB");
    gate.open();
    client.send(vec![b'x'; 56 * MIB - sent]);
    assert_eq!(client.response().text(), "stored");
    assert_eq!(origin.only_request().body.len(), 56 * MIB);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let gates: [Gate; 2] = [Gate::default(), Gate::default()];
    let [first, second] = gates.clone();
    let origin = Origin::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        vec![
            Step::Send(head.into()),
            Step::Send(b"9\r\ndata: 1\n\n\r\n".to_vec()),
            Step::Until(first.clone()),
            Step::Send(b"9\r\ndata: 2\n\n\r\n".to_vec()),
            Step::Until(second.clone()),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.wait_for("data: 1\n\n");
    gates[0].open();
    client.wait_for("data: 2\n\n");
    gates[1].open();
    assert_eq!(client.response().text(), "data: 1\n\ndata: 2\n\n");
}

#[test]
fn a_head_is_delivered_before_its_body_begins() {
    let gate = Gate::default();
    let wait = gate.clone();
    let origin = Origin::start(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Until(wait.clone()), Step::Send(b"late".to_vec())]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.next_head().status, 200);
    gate.open();
    assert_eq!(client.bytes(4), b"late");
}

#[test]
fn an_upload_reaches_the_origin_while_it_is_still_being_sent() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    wait_until(SOON, "the first chunk arrives", || {
        origin.connections().iter().any(|c| c.raw.windows(3).any(|w| w == b"one"))
    });
    client.send("3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.only_request().text(), "onetwo");
}

#[test]
fn chunks_and_trailers_pass_in_both_directions() {
    let origin = Origin::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n";
        vec![Step::Send(answer.into())]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\
                   Trailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nworld\r\n0\r\nX-Digest: abc\r\n\r\n";
    client.send_in_pieces(request, 1);
    let answer = client.response();
    assert_eq!(answer.text(), "hello");
    let lower = |fields: &[(String, String)]| -> Vec<(String, String)> {
        fields.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect()
    };
    assert_eq!(lower(&answer.trailers), [("x-sum".to_owned(), "42".to_owned())]);
    let seen = origin.only_request();
    assert_eq!(seen.text(), "world");
    assert_eq!(lower(&seen.trailers), [("x-digest".to_owned(), "abc".to_owned())]);
}

#[test]
fn large_bodies_arrive_unchanged_in_both_directions() {
    let origin = Origin::start(|request| vec![Step::Send(ok(&request.body))]);
    let proxy = plain(&origin);
    let body: Vec<u8> = (0..3 * MIB).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let mut client = proxy.client();
    let mut sender =
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    sender.extend_from_slice(&body);
    client.send(&sender);
    assert!(client.response().body == body, "the body came back changed");
}

#[test]
fn an_answer_that_ends_with_its_connection_ends_with_the_clients() {
    let origin = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()), Step::Close]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!(answer.text(), "until the end");
    if !answer.chunked {
        assert_eq!(client.end(SOON).1, End::Closed);
    }
}
