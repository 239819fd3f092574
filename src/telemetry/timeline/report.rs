//! What is shown of the last hours: points of one or more steps.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::Serialize;

use super::{CLASSES, ROWS, TimelineSample, WholeProcess};
use crate::exchange::outcome::OUTCOMES;
use crate::telemetry::history::BUCKETS;

/// The steps that become one point.
pub(super) struct TimelineCut {
    pub(super) skip: usize,
    pub(super) first: usize,
    pub(super) merged: usize,
}

impl TimelineCut {
    pub(super) fn groups<'a, T: Copy>(
        &self,
        ring: &'a VecDeque<T>,
    ) -> impl Iterator<Item = Vec<T>> + use<'a, T> {
        let all: Vec<T> = ring.iter().skip(self.skip).copied().collect();
        let (first, rest) = all.split_at(self.first.min(all.len()));
        let mut groups: Vec<Vec<T>> = Vec::new();
        groups.extend((!first.is_empty()).then(|| first.to_vec()));
        groups.extend(rest.chunks(self.merged).map(<[T]>::to_vec));
        groups.into_iter()
    }
}

pub(super) fn merge_process(steps: &[WholeProcess]) -> WholeProcess {
    let samples: Vec<TimelineSample> = steps.iter().map(|whole| whole.sample).collect();
    let mut sum = WholeProcess { sample: merge_samples(&samples), ..WholeProcess::default() };
    for whole in steps {
        add_counts(&mut sum.outcomes, &whole.outcomes);
        add_counts(&mut sum.heat, &whole.heat);
    }
    sum
}

/// Several steps as one: counts add up, of the medians the one of the busiest step, of the 99th
/// percentiles the highest.
pub(super) fn merge_samples(steps: &[TimelineSample]) -> TimelineSample {
    let mut sum = TimelineSample::default();
    for step in steps {
        add_counts(&mut sum.classes, &step.classes);
        sum.micros[1] = sum.micros[1].max(step.micros[1]);
    }
    let busiest = steps.iter().max_by_key(|step| step.requests());
    sum.micros[0] = busiest.map_or(0, |step| step.micros[0]);
    sum
}

fn add_counts(sums: &mut [u32], more: &[u32]) {
    for (sum, n) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(*n);
    }
}

/// A question about the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryWish {
    /// The minutes to look back.
    pub minutes: u64,
    /// Into how many points, at most.
    pub points: usize,
    /// True if routes and servers are wanted, too.
    pub places: bool,
}

/// The part of the memory for history that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    /// Steps that are kept.
    pub(super) steps: usize,
    pub(super) step_limit: usize,
    pub(super) step_seconds: u64,
    /// Routes and servers with samples of their own.
    pub(super) series: usize,
    pub(super) series_limit: usize,
    /// The number of times that a route or server had requests in a step and found no room.
    pub(super) left_out: u64,
    /// The most that all of it takes, in bytes.
    pub(super) bytes_limit: usize,
}

/// The events in the time that was asked for. All lists are of the same length.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TimelineReport {
    /// The finest resolution there is.
    pub(super) step_seconds: u64,
    /// The length of a point of this answer.
    pub(super) point_seconds: u64,
    pub(super) usage: Usage,
    /// The end of each point, in seconds since 1970.
    pub(super) ends: Vec<u32>,
    /// All requests.
    pub(super) all: Columns,
    /// Exchanges of each point by how they ended: whole, client gone, server cut, timeout, refused,
    /// proxy cut.
    pub(super) outcomes: Vec<[u32; OUTCOMES.len()]>,
    /// Up to how many milliseconds a row of the heat map goes; one more row has the rest.
    pub(super) heat_ms: [f64; BUCKETS.len()],
    /// The number of requests of each point in each row.
    pub(super) heat: Vec<[u32; ROWS]>,
    /// By route; empty unless asked for.
    pub(super) routes: Vec<TimelineLine>,
    /// By server, "upstream/server"; empty unless asked for.
    pub(super) servers: Vec<TimelineLine>,
}

/// One route or server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TimelineLine {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) columns: Columns,
}

/// One list per figure.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Columns {
    /// Responses of each point: 1xx, 2xx, 3xx, 4xx, 5xx, none.
    pub(super) classes: Vec<[u32; CLASSES]>,
    /// The median in milliseconds; null where nothing happened. Of points of several steps that of
    /// the busiest step.
    pub(super) p50_ms: Vec<Option<f64>>,
    /// The 99th percentile; of points of several steps the highest of theirs.
    pub(super) p99_ms: Vec<Option<f64>>,
}

impl Columns {
    pub(super) fn from_samples(samples: &[TimelineSample]) -> Self {
        let times = |which: usize| {
            let time = |sample: &TimelineSample| {
                let micros = sample.micros.get(which).copied().unwrap_or_default();
                (sample.requests() > 0).then(|| f64::from(micros) / 1000.0)
            };
            samples.iter().map(time).collect()
        };
        Self {
            classes: samples.iter().map(|sample| sample.classes).collect(),
            p50_ms: times(0),
            p99_ms: times(1),
        }
    }
}
