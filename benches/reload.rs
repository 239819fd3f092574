//! A thousand reloads of a file with a thousand routes while requests are made: how long a reload
//! takes, and what the requests notice.
//!
//! `cargo bench --bench reload`. It starts the real binary. Requests are sent at a fixed rate and
//! timed from when they were due, so that one that waits is not hidden by those that were not sent
//! meanwhile; phases with and without reloads take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people who measure"
)]

mod load;

use std::fmt::Write as _;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::load::{clients, connect, exchange, percentile};

const ROUTES: usize = 1000;
const RELOADS: usize = 1000;
/// Phases of each kind.
const PHASES: usize = 5;
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

fn request_of(n: usize) -> String {
    format!("GET /service-{}/x HTTP/1.1\r\nHost: a.test\r\n\r\n", n % ROUTES)
}

fn reload(admin: &mut BufReader<TcpStream>, file: &Path, text: &str, times: &mut Vec<u64>) {
    std::fs::write(file, text).unwrap();
    let began = Instant::now();
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(admin, request).0, 200);
    times.push(u64::try_from(began.elapsed().as_micros()).unwrap());
    thread::sleep(APART.saturating_sub(began.elapsed()));
}

fn main() {
    let origin = format!("127.0.0.1:{}", load::origin("ok"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, configuration(&origin, 0)).unwrap();
    let proxy = load::Proxy::start(&file);
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
            let work = clients(&proxy.address, request_of, &stop);
            let began = Instant::now();
            if reloading {
                let mut admin = connect(&proxy.admin);
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
    drop(proxy);
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
