//! Rows of tables E and J that are stories: upgrades, expectations, early answers, pipelines,
//! and answers that come when nobody asked.

use std::time::Duration;

use crate::row::World;
use support::{
    Configuration, End, Origin, RawClient, SOON, Step, assert_problem, escape, ok, wait_until,
};

const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn bytes_after_an_upgrade_request_wait_for_the_answer() {
    let world = World::with(Origin::start(|request| match request.target.as_str() {
        "/ws" => vec![
            Step::Pause(Duration::from_millis(100)),
            Step::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        ],
        _ => vec![Step::Send(ok("next"))],
    }));
    let mut client = world.client();
    client.send(format!("{WEBSOCKET}GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let refused = client.response();
    assert_eq!((refused.status, refused.text().as_str()), (403, "no"));
    if refused.says_close() {
        client.assert_closes(SOON);
    } else {
        assert_eq!(client.response().text(), "next");
    }
    let upgrade = &world.origin.requests()[0];
    assert_eq!(upgrade.target, "/ws");
    let raw = &world.origin.connections()[upgrade.connection].raw;
    assert!(raw.starts_with(&upgrade.head), "{}", escape(raw));
    assert!(world.origin.connections().iter().all(|c| c.malformed.is_none()));
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_frames_reach_nobody() {
    let world = World::with(Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec())]
    }));
    let mark = world.origin.mark();
    let mut client = world.client();
    assert_eq!(client.exchange(WEBSOCKET).status, 403);
    client.offer(b"\x81\x85\x01\x02\x03\x04iiiii");
    let (_, end) = client.end(SOON);
    assert_ne!(end, End::StillOpen);
    let seen = world.origin.bytes_since(&mark);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].raw.ends_with(b"\r\n\r\n"), "{}", escape(&seen[0].raw));
}

#[test]
fn an_upgrade_to_something_else_than_asked_is_a_bad_gateway() {
    let world = World::with(Origin::start(|_| {
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        vec![Step::Send(switch.into())]
    }));
    assert_problem(&world.client().exchange(WEBSOCKET), 502, "");
}

#[test]
fn an_expected_body_that_never_comes_does_not_hold_back_the_final_status() {
    let world = World::with(Origin::on_head(|_| {
        vec![Step::Send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n".to_vec())]
    }));
    let mut client = world.client();
    client.send(
        "POST /row HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(answer.status, 413);
    assert!(answer.interim.is_empty(), "the proxy invited the body: {:?}", answer.interim);
    client.assert_closes(SOON);
    wait_until(SOON, "the origin's connection is given up", || {
        world.origin.accepts() == 1 && world.origin.open_connections() == 0
    });
}

#[test]
fn an_origin_that_refuses_and_closes_during_an_upload_is_heard() {
    let world = World::with(Origin::on_head(|_| {
        let refusal =
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
        vec![Step::Send(refusal.to_vec()), Step::Close]
    }));
    for _ in 0..5 {
        let mut client = world.client();
        client.send(format!(
            "POST /row HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            8 << 20
        ));
        client.offer(vec![b'x'; 8 << 20]);
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    }
}

#[test]
fn an_answer_before_the_end_of_the_request_leaves_both_sides_in_step() {
    let world = World::with(Origin::on_head(|request| vec![Step::Send(ok(&request.target))]));
    let mut client = world.client();
    client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "/early"));
    client.offer("world");
    if answer.says_close() {
        client.assert_closes(SOON);
        return;
    }
    // The upload is finished and the connection goes on, or it is given up: nothing in between.
    client.offer("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n");
    match client.try_response("GET") {
        Ok(after) => assert_eq!(after.text(), "/after"),
        Err(why) => assert!(!why.starts_with("StillOpen"), "{why}"),
    }
    let seen = world.origin.requests();
    let known = |target: &str| target == "/early" || target == "/after";
    assert_eq!(seen[0].target, "/early");
    assert!(seen.iter().all(|request| known(&request.target)), "{seen:?}");
    for request in seen.iter().filter(|request| request.target == "/early") {
        assert!(!request.complete || request.text() == "helloworld", "{request:?}");
    }
}

/// What is dropped counts, not what the server got: a connection that an answer promises to keep is
/// kept.
#[test]
fn a_long_upload_with_an_early_answer_and_a_short_rest_keeps_its_connection() {
    let world = World::with(Origin::on_head(|request| {
        let wait = Step::Pause(std::time::Duration::from_millis(50));
        let is_upload = request.method == "POST";
        is_upload.then_some(wait).into_iter().chain([Step::Send(ok(&request.target))]).collect()
    }));
    for _ in 0..20 {
        let mut client = world.client();
        client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 140000\r\n\r\n");
        client.send(vec![b'x'; 100_000]);
        // Where the answer came before most of the body, more than may be dropped was left of it.
        if client.response().says_close() {
            continue;
        }
        client.send(vec![b'x'; 40_000]);
        client.send("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().text(), "/after");
        return;
    }
    panic!("no answer came in the middle of an upload");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let world = World::with(Origin::start(|request| vec![Step::Send(ok(&request.target))]));
    let all: String =
        (0..512).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    let mut client = world.client();
    client.send(all);
    for n in 0..512 {
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, format!("/{n}")));
    }
    assert_eq!(world.origin.requests().len(), 512);
}

#[test]
fn bytes_that_arrive_on_an_idle_connection_are_never_an_answer() {
    let world = World::with(Origin::start(|request| match request.target.as_str() {
        "/first" => vec![
            Step::Send(ok("first")),
            Step::Pause(Duration::from_millis(50)),
            Step::Send(ok("poison")),
        ],
        "/extra" => vec![
            Step::Send(ok("extra")),
            Step::Pause(Duration::from_millis(50)),
            Step::Send(b"x".to_vec()),
        ],
        _ => vec![Step::Send(ok("own"))],
    }));
    // The origin counts after it has written, so what it will have sent before is told, not read.
    let before = ok("first").len() + ok("poison").len() + ok("own").len();
    for (path, before) in [("/first", 0), ("/extra", before)] {
        let sent = before as u64;
        let expected = path.trim_start_matches('/');
        let mut client = world.client();
        let first = client.get(path);
        assert_eq!(first.text(), expected);
        let answer_length = ok(expected).len() as u64;
        wait_until(SOON, "the origin has sent what nobody asked for", || {
            world.origin.sent() > sent + answer_length
        });
        assert_eq!(client.get("/own").text(), "own");
        let seen = world.origin.requests();
        let first = seen.iter().find(|r| r.target == path).unwrap();
        assert_ne!(seen.last().unwrap().connection, first.connection, "{path}");
    }
}

#[test]
fn a_head_that_trickles_in_is_cut_by_first_byte() {
    let origin = Origin::start(|_| {
        let mut steps = vec![Step::Send(b"HTTP/1.1 200 OK\r\nX-Slow: ".to_vec())];
        for _ in 0..100 {
            steps.extend([Step::Pause(Duration::from_millis(100)), Step::Send(b"x".to_vec())]);
        }
        steps
    });
    let upstream = "timeout = { first_byte = '400ms' }\nretry = { attempts = 0 }\neject = false";
    let proxy = Configuration::of(&origin).app(upstream).start();
    let answer = RawClient::connect(proxy.address()).patience(Duration::from_secs(4)).get("/row");
    assert_problem(&answer, 504, "upstream_timeout");
    wait_until(SOON, "the origin's connection ends", || {
        origin.accepts() == 1 && origin.open_connections() == 0
    });
}
