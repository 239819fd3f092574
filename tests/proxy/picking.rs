//! Which server gets a request, and what a client sees when none can.

use std::collections::BTreeMap;

use crate::setup::{among, one};
use support::{
    Configuration, Origin, RawClient, Step, Tidegate, assert_problem, check_problem,
    refused_address,
};

/// One worker takes turns at servers of these weights.
fn weighted(origins: &[Origin], weights: &[u32]) -> Tidegate {
    let servers = origins.iter().zip(weights);
    let servers =
        servers.map(|(origin, weight)| format!("{{ address = '{origin}', weight = {weight} }}"));
    let lines =
        format!("servers = [{}]\nbalance = 'round_robin'", servers.collect::<Vec<_>>().join(", "));
    Configuration::default().runtime("workers = 1").upstream_with("app", &lines).start()
}

#[test]
fn round_robin_gives_exact_shares() {
    let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
    let proxy = weighted(&origins, &[3, 2, 1]);
    let mut client = proxy.client();
    for round in 0..3 {
        let mut shares: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..6 {
            *shares.entry(client.get("/").text()).or_default() += 1;
        }
        let expected = [("a", 3), ("b", 2), ("c", 1)].map(|(n, s)| (n.to_owned(), s));
        assert_eq!(shares, BTreeMap::from(expected), "round {round}");
    }
}

#[test]
fn round_robin_is_smooth() {
    let origins = [Origin::ok("a"), Origin::ok("b")];
    let proxy = weighted(&origins, &[4, 1]);
    let mut client = proxy.client();
    let picks: String = (0..20).map(|_| client.get("/").text()).collect();
    let at: Vec<usize> = picks.match_indices('b').map(|(at, _)| at).collect();
    assert_eq!(at.len(), 4, "{picks}");
    assert!(at.windows(2).all(|w| w[1] - w[0] == 5), "{picks}");
}

fn uses_every_server(strategy: &str) {
    let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
    let proxy = among(&origins).app(&format!("balance = '{strategy}'")).start();
    let mut client = proxy.client();
    for _ in 0..90 {
        assert_eq!(client.get("/").status, 200);
    }
    for origin in &origins {
        assert!(!origin.requests().is_empty(), "one of three was never picked");
    }
}

#[test]
fn round_robin_uses_every_server() {
    uses_every_server("round_robin");
}

#[test]
fn least_request_uses_every_server() {
    uses_every_server("least_request");
}

#[test]
fn random_uses_every_server() {
    uses_every_server("random");
}

#[test]
fn a_server_that_refuses_is_passed_over_for_any_method() {
    let origin = Origin::ok("alive");
    let servers = [refused_address().to_string(), origin.server()];
    let proxy = among(servers).app("balance = 'round_robin'").start();
    let mut client = proxy.client();
    for n in 0..10 {
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
        let answer = if n % 2 == 0 { client.get("/") } else { client.exchange(post) };
        assert_eq!((answer.status, answer.text().as_str()), (200, "alive"), "request {n}");
    }
    let seen = origin.complete();
    let posts: Vec<String> = seen.iter().filter(|r| r.method == "POST").map(|r| r.text()).collect();
    assert_eq!(posts, ["hello"; 5]);
}

#[test]
fn a_refused_connect_is_a_bad_gateway() {
    let proxy = one(refused_address()).app("retry = { attempts = 0 }\neject = false").start();
    let mut client = proxy.client();
    assert_problem(&client.get("/"), 502, "upstream_connect");
    assert_problem(&client.get("/again"), 502, "upstream_connect");
}

#[test]
fn with_every_server_down_each_request_gets_its_answer() {
    let proxy = among([refused_address(), refused_address()]).start();
    let mut client = proxy.client();
    for _ in 0..20 {
        let answer = client.get("/");
        check_problem(&answer, &[502, 503], "").unwrap();
        let text = answer.text();
        let known = ["upstream_connect", "no_healthy_server"].iter().any(|c| text.contains(c));
        assert!(known, "{text}");
        if answer.says_close() {
            client = proxy.client();
        }
    }
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let origin = Origin::ok("first");
    let address = origin.server();
    let proxy = one(&address).app("eject = false\nretry = { attempts = 0 }").start();
    assert_eq!(proxy.client().get("/").text(), "first");
    origin.stop();
    drop(origin);
    support::wait_until(support::SOON, "the proxy notices", || {
        proxy.client().get("/").status == 502
    });
    let listener = std::net::TcpListener::bind(&address).unwrap();
    let back = Origin::on(listener, |_| vec![Step::Send(support::ok("second"))]);
    support::wait_until(support::SOON, "the server is used again", || {
        proxy.client().get("/").text() == "second"
    });
    assert!(back.accepts() > 0);
}

#[test]
fn a_failing_answer_is_tried_on_another_server_only_where_that_is_safe() {
    let bad = Origin::start(|_| {
        vec![Step::Send(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nbad".to_vec(),
        )]
    });
    let good = Origin::ok("good");
    let upstream = "balance = 'round_robin'\neject = false\nretry = { attempts = 1 }";
    let proxy = among([&bad, &good]).app(upstream).start();
    let mut client = proxy.client();
    // The default budget is 20 % of requests plus 3 per second: six requests stay within it.
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "good");
    }
    let posts: Vec<u16> = (0..6)
        .map(|_| {
            client.exchange("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx").status
        })
        .collect();
    assert!(posts.contains(&503) && posts.contains(&200), "{posts:?}");
    let total =
        bad.requests().iter().chain(&good.requests()).filter(|r| r.method == "POST").count();
    assert_eq!(total, 6, "a POST was sent twice");
}

#[test]
fn two_workers_serve_alike() {
    let origin = Origin::ok("ok");
    let proxy = Configuration::of(&origin).runtime("workers = 2").start();
    let mut clients: Vec<RawClient> = (0..32).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "ok");
    }
}
