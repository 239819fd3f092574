//! Requests that a client sends one behind the other, and then ends its side.

use std::time::Duration;

use crate::setup::plain;
use support::{End, Origin, SOON, Step, ok, wait_until};

fn echoing() -> Origin {
    Origin::start(|request| vec![Step::Send(ok(&request.target))])
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

#[test]
fn p12_what_came_before_the_end_is_answered() {
    let origin = echoing();
    let proxy = plain(&origin);
    let post = "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello".to_owned();
    let chunked = "POST /b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    for middle in [get("/b"), post, chunked.to_owned()] {
        for step in [1000, 1] {
            let mut client = proxy.client();
            client.send_in_pieces([get("/a"), middle.clone(), get("/c")].concat(), step);
            client.close_write();
            let answers: Vec<_> = (0..3).map(|_| client.response()).collect();
            let texts: Vec<_> = answers.iter().map(support::Response::text).collect();
            assert_eq!(texts, ["/a", "/b", "/c"]);
            assert_eq!(client.end(SOON), (Vec::new(), End::Closed));
        }
    }
}

#[test]
fn p12_slow_answers_are_waited_for() {
    let origin = Origin::start(|request| {
        vec![Step::Pause(Duration::from_millis(100)), Step::Send(ok(&request.target))]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([get("/a"), get("/b"), get("/c")].concat());
    client.close_write();
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.response().text(), path);
    }
    assert_eq!(client.end(SOON).1, End::Closed);
}

#[test]
fn p12_the_last_answer_says_so_and_half_a_request_is_none() {
    let origin = echoing();
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([get("/a"), "GET /half HTTP/1.1\r\nHo".to_owned()].concat());
    client.close_write();
    assert_eq!(client.response().text(), "/a");
    assert_eq!(client.end(SOON), (Vec::new(), End::Closed));
    let closes = "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".to_owned();
    let mut client = proxy.client();
    client.send([closes, get("/never")].concat());
    client.close_write();
    let answer = client.response();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("/a", Some("close")));
    assert!(client.end(SOON).0.is_empty());
    let targets: Vec<_> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/a", "/a"]);
}

#[test]
fn p12_a_client_that_is_gone_is_not_answered_for() {
    let origin = Origin::start(|_| vec![Step::Hold]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    client.send([get("/a"), get("/b"), get("/c")].concat());
    wait_until(SOON, "the first has come", || origin.requests().len() == 1);
    client.reset();
    wait_until(SOON, "its server is told", || origin.open_connections() == 0);
    assert_eq!(origin.requests().len(), 1);
}
