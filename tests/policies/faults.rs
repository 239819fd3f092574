//! Failures on purpose.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::proxy;
use support::{Configuration, Origin, Step};

#[test]
fn the_same_requests_fail_every_time_and_as_many_as_asked() {
    let origin = Origin::ok("fine");
    let route = "fault = { abort = 503, share = '20%', seed = 7 }";
    let run = || {
        let proxy = proxy(&origin, route, "");
        let mut client = proxy.client();
        let mut one = |n: usize| {
            client
                .exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: r{n}\r\n\r\n"))
                .status
        };
        (0..500).map(&mut one).collect::<Vec<_>>()
    };
    let statuses = run();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!((60..140).contains(&failed), "{failed}");
    assert_eq!(origin.requests().len(), 500 - failed, "what fails does not reach the server");
    assert_eq!(run(), statuses, "another process decides the same");
}

#[test]
fn a_delay_holds_back_and_then_lets_through() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "fault = { delay = '150ms' }", "");
    let began = Instant::now();
    assert_eq!(proxy.client().get("/").text(), "fine");
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[test]
fn what_holds_a_request_back_takes_no_time_from_its_server() {
    let origin = Origin::ok("fine");
    let proxy = Configuration::of(&origin)
        .app("timeout = { connect = '200ms', first_byte = '300ms' }")
        .route("fault = { delay = '600ms' }")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "fine");
    assert_eq!(client.get("/").text(), "fine", "on a connection that was kept");
}

#[test]
fn a_breaker_that_closes_while_a_request_is_held_back_lets_it_try() {
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let failed = asked.fetch_add(1, Ordering::SeqCst) == 0;
        let status = if failed { "500 Failed" } else { "200 OK" };
        vec![Step::Send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into())]
    });
    let proxy = Configuration::of(&origin)
        .app("breaker = { failures = 1, open_for = '400ms' }\neject = false\nretry = { attempts = 0 }")
        .route("fault = { delay = '600ms' }")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 500);
    assert_eq!(client.get("/").status, 200, "it was open when the request came, and is not now");
}
