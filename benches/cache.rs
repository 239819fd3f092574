//! Which entries a full cache keeps, as hit ratios beside LRU and W-TinyLFU (printed, not timed),
//! and what it costs to find a stored response and to decide whether it may be used.
//!
//! `cargo bench --bench cache`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for people who measure"
)]

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::cache::directives::RequestDirectives;
use tidegate::cache::order::{Evictable, EvictionOrder};
use tidegate::cache::policy::{self, CacheQuery, CacheSettings, Received};
use tidegate::clock::Random;
use tidegate::wire::head::Fields;

/// Something that keeps so many names and says whether it has one.
trait Contestant {
    /// Returns whether a name is kept, and takes it in if it is not.
    fn asks_for(&mut self, name: u64) -> bool;
}

#[derive(Debug)]
struct Entry {
    name: u64,
    uses: Cell<u8>,
}

#[derive(Debug, Clone)]
struct Handle(Rc<Entry>);

impl Evictable for Handle {
    type Owner = ();

    fn entry_name(&self) -> u64 {
        self.0.name
    }
    fn entry_size(&self, (): &()) -> u64 {
        1
    }
    fn recent_uses(&self, (): &()) -> u8 {
        self.0.uses.get()
    }
    fn spend_use(&self, (): &()) -> bool {
        let uses = self.0.uses.get();
        self.0.uses.set(uses.saturating_sub(1));
        uses > 0
    }
}

/// The order that this cache goes by.
struct S3Fifo {
    room: usize,
    order: EvictionOrder<Handle>,
    known: HashMap<u64, Handle>,
}

impl Contestant for S3Fifo {
    fn asks_for(&mut self, name: u64) -> bool {
        if let Some(entry) = self.known.get(&name) {
            entry.0.uses.set((entry.0.uses.get() + 1).min(3));
            return true;
        }
        let entry = Handle(Rc::new(Entry { name, uses: Cell::new(0) }));
        self.known.insert(name, entry.clone());
        self.order.admit_entry(entry, 1);
        while self.known.len() > self.room {
            let leaves = self.order.evict_next(&()).unwrap();
            self.known.remove(&leaves.0.name);
        }
        false
    }
}

/// Least recently used: names by the tick of their last use.
#[derive(Default)]
struct Lru {
    room: usize,
    tick: u64,
    ticks: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    fn touch(&mut self, name: u64) -> bool {
        self.tick += 1;
        let before = self.ticks.insert(name, self.tick);
        before.iter().for_each(|before| {
            self.order.remove(before);
        });
        self.order.insert(self.tick, name);
        before.is_some()
    }

    fn has(&self, name: u64) -> bool {
        self.ticks.contains_key(&name)
    }

    fn remove(&mut self, name: u64) {
        let tick = self.ticks.remove(&name).unwrap();
        self.order.remove(&tick);
    }

    fn oldest(&self) -> Option<u64> {
        self.order.values().next().copied()
    }

    /// The name that has to leave.
    fn overflow(&mut self) -> Option<u64> {
        let oldest = self.oldest().filter(|_| self.ticks.len() > self.room)?;
        self.remove(oldest);
        Some(oldest)
    }
}

impl Contestant for Lru {
    fn asks_for(&mut self, name: u64) -> bool {
        let known = self.touch(name);
        self.overflow();
        known
    }
}

/// W-TinyLFU (Einziger, Friedman, Manes, 2017): a window of a hundredth, behind it a main part of
/// two segments, into which only who was asked for more often than who would leave is let;
/// frequencies by a sketch that is halved now and then.
struct TinyLfu {
    window: Lru,
    probation: Lru,
    protected: Lru,
    main_room: usize,
    sketch: Vec<[u8; 4]>,
    counted: usize,
    halve_at: usize,
}

impl TinyLfu {
    fn new(room: usize) -> Self {
        let window = (room / 100).max(1);
        let main_room = room - window;
        Self {
            window: Lru::new(window),
            probation: Lru::new(main_room),
            protected: Lru::new(main_room * 4 / 5),
            main_room,
            sketch: vec![[0; 4]; (room * 8).next_power_of_two()],
            counted: 0,
            halve_at: room * 10,
        }
    }

    fn rows(&self, name: u64) -> [usize; 4] {
        let seeds = [
            0x9e37_79b9_7f4a_7c15,
            0xbf58_476d_1ce4_e5b9,
            0x94d0_49bb_1331_11eb,
            0xff51_afd7_ed55_8ccd,
        ];
        seeds.map(|seed: u64| {
            let hash = (name ^ (name >> 31)).wrapping_add(seed).wrapping_mul(seed);
            (hash >> 32) as usize & (self.sketch.len() - 1)
        })
    }

    fn count(&mut self, name: u64) {
        for (row, at) in self.rows(name).into_iter().enumerate() {
            self.sketch[at][row] = (self.sketch[at][row] + 1).min(15);
        }
        self.counted += 1;
        if self.counted >= self.halve_at {
            self.counted /= 2;
            self.sketch.iter_mut().flatten().for_each(|count| *count /= 2);
        }
    }

    fn frequency(&self, name: u64) -> u8 {
        let rows = self.rows(name).into_iter().enumerate();
        rows.map(|(row, at)| self.sketch[at][row]).min().unwrap()
    }
}

impl Contestant for TinyLfu {
    fn asks_for(&mut self, name: u64) -> bool {
        self.count(name);
        if self.window.has(name) || self.protected.has(name) {
            let part = if self.window.has(name) { &mut self.window } else { &mut self.protected };
            return part.touch(name);
        }
        if self.probation.has(name) {
            self.probation.remove(name);
            self.protected.touch(name);
            if let Some(demoted) = self.protected.overflow() {
                self.probation.touch(demoted);
            }
            return true;
        }
        self.window.touch(name);
        if let Some(candidate) = self.window.overflow() {
            if self.probation.ticks.len() + self.protected.ticks.len() < self.main_room {
                self.probation.touch(candidate);
            } else if let Some(victim) = self.probation.oldest()
                && self.frequency(candidate) > self.frequency(victim)
            {
                self.probation.remove(victim);
                self.probation.touch(candidate);
            }
        }
        false
    }
}

/// Names 0 to `many`, of which the n-th is asked for in proportion to 1 / n^skew.
struct Zipf {
    sums: Vec<f64>,
}

impl Zipf {
    fn new(many: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=many).map(|n| {
            sum += (n as f64).powf(-skew);
            sum
        });
        Self { sums: sums.collect() }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let at = random.unit() * self.sums.last().unwrap();
        self.sums.partition_point(|sum| *sum < at) as u64
    }
}

fn traces(room: u64) -> Vec<(String, Vec<u64>)> {
    let mut random = Random::seeded(18);
    let mut traces = Vec::new();
    for skew in [0.8, 1.0] {
        let zipf = Zipf::new(100_000, skew);
        let names: Vec<u64> = (0..1_000_000).map(|_| zipf.draw(&mut random)).collect();
        // A crawler: every name of its own is asked for once, as many as all the others' requests.
        let mut crawled = 1_000_000_u64;
        let scan = names.chunks(50_000).flat_map(|part| {
            let first = crawled;
            crawled += part.len() as u64;
            part.iter().copied().chain(first..crawled).collect::<Vec<_>>()
        });
        let scan: Vec<u64> = scan.collect();
        traces.push((format!("Zipf {skew}"), names));
        traces.push((format!("Zipf {skew} and scans"), scan));
    }
    let around = room * 6 / 5;
    traces.push(("loop of 1.2 x its size".into(), (0..room * 50).map(|n| n % around).collect()));
    traces
}

fn hit_ratios(_: &mut Criterion) {
    for room in [1000_usize, 10_000] {
        println!(
            "\n{room} entries: hits of 100 requests\n| trace | S3-FIFO | LRU | W-TinyLFU |\n|---|---:|---:|---:|"
        );
        for (title, names) in traces(room as u64) {
            let known = HashMap::new();
            let contestants: [Box<dyn Contestant>; 3] = [
                Box::new(S3Fifo { room, order: EvictionOrder::default(), known }),
                Box::new(Lru::new(room)),
                Box::new(TinyLfu::new(room)),
            ];
            let ratios = contestants.map(|mut contestant| {
                let hits = names.iter().filter(|name| contestant.asks_for(**name)).count();
                format!("{:.1}", 100.0 * hits as f64 / names.len() as f64)
            });
            println!("| {title} | {} |", ratios.join(" | "));
        }
    }
}

/// What is decided for each hit, and for each response that comes.
fn decisions(criterion: &mut Criterion) {
    let mut response = Fields::default();
    for (name, value) in [
        ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
        ("content-type", "text/html"),
        ("cache-control", "public, max-age=600, stale-while-revalidate=60"),
        ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ] {
        response.push(name.as_bytes(), value.as_bytes());
    }
    let mut request = Fields::default();
    for (name, value) in [("host", "a.test"), ("accept", "*/*"), ("user-agent", "bench")] {
        request.push(name.as_bytes(), value.as_bytes());
    }
    let at = 1_800_000_000_000;
    let received = Received { status: 200, fields: &response, asked_at: at, at };
    let settings = CacheSettings { ttl: Some(Duration::from_secs(1)), ..CacheSettings::default() };
    let nothing = CacheQuery::default();
    let timing = policy::judge_response(received, &nothing, &settings).unwrap();
    criterion.bench_function("policy/hit", |bencher| {
        bencher.iter(|| {
            let directives = RequestDirectives::read(black_box(&request));
            let asked = CacheQuery { directives, authenticated: false };
            black_box(timing.usability_for(&asked, black_box(at + 1000)))
        });
    });
    criterion.bench_function("policy/response", |bencher| {
        bencher
            .iter(|| black_box(policy::judge_response(black_box(received), &nothing, &settings)));
    });
}

criterion_group!(cache, hit_ratios, decisions);
criterion_main!(cache);
