//! Pooled connections that die as they are used: nothing is lost, nothing happens twice.
//!
//! The oracle: every request carries an id; an id is *done* when the origin answered it. A client
//! without a 200 has lost its request; an id that arrived whole twice may have happened twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::setup::{one, plain};
use support::{Origin, SOON, Step, Tidegate, ok, wait_until};

/// Small pseudo-random pauses, the same in every run.
struct Jitter(AtomicU64);

impl Jitter {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Between 0 and 3 ms.
    fn pause(&self) -> Duration {
        let step = |n: u64| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let n = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap();
        Duration::from_micros((n >> 33) % 3000)
    }
}

/// Closes every connection at a random moment after its answer.
fn closes_soon_after_the_answer() -> Origin {
    let jitter = Jitter::new(7);
    Origin::start(move |request| {
        vec![Step::Send(ok(&request.target)), Step::Pause(jitter.pause()), Step::Close]
    })
}

/// Answers the first request of a connection and closes when the second has arrived.
fn closes_when_used_again() -> Origin {
    Origin::start(|request| match request.index {
        0 => vec![Step::Send(ok(&request.target))],
        _ => vec![Step::Close],
    })
}

struct Outcome {
    lost: Vec<String>,
    twice: Vec<String>,
}

/// Four clients send 100 requests each over kept connections.
fn hammer(origin: &Origin, proxy: &Tidegate, method: &'static str) -> Outcome {
    let address = proxy.address();
    let jitter = Arc::new(Jitter::new(11));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let jitter = jitter.clone();
            thread::spawn(move || run_client(address, client, method, &jitter))
        })
        .collect();
    let lost = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let mut arrivals: HashMap<String, usize> = HashMap::new();
    for request in origin.complete() {
        *arrivals.entry(request.target).or_default() += 1;
    }
    let twice = arrivals.into_iter().filter(|(_, n)| *n > 1).map(|(id, _)| id).collect();
    Outcome { lost, twice }
}

fn run_client(
    address: std::net::SocketAddr,
    client: usize,
    method: &str,
    jitter: &Jitter,
) -> Vec<String> {
    let mut lost = Vec::new();
    let mut connection = support::RawClient::connect(address);
    for n in 0..100 {
        let id = format!("/{client}-{n}");
        let body = if method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        connection.offer(format!("{method} {id} HTTP/1.1\r\nHost: a.test\r\n{body}"));
        match connection.try_response(method) {
            Ok(answer) if answer.status == 200 && answer.text() == id => {
                if answer.says_close() {
                    connection = support::RawClient::connect(address);
                }
            }
            Ok(answer) => {
                lost.push(format!("{id}: {}", answer.status));
                connection = support::RawClient::connect(address);
            }
            Err(why) => {
                lost.push(format!("{id}: {why}"));
                connection = support::RawClient::connect(address);
            }
        }
        thread::sleep(jitter.pause());
    }
    lost
}

#[test]
fn a_get_on_a_dead_connection_is_sent_again_on_a_fresh_one() {
    let origin = closes_when_used_again();
    let proxy = plain(&origin);
    let outcome = hammer(&origin, &proxy, "GET");
    assert!(outcome.lost.is_empty(), "{} lost: {:?}", outcome.lost.len(), outcome.lost);
}

#[test]
fn a_get_survives_connections_that_close_as_it_is_sent() {
    let origin = closes_soon_after_the_answer();
    let proxy = plain(&origin);
    let outcome = hammer(&origin, &proxy, "GET");
    assert!(outcome.lost.is_empty(), "{} lost: {:?}", outcome.lost.len(), outcome.lost);
}

#[test]
fn a_post_is_neither_lost_nor_doubled_when_idle_connections_close() {
    let origin = closes_soon_after_the_answer();
    let proxy = plain(&origin);
    let outcome = hammer(&origin, &proxy, "POST");
    assert!(outcome.twice.is_empty(), "doubled: {:?}", outcome.twice);
    assert!(outcome.lost.is_empty(), "{} lost: {:?}", outcome.lost.len(), outcome.lost);
}

#[test]
fn a_post_is_neither_lost_nor_doubled_when_a_second_use_closes_the_connection() {
    let origin = closes_when_used_again();
    let proxy = plain(&origin);
    let outcome = hammer(&origin, &proxy, "POST");
    assert!(outcome.twice.is_empty(), "doubled: {:?}", outcome.twice);
    assert!(outcome.lost.is_empty(), "{} lost: {:?}", outcome.lost.len(), outcome.lost);
}

#[test]
fn a_connection_that_is_known_to_be_closed_is_not_used() {
    let origin = Origin::start(|request| vec![Step::Send(ok(&request.target)), Step::Close]);
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for n in 0..20 {
        assert_eq!(client.get(&format!("/{n}")).text(), format!("/{n}"));
        wait_until(SOON, "the origin has closed", || origin.open_connections() == 0);
    }
    assert_eq!(origin.requests().len(), 20);
}

#[test]
fn sound_connections_are_used_again() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(origin.accepts(), 1);
}

#[test]
fn an_origin_that_says_close_is_not_used_again() {
    let origin = Origin::start(|_| {
        vec![Step::Send(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        )]
    });
    let proxy = plain(&origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!(answer.status, 200);
        assert!(!answer.says_close(), "the origin's close is not the client's business");
    }
    assert_eq!(origin.accepts(), 3);
    assert!(origin.all_requests(3).iter().all(|r| r.index == 0));
}

/// Answers the first request without a body, and sends one all the same once the second has come.
fn says_more_when_used_again() -> Origin {
    Origin::start(|request| match (request.index, &*request.method) {
        (0, "GET") if request.target == "/none" => {
            vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]
        }
        (1, _) => vec![Step::Send(b"late".to_vec()), Step::Send(ok("desynchronised"))],
        _ => vec![Step::Send(ok("fine"))],
    })
}

#[test]
fn s6_a_body_that_was_not_to_be_sent_is_no_answer_to_the_next_request() {
    let origin = says_more_when_used_again();
    let proxy = one(&origin).app("retry = { attempts = 0 }").start();
    let mut client = proxy.client();
    assert_eq!(client.get("/none").status, 204);
    // It can be repeated, so it is, where nothing is left over.
    let answer = client.get("/next");
    assert_eq!((answer.status, &*answer.text()), (200, "fine"));
    let seen: Vec<_> = origin.requests().iter().map(|r| (r.connection, r.target.clone())).collect();
    let want = [(0, "/none"), (0, "/next"), (1, "/next")].map(|(at, target)| (at, target.into()));
    assert_eq!(seen, want);
}

#[test]
fn s6_a_head_that_is_at_fault_is_an_answer() {
    let fault = b"HTTP/1.1 200 OK\r\nContent-Length: zz\r\n\r\nrest".to_vec();
    let origin = Origin::start(move |request| match request.index {
        1 => vec![Step::Send(fault.clone())],
        _ => vec![Step::Send(ok("fine"))],
    });
    let proxy = one(&origin).app("retry = { attempts = 0 }").start();
    let mut client = proxy.client();
    assert_eq!(client.get("/first").status, 200);
    // What follows the head is no sign that the answer belongs to an earlier request.
    let answer = client.get("/second");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("\"code\":\"upstream_invalid\""), "{}", answer.text());
    assert_eq!(origin.requests().len(), 2);
}
