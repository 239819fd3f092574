//! What servers that come and go cost: one change of one of 1 000 upstreams from what its source
//! says to the moment when requests see it, and leases of a registry.
//!
//! `cargo bench --bench discovery`; a number behind `--` is that of the changes, 60 000 unless it
//! is given. One change a millisecond leaves a millisecond for each; 10 000 leases that are renewed
//! every 10 s are 10 000 renewals in 10 s. Afterwards the real binary is told of a change a
//! millisecond through its registry while requests are made: when those see it, and what they
//! notice.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    clippy::print_stdout,
    reason = "a program for people who measure"
)]

mod load;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tidegate::clock;
use tidegate::config::schema::words::ServerAddress;
use tidegate::config::{self, Config};
use tidegate::discovery::guard::Bounds;
use tidegate::discovery::registry::book::Settings;
use tidegate::discovery::registry::lease::Registration;
use tidegate::discovery::registry::{Hear, Registry};
use tidegate::discovery::{Entry, Found, Lists, Origin, Update, Updates};
use tidegate::snapshot::weights::Weights;
use tidegate::snapshot::{compile, servers};
use tidegate::upstream::{Membership, Upstream};
use tokio::task::JoinSet;

const UPSTREAMS: usize = 1_000;
const SERVERS: usize = 10;
const LEASES: usize = 10_000;
/// The time in which each lease is renewed once.
const RENEWED: Duration = Duration::from_secs(10);
const BOUNDS: Bounds = Bounds { shrink: 0.5, growth: 10, hold: Duration::from_secs(300) };

/// The memory of this process in MiB, as the kernel counts it.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64 / f64::from(1 << 20)
}

fn configuration() -> Config {
    let mut text = "[[listen]]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for n in 0..UPSTREAMS {
        write!(
            text,
            "[upstream.u{n}]\nservers = {{ file = \"u{n}.list\" }}\n\
             [[route]]\nhost = \"u{n}.test\"\nupstream = \"u{n}\"\n"
        )
        .unwrap();
    }
    config::load_str("discovery.toml", &text).unwrap().config
}

fn entries(upstream: usize, number: usize, weight: u16) -> Arc<[Entry]> {
    let entry = |n: usize| {
        let ip = [10, u8::try_from(upstream >> 8).unwrap(), u8::try_from(upstream & 255).unwrap()];
        let ip = [ip[0], ip[1], ip[2], u8::try_from(n + 1).unwrap()];
        let address = ServerAddress::Ip(SocketAddr::from((ip, 80)));
        Entry { weight: NonZeroU16::new(weight).unwrap(), ..Entry::new(address) }
    };
    (0..number).map(entry).collect()
}

/// Applies what waits, as the thread does that looks after servers.
fn apply(lists: &mut Lists, upstreams: &BTreeMap<String, (Arc<Upstream>, &Config)>) {
    let heard = lists.hear_sources(BOUNDS, clock::now(), |_, _| true);
    let found = Found { lists: lists.used().clone(), ..Found::default() };
    for heard in heard {
        let (upstream, config) = &upstreams[&*heard.upstream];
        let written = &config.upstream[&*heard.upstream].servers;
        let specs = servers::server_specs(&heard.upstream, written, &found, &Weights::default());
        let before = upstream.members();
        let next =
            Membership::build_membership(&upstream.arrangement, specs, Some(&before)).unwrap();
        black_box(upstream.replace_members(next));
    }
}

/// Changes one upstream after the other, a weight and a join or leave by turns.
fn changes(number: usize) {
    let config = configuration();
    let snapshot = compile::compile_config(&config, None, 16).unwrap();
    let named = |one: &Arc<Upstream>| (one.name.to_string(), (one.clone(), &config));
    let upstreams: BTreeMap<String, (Arc<Upstream>, &Config)> =
        snapshot.upstreams.iter().map(named).collect();
    let mut lists = Lists::default();
    let send = |lists: &Lists, n: usize, weight: u16, servers: usize| {
        let name: Arc<str> = format!("u{n}").into();
        let written = config.upstream[&*name].servers.elsewhere().unwrap();
        let update = Update { entries: Some(entries(n, servers, weight)), ..Update::default() };
        lists.updates().send_update(&name, &Origin::from_source(written), &update);
    };
    for n in 0..UPSTREAMS {
        send(&lists, n, 1, SERVERS);
    }
    apply(&mut lists, &upstreams);
    // Nanoseconds, to a minute.
    let mut times = Histogram::<u64>::new_with_max(60_000_000_000, 3).unwrap();
    let mut memory = Vec::new();
    for turn in 0..number {
        if turn % (number / 4).max(1) == 0 {
            memory.push(format!("{:.1}", resident()));
        }
        let round = turn / UPSTREAMS;
        let weight = u16::try_from(round % 9 + 1).unwrap();
        let began = Instant::now();
        send(&lists, turn % UPSTREAMS, weight, SERVERS - round % 2);
        apply(&mut lists, &upstreams);
        times.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap());
    }
    memory.push(format!("{:.1}", resident()));
    let micros = |quantile: f64| times.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{number} changes of {UPSTREAMS} upstreams of {SERVERS} servers: {:.1} us each at the median, {:.1} us at the \
         99th percentile, {:.1} us at most; {:.1} % of a core at one a millisecond; resident {} MiB",
        micros(0.5),
        micros(0.99),
        times.max() as f64 / 1e3,
        times.mean() / 1e6 * 100.0,
        memory.join(", "),
    );
}

fn said(n: usize) -> Registration {
    let ip = [10, u8::try_from(n >> 16).unwrap(), u8::try_from((n >> 8) & 255).unwrap()];
    let ip = [ip[0], ip[1], ip[2], u8::try_from(n & 255).unwrap()];
    Registration {
        address: Some(SocketAddr::from((ip, 80))),
        ttl: Some(Duration::from_secs(3600)),
        ..Registration::default()
    }
}

fn registry() -> Arc<Registry> {
    let registry = Arc::new(Registry::start(Updates::default()).unwrap());
    let settings = Settings { most: 100_000, allow: Box::default(), shared: false };
    registry.follow(BTreeMap::from([("app".into(), settings)]), None, Hear::Later);
    registry
}

/// Registers servers, a hundred at a time.
async fn register(registry: &Arc<Registry>, number: usize) {
    let all: Vec<usize> = (0..number).collect();
    for some in all.chunks(100) {
        let mut calls = JoinSet::new();
        for n in some.iter().copied() {
            let registry = registry.clone();
            calls.spawn(async move {
                registry.register("app", &format!("s{n}"), said(n)).await.unwrap();
            });
        }
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
    }
}

/// Registers many servers for the first time, and renews their leases.
fn leases() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in [1_000, LEASES] {
        let registry = registry();
        let began = Instant::now();
        runtime.block_on(register(&registry, number));
        println!("{number} servers register for the first time: {:.1?}", began.elapsed());
        let ids: Vec<String> = (0..number).map(|n| format!("s{n}")).collect();
        let rounds = 10;
        let began = Instant::now();
        for _ in 0..rounds {
            runtime.block_on(async {
                for (n, id) in ids.iter().enumerate() {
                    black_box(registry.register("app", id, said(n)).await.unwrap());
                }
            });
        }
        let once = began.elapsed() / rounds;
        println!(
            "{number} leases are renewed once: {once:.1?}, {:.3} % of a core every {RENEWED:?}",
            once.as_secs_f64() / RENEWED.as_secs_f64() * 100.0
        );
    }
}

/// The memory of another process in MiB.
fn resident_of(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64 / f64::from(1 << 20)
}

/// Phases of each kind: with changes, and without.
const PHASES: usize = 5;
/// Connections to the admin endpoint; each makes a change every so many milliseconds.
const TELLERS: u32 = 4;

fn request_of(n: usize) -> String {
    format!("GET / HTTP/1.1\r\nHost: u{}.test\r\n\r\n", n % UPSTREAMS)
}

fn put(upstream: &str, id: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "PUT /upstreams/{upstream}/servers/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The change with this number: of a weight, or a server that comes or goes.
fn change_request(number: usize, port: u16) -> String {
    let (upstream, round) = (number % UPSTREAMS, number / UPSTREAMS);
    let name = format!("u{upstream}");
    if (upstream + round) % 2 == 0 {
        let (server, weight) = (round / 2 % SERVERS, round % 9 + 1);
        let body = format!(
            "{{\"address\": \"127.0.0.{}:{port}\", \"weight\": {weight}, \"ttl\": \"1h\"}}",
            server + 1
        );
        return put(&name, &format!("s{server}"), &body);
    }
    match round / 2 % 2 {
        0 => {
            put(&name, "more", &format!("{{\"address\": \"127.0.0.99:{port}\", \"ttl\": \"1h\"}}"))
        }
        _ => format!("DELETE /upstreams/{name}/servers/more HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    }
}

/// Tells of changes from the `first` one on, one a millisecond of all tellers together.
fn tell(admin: &str, first: usize, number: usize, port: u16) -> Vec<thread::JoinHandle<()>> {
    let one = |teller: u32| {
        let admin = admin.to_owned();
        thread::spawn(move || {
            let mut calls = load::AdminCaller::new(&admin);
            let began = Instant::now();
            for turn in (teller as usize..number).step_by(TELLERS as usize) {
                let due = began + Duration::from_millis(turn as u64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let status = calls.call(&change_request(first + turn, port));
                assert!((200..300).contains(&status), "{status}");
            }
        })
    };
    (0..TELLERS).map(one).collect()
}

/// Lets one upstream's first server and its second take turns by their priority, until `stop`; the
/// times in microseconds from the beginning of a change to the end of the first request that
/// another server has answered.
fn watch_changes(
    proxy: &str,
    admin: &str,
    ports: [u16; 2],
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<Vec<u64>> {
    let (proxy, admin, stop) = (proxy.to_owned(), admin.to_owned(), stop.clone());
    thread::spawn(move || {
        let (mut proxy, mut admin) = (load::connect(&proxy), load::AdminCaller::new(&admin));
        let mut tell = |id: &str, port: u16, priority: u16| {
            let body = format!(
                "{{\"address\": \"127.0.0.1:{port}\", \"priority\": {priority}, \"ttl\": \"1h\"}}"
            );
            let status = admin.call(&put("watched", id, &body));
            assert!((200..300).contains(&status), "{status}");
        };
        tell("b", ports[1], 1);
        let mut times = Vec::new();
        for (priority, expected) in [(0, b"aa"), (2, b"bb")].into_iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let began = Instant::now();
            tell("a", ports[0], priority);
            let request = "GET / HTTP/1.1\r\nHost: watched.test\r\n\r\n";
            while load::exchange(&mut proxy, request).1 != expected {}
            times.push(u64::try_from(began.elapsed().as_micros()).unwrap());
            thread::sleep(Duration::from_millis(20));
        }
        times
    })
}

/// One change a millisecond while requests are made.
fn under_load(number: usize) {
    let ports = [load::origin("aa"), load::origin("bb")];
    let mut text =
        "[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\nlevel = \"info\"\n\
                    [[listen]]\naddress = \"127.0.0.1:0\"\n"
            .to_owned();
    for name in (0..UPSTREAMS).map(|n| format!("u{n}")).chain(["watched".to_owned()]) {
        write!(
            text,
            "[upstream.{name}]\nservers = {{ registry = true }}\n\
             [[route]]\nhost = \"{name}.test\"\nupstream = \"{name}\"\n"
        )
        .unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, text).unwrap();
    let proxy = load::Proxy::start(&file);
    let mut first = load::AdminCaller::new(&proxy.admin);
    for server in 0..SERVERS {
        for upstream in 0..UPSTREAMS {
            let at = format!("127.0.0.{}:{}", server + 1, ports[0]);
            let body = format!("{{\"address\": \"{at}\", \"ttl\": \"1h\"}}");
            let request = put(&format!("u{upstream}"), &format!("s{server}"), &body);
            assert_eq!(first.call(&request), 201);
        }
    }
    let (mut quiet, mut busy, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory = vec![format!("{:.1}", resident_of(proxy.pid()))];
    let part = number / PHASES;
    for phase in 0..PHASES {
        let mut took = Duration::ZERO;
        for changing in [true, false] {
            let stop = Arc::new(AtomicBool::new(false));
            let work = load::clients(&proxy.address, request_of, &stop);
            let began = Instant::now();
            if changing {
                let watcher = watch_changes(&proxy.address, &proxy.admin, ports, &stop);
                for teller in tell(&proxy.admin, phase * part, part, ports[0]) {
                    teller.join().unwrap();
                }
                took = began.elapsed();
                stop.store(true, Ordering::Relaxed);
                applied.extend(watcher.join().unwrap());
            } else {
                thread::sleep(took);
                stop.store(true, Ordering::Relaxed);
            }
            let times = if changing { &mut busy } else { &mut quiet };
            times.extend(work.into_iter().flat_map(|client| client.join().unwrap()));
        }
        println!("  {part} changes in {took:.1?}");
        memory.push(format!("{:.1}", resident_of(proxy.pid())));
    }
    drop(proxy);
    let line = |what: &str, times: &mut [u64]| {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| load::percentile(times, share));
        println!("  {what:<40} p50 {half:.2} ms, p99 {most:.2} ms, max {all:.2} ms");
    };
    println!(
        "{number} changes through the registry, one a millisecond; resident {} MiB",
        memory.join(", ")
    );
    line(&format!("until requests see one ({} times)", applied.len()), &mut applied);
    line(&format!("requests without changes ({})", quiet.len()), &mut quiet);
    line(&format!("requests during changes ({})", busy.len()), &mut busy);
    println!(
        "  p99 during / without: {:.2}",
        load::percentile(&mut busy, 0.99) / load::percentile(&mut quiet, 0.99)
    );
}

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let number = number.unwrap_or(60_000);
    leases();
    changes(number);
    // A minute of them, however many the others are.
    under_load(number.min(60_000));
}
