//! Whatever clients and servers do, nothing stays counted that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use support::{Configuration, Origin, RawClient, SOON, Step, Tidegate, ok, wait_until};

/// A fixed sequence that looks random (SplitMix64).
fn random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A server that does one of the many things servers do.
fn moody(seed: u64) -> Origin {
    let state = AtomicU64::new(seed);
    Origin::on_head(move |_| {
        let part = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nsome".to_vec();
        let error = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_vec();
        match random(&state) % 9 {
            0 => vec![Step::Close],
            1 => vec![Step::Reset],
            2 => vec![Step::Send(part), Step::Close],
            3 => vec![Step::Send(part), Step::Reset],
            4 => vec![Step::Send(b"garbage".to_vec()), Step::Close],
            5 => vec![Step::Send(error)],
            6 => vec![Step::Pause(Duration::from_millis(random(&state) % 30)), Step::Close],
            7 => vec![Step::ReadBody, Step::Pause(Duration::from_millis(20)), Step::Send(ok("x"))],
            _ => vec![Step::ReadBody, Step::Send(ok("fine"))],
        }
    })
}

/// A client that does one of the many things clients do.
fn fickle(proxy: std::net::SocketAddr, state: &AtomicU64) {
    let mut client =
        RawClient::connect(proxy).patience(Duration::from_millis(20 + random(state) % 60));
    let upload = "POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50\r\n\r\n";
    let request = match random(state) % 7 {
        0 => "GET / HTTP/1.1\r\nHost: a.t".to_owned(),
        1 => "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned(),
        2 => format!("{upload}only a part"),
        3 => format!("{upload}{}", "x".repeat(50)),
        4 => "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
            .to_owned(),
        _ => "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(3),
    };
    client.offer(request);
    // Some wait for an answer, some do not; some leave politely, some do not.
    if random(state).is_multiple_of(2) {
        let _answer = client.try_response("GET");
    }
    if random(state).is_multiple_of(2) {
        client.reset();
    }
}

fn left_over(proxy: &Tidegate) -> Vec<String> {
    let stats = proxy.stats();
    let mut left = Vec::new();
    let mut look = |what: &str, value: &Value| {
        if value.as_u64() != Some(0) {
            left.push(format!("{what}: {value}"));
        }
    };
    look("connections", &stats["listeners"][0]["connections"]);
    look("route", &stats["routes"][0]["in_flight"]);
    for upstream in stats["upstreams"].as_array().unwrap() {
        look("queue", &upstream["queue"]["depth"]);
        for server in upstream["servers"].as_array().unwrap() {
            look("server", &server["in_flight"]);
        }
    }
    look("panics", &stats["panics"]);
    left
}

#[test]
fn nothing_stays_counted_that_is_over() {
    let origins = [moody(1), moody(2), moody(3)];
    let lines = r#"
        limits = { requests = 3, connections = 4, pending = 6, pending_timeout = "50ms" }
        breaker = { failures = 20, successes = 2, open_for = "20ms", per = "server" }
        eject = { failures = 8, for = "100ms", every = "100ms" }
        retry = { attempts = 2, on = ["connect", "reset", "invalid", "503"], budget = "100%" }
    "#;
    let two = Configuration::default().runtime("workers = 2");
    let proxy = two.upstream("app", &origins, lines).start();
    let address = proxy.address();
    let state = Arc::new(AtomicU64::new(7));
    let clients = (0..16).map(|_| {
        let state = state.clone();
        thread::spawn(move || {
            for _ in 0..40 {
                fickle(address, &state);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    let mut left = Vec::new();
    let within = SOON + SOON;
    wait_until(within, "everything is over", || {
        left = left_over(&proxy);
        left.is_empty()
    });
    // It still works, as far as such servers let it.
    let served = |_: &i32| {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.try_response("GET").is_ok_and(|response| response.status == 200)
    };
    assert!((0..60).filter(served).count() > 0);
    assert!(!origins[0].requests().is_empty());
}
