//! What the workers' intervals add up to: since the start, and over the last second, ten and sixty.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::{ById, ByMethod, DIGITS, Interval, METHODS, StatsBucket};
use super::refusals::Remembered;
use super::timeline::{CLASSES, ROWS, STEP, Timeline, TimelineSample, TimelineStep, WholeProcess};
use crate::clock;
use crate::exchange::outcome::{CUTS, OUTCOMES};

/// The longest window, in seconds.
const LONGEST: u64 = 60;
/// The upper ends of the buckets of `http_request_duration_seconds`, in microseconds.
pub const BUCKETS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The times within which most requests, nine in ten, … were done, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    #[serde(rename = "p99.9")]
    pub p999: f64,
}

/// A stretch of time that has just passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Window {
    /// Requests (for servers: attempts) per second.
    pub rate: f64,
    /// Of these, per second, how many ended with 500 to 599 or without a response.
    pub errors: f64,
    /// The times that they took in milliseconds; null when there were none.
    pub latency_ms: Option<Percentiles>,
}

/// All windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Windows {
    /// The last full second.
    #[serde(rename = "1s")]
    pub one: Window,
    /// The last ten seconds.
    #[serde(rename = "10s")]
    pub ten: Window,
    /// The last sixty seconds.
    #[serde(rename = "60s")]
    pub sixty: Window,
    /// Since the process started; the rates are zero here, the counters tell more.
    pub total: Window,
}

/// The facts about a route, listener, upstream or server.
#[derive(Debug, Clone, Default)]
pub struct HistorySummary {
    /// Responses by hundreds: 1xx to 5xx.
    pub classes: [u64; 5],
    /// Exchanges by how they ended, in the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// Responses of servers that were cut, in the order of [`CUTS`].
    pub cuts: [u64; CUTS.len()],
    /// Bytes of request bodies.
    pub received: u64,
    /// Bytes of response bodies.
    pub sent: u64,
    /// Rates and latency.
    pub windows: Windows,
}

/// The facts about one method of a route.
#[derive(Debug, Clone, Default)]
pub struct MethodReport {
    /// The number of responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// The number of requests that took at most as long as the bucket of the same place in [`BUCKETS`].
    pub buckets: [u64; BUCKETS.len()],
    /// All of them.
    pub count: u64,
    /// The time that they took together.
    pub micros: u64,
}

/// The times of the attempts at a server that were answered.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// The number that took at most as long as the bucket of the same place in [`BUCKETS`].
    pub buckets: [u64; BUCKETS.len()],
    /// All of them.
    pub count: u64,
    /// The time that they took together.
    pub micros: u64,
}

/// Exchanges of one code that are remembered.
const REMEMBERED: usize = 20;

/// Everything since the start at one place.
#[derive(Debug, Clone)]
struct PlaceTotal {
    latency: Histogram<u64>,
    micros: u64,
    statuses: BTreeMap<u16, u64>,
    outcomes: [u64; OUTCOMES.len()],
    cuts: [u64; CUTS.len()],
    received: u64,
    sent: u64,
}

impl Default for PlaceTotal {
    fn default() -> Self {
        Self {
            // Grows with what is recorded. The number of digits is a constant that is allowed.
            latency: Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("constant digits")),
            micros: 0,
            statuses: BTreeMap::new(),
            outcomes: [0; OUTCOMES.len()],
            cuts: [0; CUTS.len()],
            received: 0,
            sent: 0,
        }
    }
}

impl PlaceTotal {
    fn add_bucket(&mut self, tally: &StatsBucket) {
        for bucket in tally.latency.iter_recorded() {
            let (value, count) = (bucket.value_iterated_to(), bucket.count_at_value());
            // An error would mean that it cannot grow to an hour, which it can.
            let _recorded = self.latency.record_n(value, u64::from(count));
        }
        self.micros += tally.micros;
        for (status, count) in &tally.statuses {
            *self.statuses.entry(*status).or_default() += u64::from(*count);
        }
        add_sums(&mut self.outcomes, tally.outcomes.map(u64::from));
        add_sums(&mut self.cuts, tally.cuts.map(u64::from));
        self.received += tally.received;
        self.sent += tally.sent;
    }

    fn merge_total(&mut self, other: &Self) {
        let _added = self.latency.add(&other.latency);
        self.micros += other.micros;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        add_sums(&mut self.outcomes, other.outcomes);
        add_sums(&mut self.cuts, other.cuts);
        self.received += other.received;
        self.sent += other.sent;
    }
}

fn add_sums<const N: usize>(sums: &mut [u64; N], more: [u64; N]) {
    sums.iter_mut().zip(more).for_each(|(sum, n)| *sum += n);
}

/// A part of a second: what one worker had.
#[derive(Debug, Clone)]
struct HistoryPiece {
    second: u64,
    requests: u32,
    errors: u32,
    /// 1xx to 5xx, and without a response.
    classes: [u32; CLASSES],
    /// Times in microseconds and how often, only those there were.
    times: Box<[(u32, u32)]>,
}

impl HistoryPiece {
    fn new(second: u64, tally: &StatsBucket) -> Self {
        let times = tally.latency.iter_recorded().map(|bucket| {
            (u32::try_from(bucket.value_iterated_to()).unwrap_or(u32::MAX), bucket.count_at_value())
        });
        let failed = |status: u16| status == 0 || (500..600).contains(&status);
        let errors = tally.statuses.iter().filter(|(status, _)| failed(*status));
        Self {
            second,
            requests: tally.statuses.iter().map(|(_, n)| n).sum(),
            errors: errors.map(|(_, n)| n).sum(),
            classes: class_counts(tally),
            times: times.collect(),
        }
    }
}

fn class_counts(tally: &StatsBucket) -> [u32; CLASSES] {
    let mut classes = [0; CLASSES];
    for (status, count) in &tally.statuses {
        let class = usize::from(status / 100).checked_sub(1).unwrap_or(CLASSES - 1);
        if let Some(sum) = classes.get_mut(class) {
            *sum += count;
        }
    }
    classes
}

/// The history of one place.
#[derive(Debug, Clone, Default)]
struct HistoryPlace {
    total: PlaceTotal,
    /// The oldest first.
    recent: VecDeque<HistoryPiece>,
}

impl HistoryPlace {
    fn add_piece(&mut self, second: u64, tally: &StatsBucket) {
        self.total.add_bucket(tally);
        self.recent.push_back(HistoryPiece::new(second, tally));
        self.forget_old(second);
    }

    fn forget_old(&mut self, second: u64) {
        while self.recent.front().is_some_and(|piece| piece.second + LONGEST < second) {
            self.recent.pop_front();
        }
    }
}

/// All that happened, by place.
#[derive(Debug, Default)]
pub struct History {
    /// Counts the seconds.
    second: u64,
    routes: ById<HistoryPlace>,
    methods: ById<[Option<Box<PlaceTotal>>; METHODS.len()]>,
    listeners: ById<HistoryPlace>,
    servers: ById<HistoryPlace>,
    refusals: BTreeMap<(u32, &'static str), u64>,
    auth: BTreeMap<(Arc<str>, &'static str), u64>,
    /// The oldest first.
    latest: BTreeMap<&'static str, VecDeque<Remembered>>,
    /// Lines of the access log that were dropped.
    pub dropped_lines: u64,
    /// The last six hours.
    pub timeline: Timeline,
    /// The ends of the exchanges of the step that is under way.
    outcomes: [u32; OUTCOMES.len()],
}

impl History {
    /// Adds what a worker had.
    pub fn add_interval(&mut self, interval: &Interval) {
        for (id, methods) in &interval.routes {
            self.add_route(*id, methods);
        }
        for (id, tally) in &interval.listeners {
            for (sum, n) in self.outcomes.iter_mut().zip(tally.outcomes) {
                *sum += n;
            }
            self.listeners.entry(*id).or_default().add_piece(self.second, tally);
        }
        for (id, tally) in &interval.servers {
            self.servers.entry(*id).or_default().add_piece(self.second, tally);
        }
        for (place, count) in &interval.refusals {
            *self.refusals.entry(*place).or_default() += u64::from(*count);
        }
        for (place, count) in &interval.auth {
            *self.auth.entry(place.clone()).or_default() += u64::from(*count);
        }
        for ending in &interval.latest {
            let latest = self.latest.entry(ending.code).or_default();
            if latest.len() >= REMEMBERED {
                latest.pop_front();
            }
            latest.push_back(ending.clone());
        }
        self.dropped_lines += interval.dropped_lines;
    }

    fn add_route(&mut self, id: u32, methods: &ByMethod) {
        let place = self.routes.entry(id).or_default();
        let totals = self.methods.entry(id).or_default();
        for (tally, total) in methods.iter().zip(totals) {
            if let Some(tally) = tally {
                place.add_piece(self.second, tally);
                total.get_or_insert_default().add_bucket(tally);
            }
        }
    }

    /// The second is over. `exists` tells whether a route, listener or server is still there.
    pub fn next_second(&mut self, exists: &Exists<'_>) {
        self.second += 1;
        let second = self.second;
        let keep = |place: &mut HistoryPlace, there: bool| {
            place.forget_old(second);
            there
        };
        self.routes.retain(|id, place| keep(place, (exists.route)(*id)));
        self.methods.retain(|id, _| (exists.route)(*id));
        self.refusals.retain(|(id, _), _| (exists.route)(*id));
        self.listeners.retain(|id, place| keep(place, (exists.listener)(*id)));
        self.servers.retain(|id, place| keep(place, (exists.server)(*id)));
        self.timeline.retain_configured(exists.route, exists.server);
        if second.is_multiple_of(STEP) {
            self.end_step();
        }
    }

    /// Ten seconds are over: writes down what they were.
    fn end_step(&mut self) {
        let from = self.second.saturating_sub(STEP);
        let sample = |(id, place): (&u32, &HistoryPlace)| {
            (*id, sample_places(std::iter::once(place), from).0)
        };
        let (sample_of_all, heat) = sample_places(self.listeners.values(), from);
        let outcomes = std::mem::take(&mut self.outcomes);
        self.timeline.record_step(TimelineStep {
            end: clock::unix_seconds(),
            whole: WholeProcess { sample: sample_of_all, outcomes, heat },
            routes: self.routes.iter().map(sample),
            servers: self.servers.iter().map(sample),
        });
    }

    /// Reads what is known about a route.
    #[must_use]
    pub fn route_summary(&self, id: u32) -> HistorySummary {
        self.summarize_places([self.routes.get(&id)].into_iter().flatten())
    }

    /// Reads what is known about a listener.
    #[must_use]
    pub fn listener_summary(&self, id: u32) -> HistorySummary {
        self.summarize_places([self.listeners.get(&id)].into_iter().flatten())
    }

    /// Reads what is known about some servers together.
    pub fn servers_summary(&self, ids: impl Iterator<Item = u32>) -> HistorySummary {
        self.summarize_places(ids.filter_map(|id| self.servers.get(&id)))
    }

    /// Counts the requests of each route that were refused, by code.
    pub fn refusals(&self) -> impl Iterator<Item = (u32, &'static str, u64)> {
        self.refusals.iter().map(|((route, code), count)| (*route, *code, *count))
    }

    /// Counts the clients that were not let in, by the name of what they should be known by, and by reason.
    pub fn denied(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        self.auth.iter().map(|((auth, reason), count)| (&**auth, *reason, *count))
    }

    /// The last exchanges that did not end well, by code, the newest first.
    pub fn latest(&self) -> impl Iterator<Item = (&'static str, Vec<Remembered>)> {
        self.latest.iter().map(|(code, latest)| {
            let mut latest: Vec<_> = latest.iter().cloned().collect();
            // Workers hand over one after the other.
            latest.sort_by(|a, b| b.time.total_cmp(&a.time));
            (*code, latest)
        })
    }

    /// Reads how long the answered attempts at a server took; `None` without any.
    #[must_use]
    pub fn durations(&self, server: u32) -> Option<Durations> {
        let total = &self.servers.get(&server)?.total;
        let count = total.latency.len();
        let buckets = BUCKETS.map(|upto| total.latency.count_between(0, upto));
        (count > 0).then_some(Durations { buckets, count, micros: total.micros })
    }

    /// Reads what is known about the methods of a route.
    pub fn methods(&self, id: u32) -> impl Iterator<Item = (&'static str, MethodReport)> {
        let totals = self.methods.get(&id).into_iter().flatten();
        METHODS.into_iter().zip(totals).filter_map(|(method, total)| {
            let total = total.as_ref()?;
            let count = total.latency.len();
            let buckets = BUCKETS.map(|upto| total.latency.count_between(0, upto));
            let statuses = total.statuses.clone();
            Some((method, MethodReport { statuses, buckets, count, micros: total.micros }))
        })
    }

    fn summarize_places<'a>(
        &'a self,
        places: impl Iterator<Item = &'a HistoryPlace>,
    ) -> HistorySummary {
        let mut total = PlaceTotal::default();
        let mut pieces: Vec<&HistoryPiece> = Vec::new();
        for place in places {
            total.merge_total(&place.total);
            // What has begun is not over: it would look like half a second.
            pieces.extend(place.recent.iter().filter(|piece| piece.second < self.second));
        }
        let mut classes = [0; 5];
        for (status, count) in &total.statuses {
            if let Some(class) = classes.get_mut(usize::from(status / 100).wrapping_sub(1)) {
                *class += count;
            }
        }
        let [one, ten, sixty] = self.windows(&mut pieces);
        let all = Window { rate: 0.0, errors: 0.0, latency_ms: percentiles(&total.latency) };
        let windows = Windows { one, ten, sixty, total: all };
        let PlaceTotal { outcomes, cuts, received, sent, .. } = total;
        HistorySummary { classes, outcomes, cuts, received, sent, windows }
    }

    /// One walk from the latest piece back serves all three windows.
    fn windows(&self, pieces: &mut [&HistoryPiece]) -> [Window; 3] {
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.second));
        let mut pieces = pieces.iter().peekable();
        let mut times = PlaceTotal::default().latency;
        let (mut requests, mut errors) = (0, 0);
        [1, 10, LONGEST].map(|seconds| {
            while let Some(piece) = pieces.next_if(|p| p.second + seconds >= self.second) {
                requests += u64::from(piece.requests);
                errors += u64::from(piece.errors);
                for (micros, count) in &piece.times {
                    let _recorded = times.record_n(u64::from(*micros), u64::from(*count));
                }
            }
            let per_second = |count: u64| count as f64 / seconds as f64;
            Window {
                rate: per_second(requests),
                errors: per_second(errors),
                latency_ms: percentiles(&times),
            }
        })
    }
}

/// Adds up what happened at some places since a second, and how the times spread.
fn sample_places<'a>(
    places: impl Iterator<Item = &'a HistoryPlace>,
    from: u64,
) -> (TimelineSample, [u32; ROWS]) {
    let (mut sample, mut heat) = (TimelineSample::default(), [0; ROWS]);
    let mut times = PlaceTotal::default().latency;
    let recent =
        places.flat_map(|place| place.recent.iter().rev().take_while(|p| p.second >= from));
    for piece in recent {
        for (sum, n) in sample.classes.iter_mut().zip(piece.classes) {
            *sum += n;
        }
        for (micros, count) in &piece.times {
            let _recorded = times.record_n(u64::from(*micros), u64::from(*count));
            let row = BUCKETS.partition_point(|upto| *upto < u64::from(*micros));
            if let Some(sum) = heat.get_mut(row) {
                *sum += count;
            }
        }
    }
    let at = |quantile| u32::try_from(times.value_at_quantile(quantile)).unwrap_or(u32::MAX);
    if !times.is_empty() {
        sample.micros = [at(0.5), at(0.99)];
    }
    (sample, heat)
}

/// The things that are still configured.
pub struct Exists<'a> {
    /// Tells if there is a route of this id.
    pub route: &'a dyn Fn(u32) -> bool,
    /// Tells if there is a listener of this id.
    pub listener: &'a dyn Fn(u32) -> bool,
    /// Tells if there is a server of this id.
    pub server: &'a dyn Fn(u32) -> bool,
}

fn percentiles(times: &Histogram<u64>) -> Option<Percentiles> {
    if times.is_empty() {
        return None;
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Some(Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exchange::Outcome;
    use crate::telemetry::ledger::{Ledger, LedgerEntry};

    const ALL: Exists<'static> =
        Exists { route: &|_| true, listener: &|_| true, server: &|_| true };

    fn interval(times: impl Iterator<Item = (u64, u16)>) -> Box<Interval> {
        let ledger = Ledger::default();
        for (millis, status) in times {
            let took = Duration::from_millis(millis);
            let route = Some(1);
            let entry = LedgerEntry {
                route,
                method: 0,
                listener: 0,
                server: None,
                status,
                outcome: Outcome::Whole,
                took,
                received: 1,
                sent: 2,
            };
            ledger.note_request(&entry);
            ledger.note_attempt(5, status, Some(took));
        }
        ledger.hand_over()
    }

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.01
    }

    #[test]
    fn windows_hold_what_has_just_passed() {
        let mut history = History::default();
        // Two workers, a fast second; then nine slow ones.
        history.add_interval(&interval((1..=50).map(|n| (n, 200))));
        history.add_interval(&interval((51..=100).map(|n| (n, 503))));
        assert_eq!(history.route_summary(1).windows.one.rate, 0.0, "a second that is not over");
        history.next_second(&ALL);
        let first = history.route_summary(1).windows;
        assert_eq!((first.one.rate, first.one.errors), (100.0, 50.0));
        let p = first.one.latency_ms.unwrap();
        assert!(close(p.p50, 50.0) && close(p.p90, 90.0) && close(p.p99, 99.0), "{p:?}");
        assert!(close(p.p999, 100.0), "{p:?}");
        for _ in 0..9 {
            history.add_interval(&interval([(1000, 200)].into_iter()));
            history.next_second(&ALL);
        }
        let later = history.route_summary(1).windows;
        assert_eq!(later.one.rate, 1.0);
        assert!(close(later.one.latency_ms.unwrap().p50, 1000.0));
        assert_eq!(later.ten.rate, 10.9);
        assert!(close(later.sixty.rate, 109.0 / 60.0));
        history.next_second(&ALL);
        assert_eq!(history.route_summary(1).windows.one.latency_ms, None, "nothing happened");
        for _ in 0..60 {
            history.next_second(&ALL);
        }
        let end = history.route_summary(1);
        assert_eq!(end.windows.sixty, Window::default());
        assert!(end.windows.total.latency_ms.is_some());
        assert_eq!((end.classes, end.received, end.sent), ([0, 59, 0, 0, 50], 109, 218));
    }

    #[test]
    fn every_ten_seconds_become_a_step() {
        let mut history = History::default();
        for _ in 0..10 {
            history.add_interval(&interval([(2, 200), (20, 503), (70_000, 404)].into_iter()));
            history.next_second(&ALL);
        }
        history.add_interval(&interval([(5, 301)].into_iter()));
        let wish = super::super::timeline::HistoryWish { minutes: 60, points: 100, places: true };
        let said = history.timeline.read_report(&wish, &[(1, "r".into())], &[(5, "u/s".into())]);
        let said = serde_json::to_value(said).unwrap();
        assert_eq!(said["all"]["classes"], serde_json::json!([[0, 10, 0, 10, 10, 0]]));
        assert_eq!(said["outcomes"][0][0], 30);
        let heat = &said["heat"][0];
        assert_eq!((&heat[1], &heat[4], &heat[15]), (&10.into(), &10.into(), &10.into()));
        for line in ["routes", "servers"] {
            assert_eq!(said[line][0]["classes"], said["all"]["classes"], "{line}");
            assert!(close(said[line][0]["p50_ms"][0].as_f64().unwrap(), 20.0), "{said}");
        }
        for _ in 0..10 {
            history.next_second(&ALL);
        }
        let said = history.timeline.read_report(&wish, &[], &[]);
        let said = serde_json::to_value(said).unwrap();
        assert_eq!(said["all"]["classes"][1], serde_json::json!([0, 0, 1, 0, 0, 0]));
        assert_eq!(said["all"]["p99_ms"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn servers_add_up_to_their_upstream() {
        let mut history = History::default();
        history.add_interval(&interval((1..=10).map(|n| (n, 200))));
        assert_eq!(history.servers_summary([5, 6].into_iter()).classes, [0, 10, 0, 0, 0]);
        assert_eq!(history.servers_summary([6].into_iter()).classes, [0; 5]);
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut history = History::default();
        history.add_interval(&interval([(1, 200), (20, 200), (70_000, 404)].into_iter()));
        let (method, report) = history.methods(1).next().unwrap();
        assert_eq!((method, report.count, report.micros), ("GET", 3, 70_021_000));
        assert_eq!(report.buckets[..5], [1, 1, 1, 1, 2]);
        assert_eq!(report.buckets[14], 2, "the third is beyond all of them");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut history = History::default();
        history.add_interval(&interval([(1, 200)].into_iter()));
        history.next_second(&Exists { route: &|_| false, ..ALL });
        assert_eq!(history.route_summary(1).classes, [0; 5]);
        assert_eq!(history.methods(1).count(), 0);
        assert_eq!(history.listener_summary(0).classes, [0, 1, 0, 0, 0]);
    }
}
