//! Informational answers (RFC 9110 §15.2): each reaches the client that may wait for it, whatever
//! the proxy itself asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::setup::plain;
use support::{Origin, RawClient, Step, ok};

/// Answers on fresh connections after which a server is tried (`src/endpoint/reuse.rs`).
const CANDIDATE_AFTER: usize = 1000;

/// A server that ends its first connections and keeps the others, and that asks for bodies when it
/// is to.
fn asking() -> Origin {
    let count = Arc::new(AtomicUsize::new(0));
    Origin::on_head(move |request| {
        if count.fetch_add(1, SeqCst) < CANDIDATE_AFTER {
            let close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            return vec![Step::Send(close.to_vec()), Step::Close];
        }
        let mut steps = vec![];
        if request.header("expect") == Some("100-continue") {
            let hints =
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            steps.push(Step::Send(hints.into()));
        }
        steps.extend([Step::ReadBody, Step::Send(ok("fine"))]);
        steps
    })
}

/// The statuses that a `POST` is answered with, its body sent behind its head or after 100.
fn statuses(client: &mut RawClient, waits: bool) -> Vec<u16> {
    let expect = if waits { "Expect: 100-continue\r\n" } else { "" };
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{expect}Content-Length: 5\r\n\r\n");
    client.send(&head);
    if !waits {
        client.send("hello");
    }
    let mut seen = Vec::new();
    loop {
        let answer = client.next_head();
        seen.push(answer.status);
        match answer.status {
            100 if waits => client.send("hello"),
            100..=199 => {}
            _ => {
                assert_eq!(client.bytes(4), b"fine");
                return seen;
            }
        }
    }
}

#[test]
fn s9_a_client_that_waits_for_100_gets_it() {
    let origin = asking();
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for _ in 0..CANDIDATE_AFTER {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(statuses(&mut client, false), [200], "on a fresh connection");
    // The server is on probation: it is to ask for the body, and nobody else wants to know.
    assert_eq!(statuses(&mut client, false), [103, 200]);
    assert_eq!(statuses(&mut client, true), [103, 100, 200]);
    let asked = origin.requests();
    let last: Vec<_> = asked[asked.len() - 3..]
        .iter()
        .map(|asked| (asked.index, asked.header("expect"), &asked.body[..]))
        .collect();
    let body = &b"hello"[..];
    let expect = Some("100-continue");
    assert_eq!(last, [(0, None, body), (1, expect, body), (2, expect, body)]);
}

#[test]
fn s9_on_a_fresh_connection_too() {
    let origin = Origin::on_head(|_| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        vec![
            Step::Send([hints, go_on].concat().into()),
            Step::ReadBody,
            Step::Send("HTTP/1.1 102 Processing\r\n\r\n".into()),
            Step::Send(ok("fine")),
        ]
    });
    let proxy = plain(&origin);
    assert_eq!(statuses(&mut proxy.client(), true), [103, 100, 102, 200]);
    assert_eq!(statuses(&mut proxy.client(), false), [103, 100, 102, 200]);
}
