//! What is told of requests, without sending any.

use super::*;
use crate::config;
use crate::snapshot::compile;
use std::net::Ipv4Addr;

fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Explanation {
    let text = r#"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.a]
        servers = [{ address = "127.0.0.1:1", weight = 3 }, "127.0.0.1:2"]
        [upstream.b]
        servers = ["127.0.0.1:3"]
        fallback = "a"
        [[route]]
        name = "orders"
        path = "/api/orders/{id}"
        upstream = { a = 3, b = 1 }
        rewrite = { path = "/orders/{id}", host = "orders.internal" }
        [[route]]
        name = "kept"
        path = "/kept/*"
        upstream = "a"
        cache = { vary_on = ["cookie:plan"] }
        [[route]]
        name = "beta"
        headers = { x-beta = true }
        respond = { status = 204 }
        [[route]]
        name = "staff"
        path = "/staff/*"
        auth = ["people", "robots"]
        limit = [{ rate = "20/10s", burst = 5, before = "auth" }, { rate = "3/2d", except = "127.0.0.0/8" }]
        upstream = "a"
        [auth.people]
        api_key = { header = "x-key", keys = { a = "b" } }
        [auth.robots]
        api_key = { header = "x-robot", keys = { a = "b" } }
        [[route]]
        name = "old"
        path = "/old/*"
        redirect = { to = "https://{host}/new", status = 301 }
    "#;
    let config = config::load_str("t.toml", text).unwrap().config;
    let snapshot = compile::compile_config(&config, None, 16).unwrap();
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let client = Ipv4Addr::LOCALHOST.into();
    let (method, url) = (method.to_owned(), url.to_owned());
    let (listener, sni, certificate) = (None, None, None);
    let question = ExplainQuestion { method, url, headers, client, listener, sni, certificate };
    explain_exchange(&snapshot, &question).unwrap()
}

#[test]
fn a_request_for_upstreams() {
    assert_eq!(
        ask("GET", "http://Shop.test/api/../api/orders/7?x=1", &[]).to_text(),
        "listener  127.0.0.1:0\n\
         host      shop.test\n\
         path      /api/orders/7\n\
         route     orders\n\
         sends     /orders/7 with Host: orders.internal\n\
         upstream  a (75 %)\n  \
         \x20server  127.0.0.1:1 weight 3, up\n  \
         \x20server  127.0.0.1:2 weight 1, up\n\
         upstream  b (25 %), or else a\n  \
         \x20server  127.0.0.1:3 weight 1, up\n"
            .replace("   server", "  server")
    );
}

#[test]
fn a_cache_tells_its_key_or_why_it_is_passed_by() {
    let cached = ask("GET", "http://Shop.test/kept/a?x=1", &[("Cookie", "plan=gold")]);
    let cache = cached.cache.unwrap();
    assert_eq!((cache.cache.as_str(), cache.bypass, cache.stored), ("kept", None, false));
    assert_eq!(cache.key, "http://shop.test/kept/a?x=1 cookie:plan=gold");
    let posted = ask("POST", "http://shop.test/kept/a", &[]);
    assert!(
        posted.to_text().contains("cache     kept: passed by: method\n"),
        "{}",
        posted.to_text()
    );
    let ranged = ask("GET", "http://shop.test/kept/a", &[("Range", "pages=1")]);
    assert_eq!(ranged.cache.unwrap().bypass.as_deref(), Some("range"));
}

#[test]
fn ways_in_and_limits_are_told() {
    let text = ask("GET", "http://x.test/staff/a", &[]).to_text();
    for line in [
        "auth      people, or robots\n",
        "limit     staff#1: 20/10s, burst 5, before auth\n",
        "limit     staff#2: 3/48h, burst 0, not this client\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn answers_of_the_route() {
    let beta = ask("GET", "http://x/", &[("X-Beta", "1")]);
    assert_eq!((beta.route.as_deref(), beta.status), (Some("beta"), Some(204)));
    let old = ask("GET", "http://x.test/old/1", &[]);
    assert_eq!((old.status, old.location.as_deref()), (Some(301), Some("https://x.test/new")));
}

#[test]
fn refusals_name_the_code() {
    let missed = ask("GET", "http://x/nowhere", &[]);
    assert_eq!(missed.refused.unwrap().code, "no_route");
    let above = ask("GET", "http://x/../etc", &[]);
    assert_eq!(above.refused.unwrap().status, 400);
}
