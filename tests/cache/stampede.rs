//! Many requests for one response that is not there yet.

use std::thread;

use crate::{answer, ask, get, proxy, status};
use support::{Gate, Origin, SOON, Step, wait_until};

/// Sends the head and the first half of a body, and the rest once the gate opens.
fn halting(gate: &Gate, fields: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 10\r\n\r\nfirst");
        vec![Step::Send(head.into()), Step::Until(gate.clone()), Step::Send(b"-last".to_vec())]
    })
}

#[test]
fn concurrent_misses_make_one_request_and_stream_it_to_all() {
    let gate = Gate::default();
    let origin = halting(&gate, "Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for client in &mut clients {
        client.wait_for("\r\n\r\nfirst");
    }
    assert_eq!(origin.requests().len(), 1);
    gate.open();
    for client in &mut clients {
        client.wait_for("-last");
    }
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; hit"));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_fetch_survives_the_client_that_caused_it() {
    let gate = Gate::default();
    let origin = halting(&gate, "Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let mut leader = proxy.client();
    leader.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    leader.wait_for("first");
    let mut follower = proxy.client();
    follower.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    follower.wait_for("first");
    leader.reset();
    gate.open();
    follower.wait_for("-last");
    assert_eq!(get(&proxy, "/a").text(), "first-last");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_response_that_was_cut_is_never_stored_and_never_looks_whole() {
    let origin = Origin::start(|request| {
        let fields = "Cache-Control: max-age=600\r\n";
        if request.target == "/chunked" {
            let head = format!(
                "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            );
            return vec![Step::Send(head.into()), Step::Close];
        }
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 10\r\n\r\nfirst");
        vec![Step::Send(head.into()), Step::Close]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    for target in ["/a", "/chunked"] {
        for _ in 0..2 {
            let mut client = proxy.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            assert!(client.try_response("GET").is_err(), "{target}");
        }
    }
    assert_eq!(origin.requests().len(), 4, "each asked anew");
    let cache = || proxy.stats()["caches"][0].clone();
    let left = || cache()["entries"] == 0 && cache()["bytes"] == 0 && cache()["held_bytes"] == 0;
    wait_until(SOON, "nothing is left of them", left);
}

#[test]
fn responses_for_one_client_alone_make_nobody_wait_for_long() {
    let gate = Gate::default();
    let origin = halting(&gate, "Cache-Control: private\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for client in &mut clients {
        client.wait_for("first");
    }
    assert_eq!(origin.requests().len(), 5, "each its own, all at once");
    gate.open();
    for client in &mut clients {
        client.wait_for("-last");
    }
}

#[test]
fn who_waits_too_long_for_another_ones_fetch_asks_for_itself() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        if request.header("x-first").is_some() {
            return vec![
                Step::Until(held.clone()),
                Step::Send(answer(request, "Cache-Control: max-age=600\r\n", "slow")),
            ];
        }
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", "quick"))]
    });
    let proxy = proxy(&origin, "cache = { lock_timeout = \"200ms\" }", "");
    let mut leader = proxy.client();
    leader.send("GET /a HTTP/1.1\r\nHost: a.test\r\nX-First: 1\r\n\r\n");
    wait_until(SOON, "the first request is under way", || origin.requests().len() == 1);
    let second = get(&proxy, "/a");
    assert_eq!(
        (second.text(), status(&second)),
        ("quick".into(), "tidegate; fwd=bypass; detail=lock-timeout")
    );
    gate.open();
    leader.wait_for("slow");
}

#[test]
fn a_server_that_fails_is_told_to_all_who_waited() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Reset]);
    let proxy = proxy(&origin, "cache = {}\nretry = { attempts = 0 }", "");
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client
        })
        .collect();
    wait_until(SOON, "the request is under way", || origin.requests().len() == 1);
    gate.open();
    for mut client in waiting {
        assert_eq!(client.response().status, 502);
    }
    thread::yield_now();
    assert_eq!(ask(&proxy, "GET", "/a", "").status, 502);
}
