//! Two instances that share registrations through a real Redis.

use std::time::Duration;

use serde_json::json;

use crate::{MS, assert_refused, call, deregister, metric, names, proxy, put, register, upstream};
use support::{Clustered, Origin, Redis, SOON, Tidegate, wait_until};

const SHARED: &str = "{ registry = { redis = true } }";

fn instance(redis: &Redis) -> Tidegate {
    let more = format!(
        "slow_start = '0s'\n[redis]\nurl = \"redis://{}/0\"\ntimeout = \"500ms\"",
        redis.address
    );
    proxy(SHARED, &more)
}

fn alone(proxy: &Tidegate) -> bool {
    metric(proxy, "tidegate_registry_alone{upstream=\"app\"}") == Some(1.0)
}

#[test]
fn who_registers_with_one_is_known_to_all() {
    let (redis, origin) = (Redis::start(), Origin::ok("fine"));
    let [one, two] = [instance(&redis), instance(&redis)];
    let whole = json!({ "address": origin.server(), "weight": 7, "labels": { "a": "b" }, "zone": "z", "ttl": "3s" });
    assert_eq!(put(&one, "a", &whole).status, 201);
    wait_until(SOON, "the other one knows", || names(&two) == ["a"]);
    assert_eq!(two.client().get("/").text(), "fine");
    let server = upstream(&two)["servers"][0].clone();
    assert_eq!((&server["weight"], &server["lease"]["ttl"]), (&json!(7), &json!(3.0)));
    // Renewals with either of them count for both, well beyond the lease.
    for n in 0..10 {
        register([&one, &two][n % 2], "a", &origin.server(), "3s");
        std::thread::sleep(500 * MS);
        assert_eq!((names(&one), names(&two)), (vec!["a".to_owned()], vec!["a".to_owned()]));
    }
    // Who starts later knows of it at once.
    let three = instance(&redis);
    assert_eq!(names(&three), ["a"]);
    assert_refused(&put(&three, "b", &json!({ "address": origin.server() })), 409, "address_taken");
    assert_eq!(deregister(&three, "a").status, 200);
    for proxy in [&one, &two] {
        wait_until(SOON, "all know that it has gone", || names(proxy).is_empty());
    }
    // A lease that nobody renews ends everywhere.
    let other = Origin::ok("other");
    register(&two, "stays", &origin.server(), "1m");
    register(&two, "goes", &other.server(), "1s");
    for proxy in [&one, &two, &three] {
        wait_until(SOON, "it ends", || names(proxy) == ["stays"]);
    }
}

#[test]
fn a_redis_that_is_gone_takes_no_server_away() {
    let (mut redis, origin) = (Redis::start(), Origin::ok("fine"));
    let [one, two] = [instance(&redis), instance(&redis)];
    register(&one, "a", &origin.server(), "1s");
    wait_until(SOON, "the other one knows", || names(&two) == ["a"]);
    redis.kill();
    register(&one, "a", &origin.server(), "1s");
    wait_until(SOON, "it is noticed", || alone(&one) && alone(&two));
    // Longer than the lease, which nobody renews.
    std::thread::sleep(Duration::from_millis(2500));
    for proxy in [&one, &two] {
        assert_eq!(names(proxy), ["a"]);
        assert_eq!(proxy.client().get("/").text(), "fine");
        assert_eq!(upstream(proxy)["registry"]["alone"], true);
    }
    // What registers meanwhile is told later; what leaves, too.
    let second = Origin::ok("second");
    register(&two, "b", &second.server(), "1m");
    assert_eq!(names(&two), ["a", "b"]);
    redis.restart();
    wait_until(SOON, "the others are told", || names(&one).contains(&"b".to_owned()));
    wait_until(SOON, "both hear each other", || !alone(&one) && !alone(&two));
    for proxy in [&one, &two] {
        wait_until(SOON, "the old lease ends", || names(proxy) == ["b"]);
        assert!(proxy.log().contains("registrations are not shared"), "{}", proxy.log());
    }
}

#[test]
fn what_others_wrote_into_redis_is_not_believed() {
    let redis = Redis::start();
    let set = |id: &str, text: &str| {
        redis.command(&["HSET", "tidegate:registry:1:{app}:servers", id, text]);
        redis.command(&["ZADD", "tidegate:registry:1:{app}:changed", "99999999999999", id]);
    };
    let known = |address: &str, ttl: &str| {
        format!("{{\"address\":\"{address}\",\"weight\":1,\"ttl_ms\":{ttl},\"since\":1}}")
    };
    set("garbage", "\u{1}garbage");
    set("number", "7");
    set("link", &known("169.254.169.254:80", "60000"));
    set("nowhere", &known("0.0.0.0:80", "60000"));
    set("forever", &known("10.0.0.1:80", "99999999999"));
    set("bad id", &known("10.0.0.2:80", "60000"));
    set("weightless", "{\"address\":\"10.0.0.3:80\",\"weight\":0,\"ttl_ms\":60000,\"since\":1}");
    set("long", &format!("{{\"address\":\"10.0.0.4:80\",\"zone\":\"{}\"}}", "x".repeat(40_000)));
    set("good", &known("10.0.0.5:80", "60000"));
    let one = instance(&redis);
    wait_until(SOON, "the good one is known", || names(&one) == ["good"]);
    set("own", &known(&one.address().to_string(), "60000"));
    set("better", &known("10.0.0.6:80", "60000"));
    wait_until(SOON, "the better one is known", || names(&one) == ["better", "good"]);
}

#[test]
fn a_cluster_shares_registrations_of_several_upstreams() {
    let (redis, origin) = (Clustered::start("wonderland"), Origin::ok("fine"));
    let others = ["b", "c", "d"].map(|name| format!("[upstream.{name}]\nservers = {SHARED}"));
    let more = format!(
        "slow_start = '0s'\n[redis]\nurl = '{}'\ncluster = true\ntimeout = '500ms'\n{}",
        redis.url("wonderland"),
        others.join("\n")
    );
    let [one, two] = [proxy(SHARED, &more), proxy(SHARED, &more)];
    register(&one, "a", &origin.server(), "1m");
    wait_until(2 * SOON, "the other one knows", || names(&two) == ["a"]);
    for name in ["b", "c", "d"] {
        let path = format!("/upstreams/{name}/servers/x");
        let body = json!({ "address": origin.server(), "ttl": "1m" }).to_string();
        assert_eq!(call(&two, "PUT", &path, &body).status, 201);
        wait_until(2 * SOON, "the first one knows", || {
            let known = support::RawClient::connect(one.admin()).ask(&format!("/upstreams/{name}"));
            known.text().contains("\"x\"")
        });
    }
    let kept = redis.0.iter().filter(|server| server.command(&["DBSIZE"]) != "0");
    assert!(kept.count() > 1, "{:?}", redis.keys("*"));
    assert_eq!(deregister(&two, "a").status, 200);
    wait_until(2 * SOON, "all know that it has gone", || names(&one).is_empty());
    assert!(!alone(&one) && !alone(&two));
}
