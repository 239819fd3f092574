//! A thousand reloads of a file with a thousand routes while requests are made: how long a reload takes,
//! and what the requests notice.
//!
//! `cargo bench --bench reload`. It starts the real binary. Requests are sent at a fixed rate and timed from when
//! they were due, so that one that waits is not hidden by those that were not sent meanwhile; phases with and
//! without reloads take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people who measure"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROUTES: usize = 1000;
const RELOADS: usize = 1000;
/// Phases of each kind.
const PHASES: usize = 5;
/// Between two requests of a client.
const EVERY: Duration = Duration::from_millis(2);
const CLIENTS: usize = 4;
/// Reloads follow each other at this distance, or as fast as they go when that is slower.
const APART: Duration = Duration::from_millis(100);

fn configuration(origin: &str, generation: usize) -> String {
    let mut text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"info\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n\
         [upstream.app]\nservers = [{{ address = \"{origin}\", weight = {} }}]\n",
        generation % 100 + 1
    );
    for n in 0..ROUTES {
        let limit = if n == generation % ROUTES { "body_limit = \"1KiB\"\n" } else { "" };
        write!(text, "[[route]]\npath = \"/service-{n}/*\"\nupstream = \"app\"\n{limit}").unwrap();
    }
    text
}

/// Answers every request with two bytes.
fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                    if line == "\r\n" {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

/// One request on a connection; the status.
fn exchange(stream: &mut BufReader<TcpStream>, request: &str) -> u16 {
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
    status
}

fn connect(address: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

/// Clients at a fixed rate until `stop`; the times in microseconds.
fn clients(address: &str, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<Vec<u64>>> {
    let one = |n: usize| {
        let (address, stop) = (address.to_owned(), stop.clone());
        thread::spawn(move || {
            let mut stream = connect(&address);
            let mut times = Vec::new();
            let mut due = Instant::now() + EVERY * u32::try_from(n).unwrap() / 4;
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let path = (times.len() * 7 + n) % ROUTES;
                let request = format!("GET /service-{path}/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
                assert_eq!(exchange(&mut stream, &request), 200);
                times.push(u64::try_from(due.elapsed().as_micros()).unwrap());
                due += EVERY;
            }
            times
        })
    };
    (0..CLIENTS).map(one).collect()
}

fn percentile(times: &mut [u64], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at] as f64 / 1000.0
}

fn reload(admin: &mut BufReader<TcpStream>, file: &Path, text: &str, times: &mut Vec<u64>) {
    std::fs::write(file, text).unwrap();
    let began = Instant::now();
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(admin, request), 200);
    times.push(u64::try_from(began.elapsed().as_micros()).unwrap());
    thread::sleep(APART.saturating_sub(began.elapsed()));
}

fn main() {
    let origin = origin();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, configuration(&origin, 0)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = |what: &str| {
        let line = log.find_map(|line| line.ok().filter(|line| line.contains(what))).unwrap();
        line.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    let (proxy, admin) = (address("INFO listening"), address("admin listening"));
    thread::spawn(move || log.for_each(drop));
    let (mut quiet, mut busy, mut reloads) = (Vec::new(), Vec::new(), Vec::new());
    let mut generation = 0;
    for _ in 0..PHASES {
        // Made beforehand: whoever writes files in earnest does it on another machine.
        let texts: Vec<String> = (0..RELOADS / PHASES)
            .map(|_| {
                generation += 1;
                configuration(&origin, generation)
            })
            .collect();
        let mut took = Duration::ZERO;
        for reloading in [true, false] {
            let stop = Arc::new(AtomicBool::new(false));
            let work = clients(&proxy, &stop);
            let began = Instant::now();
            if reloading {
                let mut admin = connect(&admin);
                for text in &texts {
                    reload(&mut admin, &file, text, &mut reloads);
                }
                took = began.elapsed();
            } else {
                thread::sleep(took);
            }
            stop.store(true, Ordering::Relaxed);
            let times = if reloading { &mut busy } else { &mut quiet };
            times.extend(work.into_iter().flat_map(|client| client.join().unwrap()));
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{} reloads of {ROUTES} routes, from the call to the answer:", reloads.len());
    let line = |what: &str, times: &mut [u64]| {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| percentile(times, share));
        println!("  {what:<18} p50 {half:.2} ms, p99 {most:.2} ms, max {all:.2} ms");
    };
    line("reload", &mut reloads);
    println!("requests, from when they were due ({} without, {} during):", quiet.len(), busy.len());
    line("without reloads", &mut quiet);
    line("during reloads", &mut busy);
    println!(
        "  p99 during / without: {:.2}",
        percentile(&mut busy, 0.99) / percentile(&mut quiet, 0.99)
    );
}
