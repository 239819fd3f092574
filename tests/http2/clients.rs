//! HTTP/2 without TLS, from clients that know that it is spoken.

use std::process::Command;

use crate::frames::{END_HEADERS, GOAWAY, HEADERS, Verdict, Wire, frame, get};
use crate::{ask, config, proxy};
use support::{Gate, Origin, SOON, Step, Tidegate, curl, ok, wait_until};

#[test]
fn curl_and_h2load_speak_it_by_prior_knowledge() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let url = format!("http://{}/", proxy.address());
    let answer = curl(&["--http2-prior-knowledge", "-i", &url]).text();
    assert!(answer.starts_with("HTTP/2 200") && answer.ends_with("\r\n\r\nfine"), "{answer}");
    assert_eq!(origin.only_request().all("x-forwarded-proto"), ["http"]);
    let output = Command::new("h2load").args(["-n", "500", "-c", "2", "-m", "50", &url]).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(said.contains("500 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    // The same port answers everybody else as before, and `Upgrade: h2c` is not obeyed.
    let old = curl(&["--http2", "-i", &url]).text();
    assert!(old.starts_with("HTTP/1.1 200"), "{old}");
}

#[test]
fn a_body_and_trailers_go_both_ways() {
    let origin = Origin::start(|request| {
        let fields = format!("{:?}", request.trailers);
        let chunk = format!("{} {fields}", request.text());
        let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        vec![
            Step::Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".into()),
            Step::Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
            Step::Send(chunk.into_bytes()),
            Step::Send("0\r\nX-Sum: 7\r\nHost: sly\r\n\r\n".into()),
        ]
    });
    let proxy = proxy(origin.server(), "");
    let port = proxy.address().port().to_string();
    let seen = ask("h2_peer.py", &["talk", "127.0.0.1", &port]);
    assert_eq!(seen["head"][":status"], "200", "{seen}");
    assert_eq!(seen["interim"][0]["link"], "</a>");
    let body = seen["body"].as_str().unwrap();
    assert!(body.starts_with("one two") && body.contains("x-sum"), "{body}");
    assert!(!body.contains("authorization"), "{body}");
    assert_eq!(seen["trailers"], serde_json::json!({ "x-sum": "7" }));
    let asked = origin.only_request();
    assert_eq!(asked.target, "/a?b=c");
    assert_eq!(asked.all("cookie"), ["a=1; b=2"]);
    // The scheme is what was spoken, not what the client says.
    assert_eq!(asked.all("x-forwarded-proto"), ["http"]);
}

#[test]
fn a_connection_that_is_idle_ends() {
    let origin = Origin::ok("fine");
    let upstream = format!("servers = ['{}']", origin.server());
    let with = |times: &str| {
        support::Tidegate::start(&config(&upstream, &format!("timeout = {{ {times} }}")))
    };
    let proxy = with("idle = '300ms', headers = '60s'");
    let mut used = Wire::connect(proxy.address(), &[]);
    used.head(1, &get(&[]));
    assert_eq!(used.verdict(1), Verdict::Status(200));
    assert_eq!(used.end(), Some(0));
    let proxy = with("idle = '60s', headers = '300ms'");
    // H41: who says nothing after the preface, or not even all of that.
    assert_eq!(Wire::connect(proxy.address(), &[]).end(), Some(0));
    let mut half = Wire::new(std::net::TcpStream::connect(proxy.address()).unwrap());
    half.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n");
    assert_eq!(half.end(), None);
}

#[test]
fn a_drain_says_goodbye_and_lets_streams_end() {
    let gate = Gate::default();
    let until = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(until.clone()), Step::Send(ok("held"))]);
    let mut proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[]));
    wait_until(SOON, "it is under way", || !origin.requests().is_empty());
    proxy.terminate();
    let goodbye = client.next(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
    assert_eq!(goodbye.number(4), 0);
    gate.open();
    assert_eq!(client.verdict(1), Verdict::Status(200));
    client.next(|frame| frame.stream == 1 && frame.ends()).expect("the whole answer");
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_connection_that_is_old_or_much_used_is_told_to_end() {
    for listen in
        ["limits = { requests_per_connection = 2 }", "timeout = { connection_age = '1s' }"]
    {
        let gate = Gate::default();
        let until = gate.clone();
        let origin =
            Origin::start(move |_| vec![Step::Until(until.clone()), Step::Send(ok("held"))]);
        let upstream = format!("servers = ['{}']", origin.server());
        let proxy = Tidegate::start(&config(&upstream, listen));
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &get(&[]));
        client.head(3, &get(&[]));
        // What is under way goes on.
        let goodbye = client.next(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
        assert_eq!((goodbye.number(0), goodbye.number(4)), (u32::MAX >> 1, 0), "{listen}");
        // A client that does not acknowledge it has a moment, whatever it has open.
        let last = client.next(|frame| frame.kind == GOAWAY).expect("another GOAWAY");
        assert_eq!((last.number(0), last.number(4)), (3, 0), "{listen}");
        gate.open();
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let frame = client.next(|frame| frame.ends()).expect("the whole answer");
            ended.push(frame.stream);
        }
        ended.sort_unstable();
        assert_eq!(ended, [1, 3], "{listen}");
        assert!(client.frame().is_none(), "{listen}");
    }
}

#[test]
fn half_a_request_ends_with_its_connection() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &get(&[("content-length", "10")])));
    let in_flight = || proxy.stats()["routes"][0]["in_flight"].as_u64();
    wait_until(SOON, "it is under way", || in_flight() == Some(1));
    drop(client);
    wait_until(SOON, "it has ended", || in_flight() == Some(0));
}
