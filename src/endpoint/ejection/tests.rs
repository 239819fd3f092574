//! Servers that fail, and others that must stay.

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

fn eject(record: &OutlierRecord, group: &EjectionGroup, total: u32, usable: u32) -> Option<u64> {
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
