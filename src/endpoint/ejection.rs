//! Passive ejection: a server that keeps failing real requests is left out for a while.
//!
//! As Envoy's outlier detection: after a number of failures in a row, or above a rate of failures in
//! an interval; for a base time multiplied by how often that happened lately; and never so many
//! servers that the rest could not carry the load. What counts as a failure is decided elsewhere.
//! The places belong to servers that fail now: one that has been out for a while gives its place to
//! one that fails when there is none left ([`OutlierRecord::out_for`]).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The longest ejection, however often a server was ejected before.
pub const LONGEST: Duration = Duration::from_mins(5);
/// Fewer requests than this in an interval prove nothing about their rate of failures.
const MIN_REQUESTS: u64 = 10;

/// The rules for ejecting servers, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EjectionSettings {
    /// Failures in a row.
    pub failures: u32,
    /// The interval in which rates are measured and old ejections are forgiven.
    pub every: Duration,
    /// The length of the first ejection.
    pub base: Duration,
    /// The largest share of servers that may be out, 0 to 1. One always may.
    pub at_most: f64,
    /// The share of servers that must stay healthy, 0 to 1.
    pub min_healthy: f64,
    /// The rate of failures in an interval, 0 to 1.
    pub error_rate: Option<f64>,
}

impl EjectionSettings {
    /// Returns how long a server stays out before it may have to give its place to another one.
    #[must_use]
    pub fn keeps_place_for(&self) -> Duration {
        self.base / 10
    }
}

/// The recent record of one server.
#[derive(Debug, Default)]
pub struct OutlierRecord {
    streak: AtomicU32,
    failed: AtomicU64,
    /// The end of the ejection, in milliseconds; 0 when there is none.
    until: AtomicU64,
    /// The beginning of the ejection, in milliseconds.
    since: AtomicU64,
    /// Ejections that were not forgiven yet.
    times: AtomicU32,
    /// Ejections ever.
    total: AtomicU64,
    /// Requests and failures when the interval began.
    seen: AtomicU64,
    seen_failed: AtomicU64,
}

/// The ejections of one upstream.
#[derive(Debug, Default)]
pub struct EjectionGroup {
    ejected: AtomicU32,
    /// Somebody is deciding. Decisions are rare; who comes second leaves his to the next failure.
    deciding: AtomicBool,
}

/// The number of servers of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct GroupSize {
    /// Altogether.
    pub total: u32,
    /// The servers that get requests now.
    pub usable: u32,
}

impl OutlierRecord {
    /// A request succeeded.
    #[inline]
    pub fn record_success(&self) {
        if self.streak.load(Ordering::Relaxed) != 0 {
            self.streak.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed; returns how many have in a row.
    pub fn record_failure(&self) -> u32 {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.streak.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Returns whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// Returns how long it has been ejected; `None` if it is not.
    #[must_use]
    pub fn out_for(&self, now: Instant) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        self.is_ejected().then(|| Duration::from_millis(clock::millis(now).saturating_sub(since)))
    }

    /// Returns how often it was ejected.
    #[must_use]
    pub fn times_ejected(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Ejects the server if that leaves enough others; `size` is asked when the decision is ours.
    /// Returns for how long.
    pub fn eject_server(
        &self,
        group: &EjectionGroup,
        settings: &EjectionSettings,
        now: Instant,
        size: impl Fn() -> GroupSize,
    ) -> Option<Duration> {
        let _decision = EjectionDecision::try_take(group)?;
        if self.is_ejected() || !is_allowed(group, settings, size()) {
            return None;
        }
        let times = self.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let lasts = settings.base.saturating_mul(times).min(LONGEST);
        let until = clock::deadline(now, Some(lasts)).map_or(u64::MAX, clock::millis);
        self.streak.store(0, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        // Counted before anybody can end it, so that the count never falls below zero.
        group.ejected.fetch_add(1, Ordering::Relaxed);
        self.since.store(clock::millis(now), Ordering::Relaxed);
        self.until.store(until.max(1), Ordering::Release);
        Some(lasts)
    }

    /// Ends an ejection whose time is up; true if it did.
    pub fn readmit_if_due(&self, group: &EjectionGroup, now: Instant) -> bool {
        self.until.load(Ordering::Relaxed) <= clock::millis(now) && self.end_early(group)
    }

    /// Ends an ejection early; true if there was one.
    pub fn end_early(&self, group: &EjectionGroup) -> bool {
        // Only one of two that do it at once may count it.
        let ejected = self.until.swap(0, Ordering::AcqRel) != 0;
        if ejected {
            // Requests that were under way at the ejection failed after it; they were held against
            // the server already (Envoy resets its counters at the same point).
            self.streak.store(0, Ordering::Relaxed);
            // Never below zero, also when servers were counted anew meanwhile.
            let less = |ejected: u32| ejected.checked_sub(1);
            let _none = group.ejected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        ejected
    }

    /// Ends the interval: forgives one ejection, and returns whether failures exceeded the rate.
    /// `requests` is how many the server ever got.
    pub fn end_interval(&self, requests: u64, settings: &EjectionSettings) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        let new = requests.saturating_sub(self.seen.swap(requests, Ordering::Relaxed));
        let new_failed = failed.saturating_sub(self.seen_failed.swap(failed, Ordering::Relaxed));
        if !self.is_ejected() {
            let forgive = |times: u32| times.checked_sub(1);
            // An error means that there is nothing to forgive.
            let _none = self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forgive);
        }
        new >= MIN_REQUESTS
            && settings.error_rate.is_some_and(|rate| new_failed as f64 > rate * new as f64)
    }
}

impl EjectionGroup {
    /// Returns how many servers are ejected.
    #[must_use]
    pub fn ejected_count(&self) -> u32 {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Corrects the count: a server may have left the upstream while it was ejected, and a request
    /// that began before may even have ejected it after that.
    pub fn recount_ejected(&self, ejected: impl Fn() -> u32) {
        if let Some(_decision) = EjectionDecision::try_take(self) {
            self.ejected.store(ejected(), Ordering::Relaxed);
        }
    }
}

/// A share of a number of servers is whole if it is this close to a whole number: shares are kept to
/// a millionth, and as binary fractions 29 % of 100 are a little less than 29.
const WHOLE: f64 = 1e-7;

fn is_allowed(group: &EjectionGroup, settings: &EjectionSettings, size: GroupSize) -> bool {
    let ejected = group.ejected_count();
    let most = (settings.at_most * f64::from(size.total) + WHOLE).floor().max(1.0);
    // An ejection that was decided a moment ago may not show in `usable` yet.
    let usable = size.usable.min(size.total.saturating_sub(ejected));
    let left = usable.saturating_sub(1);
    f64::from(ejected) + 1.0 <= most
        && left >= 1
        && f64::from(left) + WHOLE >= settings.min_healthy * f64::from(size.total)
}

struct EjectionDecision<'a>(&'a EjectionGroup);

impl<'a> EjectionDecision<'a> {
    fn try_take(group: &'a EjectionGroup) -> Option<Self> {
        let taken = group.deciding.swap(true, Ordering::Acquire);
        // Made only when it was taken: one that is dropped lets the next decision begin.
        (!taken).then(|| Self(group))
    }
}

impl Drop for EjectionDecision<'_> {
    fn drop(&mut self) {
        self.0.deciding.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> EjectionSettings {
        EjectionSettings {
            failures: 5,
            every: Duration::from_secs(10),
            base: Duration::from_secs(30),
            at_most: 0.5,
            min_healthy: 0.0,
            error_rate: None,
        }
    }

    fn eject(
        record: &OutlierRecord,
        group: &EjectionGroup,
        total: u32,
        usable: u32,
    ) -> Option<u64> {
        let size = || GroupSize { total, usable };
        record.eject_server(group, &settings(), clock::now(), size).map(|lasts| lasts.as_secs())
    }

    #[test]
    fn a_success_ends_a_streak() {
        let record = OutlierRecord::default();
        assert_eq!((record.record_failure(), record.record_failure()), (1, 2));
        record.record_success();
        assert_eq!(record.record_failure(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn each_ejection_lasts_longer_up_to_five_minutes() {
        let _epoch = clock::millis(clock::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        let (record, group) = (OutlierRecord::default(), EjectionGroup::default());
        let mut lasted = Vec::new();
        for _ in 0..12 {
            let lasts = eject(&record, &group, 4, 4).unwrap();
            lasted.push(lasts);
            tokio::time::advance(Duration::from_millis(lasts * 1000 - 1)).await;
            assert!(!record.readmit_if_due(&group, clock::now()));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(record.readmit_if_due(&group, clock::now()));
            assert!(!record.readmit_if_due(&group, clock::now()));
        }
        assert_eq!(lasted, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
        for _ in 0..12 {
            assert!(!record.end_interval(0, &settings()));
        }
        assert_eq!(eject(&record, &group, 4, 4), Some(30));
    }

    #[test]
    fn the_last_server_and_half_of_them_stay() {
        let group = EjectionGroup::default();
        let records: Vec<OutlierRecord> = (0..4).map(|_| OutlierRecord::default()).collect();
        assert_eq!(eject(&records[0], &group, 1, 1), None);
        assert_eq!(eject(&records[0], &group, 4, 1), None);
        assert_eq!(eject(&records[0], &group, 4, 4), Some(30));
        assert_eq!(eject(&records[0], &group, 4, 3), None);
        assert_eq!(eject(&records[1], &group, 4, 3), Some(30));
        assert_eq!(eject(&records[2], &group, 4, 2), None);
        assert_eq!(group.ejected_count(), 2);
    }

    #[test]
    fn of_two_servers_one_may_go() {
        let (record, group) = (OutlierRecord::default(), EjectionGroup::default());
        let strict = EjectionSettings { at_most: 0.0, ..settings() };
        let size = || GroupSize { total: 2, usable: 2 };
        assert!(record.eject_server(&group, &strict, clock::now(), size).is_some());
    }

    #[test]
    fn enough_servers_stay_healthy() {
        let (record, group) = (OutlierRecord::default(), EjectionGroup::default());
        let half = EjectionSettings { min_healthy: 0.5, ..settings() };
        let size = |usable| move || GroupSize { total: 4, usable };
        assert!(record.eject_server(&group, &half, clock::now(), size(2)).is_none());
        assert!(record.eject_server(&group, &half, clock::now(), size(3)).is_some());
    }

    #[test]
    fn a_rate_needs_enough_requests() {
        let record = OutlierRecord::default();
        let rate = EjectionSettings { error_rate: Some(0.3), ..settings() };
        for _ in 0..4 {
            record.record_failure();
        }
        assert!(!record.end_interval(9, &rate));
        for _ in 0..4 {
            record.record_failure();
        }
        assert!(record.end_interval(19, &rate));
        assert!(!record.end_interval(40, &rate));
    }

    #[test]
    fn failures_during_an_ejection_do_not_lead_to_the_next() {
        let (record, group) = (OutlierRecord::default(), EjectionGroup::default());
        assert_eq!(eject(&record, &group, 2, 2), Some(30));
        // Requests that were under way when it was ejected.
        for _ in 0..20 {
            record.record_failure();
        }
        assert!(record.end_early(&group));
        assert_eq!(record.record_failure(), 1);
    }

    #[test]
    fn a_share_is_rounded_down_only_if_it_is_not_whole() {
        // As binary fractions, 0.29 of 100 is a little less than 29, and 0.07 a little more than 7.
        let settings = EjectionSettings { at_most: 0.29, min_healthy: 0.07, ..settings() };
        let allowed = |ejected: u32, total: u32, usable: u32| {
            let group = EjectionGroup { ejected: ejected.into(), ..EjectionGroup::default() };
            is_allowed(&group, &settings, GroupSize { total, usable })
        };
        assert!(allowed(28, 100, 72));
        assert!(!allowed(29, 100, 71));
        assert!(allowed(0, 100, 8));
        assert!(!allowed(0, 100, 7));
        assert!(allowed(27, 99, 72));
        assert!(!allowed(28, 99, 71));
    }

    #[test]
    fn an_outdated_count_of_usable_servers_does_not_cost_the_last_one() {
        let group = EjectionGroup::default();
        let all = EjectionSettings { at_most: 1.0, ..settings() };
        let records = [OutlierRecord::default(), OutlierRecord::default()];
        // The second decision is made before the first one shows in what servers may be used.
        let outdated = || GroupSize { total: 2, usable: 2 };
        assert!(records[0].eject_server(&group, &all, clock::now(), outdated).is_some());
        assert!(records[1].eject_server(&group, &all, clock::now(), outdated).is_none());
    }

    #[test]
    fn threads_that_eject_and_pardon_at_once_never_miscount() {
        const SERVERS: u32 = 4;
        let group = EjectionGroup::default();
        let records: Vec<OutlierRecord> = (0..SERVERS).map(|_| OutlierRecord::default()).collect();
        let all = EjectionSettings { at_most: 1.0, ..settings() };
        let (began, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let most = AtomicU32::new(0);
        let now = clock::now();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (group, records, all) = (&group, &records, &all);
                let (began, ended, most) = (&began, &ended, &most);
                scope.spawn(move || {
                    let mut random = clock::Random::seeded(thread);
                    for _ in 0..50_000 {
                        let which = usize::try_from(random.below(SERVERS.into())).unwrap();
                        let size = || GroupSize { total: SERVERS, usable: SERVERS };
                        if random.below(2) == 0 {
                            let done = records[which].eject_server(group, all, now, size).is_some();
                            began.fetch_add(done.into(), Ordering::Relaxed);
                        } else {
                            let done = records[which].end_early(group);
                            ended.fetch_add(done.into(), Ordering::Relaxed);
                        }
                        most.fetch_max(group.ejected_count(), Ordering::Relaxed);
                    }
                });
            }
        });
        let out = records.iter().filter(|r| r.is_ejected()).count() as u64;
        let (began, ended) = (began.into_inner(), ended.into_inner());
        assert!(began > 1000, "{began}");
        assert_eq!(began - ended, out);
        assert_eq!(u64::from(group.ejected_count()), out);
        assert_eq!(records.iter().map(OutlierRecord::times_ejected).sum::<u64>(), began);
        // One always stays.
        assert_eq!(most.into_inner(), SERVERS - 1);
    }

    proptest! {
        #[test]
        fn one_server_always_stays_and_the_count_is_right(
            n in 1_usize..12,
            at_most in 0.0_f64..=1.0,
            steps in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..200),
        ) {
            let group = EjectionGroup::default();
            let records: Vec<OutlierRecord> = (0..n).map(|_| OutlierRecord::default()).collect();
            let settings = EjectionSettings { at_most, ..settings() };
            let total = u32::try_from(n).unwrap();
            let far = clock::now() + LONGEST + LONGEST;
            for (which, out) in steps {
                let record = which.get(&records);
                if out {
                    let size = || GroupSize { total, usable: total - group.ejected_count() };
                    record.eject_server(&group, &settings, clock::now(), size);
                } else {
                    record.readmit_if_due(&group, far);
                }
                let ejected = records.iter().filter(|r| r.is_ejected()).count();
                prop_assert_eq!(ejected, group.ejected_count() as usize);
                prop_assert!(ejected == 0 || ejected < n);
                prop_assert!(ejected as f64 <= (at_most * n as f64).floor().max(1.0));
            }
        }
    }
}
