//! Clients at a steady rate, and what became of each of their requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::server::Server;
use support::{Configuration, RawClient, Tidegate};

/// A proxy for an upstream with these lines.
pub fn proxy(upstream: &str) -> Tidegate {
    Configuration::default().runtime("workers = 2").upstream_with("app", upstream).start()
}

/// What a client asks for, over and over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Get,
    Post,
    WebSocket,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Outcome {
    pub sent: usize,
    /// Those without a good answer: target, and what came instead.
    pub lost: Vec<(String, String)>,
    pub slowest: Duration,
}

/// Clients at work until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome>>,
}

impl Load {
    /// Four clients that ask for something every so often, three for GET and one for something
    /// else.
    pub fn start(proxy: &Tidegate, other: Kind, pause: Duration) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let stop = Arc::new(AtomicBool::new(false));
        let address = proxy.address();
        let clients = [Kind::Get, Kind::Get, Kind::Get, other].map(|kind| {
            let stop = stop.clone();
            let name = NEXT.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || client(address, kind, name, pause, &stop))
        });
        Self { stop, clients: clients.into() }
    }

    pub fn end(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Outcome::default();
        for client in self.clients {
            let one = client.join().unwrap();
            all.sent += one.sent;
            all.lost.extend(one.lost);
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

fn client(
    address: SocketAddr,
    kind: Kind,
    name: usize,
    pause: Duration,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = RawClient::connect(address);
    while !stop.load(Ordering::SeqCst) {
        let word = match kind {
            Kind::Get => "get",
            Kind::Post => "post",
            Kind::WebSocket => "websocket",
        };
        let target = format!("/{word}-{name}-{}", outcome.sent);
        let (method, rest) = match kind {
            Kind::Get => ("GET", "\r\n"),
            Kind::Post => ("POST", "Content-Length: 2\r\n\r\nhi"),
            Kind::WebSocket => (
                "GET",
                "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            ),
        };
        outcome.sent += 1;
        let began = Instant::now();
        connection.offer(format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{rest}"));
        let answer = connection.try_response(method);
        outcome.slowest = outcome.slowest.max(began.elapsed());
        let good = if kind == Kind::WebSocket { 101 } else { 200 };
        let again = match answer {
            Ok(answer) if answer.status == good => answer.says_close() || good == 101,
            Ok(answer) => {
                outcome.lost.push((target, format!("{} {}", answer.status, answer.text())));
                true
            }
            Err(why) => {
                outcome.lost.push((target, why));
                true
            }
        };
        if again {
            connection = RawClient::connect(address);
        }
        thread::sleep(pause);
    }
    outcome
}

/// Those with a target like this that arrived more than once.
pub fn duplicates(servers: &[Server], prefix: &str) -> Vec<String> {
    let mut arrived = std::collections::HashMap::<String, usize>::new();
    for server in servers {
        for (target, n) in server.arrived() {
            *arrived.entry(target).or_default() += n;
        }
    }
    assert!(arrived.keys().any(|target| target.starts_with(prefix)), "none was seen");
    let twice = arrived.into_iter().filter(|(target, n)| target.starts_with(prefix) && *n > 1);
    twice.map(|(target, _)| target).collect()
}
