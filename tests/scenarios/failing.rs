//! What happens when servers fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::scenario::{Scenario, counts, named, scenario, shares, states};
use support::{
    Blackhole, Origin, RawClient, SOON, Step, Tidegate, assert_problem, ok, refused_address,
    wait_until,
};

/// An origin whose status the test decides; its name is the body.
struct Fickle {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Fickle {
    fn new(name: &'static str, status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let now = status.clone();
        let origin = Origin::start(move |_| {
            let status = now.load(Ordering::SeqCst);
            let length = name.len();
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{name}");
            vec![Step::Send(text.into_bytes())]
        });
        Self { origin, status }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.origin.requests().iter().filter(|r| r.target == "/health").count()
    }
}

fn with_servers(file: &str, servers: &[&Fickle]) -> Scenario {
    let mut file = scenario(file);
    for (n, server) in servers.iter().enumerate() {
        file = file.server(&format!("10.0.0.{}:8080", n + 1), &server.origin);
    }
    file
}

fn statuses(proxy: &Tidegate, n: usize) -> Vec<u16> {
    let mut client = proxy.client();
    (0..n).map(|_| client.get("/").status).collect()
}

fn count(proxy: &Tidegate, state: &str) -> usize {
    states(proxy).values().filter(|s| *s == state).count()
}

#[test]
fn s1_3_a_failed_call_goes_elsewhere_and_the_instance_is_left_out() {
    let servers = [Fickle::new("a", 200), Fickle::new("b", 200), Fickle::new("c", 200)];
    let proxy = with_servers("s1.3-failover", &servers.each_ref()).start();
    assert!(servers.iter().all(|s| s.checks() == 1), "each is checked before the first request");
    servers[1].answers(503);
    assert_eq!(statuses(&proxy, 60), vec![200; 60]);
    wait_until(SOON, "b is out", || count(&proxy, "up") == 2);
    servers[0].answers(502);
    servers[2].answers(502);
    let last = statuses(&proxy, 20);
    // The last one is never ejected; what it answers is passed on.
    assert!(last.iter().all(|status| *status == 502), "{last:?}");
    assert_eq!(count(&proxy, "up"), 1);
}

#[test]
fn s1_3_no_healthy_instance_is_a_clear_error() {
    let servers = [Fickle::new("a", 204), Fickle::new("b", 500), Fickle::new("c", 302)];
    let proxy = with_servers("s1.3-failover", &servers.each_ref()).start();
    assert_eq!(count(&proxy, "unhealthy"), 3);
    assert_problem(&proxy.client().get("/"), 503, "no_healthy_server");
}

#[test]
fn s2_2_three_failures_put_a_server_aside_for_its_time() {
    let servers = ["a", "b", "c", "d"].map(|name| Fickle::new(name, 200));
    let proxy = with_servers("s2.2-least-conn", &servers.each_ref())
        .with("for = \"30s\"", "for = \"1s\"")
        .start();
    servers[2].answers(500);
    let mut client = proxy.client();
    let mut failures = 0;
    wait_until(SOON, "it is ejected", || {
        failures += usize::from(client.get("/api/blockchain/x").status == 500);
        count(&proxy, "ejected") == 1
    });
    assert_eq!(failures, 3);
    for _ in 0..20 {
        assert_eq!(client.get("/api/blockchain/x").status, 200);
    }
    servers[2].answers(200);
    wait_until(SOON, "it is back", || count(&proxy, "up") == 4);
}

/// A scenario with a failing server first in turn and a good one.
fn next_upstream(bad: &str, good: &Origin) -> Tidegate {
    scenario("s2.7-next-upstream")
        .with("10.0.0.1:8080", bad)
        .server("10.0.0.2:8080", good)
        .with("connect = \"5s\"", "connect = \"200ms\"")
        .with("first_byte = \"60s\"", "first_byte = \"300ms\"")
        .start()
}

#[test]
fn s2_7_a_read_goes_to_the_next_server_whatever_is_wrong_with_the_first() {
    let answer = |text: &'static str| move |_: &_| vec![Step::Send(text.into())];
    let empty = |status: u16| {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        Origin::start(move |_| vec![Step::Send(text.clone().into_bytes())])
    };
    let hole = Blackhole::start();
    let bad = [
        Origin::start(answer("garbage\r\n\r\n")),
        Origin::start(|_| vec![Step::Close]),
        Origin::start(|_| vec![Step::Hold]),
        empty(500),
        empty(502),
        empty(503),
        empty(504),
    ];
    let mut places: Vec<(String, u64)> = bad.iter().map(|bad| (bad.server(), 2)).collect();
    // A server that takes no connection is asked once; then there is a better one.
    places.push((refused_address().to_string(), 1));
    places.push((hole.address.to_string(), 1));
    for (place, least) in places {
        let good = named("good");
        let proxy = next_upstream(&place, &good);
        assert_eq!(shares(&proxy, "/", 4), counts([("good", 4)]), "{place}");
        let retries = proxy.stats()["upstreams"][0]["retries"].as_u64().unwrap();
        assert!(retries >= least, "{place}: {retries}");
    }
}

#[test]
fn s2_7_a_write_that_may_have_been_processed_is_never_repeated() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    let bad = Origin::start(|_| vec![Step::Close]);
    let good = named("good");
    let proxy = next_upstream(&bad.server(), &good);
    let mut seen: Vec<u16> = (0..6).map(|_| proxy.client().exchange(POST).status).collect();
    seen.sort_unstable();
    assert_eq!(seen, [200, 200, 200, 502, 502, 502]);
    assert_eq!((bad.complete().len(), good.complete().len()), (3, 3));
    // With a key by which repetitions are recognised it may.
    let keyed = POST.replace("Host", "Idempotency-Key: 1\r\nHost");
    for _ in 0..4 {
        assert_eq!(proxy.client().exchange(&keyed).status, 200);
    }
}

#[test]
fn s2_7_a_write_that_was_never_sent_goes_to_the_next_server() {
    let good = named("good");
    let proxy = next_upstream(&refused_address().to_string(), &good);
    for _ in 0..4 {
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(proxy.client().exchange(post).status, 200);
    }
}

#[test]
fn s2_11_five_errors_eject_but_never_more_than_half() {
    let servers = ["a", "b", "c", "d"].map(|name| Fickle::new(name, 500));
    let proxy = with_servers("s2.11-outlier-ejection", &servers.each_ref()).start();
    let before = statuses(&proxy, 16);
    assert_eq!(before, vec![500; 16]);
    assert_eq!(count(&proxy, "ejected"), 0);
    assert_eq!(statuses(&proxy, 80), vec![500; 80]);
    assert_eq!(count(&proxy, "ejected"), 2);
    let requests = |state: &str| -> u64 {
        let stats = proxy.stats();
        let servers = stats["upstreams"][0]["servers"].as_array().unwrap();
        let those = servers.iter().filter(|s| s["state"] == state);
        those.map(|s| s["requests"].as_u64().unwrap()).sum()
    };
    assert_eq!(requests("ejected"), 10, "five each");
    assert_eq!(requests("up"), 86);
}

#[test]
fn s2_11_a_success_in_between_starts_the_count_again() {
    let servers = ["a", "b", "c", "d"].map(|name| Fickle::new(name, 200));
    let proxy = with_servers("s2.11-outlier-ejection", &servers.each_ref()).start();
    for _ in 0..5 {
        servers[0].answers(500);
        statuses(&proxy, 16);
        servers[0].answers(200);
        statuses(&proxy, 4);
    }
    assert_eq!(count(&proxy, "up"), 4);
}

#[test]
fn s2_12_writes_go_to_the_primary_and_reads_round_the_replicas() {
    let (primary, one, two) = (named("primary"), named("one"), named("two"));
    let proxy = scenario("s2.12-read-write-split")
        .server("10.0.0.1:8080", &primary)
        .server("10.0.0.2:8080", &one)
        .server("10.0.0.3:8080", &two)
        .start();
    assert_eq!(shares(&proxy, "/x", 10), counts([("one", 5), ("two", 5)]));
    let ask =
        |head: &str| proxy.client().exchange(format!("{head}\r\nHost: a.test\r\n\r\n")).text();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        assert_eq!(ask(&format!("{method} /x HTTP/1.1\r\nContent-Length: 0")), "primary");
    }
    assert_eq!(ask("GET /x HTTP/1.1\r\nX-Read-Consistency: strong"), "primary");
}

#[test]
fn s2_12_a_failed_read_falls_back_to_the_primary() {
    let (primary, one) = (named("primary"), Fickle::new("one", 503));
    let proxy = scenario("s2.12-read-write-split")
        .server("10.0.0.1:8080", &primary)
        .server("10.0.0.2:8080", &one.origin)
        .with("10.0.0.3:8080", &refused_address().to_string())
        .start();
    assert_eq!(shares(&proxy, "/x", 20), counts([("primary", 20)]));
    assert!(!one.origin.requests().is_empty());
}

#[test]
fn s3_4_nothing_is_ejected_below_half_healthy() {
    let servers = ["a", "b", "c", "d"].map(|name| Fickle::new(name, 200));
    let proxy = with_servers("s3.4-outlier-minimum", &servers.each_ref())
        .with("every = \"5s\"", "every = \"60s\"")
        .start();
    for server in &servers {
        server.answers(500);
    }
    assert_eq!(statuses(&proxy, 100), vec![500; 100]);
    assert_eq!(count(&proxy, "ejected"), 2);
}

#[test]
fn s3_4_servers_that_checks_took_out_count_against_the_minimum() {
    let servers = ["a", "b", "c", "d"].map(|name| Fickle::new(name, 200));
    servers[0].answers(500);
    servers[1].answers(500);
    let proxy = with_servers("s3.4-outlier-minimum", &servers.each_ref())
        .with("every = \"5s\"", "every = \"60s\"")
        .start();
    assert_eq!(count(&proxy, "unhealthy"), 2);
    servers[2].answers(500);
    servers[3].answers(500);
    assert_eq!(statuses(&proxy, 60), vec![500; 60]);
    assert_eq!((count(&proxy, "ejected"), count(&proxy, "up")), (0, 2));
}

#[test]
fn s3_7_regions_take_over_in_order_and_give_back() {
    let servers =
        ["primary-a", "primary-b", "active", "recovery"].map(|name| Fickle::new(name, 200));
    let proxy = with_servers("s3.7-regions", &servers.each_ref())
        .with("every = \"5s\", timeout = \"2s\"", "every = \"50ms\", timeout = \"2s\"")
        .start();
    let answers = |name: &str| {
        let mut client = proxy.client();
        (0..10).all(|_| client.get("/").text() == name)
    };
    assert!(answers("primary-a"), "the own zone comes first");
    servers[0].answers(500);
    wait_until(SOON, "the other zone", || answers("primary-b"));
    servers[1].answers(500);
    wait_until(SOON, "the active region", || answers("active"));
    servers[2].answers(500);
    wait_until(SOON, "recovery", || answers("recovery"));
    servers[0].answers(200);
    wait_until(SOON, "back home", || answers("primary-a"));
}

#[test]
fn s3_7_one_request_finds_its_way_through_all_regions() {
    let recovery = named("recovery");
    let dead = refused_address().to_string();
    let proxy = scenario("s3.7-regions")
        .with("10.0.0.1:8080", &dead)
        .with("10.0.0.2:8080", &refused_address().to_string())
        .with("10.0.0.3:8080", &refused_address().to_string())
        .server("10.0.0.4:8080", &recovery)
        .with("health =", "#")
        .start();
    assert_eq!(shares(&proxy, "/", 3), counts([("recovery", 3)]));
}

#[test]
fn s5_3_five_failures_open_the_breaker_and_two_successes_close_it() {
    let server = Fickle::new("gateway", 500);
    let proxy = with_servers("s5.3-circuit-breaker", &[&server])
        .with("open_for = \"30s\"", "open_for = \"1s\"")
        .start();
    let breaker = || proxy.stats()["upstreams"][0]["breaker"].clone();
    assert_eq!(statuses(&proxy, 5), vec![500; 5]);
    assert_eq!(breaker()["state"], "open");
    assert_problem(&proxy.client().get("/"), 503, "breaker_open");
    assert_eq!(server.origin.requests().len(), 5);
    wait_until(SOON, "it may be tried", || breaker()["state"] == "half_open");
    assert_eq!(statuses(&proxy, 2), [500, 503], "one failure opens it again");
    server.answers(200);
    wait_until(SOON, "it may be tried", || breaker()["state"] == "half_open");
    assert_eq!(statuses(&proxy, 1), [200]);
    assert_eq!(breaker()["state"], "half_open");
    assert_eq!(statuses(&proxy, 1), [200]);
    assert_eq!(breaker()["state"], "closed");
    assert_eq!(breaker()["opened"], 2);
}

#[test]
fn s5_3_half_open_lets_two_through_and_not_a_herd() {
    let gate = support::Gate::default();
    let (held, failing) = (gate.clone(), Arc::new(AtomicU16::new(1)));
    let fails = failing.clone();
    let origin = Origin::start(move |_| {
        if fails.load(Ordering::SeqCst) == 1 {
            return vec![Step::Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_vec())];
        }
        vec![Step::Until(held.clone()), Step::Send(ok("fine"))]
    });
    let proxy = scenario("s5.3-circuit-breaker")
        .server("10.0.0.1:8080", &origin)
        .with("open_for = \"30s\"", "open_for = \"300ms\"")
        .start();
    statuses(&proxy, 5);
    failing.store(0, Ordering::SeqCst);
    wait_until(SOON, "it may be tried", || {
        proxy.stats()["upstreams"][0]["breaker"]["state"] == "half_open"
    });
    let mut herd: Vec<RawClient> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut herd {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    wait_until(SOON, "eighteen are refused", || {
        proxy.stats()["upstreams"][0]["breaker"]["refused"] == 18
    });
    wait_until(SOON, "two arrive", || origin.requests().len() == 7);
    gate.open();
    let mut seen: Vec<u16> = herd.iter_mut().map(|client| client.response().status).collect();
    seen.sort_unstable();
    assert_eq!((seen[..2].to_vec(), seen[2..].to_vec()), (vec![200; 2], vec![503; 18]));
}

#[test]
fn with_nothing_healthy_all_are_tried_loudly() {
    let servers = ["a", "b", "c"].map(|name| Fickle::new(name, 200));
    for server in &servers {
        server.answers(404);
    }
    let proxy = with_servers("s1.3-failover", &servers.each_ref())
        .with("fail_open = false", "fail_open = true")
        .with("every = \"5s\"", "every = \"50ms\"")
        .start();
    assert_eq!(statuses(&proxy, 3), [404; 3]);
    let metrics = || RawClient::connect(proxy.admin()).ask("/metrics").text();
    let alarm = "tidegate_upstream_fail_open{upstream=\"overlay\"}";
    assert!(metrics().contains(&format!("{alarm} 1\n")), "{}", metrics());
    wait_until(SOON, "the log says so", || proxy.log().contains("no server is healthy"));
    servers[0].answers(200);
    wait_until(SOON, "one is well again", || count(&proxy, "up") == 1);
    assert_eq!(statuses(&proxy, 3), [200; 3]);
    assert!(metrics().contains(&format!("{alarm} 0\n")), "{}", metrics());
}
