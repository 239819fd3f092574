//! `No-Vary-Search`: URLs that a server says to be equivalent.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::admin::{call, json_of};
use crate::{answer, ask, get, proxy, status};
use support::{Gate, Origin, SOON, Step, wait_until};

const FIELDS: &str =
    "Cache-Control: max-age=600\r\nNo-Vary-Search: key-order, params=(\"utm\")\r\n";

/// An origin that says of `/x` alone that `utm` does not count, and counts its answers.
fn origin() -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        if request.header("if-none-match").is_some() {
            return vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec())];
        }
        let says = request.target.starts_with("/x");
        let fields = if says { FIELDS } else { "Cache-Control: max-age=600\r\n" };
        let fields = format!("{fields}ETag: \"1\"\r\n");
        vec![Step::Send(answer(request, &fields, &format!("body {n}")))]
    })
}

#[test]
fn urls_that_a_response_says_to_be_equivalent_share_it() {
    let origin = origin();
    let proxy = proxy(&origin, "cache = {}", "");
    let first = get(&proxy, "/x?id=1&utm=a").text();
    for target in
        ["/x?id=1", "/x?utm=b&id=1", "/x?utm&id=%31&utm=c", "/x?id=1&utm=a", "/x?utm=a&id=1&"]
    {
        let response = get(&proxy, target);
        assert_eq!(response.text(), first, "{target}");
        assert!(status(&response).starts_with("tidegate; hit; ttl="), "{target}");
    }
    let head = ask(&proxy, "HEAD", "/x?utm=9&id=1", "");
    assert!(status(&head).starts_with("tidegate; hit"), "{}", status(&head));
    let part = ask(&proxy, "GET", "/x?utm=9&id=1", "Range: bytes=0-1\r\n");
    assert_eq!((part.status, part.text()), (206, "bo".into()));
    assert_eq!(origin.requests().len(), 1);
    for target in ["/x?id=2&utm=a", "/x?id=1&UTM=a", "/x?id=1&id=1", "/x", "/xx?id=1&utm=a"] {
        assert_ne!(get(&proxy, target).text(), first, "{target}");
    }
}

#[test]
fn a_response_that_says_nothing_is_shared_with_nobody() {
    let origin = origin();
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/x?id=1&utm=a");
    let plain = get(&proxy, "/y?id=1").text();
    assert_ne!(get(&proxy, "/y?id=1&utm=a").text(), plain);
    assert_eq!(get(&proxy, "/y?id=1").text(), plain);
    let without = crate::proxy(&origin, "cache = { key = [\"host\", \"path\"] }", "");
    let one = get(&without, "/x?id=1").text();
    assert_eq!(get(&without, "/x?id=2").text(), one, "the query does not count at all");
}

#[test]
fn what_else_is_in_the_key_still_counts() {
    let origin = Origin::start(|request| {
        let who = request.header("cookie").unwrap_or("nobody").to_owned();
        vec![Step::Send(answer(request, &format!("{FIELDS}Vary: X-Kind\r\n"), &who))]
    });
    let proxy = proxy(&origin, "cache = { vary_on = [\"cookie:user\"] }", "");
    for (user, kind) in [("a", "1"), ("b", "1"), ("a", "2")] {
        let fields = format!("Cookie: user={user}\r\nX-Kind: {kind}\r\n");
        let miss = ask(&proxy, "GET", &format!("/x?utm={user}"), &fields);
        assert!(!status(&miss).contains("; hit"), "{user} {kind}: {}", status(&miss));
        let hit = ask(&proxy, "GET", "/x?utm=other", &fields);
        assert!(status(&hit).starts_with("tidegate; hit"), "{user} {kind}: {}", status(&hit));
        assert_eq!(hit.text(), format!("user={user}"));
    }
}

#[test]
fn purges_and_unsafe_requests_reach_equivalent_urls() {
    let origin = origin();
    let proxy = proxy(&origin, "cache = {}", "");
    let purge = |wish| json_of(&call(&proxy, "POST", "/cache/purge", &wish))["purged"].clone();
    let old = get(&proxy, "/x?id=1&utm=a").text();
    assert_eq!(purge(json!({"url": "http://a.test/x?id=2&utm=b"})), json!(0));
    assert_eq!(get(&proxy, "/x?id=1").text(), old);
    assert_eq!(purge(json!({"url": "http://a.test/x?utm=b&id=1"})), json!(1));
    let old = get(&proxy, "/x?id=1&utm=a").text();
    assert_eq!(get(&proxy, "/x?utm=c&id=1").text(), old);
    assert_eq!(ask(&proxy, "POST", "/x?id=1&utm=d", "Content-Length: 0\r\n").status, 200);
    assert_ne!(get(&proxy, "/x?id=1&utm=a").text(), old);
    // What is asked for in the millisecond of the unsafe request is not stored.
    let is_hit = || status(&get(&proxy, "/x?id=1&utm=a")).starts_with("tidegate; hit");
    wait_until(SOON, "it is stored again", is_hit);
    let new = get(&proxy, "/x?id=1&utm=a").text();
    assert_eq!(purge(json!({"url": "http://a.test/x?utm=b&id=1", "soft": true})), json!(1));
    let confirmed = get(&proxy, "/x?utm=e&id=1");
    assert!(status(&confirmed).contains("fwd-status=304"), "{}", status(&confirmed));
    assert_eq!(confirmed.text(), new);
    assert!(status(&get(&proxy, "/x?utm=f&id=1")).starts_with("tidegate; hit"));
}

#[test]
fn an_unsafe_request_before_the_first_response_keeps_it_out() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let mut steps = vec![Step::Send(answer(request, FIELDS, "x"))];
        if request.method == "GET" {
            steps.insert(0, Step::Until(held.clone()));
        }
        steps
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut client = proxy.client();
    client.send("GET /x?id=1&utm=a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "it is asked for", || origin.requests().len() == 1);
    assert_eq!(ask(&proxy, "POST", "/x?id=1&utm=b", "Content-Length: 0\r\n").status, 200);
    gate.open();
    assert_eq!(client.response().status, 200);
    assert!(status(&get(&proxy, "/x?id=1")).starts_with("tidegate; fwd=uri-miss"));
}

#[test]
fn concurrent_misses_of_one_url_make_one_request() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        vec![Step::Until(held.clone()), Step::Send(answer(request, FIELDS, "x"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /x?utm=a&id=1 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    wait_until(SOON, "it is asked for", || !origin.requests().is_empty());
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(origin.requests().len(), 1);
}

/// Only so many rules are known at a time: what was made invalid while the rule of a response was
/// not among them stays so when it is learned anew.
#[test]
fn what_an_unsafe_request_made_invalid_stays_so_when_its_rule_is_learned_anew() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let rule = request.target.split(['/', '?']).nth(1).unwrap_or_default().to_owned();
        let fields =
            format!("Cache-Control: max-age=600\r\nNo-Vary-Search: params=(\"{rule}\")\r\n");
        vec![Step::Send(answer(request, &fields, &format!("body {n}")))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let first = get(&proxy, "/utm?id=1&utm=a").text();
    assert_eq!(get(&proxy, "/utm?id=1&utm=b").text(), first);
    for other in 0..8 {
        get(&proxy, &format!("/rule{other}?id=1"));
    }
    assert_eq!(ask(&proxy, "POST", "/utm?id=1&utm=b", "Content-Length: 0\r\n").status, 200);
    get(&proxy, "/utm?id=2");
    let after = get(&proxy, "/utm?id=1&utm=b");
    assert_ne!(after.text(), first, "{}", status(&after));
}
