//! What the workers' intervals add up to: since the start, and over the last second, ten and sixty.

mod report;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::report::percentiles;
pub use self::report::{Durations, HistorySummary, MethodReport, Percentiles, Window, Windows};
use self::totals::{HistoryPiece, HistoryPlace, PlaceTotal};
use crate::clock;
use crate::exchange::outcome::OUTCOMES;
use crate::telemetry::ledger::{ById, ByMethod, Interval, METHODS};
use crate::telemetry::refusals::Remembered;
use crate::telemetry::timeline::{
    ROWS, STEP, Timeline, TimelineSample, TimelineStep, WholeProcess,
};

/// The longest window, in seconds.
const LONGEST: u64 = 60;
/// The upper ends of the buckets of `http_request_duration_seconds`, in microseconds.
pub const BUCKETS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Exchanges of one code that are remembered.
const REMEMBERED: usize = 20;

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

    /// Counts the clients that were not let in, by the name of what they should be known by, and by
    /// reason.
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
