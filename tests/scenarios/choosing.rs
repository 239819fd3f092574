//! Which server a request goes to.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::scenario::{counts, named, scenario, shares};
use support::{
    Gate, Origin, RawClient, SOON, Step, Tidegate, assert_problem, ok, refused_address, wait_until,
};

fn get(proxy: &Tidegate, path: &str, fields: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let response = proxy.client().exchange(request);
    assert_eq!(response.status, 200, "{}", response.text());
    response.text()
}

#[test]
fn s2_2_least_connections_go_where_the_fewest_are() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origins = ["a", "b", "c", "d"].map(|name| {
        let gate = opened.clone();
        Origin::start(move |request| {
            let mut steps = Vec::new();
            if request.target.ends_with("/slow") {
                steps.push(Step::Until(gate.clone()));
            }
            steps.push(Step::Send(ok(name)));
            steps
        })
    });
    let mut file = scenario("s2.2-least-conn");
    for (n, origin) in origins.iter().enumerate() {
        file = file.server(&format!("10.0.0.{}:8080", n + 1), origin);
    }
    let proxy = file.start();
    let started = || origins.iter().map(|o| o.requests().len()).collect::<Vec<_>>();
    let mut slow = Vec::new();
    for n in 1..=8 {
        let mut client = proxy.client();
        client.send("GET /api/blockchain/slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
        slow.push(client);
        wait_until(SOON, "the request arrives", || started().iter().sum::<usize>() == n);
    }
    assert_eq!(started(), [2, 2, 2, 2]);
    gate.open();
    assert!(slow.iter_mut().all(|client| client.response().status == 200));
}

#[test]
fn s2_9_premium_users_get_the_premium_servers() {
    let origins = ["premium", "standard1", "standard2"].map(named);
    let proxy = scenario("s2.9-subset")
        .server("10.0.0.1:8080", &origins[0])
        .server("10.0.0.2:8080", &origins[1])
        .server("10.0.0.3:8080", &origins[2])
        .start();
    for _ in 0..20 {
        assert_eq!(get(&proxy, "/", "user-type: premium\r\n"), "premium");
        assert!(get(&proxy, "/", "").starts_with("standard"));
        assert!(get(&proxy, "/", "user-type: other\r\n").starts_with("standard"));
    }
    assert!(origins.iter().all(|origin| !origin.requests().is_empty()));
}

fn three(file: &str) -> ([Origin; 3], Tidegate) {
    let origins = ["a", "b", "c"].map(named);
    let proxy = scenario(file)
        .server("10.0.0.1:8080", &origins[0])
        .server("10.0.0.2:8080", &origins[1])
        .server("10.0.0.3:8080", &origins[2])
        .start();
    (origins, proxy)
}

#[test]
fn s3_1_shares_are_exact_and_a_uri_stays() {
    let (_origins, proxy) = three("s3.1-strategies");
    assert_eq!(shares(&proxy, "/robin/x", 30), counts([("a", 10), ("b", 10), ("c", 10)]));
    assert_eq!(shares(&proxy, "/weighted/x", 60), counts([("a", 30), ("b", 20), ("c", 10)]));
    assert_eq!(shares(&proxy, "/least/x", 90).len(), 3);
    let mut used = BTreeSet::new();
    for n in 0..40 {
        let path = format!("/hashed/{n}?q={n}");
        let first = get(&proxy, &path, "");
        assert_eq!(get(&proxy, &path, ""), first);
        used.insert(first);
    }
    assert_eq!(used.len(), 3);
}

#[test]
fn s3_2_the_same_user_gets_the_same_server() {
    let (_origins, proxy) = three("s3.2-user-affinity");
    let mut used = BTreeSet::new();
    for user in 0..30 {
        let field = format!("X-User-Id: user-{user}\r\n");
        let first = get(&proxy, "/a", &field);
        for path in ["/b", "/c?d"] {
            assert_eq!(get(&proxy, path, &field), first);
        }
        used.insert(first);
    }
    assert_eq!(used.len(), 3);
}

#[test]
fn s3_5_a_key_belongs_to_its_partition_and_to_no_other() {
    let (_origins, proxy) = three("s3.5-partitions");
    for (path, expected) in [
        ("/blocks/0", "a"),
        ("/blocks/999999", "a"),
        ("/blocks/1000000", "b"),
        ("/blocks/2500000", "c"),
        ("/blocks/3000000", "a"),
        ("/archive/4999999", "a"),
        ("/archive/5000000", "b"),
        ("/archive/99000000", "b"),
        ("/mempool/0x7f00", "a"),
        ("/mempool/0x8000", "b"),
        ("/mempool/0xff00", "b"),
    ] {
        assert_eq!(get(&proxy, path, ""), expected, "{path}");
    }
    let validator = get(&proxy, "/validators/v-17", "");
    assert_eq!(get(&proxy, "/validators/v-17", ""), validator);
    for path in ["/blocks/tip", "/mempool/bc1q"] {
        assert_problem(&proxy.client().get(path), 503, "no_server_for_key");
    }
}

#[test]
fn s3_5_a_partition_that_is_down_is_not_answered_by_another() {
    let b = named("b");
    let proxy = scenario("s3.5-partitions")
        .with("10.0.0.1:8080", &refused_address().to_string())
        .server("10.0.0.2:8080", &b)
        .server("10.0.0.3:8080", &b)
        .start();
    for _ in 0..8 {
        let response = proxy.client().get("/blocks/5");
        assert!(matches!(response.status, 502 | 503), "{}", response.text());
    }
    assert_eq!(get(&proxy, "/blocks/1000005", ""), "b");
    assert_eq!(b.requests().len(), 1);
}

fn sticky() -> ([Origin; 5], Tidegate) {
    let origins = ["e1", "e2", "e3", "s1", "s2"].map(named);
    let proxy = scenario("s4.2-sticky-sessions")
        .server("10.0.0.1:3000", &origins[0])
        .server("10.0.0.2:3000", &origins[1])
        .server("10.0.0.3:3000", &origins[2])
        .server("10.0.1.1:3001", &origins[3])
        .server("10.0.1.2:3001", &origins[4])
        .start();
    (origins, proxy)
}

const POLL: &str = "/socket.io/?transport=polling";

/// Begins a session: the cookie to send back, and the agent that answered.
fn session(proxy: &Tidegate) -> (String, String) {
    let response = proxy.client().get(POLL);
    let cookie = response.header("set-cookie").expect("a cookie").to_owned();
    assert!(cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{cookie}");
    (cookie.split(';').next().unwrap().to_owned(), response.text())
}

#[test]
fn s4_2_a_session_stays_with_its_agent() {
    let (_origins, proxy) = sticky();
    let mut used = BTreeSet::new();
    for _ in 0..20 {
        let (cookie, agent) = session(&proxy);
        for _ in 0..5 {
            let request =
                format!("GET {POLL} HTTP/1.1\r\nHost: a.test\r\nCookie: a=b; {cookie}\r\n\r\n");
            let response = proxy.client().exchange(request);
            assert_eq!(response.text(), agent);
            assert_eq!(response.header("set-cookie"), None);
        }
        used.insert(agent);
    }
    assert_eq!(used.len(), 2);
    assert!(get(&proxy, "/api/x", "").starts_with('e'));
}

#[test]
fn s4_2_a_cookie_that_was_tampered_with_is_replaced() {
    let (_origins, proxy) = sticky();
    let (mut cookie, _) = session(&proxy);
    cookie.replace_range(15..16, if &cookie[15..16] == "A" { "B" } else { "A" });
    let request = format!("GET {POLL} HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
    assert!(proxy.client().exchange(request).header("set-cookie").is_some());
}

#[test]
fn s4_2_a_session_whose_agent_is_gone_moves_and_stays_there() {
    let (origins, proxy) = sticky();
    let (cookie, agent) = session(&proxy);
    let gone = if agent == "s1" { &origins[3] } else { &origins[4] };
    gone.stop();
    wait_until(Duration::from_secs(5), "the agent refuses", || {
        std::net::TcpStream::connect(gone.server()).is_err()
    });
    // Its kept connections still answer; requests that need a new one move on.
    let request = |cookie: &str| {
        format!(
            "POST {POLL} HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let response = proxy.client().exchange(request(&cookie));
    assert_eq!(response.status, 200);
    assert_ne!(response.text(), agent);
    let moved = response.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(proxy.client().exchange(request(&moved)).text(), response.text());
}

#[test]
fn s4_2_an_agent_that_drains_keeps_its_sessions_and_gets_no_new_ones() {
    let origins = ["s1", "s2"].map(named);
    let proxy = scenario("s4.2-sticky-sessions")
        .with("[upstream.engine]", "[admin]\naddress = \"127.0.0.1:0\"\n[upstream.engine]")
        .server("10.0.1.1:3001", &origins[0])
        .server("10.0.1.2:3001", &origins[1])
        .start();
    let (cookie, agent) = session(&proxy);
    let own = if agent == "s1" { &origins[0] } else { &origins[1] };
    let order = format!(
        "POST /upstreams/agent/servers/{}/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        own.server()
    );
    assert_eq!(RawClient::connect(proxy.admin()).exchange(order).status, 200);
    assert_eq!(get(&proxy, POLL, &format!("Cookie: {cookie}\r\n")), agent);
    assert!((0..10).all(|_| session(&proxy).1 != agent));
}

#[test]
fn s4_3_messages_go_by_routing_key() {
    let origins = ["one", "two", "three"].map(named);
    let proxy = scenario("s4.3-routing-key")
        .server("10.0.0.1:3001", &origins[0])
        .server("10.0.0.2:3001", &origins[1])
        .server("10.0.0.3:3001", &origins[2])
        .start();
    let mut used = BTreeSet::new();
    for n in 0..30 {
        assert_eq!(get(&proxy, "/", "X-Routing-Key: org.wt.session1\r\n"), "one");
        let field = format!("X-Routing-Key: org.wt.other{n}\r\n");
        let first = get(&proxy, "/", &field);
        assert_eq!(get(&proxy, "/x", &field), first);
        used.insert(first);
    }
    assert_eq!(used.len(), 3);
}
