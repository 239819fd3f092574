//! Rows of tables A, B and C that are stories rather than one exchange: bodies that break or stall
//! after their head was forwarded, and bodies nobody asked for.

use std::time::Duration;

use crate::row::{SMUGGLED, World};
use support::{Configuration, End, Origin, SOON, assert_problem_and_close, escape, wait_until};

#[test]
fn a_body_without_length_on_http_1_0_is_empty() {
    let world = World::start();
    let mark = world.origin.mark();
    let mut client = world.client();
    client.send(format!(
        "POST /row HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n{SMUGGLED}"
    ));
    assert_eq!(client.response().status, 200);
    drop(client);
    world.arrived(&mark).unwrap();
    let first = world.origin.requests_since(&mark).remove(0);
    assert_eq!((first.target.as_str(), first.text().as_str()), ("/row", ""));
    assert!(first.complete && !first.chunked, "{}", escape(&first.head));
}

#[test]
fn a_body_nobody_reads_is_never_taken_for_a_request() {
    let world = World::start();
    let mark = world.origin.mark();
    for framing in [
        format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
            SMUGGLED.len()
        ),
    ] {
        let mut client = world.client();
        client.send(format!("POST /here HTTP/1.1\r\nHost: a.test\r\n{framing}"));
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"));
        if answer.says_close() {
            client.assert_closes(SOON);
        } else {
            assert_eq!(client.get("/here").text(), "here");
        }
    }
    let arrived = world.arrived(&mark).unwrap();
    assert!(arrived.is_empty(), "{arrived:?}");
}

#[test]
fn a_large_body_nobody_reads_is_drained_within_bounds_or_closed() {
    let world = World::start();
    let mark = world.origin.mark();
    let body = SMUGGLED.repeat(200_000);
    let mut client = world.client();
    client.send(format!(
        "POST /here HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.response().text(), "here");
    // Well over the 64 KiB that may be drained: the proxy stops taking it and closes.
    let taken = client.offer(&body);
    let (rest, end) = client.end(SOON);
    assert!(rest.is_empty(), "{}", escape(&rest));
    assert_ne!(end, End::StillOpen, "{taken} of {} bytes taken", body.len());
    let arrived = world.arrived(&mark).unwrap();
    assert!(arrived.is_empty(), "{arrived:?}");
}

#[test]
fn a_broken_chunk_after_a_forwarded_head_ends_both_sides_without_a_last_chunk() {
    let world = World::start();
    let mark = world.origin.mark();
    let mut client = world.client();
    client.send("POST /row HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n");
    wait_until(SOON, "the first chunk reaches the origin", || {
        world.origin.bytes_since(&mark).iter().any(|c| c.raw.ends_with(b"hello\r\n"))
    });
    client.send("zz\r\n");
    let answer = client.response();
    assert_problem_and_close(&mut client, &answer, 400, "bad_request");
    world.aborted(&mark).unwrap();
}

#[test]
fn a_body_that_stalls_ends_with_408_and_an_abort() {
    let origin = Origin::ok("never");
    let proxy = Configuration::of(&origin).listen("timeout = { body_gap = '300ms' }").start();
    let mut client = proxy.client();
    client.send("POST /row HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n");
    let answer = client.response();
    assert_problem_and_close(&mut client, &answer, 408, "");
    wait_until(SOON, "the origin's connection ends", || {
        origin.accepts() == 1 && origin.open_connections() == 0
    });
    assert!(origin.complete().is_empty(), "a request looked complete");
}

#[test]
fn a_request_line_that_never_ends_gets_408() {
    let world = World::start();
    let mut client = world.client().patience(Duration::from_secs(10));
    client.send("GET /row");
    let answer = client.response();
    assert_problem_and_close(&mut client, &answer, 408, "");
    assert!(world.origin.requests().is_empty());
}
