//! The last six hours, in steps of ten seconds: what a dashboard shows to who has just opened it.
//!
//! The collector writes a sample per place and step out of what it has anyway, so the path of a
//! request does not know about it. Memory is bounded: so many samples of so many places, each of a
//! fixed size.

mod report;

use std::collections::VecDeque;

use self::report::{Columns, TimelineCut, TimelineLine, merge_process, merge_samples};
pub use self::report::{HistoryWish, TimelineReport, Usage};
use crate::exchange::outcome::OUTCOMES;
use crate::telemetry::history::BUCKETS;
use crate::telemetry::ledger::ById;

/// The seconds of a step.
pub const STEP: u64 = 10;
/// Steps that are kept: six hours.
pub const STEPS: usize = 2160;
/// Routes that have samples of their own, and servers.
pub const PLACES: usize = 64;
/// After so many steps without a request a place makes room for another one: ten minutes.
const IDLE: u64 = 60;
/// Classes of responses: 1xx to 5xx, and none at all.
pub const CLASSES: usize = 6;
/// The heat map's rows: one for each of [`BUCKETS`], one beyond.
pub const ROWS: usize = BUCKETS.len() + 1;

/// The events at one place in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimelineSample {
    /// Responses by hundreds, and those without any.
    pub classes: [u32; CLASSES],
    /// The median and the 99th percentile in microseconds; 0 without requests.
    pub micros: [u32; 2],
}

impl TimelineSample {
    fn requests(&self) -> u64 {
        self.classes.iter().map(|n| u64::from(*n)).sum()
    }
}

/// The facts about all requests together, besides a [`TimelineSample`].
#[derive(Debug, Clone, Copy, Default)]
pub struct WholeProcess {
    /// Requests, classes and times.
    pub sample: TimelineSample,
    /// Exchanges by how they ended, in the order of [`OUTCOMES`].
    pub outcomes: [u32; OUTCOMES.len()],
    /// The number that took at most so long, by rows of the heat map.
    pub heat: [u32; ROWS],
}

/// The samples of one route or server, the latest last. They end with the latest step.
#[derive(Debug, Clone, Default)]
struct Series {
    samples: VecDeque<TimelineSample>,
    /// The latest step that had a request.
    active: u64,
}

/// Series of one kind of place.
#[derive(Debug, Default)]
pub struct SeriesPlaces {
    series: ById<Series>,
    /// The number of times that a place found no room.
    left_out: u64,
}

impl SeriesPlaces {
    fn record_step(&mut self, step: u64, samples: impl Iterator<Item = (u32, TimelineSample)>) {
        for series in self.series.values_mut() {
            push_bounded(&mut series.samples, TimelineSample::default());
        }
        for (id, sample) in samples.filter(|(_, sample)| *sample != TimelineSample::default()) {
            if !self.series.contains_key(&id)
                && self.series.len() >= PLACES
                && !self.make_room(step)
            {
                self.left_out += 1;
                continue;
            }
            let series = self.series.entry(id).or_default();
            series.active = step;
            match series.samples.back_mut() {
                Some(latest) => *latest = sample,
                None => series.samples.push_back(sample),
            }
        }
    }

    /// Forgets the place that has been idle longest, if that is long enough.
    fn make_room(&mut self, step: u64) -> bool {
        let oldest = self.series.iter().min_by_key(|(_, series)| series.active);
        let oldest = oldest.filter(|(_, series)| series.active + IDLE < step).map(|(id, _)| *id);
        oldest.is_some_and(|id| self.series.remove(&id).is_some())
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The number of steps so far.
    step: u64,
    /// The ends of the steps, in seconds since 1970.
    ends: VecDeque<u32>,
    all: VecDeque<WholeProcess>,
    routes: SeriesPlaces,
    servers: SeriesPlaces,
}

/// The content of a step.
#[derive(Debug)]
pub struct TimelineStep<R, S> {
    /// The end of the step, in seconds since 1970.
    pub end: u64,
    /// All requests.
    pub whole: WholeProcess,
    /// By route.
    pub routes: R,
    /// By server.
    pub servers: S,
}

impl Timeline {
    /// Adds a step.
    pub fn record_step<R, S>(&mut self, step: TimelineStep<R, S>)
    where
        R: Iterator<Item = (u32, TimelineSample)>,
        S: Iterator<Item = (u32, TimelineSample)>,
    {
        self.step += 1;
        push_bounded(&mut self.ends, u32::try_from(step.end).unwrap_or(u32::MAX));
        push_bounded(&mut self.all, step.whole);
        self.routes.record_step(self.step, step.routes);
        self.servers.record_step(self.step, step.servers);
    }

    /// Forgets what is not configured any more.
    pub fn retain_configured(&mut self, route: impl Fn(u32) -> bool, server: impl Fn(u32) -> bool) {
        self.routes.series.retain(|id, _| route(*id));
        self.servers.series.retain(|id, _| server(*id));
    }

    /// Returns how much of it is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let series = self.routes.series.len() + self.servers.series.len();
        let each = size_of::<TimelineSample>() * STEPS;
        let whole = (size_of::<WholeProcess>() + size_of::<u32>()) * STEPS;
        Usage {
            steps: self.all.len(),
            step_limit: STEPS,
            step_seconds: STEP,
            series,
            series_limit: 2 * PLACES,
            left_out: self.routes.left_out + self.servers.left_out,
            bytes_limit: whole + 2 * PLACES * each,
        }
    }

    /// Reads what is asked for. Names are given by the caller; places without one are left out.
    #[must_use]
    pub fn read_report(
        &self,
        wish: &HistoryWish,
        routes: &[(u32, String)],
        servers: &[(u32, String)],
    ) -> TimelineReport {
        let kept = (wish.minutes.saturating_mul(60) / STEP).try_into().unwrap_or(STEPS);
        let steps = self.all.len().min(kept);
        let merged = steps.div_ceil(wish.points.max(1)).max(1);
        // Groups end with the latest step, so that the first one may be smaller.
        let cut = TimelineCut { skip: self.all.len() - steps, first: steps % merged, merged };
        let ends: Vec<u32> =
            cut.groups(&self.ends).filter_map(|group| group.last().copied()).collect();
        let whole: Vec<WholeProcess> =
            cut.groups(&self.all).map(|group| merge_process(&group)).collect();
        let samples: Vec<TimelineSample> = whole.iter().map(|whole| whole.sample).collect();
        let lines = |places: &SeriesPlaces, names: &[(u32, String)], wanted: bool| {
            let named = names.iter().filter(|_| wanted);
            let found = named.filter_map(|(id, name)| Some((name, places.series.get(id)?)));
            let line = |(name, series): (&String, &Series)| {
                let missing = self.all.len() - series.samples.len();
                let blank = std::iter::repeat_n(TimelineSample::default(), missing);
                let all: VecDeque<TimelineSample> =
                    blank.chain(series.samples.iter().copied()).collect();
                let samples: Vec<TimelineSample> =
                    cut.groups(&all).map(|group| merge_samples(&group)).collect();
                TimelineLine { name: name.clone(), columns: Columns::from_samples(&samples) }
            };
            found.map(line).collect()
        };
        TimelineReport {
            step_seconds: STEP,
            point_seconds: STEP * merged as u64,
            usage: self.usage(),
            ends,
            all: Columns::from_samples(&samples),
            outcomes: whole.iter().map(|whole| whole.outcomes).collect(),
            heat_ms: BUCKETS.map(|micros| micros as f64 / 1000.0),
            heat: whole.iter().map(|whole| whole.heat).collect(),
            routes: lines(&self.routes, routes, wish.places),
            servers: lines(&self.servers, servers, wish.places),
        }
    }
}

fn push_bounded<T>(ring: &mut VecDeque<T>, item: T) {
    if ring.len() >= STEPS {
        ring.pop_front();
    }
    ring.push_back(item);
}

#[cfg(test)]
mod tests;
