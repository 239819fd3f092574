//! The calls by which servers register: answers by status and code.

use serde_json::{Value, json};

use crate::{
    assert_refused, call, deregister, metric, names, proxy, put, register, upstream, with,
};
use support::{Origin, RawClient, SOON, assert_problem, wait_until};

const REGISTRY: &str = "{ registry = true }";
const FREE: &str = "10.1.2.3:80";

fn at(address: &str) -> Value {
    json!({ "address": address })
}

#[test]
fn a_server_that_registers_gets_requests_until_it_says_goodbye() {
    let (one, two) = (Origin::ok("one"), Origin::ok("two"));
    let proxy = proxy(REGISTRY, "balance = 'round_robin'\nslow_start = '0s'");
    let mut client = proxy.client();
    assert_problem(&client.get("/"), 503, "no_server");
    let created = put(&proxy, "a", &at(&one.server()));
    assert_eq!(created.status, 201, "{}", created.text());
    let told: Value = serde_json::from_slice(&created.body).unwrap();
    assert_eq!(
        (&told["id"], &told["created"], &told["changed"]),
        (&json!("a"), &json!(true), &json!(true))
    );
    assert_eq!((&told["address"], &told["lease"]["ttl"]), (&json!(one.server()), &json!(30.0)));
    // Who was told that it is there finds it in use.
    assert_eq!(client.get("/").text(), "one");
    let renewed = put(&proxy, "a", &at(&one.server()));
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let told: Value = serde_json::from_slice(&renewed.body).unwrap();
    assert_eq!((&told["created"], &told["changed"]), (&json!(false), &json!(false)));
    let whole = json!({ "address": two.server(), "weight": 3, "labels": { "tier": "gold" }, "zone": "z", "priority": 0, "ttl": "1m" });
    assert_eq!(put(&proxy, "b", &whole).status, 201);
    let twos = (0..20).filter(|_| client.get("/").text() == "two").count();
    assert_eq!(twos, 15);
    let all = upstream(&proxy);
    assert_eq!((&all["source"], &all["registry"]["leases"]), (&json!("registry"), &json!(2)));
    let b = &all["servers"][1];
    assert_eq!(
        (&b["name"], &b["source"], &b["weight"]),
        (&json!("b"), &json!("registry"), &json!(3))
    );
    assert_eq!((&b["held"], &b["lease"]["ttl"]), (&json!(false), &json!(60.0)));
    assert!(
        b["lease"]["left"].as_f64().unwrap() > 50.0
            && b["joined"].as_u64().unwrap() > 1_700_000_000
    );
    assert_eq!(
        metric(&proxy, "tidegate_upstream_members{upstream=\"app\",source=\"registry\"}"),
        Some(2.0)
    );
    assert_eq!(
        metric(&proxy, "tidegate_registry_events_total{upstream=\"app\",event=\"renewed\"}"),
        Some(1.0)
    );
    let gone = deregister(&proxy, "b");
    assert_eq!((gone.status, gone.text().trim()), (200, "{\"removed\":true}"));
    assert!((0..10).all(|_| client.get("/").text() == "one"));
    assert_refused(&deregister(&proxy, "b"), 404, "no_such_server");
    assert_eq!(deregister(&proxy, "a").status, 200, "the last one may go, too");
    assert_problem(&client.get("/"), 503, "no_server");
}

#[test]
fn what_is_left_out_stays() {
    let origin = Origin::ok("fine");
    let proxy = proxy(REGISTRY, "");
    let whole = json!({ "address": origin.server(), "weight": 5, "zone": "z", "ttl": "1h" });
    assert_eq!(put(&proxy, "a", &whole).status, 201);
    let requests = || upstream(&proxy)["servers"][0]["requests"].clone();
    assert_eq!(proxy.client().get("/").status, 200);
    // An operator's weight survives renewals that say nothing of it, and is no renewal.
    let left = |proxy| upstream(proxy)["servers"][0]["lease"]["left"].as_f64().unwrap();
    let before = left(&proxy);
    assert_eq!(put(&proxy, "a", &json!({ "weight": 9 })).status, 200);
    assert!(left(&proxy) <= before);
    assert_eq!(put(&proxy, "a", &json!({ "ttl": "30m" })).status, 200);
    let server = upstream(&proxy)["servers"][0].clone();
    assert_eq!((&server["weight"], &server["lease"]["ttl"]), (&json!(9), &json!(1800.0)));
    assert_eq!(requests(), json!(1), "the same server as before");
    // A state is an order, and goes with a registration, too.
    assert_eq!(put(&proxy, "a", &json!({ "state": "drain" })).status, 200);
    assert_problem(&proxy.client().get("/"), 503, "servers_draining");
    let enabled = put(&proxy, "a", &json!({ "address": origin.server(), "state": "enable" }));
    assert_eq!(enabled.status, 200, "{}", enabled.text());
    assert_eq!(proxy.client().get("/").status, 200);
    assert_refused(&put(&proxy, "new", &json!({ "ttl": "10s" })), 404, "no_such_server");
    assert_refused(&put(&proxy, "new", &json!({ "weight": 2 })), 404, "no_such_server");
}

#[test]
fn bad_registrations_are_refused_by_status_and_code() {
    let origin = Origin::ok("fine");
    let proxy = proxy("{ registry = { max = 2 } }", "");
    register(&proxy, "a", &origin.server(), "30s");
    let path = "/upstreams/app/servers/b";
    let labels: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("l{n}"), json!("v"))).collect();
    for (body, part) in [
        ("", "EOF"),
        ("\u{1}garbage", "expected value"),
        ("[]", ""),
        ("{\"address\": \"10.1.2.3:80\"", "EOF"),
        ("{\"address\": 80}", "string"),
        ("{\"adress\": \"10.1.2.3:80\"}", "did you mean `address`?"),
        ("{\"address\": \"10.1.2.3:80\", \"address\": \"10.1.2.3:81\"}", "duplicate"),
        ("{\"address\": \"10.1.2.3\"}", "a port is missing"),
        ("{\"address\": \"10.1.2.3:0\"}", "port"),
        ("{\"address\": \"10.1.2.3:99999\"}", "port"),
        ("{\"address\": \"app.internal:80\"}", "IP address"),
        ("{\"address\": \"localhost:80\"}", "IP address"),
        ("{\"address\": \"unix:/run/app.sock\"}", "IP address"),
        ("{\"address\": \"0.0.0.0:80\"}", "cannot be the address"),
        ("{\"address\": \"[::]:80\"}", "cannot be the address"),
        ("{\"address\": \"224.0.0.1:80\"}", "cannot be the address"),
        ("{\"address\": \"255.255.255.255:80\"}", "cannot be the address"),
        ("{\"address\": \"10.1.2.3:80\", \"weight\": 0}", "nonzero"),
        ("{\"address\": \"10.1.2.3:80\", \"weight\": 65536}", ""),
        ("{\"address\": \"10.1.2.3:80\", \"weight\": 4294967296}", ""),
        ("{\"address\": \"10.1.2.3:80\", \"weight\": -1}", ""),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": 30}", "string"),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": \"30\"}", "ttl"),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": \"0s\"}", "ttl"),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": \"999ms\"}", "ttl"),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": \"61m\"}", "ttl"),
        ("{\"address\": \"10.1.2.3:80\", \"ttl\": \"1000000000s\"}", "ttl"),
        ("{\"address\": \"10.1.2.3:80\", \"state\": \"asleep\"}", "state"),
        ("{\"address\": \"10.1.2.3:80\", \"state\": \"drian\"}", "did you mean `drain`?"),
        ("{\"address\": \"10.1.2.3:80\", \"zone\": \"a\\u0000b\"}", "zone"),
        ("{\"address\": \"10.1.2.3:80\", \"labels\": {\"\": \"x\"}}", "labels"),
        ("{\"address\": \"10.1.2.3:80\", \"labels\": {\"x\": 1}}", "string"),
        ("{\"address\": \"10.1.2.3:80\", \"priority\": 65536}", ""),
    ] {
        let answer = call(&proxy, "PUT", path, body);
        assert_refused(&answer, 422, "bad_server");
        assert!(answer.text().contains(part), "{body}: {}", answer.text());
    }
    let long = |what: &str, length: usize| json!({ "address": FREE, what: "x".repeat(length) });
    assert_refused(&put(&proxy, "b", &long("zone", 129)), 422, "bad_server");
    assert_refused(
        &put(&proxy, "b", &json!({ "address": FREE, "labels": labels })),
        422,
        "bad_server",
    );
    let long = json!({ "address": FREE, "labels": { "x".repeat(65): "v" } });
    assert_refused(&put(&proxy, "b", &long), 422, "bad_server");
    let long = json!({ "address": FREE, "labels": { "x": "v".repeat(257) } });
    assert_refused(&put(&proxy, "b", &long), 422, "bad_server");
    for id in ["%2e%2e", "a%2Fb", "a%20b", "%0a", "%00", "%C3%A9", &"x".repeat(129)] {
        assert_refused(&put(&proxy, id, &at(FREE)), 422, "bad_server");
    }
    let huge = format!("{{\"address\": \"{FREE}\", \"zone\": \"{}\"}}", "x".repeat(65 * 1024));
    assert_refused(&call(&proxy, "PUT", path, &huge), 413, "body_too_large");
    // What is only announced is refused before it comes.
    let mut client = RawClient::connect(proxy.admin());
    client.send(format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sesame\r\nContent-Length: 99999999999\r\n\r\n{{"
    ));
    assert_eq!(client.response().status, 413);
    assert_eq!(names(&proxy), ["a"], "nothing of that was let in");
}

#[test]
fn conflicts_bounds_and_strangers_are_refused() {
    let origin = Origin::ok("fine");
    let proxy = proxy(
        "{ registry = { max = 2 } }",
        "[upstream.fixed]\nservers = [\"127.0.0.1:1\"]\n[[route]]\npath = '/fixed'\nupstream = 'fixed'",
    );
    register(&proxy, "a", &origin.server(), "30s");
    let taken = put(&proxy, "b", &at(&origin.server()));
    assert_refused(&taken, 409, "address_taken");
    assert!(taken.text().contains("registered as `a`"), "{}", taken.text());
    // However the same address is written.
    let mapped = format!("[::ffff:127.0.0.1]:{}", origin.server().rsplit(':').next().unwrap());
    assert_refused(&put(&proxy, "b", &at(&mapped)), 409, "address_taken");
    register(&proxy, "b", FREE, "30s");
    assert_refused(&put(&proxy, "c", &at("10.1.2.4:80")), 409, "registry_full");
    // Whoever is there may go on, and may move.
    register(&proxy, "b", "10.1.2.5:80", "30s");
    assert_refused(&put(&proxy, "a", &at("10.1.2.5:80")), 409, "address_taken");
    register(&proxy, "b", FREE, "30s");
    // The address that is free again may be taken.
    assert_eq!(deregister(&proxy, "b").status, 200);
    register(&proxy, "c", FREE, "30s");
    assert_eq!(deregister(&proxy, "c").status, 200);
    for own in [proxy.address(), proxy.admin()] {
        assert_refused(&put(&proxy, "own", &at(&own.to_string())), 403, "own_address");
    }
    for link in ["169.254.169.254:80", "[fe80::1]:80", "[::ffff:169.254.169.254]:80"] {
        assert_refused(&put(&proxy, "link", &at(link)), 403, "address_not_allowed");
    }
    let fixed = "/upstreams/fixed/servers/x";
    assert_refused(&call(&proxy, "PUT", fixed, &at(FREE).to_string()), 409, "not_a_registry");
    let known = "/upstreams/fixed/servers/127.0.0.1:1";
    assert_refused(&call(&proxy, "DELETE", known, ""), 409, "not_a_registry");
    assert_refused(&call(&proxy, "DELETE", fixed, ""), 404, "no_such_server");
    let nowhere = "/upstreams/nowhere/servers/x";
    assert_refused(&call(&proxy, "PUT", nowhere, &at(FREE).to_string()), 404, "no_such_upstream");
    assert_refused(&call(&proxy, "DELETE", nowhere, ""), 404, "no_such_upstream");
    for method in ["GET", "POST", "PATCH", "OPTIONS"] {
        let wrong = call(&proxy, method, "/upstreams/app/servers/a", "");
        assert_refused(&wrong, 405, "method_not_allowed");
        assert_eq!(wrong.header("allow"), Some("PUT, DELETE"));
    }
    assert_eq!(names(&proxy), ["a"]);
    let refused =
        metric(&proxy, "tidegate_registry_events_total{upstream=\"app\",event=\"refused\"}");
    assert_eq!(refused, Some(9.0));
}

#[test]
fn only_who_knows_the_token_registers() {
    let proxy = proxy(REGISTRY, "");
    let path = "/upstreams/app/servers/a";
    let body = at(FREE).to_string();
    for fields in [
        "",
        "Authorization: Bearer sesam\r\n",
        "Authorization: Bearer sesame1\r\n",
        "Authorization: Bearer SESAME\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: sesame\r\n",
        "Authorization: Basic c2VzYW1l\r\n",
    ] {
        for method in ["PUT", "DELETE"] {
            let refused = with(&proxy, method, path, fields, &body);
            assert_refused(&refused, 401, "token_required");
            assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        }
    }
    let foreign = "Authorization: Bearer sesame\r\nOrigin: http://evil.example\r\n";
    assert_refused(&with(&proxy, "PUT", path, foreign, &body), 403, "foreign_origin");
    assert_eq!(names(&proxy), Vec::<String>::new());
    assert_eq!(call(&proxy, "PUT", path, &body).status, 201);
}

#[test]
fn networks_that_are_not_named_are_foreign() {
    let proxy =
        proxy("{ registry = true, allow = ['10.0.0.0/8', '169.254.0.0/16', 'fd00::/8'] }", "");
    for foreign in ["127.0.0.1:80", "11.0.0.1:80", "[::1]:80", "[fe80::1]:80"] {
        assert_refused(&put(&proxy, "x", &at(foreign)), 403, "address_not_allowed");
    }
    for (n, fine) in ["10.255.0.1:80", "169.254.171.1:80", "[fd00::1]:80"].iter().enumerate() {
        register(&proxy, &n.to_string(), fine, "30s");
    }
    assert_eq!(names(&proxy), ["0", "1", "2"]);
}

#[test]
fn refusals_without_end_write_ten_lines_a_second_and_the_rest_is_counted() {
    const CALLS: usize = 300;
    let proxy = proxy("{ registry = true, allow = ['10.0.0.0/8'] }", "");
    let lines = || -> Vec<String> {
        let log = proxy.log();
        let lines = log.lines().filter(|line| line.contains("registration refused"));
        lines.map(str::to_owned).collect()
    };
    let number = |line: &str| -> usize {
        let rest = line.split("left_out=").nth(1).unwrap_or_else(|| panic!("no number: {line}"));
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let begun = std::time::Instant::now();
    for n in 0..CALLS {
        let id = format!("x{n}");
        assert_refused(&put(&proxy, &id, &at("127.0.0.1:80")), 403, "address_not_allowed");
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let written = lines();
    assert!(written.len() >= 10 && written.len() <= 10 * seconds, "{}", written.len());
    assert!(written[0].contains("key=\"upstream.servers.allow\""), "{}", written[0]);
    // The first line of a later second names all that were left out before it.
    let mut calls = CALLS;
    wait_until(SOON, "a line tells of the others", || {
        calls += 1;
        put(&proxy, "y", &at("127.0.0.1:80"));
        let written = lines();
        written.len() + written.iter().map(|line| number(line)).sum::<usize>() == calls
    });
    let refused = "tidegate_registry_events_total{upstream=\"app\",event=\"refused\"}";
    assert_eq!(metric(&proxy, refused), Some(calls as f64));
}

#[test]
fn a_lease_that_runs_out_takes_its_server_along() {
    let (stays, goes) = (Origin::ok("stays"), Origin::ok("goes"));
    let proxy = proxy(REGISTRY, "balance = 'round_robin'\nslow_start = '0s'");
    register(&proxy, "goes", &goes.server(), "1s");
    register(&proxy, "stays", &stays.server(), "1m");
    assert_eq!(names(&proxy), ["goes", "stays"]);
    wait_until(SOON, "the lease runs out", || names(&proxy) == ["stays"]);
    assert!((0..10).all(|_| proxy.client().get("/").text() == "stays"));
    assert!(proxy.log().contains("the lease of a server ran out"), "{}", proxy.log());
    let expired = "tidegate_registry_events_total{upstream=\"app\",event=\"expired\"}";
    assert_eq!(metric(&proxy, expired), Some(1.0));
    let left = RawClient::connect(proxy.admin()).ask("/upstreams/app").text();
    assert!(!left.contains("goes"), "{left}");
    // The same server comes back.
    register(&proxy, "goes", &goes.server(), "1m");
    assert_eq!((0..20).filter(|_| proxy.client().get("/").text() == "goes").count(), 10);
}

#[test]
fn a_server_that_leaves_finishes_what_it_has() {
    use support::{Gate, Step, ok};
    let gate = Gate::default();
    let held = gate.clone();
    let slow = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("late"))]);
    let proxy = proxy(REGISTRY, "");
    register(&proxy, "slow", &slow.server(), "1m");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it is under way", || slow.requests().len() == 1);
    assert_eq!(deregister(&proxy, "slow").status, 200);
    assert_problem(&proxy.client().get("/"), 503, "no_server");
    gate.open();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn joiners_are_probed_before_they_get_requests() {
    let well = Origin::ok("well");
    let sick = Origin::start(|_| {
        vec![support::Step::Send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let proxy =
        proxy(REGISTRY, "health = { path = '/healthz', every = '50ms', rise = 1, fall = 1 }");
    register(&proxy, "well", &well.server(), "1m");
    wait_until(SOON, "it is up", || upstream(&proxy)["servers"][0]["state"] == "up");
    register(&proxy, "sick", &sick.server(), "1m");
    for _ in 0..50 {
        assert_eq!(proxy.client().get("/").text(), "well");
    }
    wait_until(SOON, "it was asked", || upstream(&proxy)["servers"][0]["state"] == "unhealthy");
    let asked = sick.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.target == "/healthz"));
}

#[test]
fn a_reload_keeps_leases_and_drops_what_is_no_longer_allowed() {
    let (one, two) = (Origin::ok("one"), Origin::ok("two"));
    let proxy = proxy(REGISTRY, "");
    register(&proxy, "a", &one.server(), "1m");
    register(&proxy, "b", "10.1.2.3:80", "1m");
    let since = upstream(&proxy)["servers"][0]["lease"]["since"].clone();
    assert_eq!(
        call(&proxy, "PUT", "/upstreams/app/servers/b", "{\"state\": \"drain\"}").status,
        200
    );
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").text(), "one");
    }
    let write = |text: &str| {
        std::fs::write(proxy.path("tidegate.toml"), text).unwrap();
        let reloaded = call(&proxy, "POST", "/reload", "");
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    };
    write(&crate::text(REGISTRY, "slow_start = '1s'"));
    assert_eq!(names(&proxy), ["a", "b"]);
    let server = upstream(&proxy)["servers"][0].clone();
    assert_eq!((&server["requests"], &server["lease"]["since"]), (&json!(3), &since));
    assert_eq!(upstream(&proxy)["servers"][1]["state"], "draining");
    register(&proxy, "a", &one.server(), "1m");
    // Other settings of the registry hold for those that are there, too.
    write(&crate::text("{ registry = { max = 1 }, allow = ['127.0.0.0/8'] }", ""));
    wait_until(SOON, "the foreign one goes", || names(&proxy) == ["a"]);
    assert_refused(&put(&proxy, "c", &at(&two.server())), 409, "registry_full");
    write(&crate::text(&format!("['{}']", two.server()), ""));
    assert_eq!(names(&proxy), [two.server()]);
    assert_refused(&put(&proxy, "a", &at(&one.server())), 409, "not_a_registry");
    write(&crate::text(REGISTRY, ""));
    assert_eq!(names(&proxy), Vec::<String>::new(), "what was registered before is forgotten");
    register(&proxy, "c", &two.server(), "1m");
    assert_eq!(proxy.client().get("/").text(), "two");
}
