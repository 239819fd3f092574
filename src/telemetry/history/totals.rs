//! What is kept of each place: its sums since the start, and its last minute second by second.

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;

use super::LONGEST;
use crate::exchange::outcome::{CUTS, OUTCOMES};
use crate::telemetry::ledger::{DIGITS, StatsBucket};
use crate::telemetry::timeline::CLASSES;

/// Everything since the start at one place.
#[derive(Debug, Clone)]
pub(super) struct PlaceTotal {
    pub(super) latency: Histogram<u64>,
    pub(super) micros: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) outcomes: [u64; OUTCOMES.len()],
    pub(super) cuts: [u64; CUTS.len()],
    pub(super) received: u64,
    pub(super) sent: u64,
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
    pub(super) fn add_bucket(&mut self, tally: &StatsBucket) {
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

    pub(super) fn merge_total(&mut self, other: &Self) {
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
pub(super) struct HistoryPiece {
    pub(super) second: u64,
    pub(super) requests: u32,
    pub(super) errors: u32,
    /// 1xx to 5xx, and without a response.
    pub(super) classes: [u32; CLASSES],
    /// Times in microseconds and how often, only those there were.
    pub(super) times: Box<[(u32, u32)]>,
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
pub(super) struct HistoryPlace {
    pub(super) total: PlaceTotal,
    /// The oldest first.
    pub(super) recent: VecDeque<HistoryPiece>,
}

impl HistoryPlace {
    pub(super) fn add_piece(&mut self, second: u64, tally: &StatsBucket) {
        self.total.add_bucket(tally);
        self.recent.push_back(HistoryPiece::new(second, tally));
        self.forget_old(second);
    }

    pub(super) fn forget_old(&mut self, second: u64) {
        while self.recent.front().is_some_and(|piece| piece.second + LONGEST < second) {
            self.recent.pop_front();
        }
    }
}
