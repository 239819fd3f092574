//! How much memory the process takes for what a cache counts, while more responses than it can hold
//! pass through it.
//!
//! `cargo bench --bench cache_memory`, or with how many responses:
//! `cargo bench --bench cache_memory -- 10000000`. Two threads take responses in as fetches do,
//! each with a key of its own; no connection is made. Resident memory is that of the process
//! (/proc/self/statm), less what it was before the cache was made. The allocator is the program's.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people who measure"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tidegate::cache::fill::{FillOrder, Filling, INTERIMS};
use tidegate::cache::housekeeping;
use tidegate::cache::key::StoreKey;
use tidegate::cache::lead::FlightLead;
use tidegate::cache::policy::{CacheQuery, CacheSettings};
use tidegate::cache::store::CacheStore;
use tidegate::clock;
use tidegate::exchange::{Emit, Length, Outgoing};
use tidegate::upstream::detached::Receiver as _;
use tidegate::wire::head::Fields;
use tokio::sync::{mpsc, oneshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The memory of the cache, in bytes.
const MEMORY: u64 = 64 << 20;
/// Responses, unless the command line says how many.
const RESPONSES: u64 = 2_000_000;
/// The responses that may come without a pause.
const BURST: u64 = 256;
/// The threads that take them in.
const THREADS: u64 = 2;

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// Takes a response in as a fetch does that found nothing stored.
fn fetch(store: &Arc<CacheStore>, settings: &Arc<CacheSettings>, n: u64, body: &[u8]) {
    let path = format!("/articles/{n}");
    let key =
        Arc::new(StoreKey::new("news", b"https", b"news.example", path.as_bytes(), None, &[]));
    let now = clock::unix_millis();
    let (interims, _heads) = mpsc::channel(INTERIMS);
    let order = FillOrder {
        store: store.clone(),
        lead: FlightLead::begin_fetch(store, &key, 0, now).unwrap(),
        exact: key,
        request: Fields::default(),
        asked: CacheQuery::default(),
        settings: settings.clone(),
        stale: None,
        on_error: false,
        asked_at: now,
        tier: None,
        interims,
    };
    let (sender, _answer) = oneshot::channel();
    let mut filling = Filling::new(order, sender);
    let fields = |out: &mut dyn Emit| {
        out.emit_field(b"date", b"Fri, 15 Jan 2027 08:00:00 GMT");
        out.emit_field(b"content-type", b"application/json");
        out.emit_field(b"cache-control", b"public, max-age=86400");
        out.emit_field(b"etag", b"\"33a64df551425fcc55e4d42a148795d9f25f89d4\"");
    };
    let length = Length::Known(body.len() as u64);
    filling.begin_response(&Outgoing { status: 200, reason: b"OK", fields: &fields, length });
    let mut left = body;
    let mut cx = Context::from_waker(Waker::noop());
    while !left.is_empty() {
        match filling.poll_take(&mut cx, left) {
            std::task::Poll::Ready(taken) => left = &left[taken.unwrap()..],
            std::task::Poll::Pending => unreachable!("a response that is stored waits for nobody"),
        }
    }
    filling.finish_response(None);
    filling.end_fetch(None);
}

/// Scans a new cache with so many responses of bodies of `sizes` bytes in turn.
fn scan(name: &str, responses: u64, sizes: &[usize]) {
    let base = resident();
    let housekeeping = housekeeping::start_thread().unwrap();
    let store = Arc::new(CacheStore::new(name.into(), (MEMORY, 1 << 30), housekeeping));
    let settings = Arc::new(CacheSettings::default());
    let done = AtomicU64::new(0);
    let began = Instant::now();
    let (mut most, mut full) = (0.0_f64, 0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, settings, done) = (&store, &settings, &done);
            scope.spawn(move || {
                let body = vec![b'x'; sizes.iter().copied().max().unwrap()];
                for n in (thread..responses).step_by(THREADS as usize) {
                    // Fetches come no faster than room is made for them, or they would not be
                    // stored.
                    while store.used() > MEMORY - MEMORY / 32 || n % BURST < THREADS {
                        std::thread::sleep(Duration::from_micros(50));
                        if store.used() <= MEMORY - MEMORY / 32 {
                            break;
                        }
                    }
                    fetch(store, settings, n, &body[..sizes[n as usize % sizes.len()]]);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while done.load(Ordering::Relaxed) < responses {
            std::thread::sleep(Duration::from_millis(20));
            let grown = resident().saturating_sub(base) as f64;
            most = most.max(grown / MEMORY as f64);
            full = full.max(store.used());
        }
    });
    let last = resident().saturating_sub(base) as f64;
    println!(
        "| {name} | {responses} | {} | {most:.3} | {:.3} | {:.3} | {} | {:.1} |",
        store.entries(),
        last / store.used() as f64,
        full as f64 / MEMORY as f64,
        store.counts.no_room.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
}

fn main() {
    const BODIES: [(&str, u64, &[usize]); 3] = [
        ("128 B", 1, &[128]),
        ("16 KiB", 50, &[16 << 10]),
        ("100 B to 100 KB, mixed", 50, &[100, 1000, 333, 100_000, 3333, 10_000, 33_333]),
    ];
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let responses = arguments.first().copied().unwrap_or(RESPONSES);
    // Each scan has a process of its own, as an allocator keeps what another one had.
    if let Some((name, share, sizes)) = arguments.get(1).and_then(|n| BODIES.get(*n as usize)) {
        return scan(name, responses / share, sizes);
    }
    println!(
        "`memory` is {} MiB\n\n| bodies | responses | kept at the end | resident / memory, at most | resident / counted, at the end \
         | counted / memory, at most | not stored | s |\n|---|---:|---:|---:|---:|---:|---:|---:|",
        MEMORY >> 20
    );
    for n in 0..BODIES.len() {
        let mut one = Command::new(std::env::current_exe().unwrap());
        // As the program sets it for itself.
        one.env("MIMALLOC_PURGE_DELAY", "10");
        let ended = one.args([responses.to_string(), n.to_string()]).status().unwrap();
        assert!(ended.success(), "a scan failed: {ended}");
    }
}
