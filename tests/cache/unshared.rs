//! Responses that nobody else can use: those who ask for the same do not wait for each other, until
//! a response comes that others can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::admin::call;
use crate::{ask, get, proxy, status};
use support::{Gate, Origin, RawClient, Request, SOON, Step, Tidegate, wait_until};

const PRIVATE: &str = "200 OK\r\nCache-Control: private, max-age=600\r\n";
const STORABLE: &str = "200 OK\r\nCache-Control: max-age=600\r\n";

/// An origin whose first answers have the status and fields that come first, and all further ones
/// the last of them; from the one with number `held` on, counted from 0, they wait for a gate.
struct Turns {
    origin: Origin,
    gate: Gate,
}

fn turns(held: usize, heads: &'static [&'static str]) -> Turns {
    let gate = Gate::default();
    let (waits, count) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    let origin = Origin::start(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        let head = heads[n.min(heads.len() - 1)];
        let answer = format!("HTTP/1.1 {head}Content-Length: 4\r\n\r\nbody").into();
        let wait = (n >= held).then(|| Step::Until(waits.clone()));
        wait.into_iter().chain([Step::Send(answer)]).collect()
    });
    Turns { origin, gate }
}

/// Asks for `/a` so many times at once.
fn burst(proxy: &Tidegate, number: usize, fields: &str) -> Vec<RawClient> {
    let asked = (0..number).map(|_| {
        let mut client = proxy.client();
        client.send(format!("GET /a HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
        client
    });
    asked.collect()
}

/// Expects that a burst after `before` answers asks servers side by side.
fn expect_side_by_side(turns: &Turns, proxy: &Tidegate, fields: &str) {
    let before = turns.origin.requests().len();
    let mut clients = burst(proxy, 5, fields);
    let asked = || turns.origin.requests().len() - before;
    wait_until(SOON, "nobody waits for anybody", || asked() == 5);
    turns.gate.open();
    clients.iter_mut().for_each(|client| client.wait_for("body"));
}

/// Expects that a burst asks servers once as long as nothing has been answered.
fn expect_one_for_all(turns: &Turns, proxy: &Tidegate, fields: &str) {
    let before = turns.origin.requests().len();
    let mut clients = burst(proxy, 5, fields);
    wait_until(SOON, "one of them asks", || turns.origin.requests().len() > before);
    // Those who wait are counted as under way.
    wait_until(SOON, "all are under way", || in_flight(proxy) == 5);
    assert_eq!(turns.origin.requests().len() - before, 1, "the others wait");
    turns.gate.open();
    clients.iter_mut().for_each(|client| client.wait_for("body"));
}

fn in_flight(proxy: &Tidegate) -> u64 {
    proxy.stats()["routes"][0]["in_flight"].as_u64().unwrap()
}

/// Requests under way at the one server.
fn fetches(proxy: &Tidegate) -> u64 {
    proxy.stats()["upstreams"][0]["servers"][0]["in_flight"].as_u64().unwrap()
}

#[test]
fn after_a_response_for_one_client_alone_nobody_waits_for_another() {
    let reasons: [&'static [&'static str]; 6] = [
        &[PRIVATE],
        &["200 OK\r\nCache-Control: no-store\r\n"],
        &["200 OK\r\nCache-Control: max-age=600\r\nVary: *\r\n"],
        &["200 OK\r\nCache-Control: max-age=600\r\nSet-Cookie: a=b\r\n"],
        &["404 Not Found\r\n"],
        // Each has to ask about it.
        &["200 OK\r\nCache-Control: no-cache\r\nETag: \"a\"\r\n"],
    ];
    for heads in reasons {
        let turns = turns(1, heads);
        let proxy = proxy(&turns.origin, "cache = {}", "");
        get(&proxy, "/a");
        expect_side_by_side(&turns, &proxy, "");
    }
    // Nobody else may have what was made for those who proved who they are.
    let turns = turns(1, &[STORABLE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    ask(&proxy, "GET", "/a", "Authorization: Basic YTpi\r\n");
    expect_side_by_side(&turns, &proxy, "Authorization: Basic YTpi\r\n");
}

#[test]
fn what_comes_meanwhile_is_judged_and_the_first_that_others_can_use_ends_it() {
    let turns = turns(4, &[PRIVATE, PRIVATE, STORABLE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    for _ in 0..2 {
        assert_eq!(status(&get(&proxy, "/a")), "tidegate; fwd=uri-miss; detail=private");
    }
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; fwd=uri-miss; stored; ttl="));
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; hit; ttl="));
}

#[test]
fn a_key_that_others_can_use_again_is_fetched_once_for_all() {
    let turns = turns(2, &[PRIVATE, STORABLE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    get(&proxy, "/a");
    assert!(status(&get(&proxy, "/a")).contains("stored"));
    // All of them want a server's word.
    let before = turns.origin.requests().len();
    let mut clients = burst(&proxy, 5, "Cache-Control: no-cache\r\n");
    wait_until(SOON, "all are under way", || in_flight(&proxy) == 5);
    assert_eq!(turns.origin.requests().len() - before, 1, "the others wait");
    turns.gate.open();
    clients.iter_mut().for_each(|client| client.wait_for("body"));
}

#[test]
fn whoever_comes_while_the_first_that_others_can_use_streams_gets_it_too() {
    let gate = Gate::default();
    let (held, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            let private = format!("HTTP/1.1 {PRIVATE}Content-Length: 4\r\n\r\nbody");
            return vec![Step::Send(private.into())];
        }
        let head = format!("HTTP/1.1 {STORABLE}Content-Length: 10\r\n\r\nfirst");
        vec![Step::Send(head.into()), Step::Until(held.clone()), Step::Send(b"-last".to_vec())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    let mut first = burst(&proxy, 1, "");
    first[0].wait_for("first");
    let mut others = burst(&proxy, 4, "");
    others.iter_mut().for_each(|client| client.wait_for("first"));
    assert_eq!(origin.requests().len(), 2, "one for all of them");
    gate.open();
    first.iter_mut().chain(&mut others).for_each(|client| client.wait_for("-last"));
}

#[test]
fn a_server_that_fails_and_a_request_of_its_own_kind_mark_nothing() {
    let failing: [&'static [&'static str]; 3] = [
        &["503 Service Unavailable\r\nCache-Control: no-store\r\n", STORABLE],
        &["500 Internal Server Error\r\n", STORABLE],
        &["429 Too Many Requests\r\nCache-Control: private\r\n", STORABLE],
    ];
    for heads in failing {
        let turns = turns(1, heads);
        let proxy = proxy(&turns.origin, "cache = {}\nretry = { attempts = 0 }", "");
        assert!(get(&proxy, "/a").status >= 400);
        expect_one_for_all(&turns, &proxy, "");
    }
    for fields in ["Cache-Control: no-store\r\n", "Range: bytes=0-1\r\n"] {
        let turns = turns(1, &[STORABLE]);
        let proxy = proxy(&turns.origin, "cache = {}", "");
        ask(&proxy, "GET", "/a", fields);
        expect_one_for_all(&turns, &proxy, "");
    }
    // What is for those who proved who they are says nothing of all others.
    let turns = turns(1, &[STORABLE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    ask(&proxy, "GET", "/a", "Authorization: Basic YTpi\r\n");
    expect_one_for_all(&turns, &proxy, "");
}

#[test]
fn a_response_that_was_cut_marks_nothing() {
    let gate = Gate::default();
    let (held, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            let head = format!("HTTP/1.1 {PRIVATE}Content-Length: 10\r\n\r\nfirst");
            return vec![Step::Send(head.into()), Step::Close];
        }
        let whole = format!("HTTP/1.1 {STORABLE}Content-Length: 4\r\n\r\nbody");
        vec![Step::Until(held.clone()), Step::Send(whole.into())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut client = proxy.client();
    client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.try_response("GET").is_err());
    expect_one_for_all(&Turns { origin, gate }, &proxy, "");
}

#[test]
fn a_stream_for_one_client_alone_keeps_nobody_waiting_before_and_after_its_end() {
    let (gate, count) = (Gate::default(), AtomicUsize::new(0));
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let begun = format!("HTTP/1.1 {PRIVATE}Content-Length: 10\r\n\r\nbody-");
        let mut steps = vec![Step::Send(begun.into()), Step::Until(held.clone()), Step::Close];
        if count.fetch_add(1, Ordering::SeqCst) >= 4 {
            steps.swap(0, 1);
        }
        steps
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut first = burst(&proxy, 1, "");
    first[0].wait_for("body-");
    let mut others = burst(&proxy, 3, "");
    others.iter_mut().for_each(|client| client.wait_for("body-"));
    // It is the clients that end it, as with a stream without an end.
    first.into_iter().chain(others).for_each(RawClient::reset);
    wait_until(SOON, "all have left", || in_flight(&proxy) == 0);
    let _later = burst(&proxy, 3, "");
    wait_until(SOON, "nobody waits for anybody", || origin.requests().len() == 7);
    gate.open();
}

#[test]
fn whoever_leaves_before_the_head_of_a_response_for_it_alone_leaves_no_fetch() {
    // The last one has to be asked about, and something of it is stored.
    for head in [PRIVATE, "200 OK\r\nCache-Control: no-cache\r\nETag: \"a\"\r\n"] {
        let (gate, count) = (Gate::default(), AtomicUsize::new(0));
        let held = gate.clone();
        let origin = Origin::start(move |_| {
            let answer = format!("HTTP/1.1 {head}Content-Length: 4\r\n\r\nbody").into();
            let waits = count.fetch_add(1, Ordering::SeqCst) > 0;
            let wait = waits.then(|| Step::Until(held.clone()));
            wait.into_iter().chain([Step::Send(answer)]).collect()
        });
        let proxy = proxy(&origin, "cache = {}", "");
        get(&proxy, "/a");
        let clients = burst(&proxy, 5, "");
        wait_until(SOON, "each has its fetch", || origin.requests().len() == 6);
        clients.into_iter().for_each(RawClient::reset);
        wait_until(SOON, "no fetch is left", || fetches(&proxy) == 0);
        gate.open();
        assert_eq!(get(&proxy, "/a").text(), "body");
    }
}

#[test]
fn a_fetch_that_others_may_wait_for_survives_a_client_that_leaves_before_the_head() {
    let turns = turns(0, &[STORABLE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    let clients = burst(&proxy, 1, "");
    wait_until(SOON, "it is fetched", || turns.origin.requests().len() == 1);
    clients.into_iter().for_each(RawClient::reset);
    wait_until(SOON, "the client has left", || in_flight(&proxy) == 0);
    assert_eq!(fetches(&proxy), 1);
    turns.gate.open();
    wait_until(SOON, "it is stored", || status(&get(&proxy, "/a")).starts_with("tidegate; hit"));
    assert_eq!(turns.origin.requests().len(), 1);
}

#[test]
fn a_purge_ends_it() {
    let purges: [fn(&Tidegate); 3] = [
        |proxy| {
            let told = call(proxy, "POST", "/cache/purge", &json!({"path": "/a"}));
            assert_eq!(told.status, 200, "{}", told.text());
        },
        |proxy| {
            let told = call(proxy, "POST", "/cache/purge", &json!({"all": true}));
            assert_eq!(told.status, 200, "{}", told.text());
        },
        |proxy| assert_eq!(ask(proxy, "POST", "/a", "Content-Length: 0\r\n").status, 200),
    ];
    for (purge, held) in purges.into_iter().zip([1, 1, 2]) {
        let turns = turns(held, &[PRIVATE, STORABLE]);
        let proxy = proxy(&turns.origin, "cache = {}", "");
        get(&proxy, "/a");
        purge(&proxy);
        expect_one_for_all(&turns, &proxy, "");
    }
}

#[test]
fn what_is_refreshed_behind_those_who_get_it_is_asked_for_once_at_a_time() {
    let turns = turns(
        2,
        &[
            "200 OK\r\nCache-Control: max-age=0, stale-while-revalidate=600\r\nETag: \"a\"\r\n",
            PRIVATE,
        ],
    );
    let proxy = proxy(&turns.origin, "cache = {}", "");
    get(&proxy, "/a");
    let is_stale = |proxy: &Tidegate| status(&get(proxy, "/a")).contains("stale-while-revalidate");
    assert!(is_stale(&proxy));
    wait_until(SOON, "it is refreshed, for one client alone", || {
        is_stale(&proxy) && turns.origin.requests().len() == 3
    });
    for _ in 0..20 {
        assert!(is_stale(&proxy));
    }
    assert_eq!(turns.origin.requests().len(), 3, "one refreshes it");
    turns.gate.open();
}

/// The requests of a burst, as the origin saw them, tell of no cookie: none of them is passed on as
/// it is, because what comes may be stored.
#[test]
fn requests_that_go_side_by_side_are_asked_as_for_the_cache() {
    let turns = turns(1, &[PRIVATE]);
    let proxy = proxy(&turns.origin, "cache = {}", "");
    get(&proxy, "/a");
    expect_side_by_side(&turns, &proxy, "Cookie: id=1\r\n");
    let has_cookie = |request: &Request| request.header("cookie").is_some();
    assert!(!turns.origin.requests().iter().any(has_cookie));
}
