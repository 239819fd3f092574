//! How much a server gets at a time, and what happens to the rest.

use std::collections::BTreeMap;

use crate::scenario::scenario;
use support::{Gate, Origin, RawClient, SOON, Step, Tidegate, assert_problem, ok, wait_until};

/// Answers once the gate is open.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| vec![Step::Until(gate.clone()), Step::Send(ok("done"))])
}

fn send(proxy: &Tidegate, path: &str, n: usize) -> Vec<RawClient> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let one = |_| {
        let mut client = proxy.client();
        client.send(&request);
        client
    };
    (0..n).map(one).collect()
}

fn depth(proxy: &Tidegate, upstream: usize) -> u64 {
    proxy.stats()["upstreams"][upstream]["queue"]["depth"].as_u64().unwrap()
}

fn a_hundred_run_fifty_wait_and_the_next_is_refused(file: &str) {
    let gate = Gate::default();
    let origin = held(&gate);
    let proxy = scenario(file).server("10.0.0.1:8080", &origin).start();
    let mut clients = send(&proxy, "/", 150);
    wait_until(SOON, "a hundred arrive", || origin.requests().len() == 100);
    wait_until(SOON, "fifty wait", || depth(&proxy, 0) == 50);
    let refused = proxy.client().get("/");
    assert_problem(&refused, 503, "queue_full");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let server = proxy.stats()["upstreams"][0]["servers"][0].clone();
    assert_eq!(
        (server["in_flight"].as_u64(), server["connections"].as_u64()),
        (Some(100), Some(100))
    );
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert!(origin.open_connections() <= 100);
    assert_eq!(depth(&proxy, 0), 0);
}

fn most_requests_on_a_connection(file: &str) -> usize {
    let origin = Origin::ok("done");
    let proxy = scenario(file).server("10.0.0.1:8080", &origin).start();
    let mut client = proxy.client();
    for _ in 0..60 {
        assert_eq!(client.get("/").status, 200);
    }
    let mut per_connection: BTreeMap<usize, usize> = BTreeMap::new();
    for request in origin.all_requests(60) {
        *per_connection.entry(request.connection).or_default() += 1;
    }
    per_connection.into_values().max().unwrap()
}

#[test]
fn s2_10_a_hundred_run_fifty_wait_and_the_next_is_refused() {
    a_hundred_run_fifty_wait_and_the_next_is_refused("s2.10-pool-limits");
}

#[test]
fn s2_10_a_connection_carries_ten_requests() {
    assert_eq!(most_requests_on_a_connection("s2.10-pool-limits"), 10);
}

#[test]
fn s3_3_a_hundred_run_fifty_wait_and_the_next_is_refused() {
    a_hundred_run_fifty_wait_and_the_next_is_refused("s3.3-pool-limits");
}

#[test]
fn s3_3_a_connection_carries_two_requests() {
    assert_eq!(most_requests_on_a_connection("s3.3-pool-limits"), 2);
}

#[test]
fn s5_4_each_instance_gets_its_prefetch_and_the_rest_waits_its_turn() {
    let gates = [Gate::default(), Gate::default()];
    let origins = [held(&gates[0]), held(&gates[1])];
    let proxy = scenario("s5.4-prefetch")
        .server("10.0.0.1:8080", &origins[0])
        .server("10.0.0.2:8080", &origins[1])
        .start();
    let arrived = || origins.iter().map(|o| o.requests().len()).collect::<Vec<_>>();
    let mut first = send(&proxy, "/cpu/x", 4);
    wait_until(SOON, "two each", || arrived() == [2, 2]);
    let mut waiting = send(&proxy, "/cpu/y", 3);
    wait_until(SOON, "three wait", || depth(&proxy, 0) == 3);
    // I/O-bound work has places of its own.
    let mut other = send(&proxy, "/io/x", 6);
    wait_until(SOON, "six more arrive", || arrived().iter().sum::<usize>() == 10);
    gates[0].open();
    gates[1].open();
    for client in first.iter_mut().chain(&mut waiting).chain(&mut other) {
        assert_eq!(client.response().status, 200);
    }
    let peak = proxy.stats()["upstreams"][0]["queue"]["queued"].as_u64();
    assert_eq!(peak, Some(3));
}

#[test]
fn a_request_waits_no_longer_than_it_may() {
    let gate = Gate::default();
    let origin = held(&gate);
    let proxy = scenario("s5.4-prefetch")
        .server("10.0.0.1:8080", &origin)
        .server("10.0.0.2:8080", &origin)
        .with("pending_timeout = \"5s\"", "pending_timeout = \"200ms\"")
        .start();
    let mut clients = send(&proxy, "/cpu/x", 5);
    wait_until(SOON, "one waited too long", || {
        proxy.stats()["upstreams"][0]["queue"]["timeouts"] == 1
    });
    gate.open();
    let mut statuses: Vec<u16> = clients.iter_mut().map(|c| c.response().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 503]);
}

#[test]
fn a_client_that_leaves_the_queue_makes_room() {
    let gate = Gate::default();
    let origin = held(&gate);
    let proxy = scenario("s5.4-prefetch")
        .server("10.0.0.1:8080", &origin)
        .server("10.0.0.2:8080", &origin)
        .start();
    let mut clients = send(&proxy, "/cpu/x", 4);
    wait_until(SOON, "four arrive", || origin.requests().len() == 4);
    let mut waiting = send(&proxy, "/cpu/y", 2);
    wait_until(SOON, "two wait", || depth(&proxy, 0) == 2);
    waiting.remove(0).reset();
    wait_until(SOON, "one left", || depth(&proxy, 0) == 1);
    // One whose body has come, but is read by nobody yet.
    let mut upload = proxy.client();
    upload.send("POST /cpu/z HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 4\r\n\r\nbody");
    wait_until(SOON, "it waits too", || depth(&proxy, 0) == 2);
    upload.reset();
    wait_until(SOON, "it has left", || depth(&proxy, 0) == 1);
    // Those of whose bodies a part has come: in order, broken off, and behind more than is read.
    const PARTS: [(&str, &str, usize); 3] = [
        ("Content-Length: 9", "", 4),
        ("Transfer-Encoding: chunked", "ff\r\n", 4),
        ("Content-Length: 999999", "", 90_000),
    ];
    for (framing, start, length) in PARTS {
        let mut upload = proxy.client();
        upload.send(format!(
            "POST /cpu/z HTTP/1.1\r\nHost: api.example.com\r\n{framing}\r\n\r\n{start}"
        ));
        upload.send("x".repeat(length));
        wait_until(SOON, "it waits too", || depth(&proxy, 0) == 2);
        if length > 4 {
            upload.reset()
        } else {
            drop(upload)
        }
        wait_until(SOON, "it has left", || depth(&proxy, 0) == 1);
    }
    // Who has sent all of it may end its side.
    let mut upload = proxy.client();
    upload.send("POST /cpu/z HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbo");
    wait_until(SOON, "it waits too", || depth(&proxy, 0) == 2);
    upload.send("dy\r\n0\r\n\r\n");
    upload.close_write();
    waiting.push(upload);
    gate.open();
    for client in clients.iter_mut().chain(&mut waiting) {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(origin.requests().len(), 6);
}

#[test]
fn who_waits_longest_is_served_first() {
    let gate = Gate::default();
    let origin = held(&gate);
    // One worker and one place, so that the order of arrival at the server is the order of the
    // queue.
    let proxy = scenario("s5.4-prefetch")
        .with("[admin]", "[runtime]\nworkers = 1\n[admin]")
        .with(", \"10.0.0.2:8080\"", "")
        .server("10.0.0.1:8080", &origin)
        .with("requests = 2,", "requests = 1,")
        .start();
    let mut clients = send(&proxy, "/cpu/0", 1);
    wait_until(SOON, "one arrives", || origin.requests().len() == 1);
    for n in 1..=8 {
        clients.extend(send(&proxy, &format!("/cpu/{n}"), 1));
        wait_until(SOON, "it waits", || depth(&proxy, 0) == n);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let order: Vec<String> = origin.requests().into_iter().map(|r| r.target).collect();
    let expected: Vec<String> = (0..=8).map(|n| format!("/cpu/{n}")).collect();
    assert_eq!(order, expected);
}

#[test]
fn one_connection_is_passed_from_worker_to_worker() {
    let origin = Origin::ok("done");
    let toml = r#"
        [runtime]
        workers = 4
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{server}"]
        limits = { connections = 1 }
        [[route]]
        upstream = "app"
    "#;
    let proxy = Tidegate::with(toml, &[("server", &origin.server())]);
    for _ in 0..40 {
        assert_eq!(proxy.client().get("/").status, 200);
        // The server may notice the end of the one before a little later than the proxy.
        wait_until(SOON, "one connection is open", || origin.open_connections() <= 1);
    }
}
