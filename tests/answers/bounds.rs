//! Bounds of connections and waits that operators set: how many a client may have, how old and how
//! much used one may become, and how long tunnels, streams and idle connections to servers last.

use std::time::{Duration, Instant};

use support::{
    Configuration, End, Gate, Origin, RawClient, SOON, Step, Tidegate, assert_problem_and_close,
    wait_until,
};

fn proxy(origin: &Origin, listen: &str, upstream: &str) -> Tidegate {
    let base = Configuration::of(origin).runtime("workers = 2").app(upstream);
    base.log("access = '{dir}/access.log'").listen(&format!("name = 'main'\n{listen}")).start()
}

#[test]
fn one_client_has_so_many_connections_and_no_more() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { connections_per_client = 3 }", "");
    let mut clients: Vec<RawClient> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    for _ in 0..2 {
        let mut fourth = proxy.client();
        let told = fourth.get("/");
        assert_eq!(told.header("retry-after"), Some("1"));
        assert_problem_and_close(&mut fourth, &told, 429, "too_many_connections");
    }
    // One that says nothing is not waited for either.
    let mut silent = proxy.client();
    silent.assert_closes(SOON);
    let sample =
        "tidegate_connections_refused_total{listener=\"main\",reason=\"connections_per_client\"} 3";
    wait_until(SOON, "they are counted", || {
        RawClient::connect(proxy.admin()).ask("/metrics").text().contains(sample)
    });
    assert!(proxy.log().contains("key=\"listen.limits.connections_per_client\""));
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200, "those who were there stay");
    }
    clients.pop();
    wait_until(SOON, "a place is free", || proxy.client().get("/").status == 200);
}

#[test]
fn a_connection_carries_so_many_requests() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limits = { requests_per_connection = 3 }", "");
    let mut client = proxy.client();
    for _ in 0..2 {
        assert!(!client.get("/").says_close());
    }
    assert!(client.get("/").says_close());
    client.assert_closes(SOON);
}

/// An origin whose answers are so long.
fn filling(length: usize) -> Origin {
    Origin::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        vec![Step::Send(head.into()), Step::Fill(length as u64)]
    })
}

/// Waits until a response is accounted for: all of it is with the system by then.
fn wait_written(proxy: &Tidegate, target: &str) {
    let log = proxy.path("access.log");
    let has_line = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(target));
    wait_until(SOON, "the response is written down", has_line);
}

/// What the client's system has no room for is on its way when the answer has been written.
#[test]
fn an_empty_line_behind_a_last_request_does_not_destroy_a_short_answer() {
    let origin = filling(14_000);
    let proxy = proxy(&origin, "", "");
    for n in 0..3 {
        let mut client = RawClient::connect_narrow(proxy.address());
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        wait_written(&proxy, &format!("/{n}"));
        client.send("\r\n");
        let (bytes, end) = client.end(SOON);
        assert_eq!((end, bytes.len() > 14_000), (End::Closed, true), "{} bytes", bytes.len());
    }
}

/// A client that takes its answer slowly, and says something while it does.
#[test]
fn a_closing_connection_lingers_while_its_answer_is_taken() {
    const LENGTH: usize = 2_000_000;
    const PIECE: usize = LENGTH / 16;
    let origin = filling(LENGTH);
    let proxy = proxy(&origin, "", "");
    let mut client = RawClient::connect_with_buffer(proxy.address(), 65_536);
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    for n in 0..12 {
        client.bytes(PIECE);
        // Half of it takes longer than a connection lingers for a client that takes nothing.
        std::thread::sleep(Duration::from_millis(500));
        if n == 8 {
            wait_written(&proxy, "/slow");
            client.send("\r\n");
        }
    }
    let (bytes, end) = client.end(SOON);
    assert_eq!((end, 12 * PIECE + bytes.len() > LENGTH), (End::Closed, true), "{}", bytes.len());
}

#[test]
fn an_empty_line_behind_a_request_is_not_the_beginning_of_the_next_one() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "timeout = { headers = '300ms' }", "");
    let mut client = proxy.client();
    for gap in ["", "\r\n", "\r\n\r", "\r\n\r\n"] {
        client
            .send(format!("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc{gap}"));
        assert_eq!(client.response().status, 200);
        client.send(if gap.ends_with('\r') { "\n" } else { "\r\n" });
        // Longer than a head may take.
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(client.get("/b").status, 200);
}

#[test]
fn what_comes_behind_a_last_request_does_not_destroy_its_answer() {
    const LENGTH: usize = 8 << 20;
    let origin = filling(LENGTH);
    let proxy = proxy(&origin, "", "");
    for more in ["\r\n", "GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        let mut client = proxy.client();
        client.send("GET /1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        client.wait_for("\r\n\r\n");
        client.send(more);
        let (bytes, end) = client.end(SOON);
        assert_eq!(end, End::Closed, "{more:?}: {} bytes", bytes.len());
        assert!(bytes.len() > LENGTH, "{more:?}: {} bytes", bytes.len());
    }
    assert!(origin.requests().iter().all(|request| request.target == "/1"));
}

#[test]
fn an_old_connection_ends_after_an_answer_or_when_it_is_idle() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "timeout = { connection_age = '1s' }", "");
    let began = Instant::now();
    let (mut busy, mut idle) = (proxy.client(), proxy.client());
    assert!(!idle.get("/").says_close());
    let mut answers = 0;
    while !busy.get("/").says_close() {
        answers += 1;
        assert!(began.elapsed() < SOON, "it goes on for ever");
    }
    assert!(answers > 1 && began.elapsed() >= Duration::from_millis(850));
    busy.assert_closes(SOON);
    idle.assert_closes(SOON);
    assert!(began.elapsed() < SOON);
}

#[test]
fn a_connection_that_is_too_old_takes_the_request_that_is_on_its_way() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "timeout = { connection_age = '500ms' }", "");
    let mut clients: Vec<_> = (0..10).map(|_| proxy.client()).collect();
    let began = Instant::now();
    while !clients.is_empty() {
        assert!(began.elapsed() < SOON, "{} go on for ever", clients.len());
        // Between two requests of a client is the time that the others take, and some more.
        std::thread::sleep(Duration::from_millis(20));
        clients.retain_mut(|client| {
            let answer = client.get("/");
            assert_eq!(answer.status, 200);
            !answer.says_close()
        });
    }
}

#[test]
fn methods_are_those_that_are_known_or_any_token() {
    let origin = Origin::ok("fine");
    let ask = |proxy: &Tidegate, method: &str| {
        proxy.client().exchange(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n")).status
    };
    let known = proxy(&origin, "", "");
    let any = proxy(&origin, "strict = { methods = 'any' }", "");
    for method in ["GET", "PROPFIND", "M-SEARCH"] {
        assert_eq!((ask(&known, method), ask(&any, method)), (200, 200), "{method}");
    }
    for method in ["get", "Get", "a.b!c"] {
        assert_eq!((ask(&known, method), ask(&any, method)), (501, 200), "{method}");
        assert_eq!(origin.requests().pop().unwrap().method, method);
    }
    for method in ["CONNECT", "TRACE"] {
        assert_eq!(ask(&any, method), 405, "{method}");
    }
    assert_eq!(ask(&any, "G(T"), 400);
}

fn upgrading(origin: &Origin, upstream: &str) -> (Tidegate, RawClient) {
    let proxy = proxy(origin, "", upstream);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.next_head().status, 101);
    (proxy, client)
}

#[test]
fn a_silent_tunnel_ends_and_its_key_is_named() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        vec![Step::Send(head.into()), Step::Hold]
    });
    let (proxy, mut client) = upgrading(&origin, "timeout = { tunnel = '400ms' }");
    let began = Instant::now();
    client.end(SOON);
    assert!(began.elapsed() >= Duration::from_millis(350) && began.elapsed() < SOON);
    wait_until(SOON, "it is told", || proxy.log().contains("key=\"upstream.timeout.tunnel\""));
    let (_proxy, mut client) = upgrading(&origin, "timeout = { tunnel = 'off' }");
    client.send("x");
    let mut quiet = client.patience(Duration::from_millis(700));
    assert!(quiet.try_response("GET").unwrap_err().contains("StillOpen"));
}

#[test]
fn a_stream_may_be_silent_where_the_gap_is_off() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
        vec![Step::Send(head.into()), Step::Until(held.clone()), Step::Send(b"full".to_vec())]
    });
    let silent = proxy(&origin, "", "timeout = { gap = 'off' }");
    let short = proxy(&origin, "", "timeout = { gap = '300ms' }");
    let (mut patient, mut hasty) = (silent.client(), short.client());
    for client in [&mut patient, &mut hasty] {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.wait_for("half");
    }
    let began = Instant::now();
    hasty.end(SOON);
    assert!(began.elapsed() >= Duration::from_millis(250) && began.elapsed() < SOON);
    gate.open();
    patient.wait_for("full");
}

#[test]
fn idle_connections_to_servers_are_kept_as_long_as_is_said() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "", "timeout = { kept = '1s' }");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(origin.accepts(), 1);
    wait_until(SOON, "it is closed", || origin.open_connections() == 0);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(origin.accepts(), 2);
}

#[test]
fn an_affinity_cookie_has_the_attributes_that_are_said() {
    let origin = Origin::ok("fine");
    let balance = "balance = { sticky = 'tg', ttl = '1m', path = '/app', domain = 'a.test', secure = true, same_site = 'none' }";
    let proxy = proxy(&origin, "", balance);
    let told = proxy.client().get("/");
    let cookie = told.header("set-cookie").unwrap();
    let expected = "; Path=/app; Domain=a.test; Max-Age=60; Secure; HttpOnly; SameSite=None";
    assert!(cookie.starts_with("tg=") && cookie.ends_with(expected), "{cookie}");
}
