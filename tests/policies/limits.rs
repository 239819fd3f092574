//! Rate limits and limits of requests at a time.

use std::thread;
use std::time::{Duration, Instant};

use crate::proxy;
use support::{
    Gate, Nginx, Origin, RawClient, Response, SOON, Step, Tidegate, assert_problem, ok, wait_until,
};

fn get(client: &mut RawClient, fields: &str) -> Response {
    client.exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

fn statuses(client: &mut RawClient, count: usize, fields: &str) -> Vec<u16> {
    (0..count).map(|_| get(client, fields).status).collect()
}

fn passed(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status == 200).count()
}

#[test]
fn beyond_the_burst_requests_are_refused_and_told_when_to_come_back() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limit = { rate = '1/min', burst = 4 }", "");
    let mut client = proxy.client();
    let first = get(&mut client, "");
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit"), Some("\"app#1\";r=4;t=60"));
    assert_eq!(first.header("ratelimit-policy"), Some("\"app#1\";q=5;w=300"));
    assert_eq!(passed(&statuses(&mut client, 4, "")), 4);
    let refused = get(&mut client, "");
    assert_problem(&refused, 429, "rate_limited");
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((55..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("ratelimit"), Some(&*format!("\"app#1\";r=0;t={seconds}")));
    assert_eq!(origin.requests().len(), 5);
    assert_eq!(get(&mut client, "").status, 429, "the connection goes on");
}

#[test]
fn clients_are_told_apart_by_address_and_ipv6_by_network() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limit = { rate = '1/min', key = 'client_ip' }", "");
    let mut client = proxy.client();
    let mut from = |ip: &str| get(&mut client, &format!("X-Forwarded-For: {ip}\r\n")).status;
    assert_eq!([from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2")], [200, 429, 200]);
    assert_eq!(
        [from("2001:db8::1"), from("2001:db8::2"), from("2001:db8:0:1::1")],
        [200, 429, 200]
    );
}

#[test]
fn keys_combine_and_a_part_that_is_missing_is_empty() {
    let origin = Origin::ok("fine");
    let route = "limit = { rate = '1/min', key = ['header:x-tenant', 'cookie:session'] }";
    let proxy = proxy(&origin, route, "");
    let mut client = proxy.client();
    let mut ask = |tenant: &str, session: &str| {
        get(&mut client, &format!("X-Tenant: {tenant}\r\nCookie: session={session}\r\n")).status
    };
    assert_eq!([ask("a", "1"), ask("a", "1")], [200, 429]);
    assert_eq!([ask("a", "2"), ask("b", "1"), ask("ab", ""), ask("a", "b")], [200; 4]);
    // Without a session and with an empty one: `ab` and `a` are tenants of their own.
    assert_eq!(statuses(&mut client, 2, "X-Tenant: a\r\n"), [200, 429]);
}

#[test]
fn whatever_a_key_is_it_is_counted_or_refused() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limit = { rate = '1/min', key = 'header:x-key' }", "");
    let ask = |key: &str| get(&mut proxy.client(), &format!("X-Key: {key}\r\n")).status;
    let long = "k".repeat(20 * 1024);
    assert_eq!([ask(&long), ask(&long)], [200, 429]);
    assert_eq!([ask(&format!("{long}x")), ask("\u{e9}\t\"%0d%0a"), ask("")], [200; 3]);
    // What could end a line never becomes a key.
    assert_eq!([ask("a\0b"), ask("a\rb"), ask("a\nb"), ask("a\r\nb")], [400; 4]);
    assert_eq!(ask(&"k".repeat(40 * 1024)), 431);
    assert_eq!(proxy.stats()["limits"][0]["keys"], 4);
}

#[test]
fn a_shared_limit_counts_over_routes_and_one_that_refuses_costs_the_others_nothing() {
    let origin = Origin::ok("fine");
    let more = r#"
        [[route]]
        path = "/other"
        upstream = "app"
        limit = "both"
        [limit.both]
        rate = "1/min"
        burst = 2
        [limit.small]
        rate = "1/h"
        key = "header:x-key"
    "#;
    let proxy = proxy(&origin, "limit = ['both', 'small']", more);
    let mut client = proxy.client();
    let both = get(&mut client, "X-Key: 1\r\n");
    assert_eq!(both.header("ratelimit"), Some("\"both\";r=2;t=60, \"small\";r=0;t=3600"));
    // Refused by the second one: what the first one counted is given back.
    assert_eq!(statuses(&mut client, 10, "X-Key: 1\r\n"), [429; 10]);
    assert_eq!(client.get("/other").status, 200);
    assert_eq!(client.get("/other").status, 200);
    assert_eq!(client.get("/other").status, 429);
    assert_eq!(get(&mut client, "X-Key: 2\r\n").status, 429);
}

#[test]
fn a_delayed_burst_arrives_at_the_steady_rate() {
    let origin = Origin::ok("fine");
    let route = "limit = { rate = '20/s', burst = 10, delay = 2 }";
    let proxy = proxy(&origin, route, "");
    let began = Instant::now();
    let clients: Vec<_> = (0..9)
        .map(|_| {
            let mut client = proxy.client();
            thread::spawn(move || (get(&mut client, "").status, began.elapsed()))
        })
        .collect();
    let mut answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    answers.sort_by_key(|(_, at)| *at);
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    // Three pass at once, the others 50 ms apart: the last of nine after 300 ms.
    for (n, (_, at)) in answers.iter().enumerate() {
        let least = 50 * n.saturating_sub(2) as u64;
        assert!(*at >= Duration::from_millis(least), "{n}: {answers:?}");
    }
    assert!(answers[8].1 < Duration::from_millis(900), "{answers:?}");
    // Those that come late on a busy machine need not wait.
    let delayed = proxy.stats()["limits"][0]["delayed"].as_u64().unwrap();
    assert!((1..=6).contains(&delayed), "{delayed}");
}

#[test]
fn what_was_counted_survives_reloads_that_leave_the_pace_alone() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limit = { rate = '1/min' }", "");
    let mut client = proxy.client();
    assert_eq!(statuses(&mut client, 2, ""), [200, 429]);
    let config = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
    let reload = |text: &str| {
        std::fs::write(proxy.path("tidegate.toml"), text).unwrap();
        let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(RawClient::connect(proxy.admin()).exchange(request).status, 200);
    };
    reload(&(config.clone() + "\n[upstream.more]\nservers = ['127.0.0.1:9']\n"));
    assert_eq!(get(&mut client, "").status, 429);
    reload(&config.replace("1/min", "2/min"));
    assert_eq!(get(&mut client, "").status, 200);
}

/// S2.3: ten a second, twenty at once, on the same bursts as a real nginx.
#[test]
fn it_lets_through_what_nginx_lets_through() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "limit = { rate = '10/s', burst = 20 }", "");
    let nginx = Nginx::limiting("10r/s", "burst=20 nodelay");
    let mut clients = [proxy.client(), RawClient::connect(nginx.address)];
    let mut totals = [0_usize, 0];
    // Pauses long against what a burst takes, so that both see the same times.
    for (requests, pause) in [(30, 450), (3, 50), (10, 730), (25, 1250), (40, 0)] {
        // In turns, so that what holds up one of them holds up both.
        let mut answers = [Vec::new(), Vec::new()];
        for _ in 0..requests {
            for (client, answers) in clients.iter_mut().zip(&mut answers) {
                answers.push(get(client, "").status);
            }
        }
        let passed = answers.map(|answers| passed(&answers));
        totals[0] += passed[0];
        totals[1] += passed[1];
        // The tenth of a second in which a burst ends may hold one more for either.
        assert!(passed[0].abs_diff(passed[1]) <= 1, "{passed:?} of {requests}");
        thread::sleep(Duration::from_millis(pause));
    }
    assert!(totals[0].abs_diff(totals[1]) <= 2, "{totals:?}");
    assert!(totals[0] > 40, "{totals:?}");
}

fn held(route: &str) -> (Tidegate, Origin, Gate) {
    let gate = Gate::default();
    let until = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/held" => vec![Step::Until(until.clone()), Step::Send(ok("held"))],
        _ => vec![Step::Send(ok("fine"))],
    });
    (proxy(&origin, route, ""), origin, gate)
}

#[test]
fn only_so_many_are_under_way_and_a_place_is_free_when_one_ends_or_leaves() {
    let (proxy, origin, gate) = held("concurrency = { max = 2, key = 'header:x-tenant' }");
    let hold = |tenant: &str| {
        let mut client = proxy.client();
        client.send(format!("GET /held HTTP/1.1\r\nHost: a.test\r\nX-Tenant: {tenant}\r\n\r\n"));
        client
    };
    let mut first = hold("a");
    let second = hold("a");
    wait_until(SOON, "both are under way", || origin.requests().len() == 2);
    let refused = get(&mut proxy.client(), "X-Tenant: a\r\n");
    assert_problem(&refused, 429, "concurrency_limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(get(&mut proxy.client(), "X-Tenant: b\r\n").status, 200);
    assert_eq!(get(&mut proxy.client(), "").status, 200);
    // One client leaves without its answer.
    second.reset();
    wait_until(SOON, "its place is free", || {
        get(&mut proxy.client(), "X-Tenant: a\r\n").status == 200
    });
    gate.open();
    assert_eq!(first.response().text(), "held");
    assert_eq!(statuses(&mut proxy.client(), 5, "X-Tenant: a\r\n"), [200; 5]);
}

#[test]
fn those_that_may_wait_are_served_in_their_order() {
    let (proxy, origin, gate) =
        held("concurrency = { max = 1, pending = 2, pending_timeout = '30s' }");
    let send = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        client
    };
    let waiting = || proxy.stats()["routes"][0]["concurrency_queue"]["depth"].as_u64();
    let mut first = send("/held");
    wait_until(SOON, "the first is under way", || origin.requests().len() == 1);
    let mut second = send("/2");
    wait_until(SOON, "the second waits", || waiting() == Some(1));
    let leaver = send("/gone");
    wait_until(SOON, "both wait", || waiting() == Some(2));
    assert_problem(&get(&mut proxy.client(), ""), 429, "concurrency_limited");
    leaver.reset();
    wait_until(SOON, "who leaves does not wait", || waiting() == Some(1));
    let mut third = send("/3");
    wait_until(SOON, "the third waits", || waiting() == Some(2));
    gate.open();
    assert_eq!(first.response().text(), "held");
    assert_eq!([second.response().status, third.response().status], [200; 2]);
    let targets: Vec<String> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/held", "/2", "/3"]);
}

#[test]
fn a_place_goes_to_whoever_waits_for_its_key() {
    let key =
        "concurrency = { max = 1, key = 'header:x-tenant', pending = 9, pending_timeout = '30s' }";
    let (proxy, origin, gate) = held(key);
    let send = |tenant: &str, path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Tenant: {tenant}\r\n\r\n"));
        client
    };
    let waiting = || proxy.stats()["routes"][0]["concurrency_queue"]["depth"].as_u64();
    let mut held = send("a", "/held");
    wait_until(SOON, "one is under way", || origin.requests().len() == 1);
    let other = send("b", "/held");
    wait_until(SOON, "another one is under way", || origin.requests().len() == 2);
    let mut waits: Vec<RawClient> = (0..3).map(|_| send("a", "/")).collect();
    wait_until(SOON, "three wait", || waiting() == Some(3));
    let mut late = send("b", "/");
    wait_until(SOON, "one more waits", || waiting() == Some(4));
    assert_eq!(get(&mut proxy.client(), "X-Tenant: c\r\n").status, 200, "room for this key");
    // The place that becomes free is of no use to those who have waited longer.
    other.reset();
    assert_eq!(late.response().status, 200);
    assert_eq!(waiting(), Some(3));
    gate.open();
    assert_eq!(held.response().status, 200);
    assert!(waits.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn nobody_waits_longer_than_allowed() {
    let (proxy, origin, gate) =
        held("concurrency = { max = 1, pending = 9, pending_timeout = '100ms' }");
    let mut first = proxy.client();
    first.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the first is under way", || origin.requests().len() == 1);
    assert_problem(&get(&mut proxy.client(), ""), 429, "concurrency_limited");
    assert_eq!(proxy.stats()["routes"][0]["concurrency_queue"]["timeouts"], 1);
    gate.open();
    assert_eq!(first.response().status, 200);
}

#[test]
fn i7_an_absent_part_of_a_key_is_an_empty_one() {
    let origin = Origin::ok("fine");
    for (keys, counted) in [
        ("['client_ip', 'header:x']", true),
        ("['header:x', 'cookie:y']", true),
        ("['header:x', 'client_ip']", true),
        // Alone, it is not counted, as in nginx.
        ("'header:x'", false),
    ] {
        let proxy = proxy(&origin, &format!("limit = {{ rate = '1/h', key = {keys} }}"), "");
        let ask = |fields: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
            proxy.client().exchange(request).status
        };
        let again = if counted { 429 } else { 200 };
        assert_eq!([ask(""), ask("")], [200, again], "{keys}");
        assert_eq!([ask("X: 1\r\n"), ask("X: 1\r\n")], [200, 429], "{keys}");
    }
}

#[test]
fn i13_a_limit_can_count_before_authentication() {
    let origin = Origin::ok("fine");
    let auth = "[auth.keys]\napi_key = { header = 'x-key', keys = { anna = 'right' } }";
    let guess = |before: &str| {
        let limit = format!("auth = 'keys'\nlimit = {{ rate = '1/h', burst = 2 {before} }}");
        let proxy = proxy(&origin, &limit, auth);
        let mut client = proxy.client();
        let mut ask = |key: &str| get(&mut client, &format!("X-Key: {key}\r\n")).status;
        [ask("a"), ask("b"), ask("c"), ask("d"), ask("right")]
    };
    assert_eq!(guess(", before = 'auth'"), [401, 401, 401, 429, 429]);
    assert_eq!(guess(""), [401, 401, 401, 401, 200]);
}

#[test]
fn i8_routes_that_differ_in_anything_count_apart() {
    let origin = Origin::ok("fine");
    let proxy = support::Configuration::of(&origin)
        .listen("name = 'public'")
        .listen("name = 'inside'")
        .route("listen = 'public'\nlimit = { rate = '1/h', key = 'route' }")
        .route("listen = 'inside'\nlimit = { rate = '1/h', burst = 3, key = 'route' }")
        .route("headers = { x-beta = '1' }\nlimit = { rate = '1/h', key = 'route' }")
        .start();
    let ask = |listener: &str, fields: &str| {
        let mut client = support::RawClient::connect(proxy.listener(listener));
        get(&mut client, fields).status
    };
    assert_eq!([ask("public", ""), ask("public", "")], [200, 429]);
    let inside: Vec<u16> = (0..5).map(|_| ask("inside", "")).collect();
    assert_eq!(inside, [200, 200, 200, 200, 429]);
    assert_eq!([ask("public", "X-Beta: 1\r\n"), ask("inside", "X-Beta: 1\r\n")], [200, 429]);
    let stats = proxy.stats();
    let mut names: Vec<(String, u64)> = stats["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| {
            (route["name"].as_str().unwrap().to_owned(), route["requests"].as_u64().unwrap())
        })
        .collect();
    names.sort();
    let expected = [
        ("/* header:x-beta=6b86b273", 2),
        ("/* listen=\"inside\"", 5),
        ("/* listen=\"public\"", 2),
    ];
    assert_eq!(names, expected.map(|(name, requests)| (name.to_owned(), requests)));
}

#[test]
fn windows_of_any_length_are_kept() {
    let origin = Origin::ok("fine");
    for (rate, burst, policy, left) in [
        ("20/10s", 19, "q=20;w=10", "r=19;t=1"),
        ("5/500ms", 4, "q=5;w=1", "r=4;t=1"),
        ("3/2d", 2, "q=3;w=172800", "r=2;t=57600"),
    ] {
        let proxy = proxy(&origin, &format!("limit = {{ rate = '{rate}', burst = {burst} }}"), "");
        let mut client = proxy.client();
        let began = Instant::now();
        let first = get(&mut client, "");
        assert_eq!(first.header("ratelimit-policy"), Some(&*format!("\"app#1\";{policy}")));
        assert_eq!(first.header("ratelimit"), Some(&*format!("\"app#1\";{left}")));
        let passed = 1 + passed(&statuses(&mut client, 60, ""));
        // One more for each interval that it took.
        let interval = match rate {
            "20/10s" => Duration::from_millis(500),
            "5/500ms" => Duration::from_millis(100),
            _ => Duration::from_hours(16),
        };
        let due = began.elapsed().as_nanos() / interval.as_nanos();
        let least = burst as usize + 1;
        assert!((least..=least + due as usize + 1).contains(&passed), "{rate}: {passed}");
    }
}

#[test]
fn networks_that_are_excepted_are_not_counted() {
    let origin = Origin::ok("fine");
    let limits = "limit = [{ rate = '1/h', except = ['10.0.0.0/8', '2001:db8::/32'] }, { rate = '1/h', burst = 2, except = '10.0.0.0/16' }]";
    let proxy = proxy(&origin, limits, "");
    let mut client = proxy.client();
    let mut from = |ip: &str| get(&mut client, &format!("X-Forwarded-For: {ip}\r\n"));
    let statuses = |ip: &str, from: &mut dyn FnMut(&str) -> Response| -> Vec<u16> {
        (0..4).map(|_| from(ip).status).collect()
    };
    assert_eq!(statuses("10.0.1.1", &mut from), [200; 4]);
    assert_eq!(statuses("::ffff:10.0.1.2", &mut from), [200; 4]);
    assert_eq!(statuses("10.1.1.1", &mut from), [200, 200, 200, 429]);
    assert_eq!(statuses("2001:db8::1", &mut from), [200, 200, 200, 429]);
    assert_eq!(statuses("192.0.2.1", &mut from), [200, 429, 429, 429]);
    // What the client says of itself behind what the trusted proxy says is no way out.
    assert_eq!(from("10.0.1.1, 192.0.2.1").status, 429);
    assert_eq!(from("10.0.1.1").header("ratelimit"), None);
    assert_eq!(from("10.2.1.1").header("ratelimit"), Some("\"app#2\";r=2;t=3600"));
    let stats = proxy.stats();
    let exempt: Vec<u64> =
        stats["limits"].as_array().unwrap().iter().map(|l| l["exempt"].as_u64().unwrap()).collect();
    assert_eq!(exempt, [18, 9]);
    let metrics = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(metrics.contains("tidegate_limit_exempt_total{limit=\"app#2\"} 9\n"), "{metrics}");
}
