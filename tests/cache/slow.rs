//! Clients that read slowly, or not at all, what has left the cache meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::admin::call;
use crate::{answer, get, proxy, status};
use support::{Gate, Origin, RawClient, SOON, Step, Tidegate, wait_until};

const MIB: u64 = 1 << 20;
/// The length of a large body: more than sockets take.
const LARGE: u64 = 8 * MIB;

/// Answers `/big…` with a large body, `/middle…` with 256 KiB, `/empty…` with none, and everything
/// else with a few bytes.
fn origin() -> Origin {
    Origin::start(|request| {
        let fields = "Cache-Control: max-age=600\r\n";
        let length = match &request.target {
            target if target.starts_with("/big") => LARGE,
            target if target.starts_with("/middle") => MIB / 4,
            target if target.starts_with("/empty") => {
                return vec![Step::Send(answer(request, fields, ""))];
            }
            _ => return vec![Step::Send(answer(request, fields, "small"))],
        };
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n");
        vec![Step::Send(head.into()), Step::Fill(length)]
    })
}

fn cache(proxy: &Tidegate) -> Value {
    proxy.stats()["caches"][0].clone()
}

fn number(proxy: &Tidegate, name: &str) -> u64 {
    cache(proxy)[name].as_u64().unwrap()
}

/// Asks for a large response, which is stored, and does not read it.
fn stall(proxy: &Tidegate, target: &str) -> RawClient {
    let mut client = RawClient::connect_narrow(proxy.address());
    let before = number(proxy, "entries");
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    wait_until(SOON, "it is stored", || number(proxy, "entries") == before + 1);
    client
}

fn purge(proxy: &Tidegate, wish: &Value) {
    let told = call(proxy, "POST", "/cache/purge", wish);
    assert_eq!(told.status, 200, "{}", told.text());
}

#[test]
fn bodies_that_slow_clients_hold_are_told_and_bounded_and_evict_nothing() {
    let origin = origin();
    let proxy = proxy(&origin, "cache = { memory = \"80MiB\" }", "");
    let small: Vec<String> = (0..50).map(|n| format!("/small/{n}")).collect();
    for target in &small {
        get(&proxy, target);
    }
    let mut clients = Vec::new();
    // What a socket has taken is not held: a little of each.
    while number(&proxy, "no_room") == 0 {
        let n = clients.len();
        assert!(n < 60, "{}", cache(&proxy));
        let target = format!("/big/{n}");
        let mut client = RawClient::connect_narrow(proxy.address());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let entries = small.len() as u64;
        wait_until(SOON, "it is stored, or finds no room", || {
            number(&proxy, "entries") == entries + 1 || number(&proxy, "no_room") > 0
        });
        purge(&proxy, &json!({"path": target}));
        clients.push(client);
        assert!(number(&proxy, "held_bytes") + number(&proxy, "bytes") <= 100 * MIB);
    }
    assert!(clients.len() >= 12, "{}", cache(&proxy));
    assert!(number(&proxy, "held_bytes") > 80 * MIB, "{}", cache(&proxy));
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(page.contains("\ntidegate_cache_held_bytes{cache=\"app\"} "), "{page}");
    // What the last one gave back is room for a few smaller ones, and then for none. Sockets may
    // take a little more meanwhile.
    let is_refused =
        |target: String| status(&get(&proxy, &target)) == "tidegate; fwd=uri-miss; detail=no-room";
    let mut targets = (0..20).flat_map(|round| {
        let middle = (0..4).map(move |n| format!("/middle/{round}/{n}"));
        let small = (0..100).map(move |n| format!("/more/{round}/{n}"));
        // Where a head fits and not its body, only that is refused which has none.
        let empty = (0..10).map(move |n| format!("/empty/{round}/{n}"));
        middle.chain(small).chain(empty)
    });
    assert!(targets.any(is_refused), "{}", cache(&proxy));
    // All that was stored is, and nothing has gone to make room that would not have been free.
    assert_eq!(number(&proxy, "evicted"), 0);
    for target in &small {
        assert!(status(&get(&proxy, target)).starts_with("tidegate; hit"), "{target}");
    }
    // Once they are gone so is what they held, and new responses are stored.
    drop(clients);
    wait_until(SOON, "nothing is held", || number(&proxy, "held_bytes") == 0);
    let mut late = stall(&proxy, "/big/late");
    assert_eq!(number(&proxy, "held_bytes"), 0, "what is stored is not held");
    purge(&proxy, &json!({"path": "/big/late"}));
    assert!(number(&proxy, "held_bytes") > MIB);
    let response = late.response();
    assert!(response.body.len() as u64 == LARGE && response.body.iter().all(|b| *b == b'x'));
    purge(&proxy, &json!({"all": true}));
    wait_until(SOON, "all is given back", || {
        number(&proxy, "held_bytes") + number(&proxy, "bytes") == 0
    });
}

#[test]
fn what_was_replaced_is_not_kept_by_those_who_are_sent_what_replaced_it() {
    let (gate, rest, asked) = (Gate::default(), Gate::default(), AtomicUsize::new(0));
    let (held, held_rest) = (gate.clone(), rest.clone());
    let origin = Origin::start(move |_| {
        let fields = "Cache-Control: max-age=1\r\n";
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {LARGE}\r\n\r\n");
        let (start, end) = (Step::Send(head.into()), Step::Fill(LARGE / 2));
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return vec![start, end.clone(), end];
        }
        let half = [Step::Until(held.clone()), start, end.clone()];
        half.into_iter().chain([Step::Until(held_rest.clone()), end]).collect()
    });
    let proxy = proxy(&origin, "cache = { memory = \"80MiB\", lock_timeout = \"60s\" }", "");
    assert!(status(&get(&proxy, "/big")).contains("stored"));
    let mut clients = Vec::new();
    let mut ask = || {
        let mut client = RawClient::connect_narrow(proxy.address());
        client.send("GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n");
        clients.push(client);
    };
    // The first of them that finds it stale asks for a new one, the others wait for that.
    let joined = || cache(&proxy)["requests"]["coalesced"].as_u64().unwrap();
    wait_until(SOON, "it is stale", || {
        ask();
        origin.requests().len() == 2
    });
    (0..3).for_each(|_| ask());
    gate.open();
    // Until it is whole, whoever comes joins.
    wait_until(SOON, "all are sent the new one", || joined() >= 3);
    rest.open();
    purge(&proxy, &json!({"all": true}));
    wait_until(SOON, "nothing is stored but what is held", || number(&proxy, "bytes") == 0);
    assert!(number(&proxy, "held_bytes") > 0, "{}", cache(&proxy));
}
