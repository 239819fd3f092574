//! Servers, clients and a proxy for benches that start the real binary.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Between two requests of a client.
const EVERY: Duration = Duration::from_millis(2);
const CLIENTS: usize = 4;

/// Answers every request with these two bytes, at any address of this machine. One thread serves
/// all connections, each with one descriptor: a proxy may keep one to each of ten thousand servers.
pub(crate) fn origin(body: &'static str) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer_requests(stream, body));
            }
        });
    });
    port
}

/// Answers requests without bodies until the connection ends.
async fn answer_requests(mut stream: tokio::net::TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
    let mut unread = Vec::with_capacity(1024);
    stream.set_nodelay(true).unwrap();
    while stream.read_buf(&mut unread).await.is_ok_and(|n| n > 0) {
        while let Some(end) = unread.windows(4).position(|part| part == b"\r\n\r\n") {
            unread.drain(..end + 4);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// One request on a connection; the status and the body.
pub(crate) fn exchange(stream: &mut BufReader<TcpStream>, request: &str) -> (u16, Vec<u8>) {
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        if status == 0 {
            status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" || line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, body)
}

pub(crate) fn connect(address: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

/// Clients at a fixed rate until `stop`; the times in microseconds, each from when its request was
/// due.
pub(crate) fn clients(
    address: &str,
    request: fn(usize) -> String,
    stop: &Arc<AtomicBool>,
) -> Vec<thread::JoinHandle<Vec<u64>>> {
    let one = |n: usize| {
        let (address, stop) = (address.to_owned(), stop.clone());
        thread::spawn(move || {
            let mut stream = connect(&address);
            let mut times = Vec::new();
            let mut due = Instant::now() + EVERY * u32::try_from(n).unwrap() / 4;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                assert_eq!(exchange(&mut stream, &request(times.len() * 7 + n)).0, 200);
                times.push(u64::try_from(due.elapsed().as_micros()).unwrap());
                due += EVERY;
            }
            times
        })
    };
    (0..CLIENTS).map(one).collect()
}

pub(crate) fn percentile(times: &mut [u64], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at] as f64 / 1000.0
}

/// Calls the admin endpoint, over a connection that is made anew before its time is up (a minute).
pub(crate) struct AdminCaller {
    address: String,
    stream: BufReader<TcpStream>,
    since: Instant,
}

impl AdminCaller {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: connect(address), since: Instant::now() }
    }

    /// Makes a call; the status.
    pub(crate) fn call(&mut self, request: &str) -> u16 {
        if self.since.elapsed() > Duration::from_secs(20) {
            *self = Self::new(&self.address);
        }
        exchange(&mut self.stream, request).0
    }
}

/// The real binary, which ends with this.
pub(crate) struct Proxy {
    child: Child,
    /// Its only listener.
    pub(crate) address: String,
    pub(crate) admin: String,
}

impl Proxy {
    /// Starts it with this file. What it logs is read and dropped.
    pub(crate) fn start(file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["run", "-c"])
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = |what: &str| {
            let line = log.find_map(|line| line.ok().filter(|line| line.contains(what))).unwrap();
            line.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
        };
        let (address, admin) = (address("INFO listening"), address("admin listening"));
        thread::spawn(move || log.for_each(drop));
        Self { child, address, admin }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
