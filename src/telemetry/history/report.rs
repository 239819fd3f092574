//! What is told of the past: windows, percentiles, times by method.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::BUCKETS;
use crate::exchange::outcome::{CUTS, OUTCOMES};

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
    /// The number of requests that took at most as long as the bucket of the same place in
    /// [`BUCKETS`].
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

pub(super) fn percentiles(times: &Histogram<u64>) -> Option<Percentiles> {
    if times.is_empty() {
        return None;
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Some(Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) })
}
