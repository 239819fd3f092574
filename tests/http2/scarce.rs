//! More requests than the connections to a server have streams for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::config;
use crate::frames::{GOAWAY, Verdict, Wire, block, frame};
use crate::server::{Asked, H2Server, fine};
use support::{Gate, Origin, RawClient, SOON, Step, Tidegate, ok, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const REQUESTS: usize = 440;

/// Asks so many times at once, of a server that allows 50 streams and goes away from its first
/// connection after `leaves` requests. With one connection of one worker the first request is
/// answered last, so that the connection is never idle. All are answered, each by one stream that
/// the server processed.
fn ask_all(connections: usize, workers: usize, leaves: usize) {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let held = connections == 1 && workers == 1 && leaves == usize::MAX;
    let server = H2Server::start(&[(3, 50)], move |Asked { connection, nth, stream }| {
        if connection == 0 && nth > leaves {
            return Some(Vec::new());
        }
        if held && nth == 0 {
            return Some(Vec::new());
        }
        thread::sleep(Duration::from_millis(1));
        let mut frames = fine(stream, "fine");
        if count.fetch_add(1, SeqCst) + 2 == REQUESTS && held {
            count.fetch_add(1, SeqCst);
            frames.extend(fine(1, "fine"));
        }
        if connection == 0 && nth == leaves {
            let last = [&stream.to_be_bytes()[..], &[0; 4]].concat();
            frames.extend(frame(GOAWAY, 0, 0, &last));
        }
        Some(frames)
    });
    let lines = format!(
        "servers = ['{}']\nprotocol = 'h2c'\nlimits = {{ connections = {connections}, pending_timeout = '10s' }}\n\
         timeout = {{ connect = '6s' }}\nretry = {{ attempts = 0 }}",
        server.address
    );
    let config = config(&lines, "").replace("workers = 1", &format!("workers = {workers}"));
    let proxy = Tidegate::start(&config);
    let mut clients: Vec<RawClient> = (0..REQUESTS).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    let fine = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!((fine, answered.load(SeqCst)), (REQUESTS, REQUESTS), "{connections}, {workers}");
    if leaves == usize::MAX {
        assert_eq!(server.asked().len(), REQUESTS);
    }
}

#[test]
fn w14_whoever_waits_gets_the_streams_that_become_free() {
    for connections in [1, 2] {
        ask_all(connections, 1, usize::MAX);
    }
}

#[test]
fn w14_workers_leave_each_other_their_connection() {
    for connections in [1, 2] {
        ask_all(connections, 2, usize::MAX);
    }
}

#[test]
fn w14_whoever_waits_is_not_forgotten_when_the_server_goes_away() {
    for workers in [1, 2] {
        ask_all(1, workers, 120);
    }
}

#[test]
fn w14_whoever_finds_a_fresh_connection_full_connects() {
    // Two streams at a time; only the first request is answered, and none of the others waits for
    // one of them.
    let server = H2Server::start(&[(3, 2)], |Asked { connection, nth, stream }| {
        let first = connection == 0 && nth == 0;
        Some(if first { fine(stream, "first") } else { Vec::new() })
    });
    let proxy = crate::proxy(server.address, "protocol = 'h2c'");
    assert_eq!(proxy.client().exchange(GET).text(), "first");
    let mut clients: Vec<RawClient> = (0..12).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    wait_until(SOON, "all have been sent", || server.asked().len() == 13);
    assert_eq!(server.accepts(), 6);
}

/// A process with 256 descriptors has 64 connections to servers at most, here all of them busy.
#[test]
fn w16_a_limit_of_the_proxy_is_not_held_against_a_server() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("fine"))]);
    let lines = format!(
        "servers = ['{}']\ntimeout = {{ connect = '300ms' }}\nretry = {{ attempts = 0 }}",
        origin.server()
    );
    let proxy = Tidegate::with_descriptors(256, &config(&lines, ""), &[]);
    let get =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")]);
    let mut client = Wire::connect(proxy.address(), &[]);
    for n in 0..64 {
        client.head(2 * n + 1, &get);
    }
    wait_until(SOON, "all places are taken", || origin.requests().len() == 64);
    client.head(129, &get);
    assert_eq!(client.verdict(129), Verdict::Status(502));
    let said = || proxy.log().contains("no connection to a server");
    wait_until(SOON, "it is told why", said);
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("no connection to a server")).unwrap();
    for part in [
        "no connection became free: all servers together have as many as the process may open",
        "key=\"listen.limits.connections\"",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let server = &proxy.stats()["upstreams"][0]["servers"][0];
    assert_eq!(server["state"], "up", "{server}");
    gate.open();
    assert_eq!(client.verdict(1), Verdict::Status(200));
}
