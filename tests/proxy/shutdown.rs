//! SIGTERM: what is under way finishes, nothing new begins, and it ends in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::setup::plain;
use support::{
    Configuration, End, Gate, Origin, RawClient, SOON, Signal, Step, Tidegate, ok, wait_until,
};

fn waiting(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target.as_str() {
        "/slow" => vec![Step::Until(gate.clone()), Step::Send(ok("done"))],
        _ => vec![Step::Send(ok("fast"))],
    })
}

#[test]
fn a_request_under_way_finishes_and_the_exit_is_clean() {
    let gate = Gate::default();
    let origin = waiting(&gate);
    let mut proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the origin is asked", || origin.requests().len() == 1);
    proxy.terminate();
    assert!(proxy.is_running(), "it did not wait for the request");
    gate.open();
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    assert!(answer.says_close(), "the last answer says that it is the last");
    client.assert_closes(SOON);
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
}

#[test]
fn a_large_answer_under_way_arrives_whole() {
    let gate = Gate::default();
    let wait = gate.clone();
    let origin = Origin::start(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Fill(500_000), Step::Until(wait.clone()), Step::Fill(500_000)]
    });
    let mut proxy = plain(&origin);
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.wait_for("xxxx");
    proxy.terminate();
    gate.open();
    assert_eq!(client.response().body.len(), 1_000_000);
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
}

/// HTTP/1.0 has nothing but the end of the connection to tell where such a body ends.
#[test]
fn an_answer_that_the_drain_cuts_does_not_look_whole() {
    let gate = Gate::default();
    let halt = gate.clone();
    let origin = Origin::start(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n".to_vec();
        let end = Step::Send(b"0\r\n\r\n".to_vec());
        vec![Step::Send(head), Step::Until(halt.clone()), end]
    });
    let mut proxy = with_runtime(&origin, "drain = '200ms'");
    let mut client = proxy.client();
    client.send("GET /cut HTTP/1.0\r\nHost: a.test\r\n\r\n");
    client.wait_for("part");
    proxy.terminate();
    assert_eq!(client.end(SOON).1, End::Reset);
    proxy.wait_exit(SOON);

    let proxy = with_runtime(&origin, "");
    let mut client = proxy.client();
    client.send("GET /whole HTTP/1.0\r\nHost: a.test\r\n\r\n");
    client.wait_for("part");
    gate.open();
    assert_eq!(client.end(SOON).1, End::Closed, "a whole one ends in order");
}

/// A proxy with these lines under `[runtime]` and an admin endpoint.
fn with_runtime(origin: &Origin, runtime: &str) -> Tidegate {
    Configuration::of(origin).runtime(runtime).start()
}

#[test]
fn idle_connections_are_closed_but_not_at_once() {
    let origin = Origin::ok("ok");
    let mut proxy = with_runtime(&origin, "drain = '3s'");
    let mut idle = proxy.client();
    let mut late = proxy.client();
    assert_eq!(idle.get("/").status, 200);
    assert_eq!(late.get("/").status, 200);
    let told = Instant::now();
    proxy.signal(Signal::TERM);
    wait_until(SOON, "the drain has begun", || proxy.log().contains("draining"));
    // A request that was on its way when the drain began.
    let answer = late.get("/");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    idle.assert_closes(SOON);
    assert!(told.elapsed() >= Duration::from_millis(500), "{:?}", told.elapsed());
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
}

#[test]
fn clients_that_honour_connection_close_lose_nothing() {
    let origin = Origin::ok("fine");
    let mut proxy = with_runtime(&origin, "drain = '2s'");
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let mut client = proxy.client();
            let served = served.clone();
            thread::spawn(move || {
                loop {
                    let answer = client.get("/");
                    assert_eq!(answer.text(), "fine");
                    served.fetch_add(1, Ordering::SeqCst);
                    if answer.header("connection") == Some("close") {
                        return;
                    }
                    thread::sleep(Duration::from_millis(5 * n));
                }
            })
        })
        .collect();
    wait_until(SOON, "all of them are at work", || served.load(Ordering::SeqCst) > 50);
    proxy.signal(Signal::TERM);
    for client in clients {
        client.join().expect("a client lost a request");
    }
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
}

#[test]
fn during_the_delay_it_is_not_ready_and_serves_on() {
    let origin = Origin::ok("fine");
    let mut proxy = with_runtime(&origin, "drain = '1s'\ndrain_delay = '400ms'");
    let told = Instant::now();
    proxy.signal(Signal::TERM);
    wait_until(SOON, "it is not ready", || {
        RawClient::connect(proxy.admin()).ask("/ready").status == 503
    });
    let answer = proxy.client().get("/");
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("fine", None));
    assert_eq!(proxy.wait_exit(SOON).code(), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(400));
}

#[test]
fn without_connections_it_ends_at_once() {
    let origin = Origin::ok("ok");
    for signal in [Signal::TERM, Signal::INT] {
        let mut proxy = plain(&origin);
        proxy.signal(signal);
        assert_eq!(proxy.wait_exit(Duration::from_secs(3)).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn a_request_that_never_ends_does_not_outlive_drain() {
    let gate = Gate::default();
    let origin = waiting(&gate);
    let mut proxy = with_runtime(&origin, "drain = '1s'");
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the origin is asked", || origin.requests().len() == 1);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_exit(SOON);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(800), "the request got only {took:?}");
    assert!(took < Duration::from_secs(4), "it took {took:?}");
}

#[test]
fn an_open_tunnel_does_not_outlive_drain() {
    let origin = Origin::start(|_| {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        vec![Step::Send(switch.into()), Step::Echo]
    });
    let mut proxy = plain(&origin);
    let mut client = proxy.client();
    let answer = client.exchange(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(answer.status, 101);
    proxy.signal(Signal::TERM);
    client.send("still here");
    assert_eq!(client.bytes(10), b"still here");
    // The drain of this configuration is 3 s.
    proxy.wait_exit(Duration::from_secs(8));
}

#[test]
fn a_second_signal_does_not_wait_any_longer() {
    let gate = Gate::default();
    let origin = waiting(&gate);
    let mut proxy = with_runtime(&origin, "drain = '60s'");
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the origin is asked", || origin.requests().len() == 1);
    proxy.terminate();
    proxy.signal(Signal::TERM);
    proxy.wait_exit(SOON);
}
