//! Bodies that are too large, and origins that have heard enough.

use std::time::Duration;

use crate::setup::{one, plain};
use support::{Origin, SOON, Step, assert_problem, assert_problem_and_close, wait_until};

#[test]
fn an_early_refusal_reaches_a_client_that_is_still_uploading() {
    let origin = Origin::on_head(|_| {
        let refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig".to_vec();
        vec![Step::Send(refusal), Step::Hold]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", 8 << 20));
    client.offer(vec![b'x'; 8 << 20]);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_origin_is_asked() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).route("body_limit = \"1KiB\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1025\r\n\r\n");
    let answer = client.response();
    assert_problem_and_close(&mut client, &answer, 413, "body_too_large");
    assert_eq!(origin.accepts(), 0);
}

#[test]
fn s1_a_request_that_is_malformed_as_it_arrives_reaches_no_server() {
    let origin = Origin::on_head(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine".to_vec())]
    });
    let proxy = one(&origin).route("body_limit = \"1KiB\"").start();
    assert_eq!(proxy.client().get("/").status, 200);
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, status) in [
        ("3\r\nabc\r\nzz\r\n".to_owned(), 400),
        (format!("1000\r\n{}\r\n0\r\n\r\n", "x".repeat(4096)), 413),
    ] {
        let mut client = proxy.client();
        client.send(format!("{head}{body}"));
        assert_eq!(client.response().status, status);
    }
    // Whoever is asked next would be asked behind them.
    assert_eq!(proxy.client().get("/").status, 200);
    let seen = origin.requests();
    assert_eq!(seen.iter().filter(|request| request.method == "POST").count(), 0, "{seen:?}");
}

#[test]
fn a_body_at_the_limit_passes() {
    let origin = Origin::ok("ok");
    let proxy = one(&origin).route("body_limit = \"1KiB\"").start();
    let body = "x".repeat(1024);
    let mut client = proxy.client();
    let sized = format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1024\r\n\r\n{body}");
    assert_eq!(client.exchange(sized).status, 200);
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{body}\r\n0\r\n\r\n"
    );
    assert_eq!(client.exchange(chunked).status, 200);
    assert_eq!(origin.complete().len(), 2);
}

#[test]
fn a_chunked_body_over_the_limit_is_cut_and_never_looks_complete() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).route("body_limit = \"1KiB\"").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        client.offer(format!("200\r\n{}\r\n", "x".repeat(512)));
    }
    client.offer("0\r\n\r\n");
    let answer = client.response();
    assert_problem(&answer, 413, "body_too_large");
    client.assert_closes(SOON);
    wait_until(SOON, "the origin's connection is given up", || {
        origin.accepts() == 1 && origin.open_connections() == 0
    });
    assert!(origin.complete().is_empty());
}

#[test]
fn the_listeners_limit_holds_where_the_route_has_none() {
    let origin = Origin::ok("never");
    let proxy = one(&origin).listen("limits = { body = \"1KiB\" }").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000\r\n\r\n");
    assert_problem(&client.response(), 413, "body_too_large");
    assert_eq!(origin.accepts(), 0);
}

#[test]
fn an_answer_without_100_ends_the_connection_of_a_client_that_waits_for_it() {
    let origin = Origin::on_head(|_| {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        vec![Step::Send(answer), Step::Hold]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    // What follows is the next request or the body: only the client knows, so nobody may guess.
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("connection"), Some("close"));
    client.assert_closes(SOON);
}

#[test]
fn what_was_sent_before_the_answer_began_is_not_sent_again() {
    let origin = Origin::on_head(|_| {
        vec![
            Step::Pause(Duration::from_millis(100)),
            Step::Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
            Step::ReadBody,
            Step::Send("2\r\nok\r\n0\r\n\r\n".into()),
        ]
    });
    let proxy = plain(&origin);
    // A method that may be repeated: its body is remembered.
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(client.next_head().status, 200);
    client.send("3\r\ndef\r\n0\r\n\r\n");
    wait_until(SOON, "the body is there", || !origin.complete().is_empty());
    assert_eq!(origin.complete()[0].text(), "abcdef");
}
