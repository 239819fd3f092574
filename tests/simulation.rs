//! A hundred servers, half a minute of trouble, and no real time: the production code of balancing,
//! ejection, retries and slow start against simulated servers, with a virtual clock and seeded
//! randomness.
//!
//! Prints how each strategy copes. The table in docs/speed.md is this output; the test keeps it so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that reports figures"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tidegate::balance::{BalanceKey, PickContext};
use tidegate::clock::{self, Random};
use tidegate::endpoint::{Slot, standing};
use tidegate::exchange::Deadline;
use tidegate::snapshot::compile;
use tidegate::upstream::retry::{Failure, RetryDecision, RetryFacts};
use tidegate::upstream::{Membership, Retry, Upstream, outlier, upkeep};

const SERVERS: usize = 100;
/// Requests that a server works on at a time; the others wait at the server.
const WORKERS: usize = 2;
/// Mean time of work for one request, in microseconds.
const WORK: f64 = 50_000.0;
/// Requests per second: 60 % of what all servers can do.
const RATE: f64 = 2_400.0;
/// Simulated time in microseconds.
const END: u64 = 30_000_000;

/// What is wrong with a server, and when.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// Ten times slower, from 5 s to 25 s.
    Slow,
    /// Answers 500 within a millisecond, from 5 s to 25 s.
    Failing,
    /// Refuses connections from 8 s to 16 s; active checks notice at 12 s and at 18 s.
    Away,
    /// Restarts: ten servers one after the other, from 5 s on, refuse connections for 1.5 s each.
    Restarting(u64),
    /// Answers nothing from 10 s to 18 s; the proxy waits for two seconds.
    Stopped,
    /// Breaks off its answers from 5 s to 25 s.
    Breaking,
    None,
}

impl Trouble {
    fn of(server: usize) -> Self {
        match server {
            0..5 => Self::Slow,
            5..10 => Self::Failing,
            10..13 => Self::Away,
            13..23 => Self::Restarting(5_000_000 + 2_000_000 * (server as u64 - 13)),
            23..25 => Self::Stopped,
            25..28 => Self::Breaking,
            _ => Self::None,
        }
    }

    fn now(self, at: u64) -> Self {
        let during = match self {
            Self::Slow | Self::Failing | Self::Breaking => 5_000_000..25_000_000,
            Self::Restarting(from) => from..from + 1_500_000,
            Self::Stopped => 10_000_000..18_000_000,
            Self::Away => 8_000_000..16_000_000,
            Self::None => 0..0,
        };
        if during.contains(&at) { self } else { Self::None }
    }
}

#[derive(Default)]
struct Server<'a> {
    busy: usize,
    waiting: VecDeque<Request<'a>>,
}

/// A request on its way to a server.
struct Pending {
    came: u64,
    user: u64,
    /// It is a read.
    repeatable: bool,
    tried: Vec<u32>,
    retries: u32,
}

struct Request<'a> {
    pending: Pending,
    came: u64,
    server: usize,
    failure: Failure,
    /// Microseconds of work.
    work: u64,
    _slot: Slot<'a>,
}

#[derive(Default)]
struct Figures {
    latencies: Vec<u64>,
    sent: usize,
    bad: usize,
    failed: usize,
    /// Writes that reached a server more than once.
    doubled: usize,
    /// Requests that no server processed.
    unsent: usize,
}

struct Simulation<'a> {
    upstream: &'a Upstream,
    members: &'a Membership,
    retry: Retry,
    random: Random,
    servers: Vec<Server<'a>>,
    under_way: Vec<Option<Request<'a>>>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    figures: Figures,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Done(usize),
    Tick,
    Check,
    /// Servers that took no connection are asked whether they take one again.
    Ask,
}

impl<'a> Simulation<'a> {
    fn new((upstream, members): (&'a Upstream, &'a Membership), retry: Retry, seed: u64) -> Self {
        let servers = (0..SERVERS).map(|_| Server::default()).collect();
        let mut this = Self {
            upstream,
            members,
            retry,
            random: Random::seeded(seed),
            servers,
            under_way: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            figures: Figures::default(),
        };
        this.at(0, Event::Arrive);
        this.at(0, Event::Tick);
        this.at(0, Event::Ask);
        this.at(12_000_000, Event::Check);
        this.at(18_000_000, Event::Check);
        this
    }

    fn at(&mut self, when: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((when, self.sequence, event)));
    }

    fn exponential(&mut self, mean: f64) -> u64 {
        (-(1.0 - self.random.unit()).ln() * mean) as u64
    }

    async fn run(mut self) -> Figures {
        let mut now = 0;
        while let Some(Reverse((when, _, event))) = self.events.pop() {
            // Paused time has a resolution of a millisecond; that is what policies may rely on.
            let (passed, before) = (when / 1000, now / 1000);
            if passed > before {
                tokio::time::advance(Duration::from_millis(passed - before)).await;
            }
            now = when;
            match event {
                Event::Arrive => {
                    self.arrive(now);
                    let gap = self.exponential(1e6 / RATE);
                    if now + gap < END {
                        self.at(now + gap, Event::Arrive);
                    }
                }
                Event::Done(slot) => self.done(now, slot),
                Event::Tick => {
                    upkeep::end_ejections(self.upstream, clock::now());
                    if now < END {
                        self.at(now + 100_000, Event::Tick);
                    }
                }
                Event::Check => self.check(now),
                Event::Ask => {
                    self.ask(now);
                    if now < END {
                        self.at(now + 100_000, Event::Ask);
                    }
                }
            }
        }
        self.figures
    }

    fn arrive(&mut self, now: u64) {
        let user = self.random.below(10_000);
        let repeatable = self.random.below(5) > 0;
        self.retry.budget.count_request();
        self.figures.sent += 1;
        let (tried, retries) = (Vec::new(), 0);
        self.send(now, Pending { came: now, user, repeatable, tried, retries });
    }

    fn send(&mut self, now: u64, pending: Pending) {
        let user = pending.user.to_le_bytes();
        let mut ask = PickContext {
            tried: &pending.tried,
            key: Some(BalanceKey::new(&user)),
            now: clock::now(),
            random: &mut self.random,
            rules: self.upstream.rules,
        };
        let Some(member) = self.members.pool(0).unwrap().pick_server(&mut ask) else {
            self.figures.failed += 1;
            self.figures.unsent += 1;
            return;
        };
        let server: usize = member.endpoint.name.strip_prefix('s').unwrap().parse().unwrap();
        let slot = member.endpoint.begin_request();
        let trouble = Trouble::of(server).now(now);
        self.figures.bad += usize::from(trouble != Trouble::None);
        let work = self.exponential(WORK);
        let (failure, work) = match trouble {
            Trouble::None => (Failure::Status(200), work),
            Trouble::Slow => (Failure::Status(200), work * 10),
            Trouble::Failing => (Failure::Status(500), 1000),
            Trouble::Away | Trouble::Restarting(_) => (Failure::Connect, 0),
            Trouble::Stopped => (Failure::Timeout(Deadline::FirstByte), 2_000_000),
            Trouble::Breaking => (Failure::Closed, work / 10),
        };
        let request = Request { pending, came: now, server, failure, work, _slot: slot };
        let at_once = matches!(trouble, Trouble::Away | Trouble::Restarting(_) | Trouble::Stopped);
        if at_once || self.servers[server].busy < WORKERS {
            self.begin(now, request);
        } else {
            self.servers[server].waiting.push_back(request);
        }
    }

    fn begin(&mut self, now: u64, request: Request<'a>) {
        self.servers[request.server].busy += 1;
        let end = now + request.work;
        self.under_way.push(Some(request));
        let place = self.under_way.len() - 1;
        self.at(end, Event::Done(place));
    }

    fn done(&mut self, now: u64, place: usize) {
        let request = self.under_way[place].take().unwrap();
        let member = &self.members.members()[request.server];
        let took = now - request.came;
        let Request { mut pending, server, failure, _slot: slot, .. } = request;
        if failure == Failure::Connect {
            member.endpoint.standing.mark_unreachable(clock::now());
        }
        outlier::note_end(self.upstream, &member.endpoint, None, failure);
        if failure == Failure::Status(200) {
            member.endpoint.latency.observe_response(clock::now(), Duration::from_micros(took));
            self.figures.latencies.push(now - pending.came);
        } else {
            member.endpoint.latency.penalize_server(clock::now(), None);
        }
        drop(slot);
        pending.tried.push(member.endpoint.id);
        if failure != Failure::Status(200) {
            let Pending { repeatable, retries, .. } = pending;
            let facts =
                RetryFacts { repeatable, replayable: true, retries, repaired: true, keyed: false };
            let again = match self.retry.decide_next(failure, facts) {
                RetryDecision::Onward => true,
                RetryDecision::Elsewhere => {
                    pending.retries += 1;
                    self.retry.budget.take_retry(clock::now())
                }
                RetryDecision::GiveUp | RetryDecision::Fresh => false,
            };
            if again {
                let processed = !failure.is_unprocessed();
                self.figures.doubled += usize::from(processed && !repeatable);
                self.send(now, pending);
            } else {
                self.figures.failed += 1;
            }
        }
        self.servers[server].busy -= 1;
        if let Some(next) = self.servers[server].waiting.pop_front() {
            self.begin(now, next);
        }
    }

    /// What the health thread finds out about servers that took no connection.
    fn ask(&mut self, now: u64) {
        for (n, member) in self.members.members().iter().enumerate() {
            let refuses = matches!(Trouble::of(n).now(now), Trouble::Away | Trouble::Restarting(_));
            if !refuses && member.endpoint.standing.mark_reached(clock::now()) {
                outlier::readmit_server(
                    self.upstream,
                    &member.endpoint,
                    "it takes connections again",
                );
            }
        }
    }

    /// What active checks find out.
    fn check(&mut self, now: u64) {
        for (n, member) in self.members.members().iter().enumerate() {
            if Trouble::of(n) != Trouble::Away {
                continue;
            }
            let standing = &member.endpoint.standing;
            if Trouble::of(n).now(now) == Trouble::Away {
                standing.take_out(standing::UNHEALTHY);
            } else {
                standing.bring_back(standing::UNHEALTHY, clock::now());
            }
        }
    }
}

fn upstream(balance: &str) -> (Arc<Upstream>, Retry) {
    let servers: Vec<String> = (0..SERVERS)
        .map(|n| format!("{{ address = \"10.0.0.{}:80\", name = \"s{n}\" }}", n + 1))
        .collect();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [{}]\nbalance = {balance}\n\
         [[route]]\nupstream = \"app\"\n",
        servers.join(", ")
    );
    let config = tidegate::config::load_str("simulation.toml", &text).unwrap().config;
    let upstream = compile::compile_config(&config, None, 16).unwrap().upstreams[0].clone();
    // The defaults.
    let retry = Retry {
        attempts: 1,
        on_connect: true,
        on_timeout: true,
        on_reset: true,
        on_invalid: true,
        on_status: [502, 503, 504].into(),
        on_grpc: [].into(),
        per_try: None,
        body_buffer: 65_536,
        budget: upstream.budget.clone(),
        backoff: None,
    };
    (upstream, retry)
}

fn simulate(balance: &str, seed: u64) -> Figures {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let _epoch = clock::millis(clock::now());
        let (upstream, retry) = upstream(balance);
        Simulation::new((&upstream, &upstream.members()), retry, seed).run().await
    })
}

fn table() -> String {
    let mut table = String::from(
        "| strategy | p50 ms | p99 ms | on bad servers | failed |\n|---|---:|---:|---:|---:|\n",
    );
    for (name, balance) in [
        ("`round_robin`", "\"round_robin\""),
        ("`random`", "\"random\""),
        ("`least_request` (default)", "\"least_request\""),
        ("`least_conn`", "\"least_conn\""),
        ("`peak_ewma`", "\"peak_ewma\""),
        ("`hash`, ring", "{ hash = \"header:x-user\" }"),
        ("`hash`, maglev", "{ hash = \"header:x-user\", table = \"maglev\" }"),
    ] {
        let Figures { mut latencies, sent, bad, failed, .. } = simulate(balance, 1);
        latencies.sort_unstable();
        let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize] as f64 / 1000.0;
        let percent = |n: usize| n as f64 * 100.0 / sent as f64;
        let (p50, p99) = (at(0.5), at(0.99));
        let (bad, failed) = (percent(bad), percent(failed));
        writeln!(table, "| {name} | {p50:.0} | {p99:.0} | {bad:.1} % | {failed:.2} % |").unwrap();
    }
    table
}

#[test]
fn r9_what_was_refused_is_answered_by_another_server_and_no_write_is_doubled() {
    for seed in 1..=4 {
        let figures = simulate("\"least_request\"", seed);
        assert!(figures.sent > 60_000, "seed {seed}");
        assert_eq!((figures.unsent, figures.doubled), (0, 0), "seed {seed}");
        let answered = figures.latencies.len();
        assert_eq!(answered + figures.failed, figures.sent, "seed {seed}");
        // Those that answer 500, break off or do not answer a write are all that is left.
        assert!(figures.failed * 1000 < figures.sent * 3, "seed {seed}: {}", figures.failed);
    }
}

#[test]
fn the_book_shows_what_the_simulation_prints() {
    let table = table();
    println!("{table}");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/speed.md");
    let readme = std::fs::read_to_string(file).unwrap();
    let (before, rest) = readme.split_once("<!-- simulation:begin -->\n\n").unwrap();
    let (shown, after) = rest.split_once("\n<!-- simulation:end -->").unwrap();
    if std::env::var_os("BLESS").is_some() {
        let text =
            format!("{before}<!-- simulation:begin -->\n\n{table}\n<!-- simulation:end -->{after}");
        std::fs::write(file, text).unwrap();
    } else {
        assert_eq!(shown, table, "run with BLESS=1 if this is right");
    }
}
