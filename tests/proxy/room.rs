//! Full is not down: when all places are taken, idle connections make room, and who finds none is
//! told so.

use std::time::Duration;

use support::{
    Configuration, End, Gate, Origin, RawClient, SOON, Step, Tidegate, assert_problem_and_close,
    check_problem, escape, ok, resident_kib, wait_until,
};

/// A proxy whose requests may hold 4 MiB together.
fn frugal(origin: &Origin) -> Tidegate {
    let runtime = "workers = 2\nrequest_memory = '4MiB'\ndrain = '1s'";
    Configuration::of(origin).runtime(runtime).listen("name = 'at0'").start()
}

fn memory(proxy: &Tidegate, name: &str) -> u64 {
    proxy.stats()["request_memory"][name].as_u64().unwrap()
}

/// Two workers and these limits on the first listener, which is one of several in front of
/// `origin`.
fn proxy(origin: &Origin, limits: &str, listeners: usize, descriptors: Option<u32>) -> Tidegate {
    let mut all = Configuration::of(origin).runtime("workers = 2");
    for at in 0..listeners {
        let limits = if at == 0 { limits } else { "" };
        all = all.listen(&format!("name = 'at{at}'\n{limits}"));
    }
    match descriptors {
        None => all.start(),
        Some(most) => Tidegate::with_descriptors(most, &all.text(), &[]),
    }
}

fn number(proxy: &Tidegate, name: &str) -> u64 {
    proxy.stats()["listeners"][0][name].as_u64().unwrap()
}

fn metric(proxy: &Tidegate, sample: &str) -> f64 {
    let text = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).trim().parse().unwrap()
}

#[test]
fn w16_idle_connections_make_room_for_those_who_ask() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { connections = 50 }", 1, None);
    // Idle after a request or before the first one; who came before the others is the first to go.
    let mut idle: Vec<RawClient> = (0..50).map(|_| proxy.client()).collect();
    wait_until(SOON, "all are there", || number(&proxy, "connections") == 50);
    for client in idle.iter_mut().skip(10).step_by(2) {
        assert_eq!(client.get("/").status, 200);
    }
    for n in 0..600 {
        assert_eq!(proxy.client().get("/").status, 200, "the honest client {n}");
    }
    // At once, and staying.
    let mut staying: Vec<RawClient> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut staying {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(number(&proxy, "refused"), 0);
    assert!(number(&proxy, "reclaimed") > 0);
    assert!(number(&proxy, "connections") <= 50);
    assert!(metric(&proxy, "tidegate_connections_reclaimed_total{listen=\"at0\"}") > 0.0);
    assert_eq!(
        metric(
            &proxy,
            "tidegate_connections_refused_total{listener=\"at0\",reason=\"connections\"}"
        ),
        0.0
    );
}

#[test]
fn w16_whoever_got_a_place_by_waiting_does_not_wait_any_more() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { connections = 50 }", 1, None);
    // Twice as many as there are places, each of which makes one go that is idle, and more than may
    // wait at a time.
    let mut idle = Vec::new();
    for n in 0..100 {
        idle.push(proxy.client());
        wait_until(SOON, "it has come in", || number(&proxy, "accepted") > n);
    }
    wait_until(SOON, "it has made room", || number(&proxy, "reclaimed") == 50);
    assert_eq!(number(&proxy, "connections"), 50);
    for n in 0..100 {
        assert_eq!(proxy.client().get("/").status, 200, "the honest client {n}");
    }
    assert_eq!(number(&proxy, "refused"), 0);
}

#[test]
fn w16_near_the_limit_answers_end_their_connections() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { connections = 16 }", 1, None);
    let mut idle: Vec<RawClient> = (0..15).map(|_| proxy.client()).collect();
    wait_until(SOON, "all are there", || number(&proxy, "connections") == 15);
    assert!(!idle[0].get("/").says_close(), "one place is left");
    let mut last = proxy.client();
    let answer = last.get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.says_close());
    last.assert_closes(SOON);
    wait_until(SOON, "it is gone", || number(&proxy, "connections") == 15);
    assert!(!idle[1].get("/").says_close());
}

#[test]
fn w16_v7_without_an_idle_one_the_answer_is_503_and_is_counted() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("fine"))]);
    let proxy = proxy(&origin, "limits = { connections = 8 }", 1, None);
    let mut busy: Vec<RawClient> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    wait_until(SOON, "all are busy", || origin.requests().len() == 8);
    // More than may wait for a place at a time: nobody is cut off.
    let mut late: Vec<RawClient> = (0..60).map(|_| proxy.client().patience(4 * SOON)).collect();
    for client in &mut late {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    for client in &mut late {
        let answer = client.response();
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_problem_and_close(client, &answer, 503, "proxy_overloaded");
    }
    assert_eq!((number(&proxy, "refused"), number(&proxy, "reclaimed")), (60, 0));
    let name = "tidegate_connections_refused_total{listener=\"at0\",reason=\"connections\"}";
    assert_eq!(metric(&proxy, name), 60.0);
    let log = proxy.log();
    let lines: Vec<&str> = log.lines().filter(|it| it.contains("connection refused")).collect();
    assert!(!lines.is_empty() && lines.len() < 60, "as many lines as it likes: {}", lines.len());
    for part in ["WARN", "at0", "127.0.0.1", "listen.limits.connections"] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
    wait_until(SOON, "there is room again", || proxy.client().get("/").status == 200);
}

#[test]
fn w16_who_waits_for_a_place_gets_the_next_one_that_is_free() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("fine"))]);
    let proxy = proxy(&origin, "limits = { connections = 2 }", 1, None);
    let mut busy: Vec<RawClient> = (0..2).map(|_| proxy.client()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    wait_until(SOON, "all are busy", || origin.requests().len() == 2);
    let mut late = proxy.client();
    late.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it has come", || number(&proxy, "accepted") == 3);
    gate.open();
    assert_eq!(late.response().status, 200);
    assert_eq!(number(&proxy, "refused"), 0);
}

#[test]
fn w16_who_never_says_what_it_wants_makes_room_too() {
    let origin = Origin::ok("fine");
    let proxy =
        proxy(&origin, "limits = { connections = 16 }\ntimeout = { headers = '60s' }", 1, None);
    let mut slow: Vec<RawClient> = (0..16).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.send("GET / HTTP/1.1\r\nHost: a.te");
    }
    wait_until(SOON, "all are there", || number(&proxy, "connections") == 16);
    wait_until(SOON, "one has gone", || proxy.client().get("/").status == 200);
    for n in 0..30 {
        assert_eq!(proxy.client().get("/").status, 200, "the honest client {n}");
    }
    // Whoever went was told why.
    let told = slow.iter_mut().filter_map(|client| {
        let (said, end) = client.end(Duration::from_millis(20));
        (end != End::StillOpen).then_some(said)
    });
    let told: Vec<Vec<u8>> = told.collect();
    assert!(!told.is_empty());
    for said in told {
        assert!(said.starts_with(b"HTTP/1.1 503 "), "{}", escape(&said));
        assert!(escape(&said).contains("proxy_overloaded"));
    }
}

#[test]
fn w16_the_limit_of_one_listener_is_no_concern_of_another() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { connections = 4 }", 2, None);
    let mut neighbours: Vec<RawClient> =
        (0..4).map(|_| RawClient::connect(proxy.listener("at1"))).collect();
    for client in &mut neighbours {
        assert_eq!(client.get("/").status, 200);
    }
    for _ in 0..40 {
        let mut client = RawClient::connect(proxy.listener("at0"));
        assert_eq!(client.get("/").status, 200);
        std::mem::forget(client);
    }
    for client in &mut neighbours {
        assert_eq!(client.get("/").status, 200, "it is still open");
    }
}

#[test]
fn w11_all_listeners_share_what_descriptors_allow() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "", 4, Some(512));
    assert_eq!(proxy.stats()["connections"]["limit"], 192);
    let mut clients = Vec::new();
    for n in 0..760 {
        let mut client = RawClient::connect(proxy.listener(&format!("at{}", n % 4)));
        assert_eq!(client.get("/").status, 200, "client {n}");
        clients.push(client);
    }
    let stats = proxy.stats();
    assert!(stats["connections"]["open"].as_u64().unwrap() <= 192, "{}", stats["connections"]);
    for listener in 0..4 {
        let listener = &stats["listeners"][listener];
        assert_eq!(
            (listener["refused"].as_u64(), listener["starved"].as_u64()),
            (Some(0), Some(0))
        );
    }
    assert!(!proxy.log().contains("WARN"), "{}", proxy.log());
}

#[test]
fn w16_few_descriptors_are_enough_to_stay_up() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match &*request.target {
        "/held" => vec![Step::Until(held.clone()), Step::Send(ok("held"))],
        _ => vec![Step::Send(ok("fine"))],
    });
    let proxy = proxy(&origin, "", 1, Some(256));
    let mut busy: Vec<RawClient> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut busy {
        client.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    wait_until(SOON, "all are busy", || origin.requests().len() == 40);
    let idle: Vec<RawClient> = (0..200).map(|_| proxy.client()).collect();
    for n in 0..100 {
        assert_eq!(proxy.client().get("/").status, 200, "the honest client {n}");
    }
    drop(idle);
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().text(), "held");
    }
    assert!(proxy.stats()["connections"]["limit"].as_u64() == Some(64));
    assert!(!proxy.log().contains("paused"), "{}", proxy.log());
}

/// 64 connections to servers may be open, of which each keeps one.
#[test]
fn w16_idle_connections_to_servers_make_room_for_those_to_others() {
    let origins: Vec<Origin> = (0..100).map(|_| Origin::ok("fine")).collect();
    let all = Configuration::default().runtime("workers = 2").upstream(
        "app",
        origins.iter().map(Origin::server),
        "retry = { attempts = 1 }",
    );
    let proxy = Tidegate::with_descriptors(256, &all.text(), &[]);
    // Each has connected to servers of its own, on both workers.
    let mut clients: Vec<RawClient> = (0..8).map(|_| proxy.client()).collect();
    for turn in 0..50 {
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.get("/").status, 200, "client {n}, request {turn}");
        }
    }
    let open: usize = origins.iter().map(Origin::open_connections).sum();
    assert!((40..=64).contains(&open), "{open} are open");
    let accepted: usize = origins.iter().map(Origin::accepts).sum();
    assert!(accepted > 100, "none had to make room: {accepted}");
    assert!(!proxy.log().contains("WARN"), "{}", proxy.log());
}

/// Many clients that stall; what the proxy holds for them is bounded, the others are told so, and
/// it ends with them.
fn stalls(origin: &Origin, begin: impl Fn(&mut RawClient)) {
    const CLIENTS: usize = 1_600;
    let proxy = frugal(origin);
    assert_eq!(proxy.client().get("/").status, 200);
    let before = resident_kib(proxy.pid());
    let mut stalled = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = RawClient::connect_narrow(proxy.address());
        begin(&mut client);
        stalled.push(client);
    }
    wait_until(2 * SOON, "no more are taken", || memory(&proxy, "refused") > 0);
    // New work is done or told so, and never cut off.
    for _ in 0..50 {
        let answer = proxy.client().get("/");
        if answer.status != 200 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            check_problem(&answer, &[503], "proxy_overloaded").unwrap();
        }
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    // What is counted, twice that for what walks it and its sockets, and what workers keep of
    // buffers for later.
    assert!(grown < 20 * 1024, "{grown} KiB for 4 MiB: {}", proxy.stats()["request_memory"]);
    // Who was let in before it was full may take one of the smallest buffers for each direction
    // afterwards.
    assert!(memory(&proxy, "held") < 8 << 20, "{}", proxy.stats()["request_memory"]);
    drop(stalled);
    wait_until(2 * SOON, "all of it is given back", || memory(&proxy, "held") == 0);
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn w15_downloads_that_nobody_reads_are_accounted() {
    let origin = Origin::start(|request| match &*request.target {
        "/large" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
            vec![Step::Send(head.into()), Step::Fill(10_000_000)]
        }
        _ => vec![Step::Send(ok("fine"))],
    });
    stalls(&origin, |client| client.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n"));
}

#[test]
fn w15_uploads_that_stall_are_accounted() {
    // It answers once all has come, which it never does.
    let origin = Origin::ok("fine");
    let body = "x".repeat(60_000);
    stalls(&origin, |client| {
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 65536\r\n\r\n";
        client.offer(format!("{head}{body}"));
    });
}
