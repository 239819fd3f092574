use super::*;

fn sample(ok: u32, p50: u32, p99: u32) -> TimelineSample {
    TimelineSample { classes: [0, ok, 0, 0, 0, 0], micros: [p50, p99] }
}

fn step(timeline: &mut Timeline, end: u64, all: TimelineSample, routes: &[(u32, TimelineSample)]) {
    let whole = WholeProcess { sample: all, ..WholeProcess::default() };
    let routes = routes.iter().copied();
    timeline.record_step(TimelineStep { end, whole, routes, servers: std::iter::empty() });
}

const ALL: HistoryWish = HistoryWish { minutes: 360, points: STEPS, places: true };

#[test]
fn six_hours_are_kept_and_no_more() {
    let mut timeline = Timeline::default();
    for n in 0..2161_u32 {
        step(
            &mut timeline,
            u64::from(n) * 10,
            sample(n, 1000, 2000),
            &[(7, sample(n, 1000, 2000))],
        );
    }
    let said = timeline.read_report(&ALL, &[(7, "a".into())], &[]);
    assert_eq!((said.ends.len(), said.ends[0], said.point_seconds), (2160, 10, 10));
    assert_eq!(said.all.classes[2159], [0, 2160, 0, 0, 0, 0]);
    assert_eq!(said.routes[0].columns.classes, said.all.classes);
    assert_eq!(said.all.p99_ms[0], Some(2.0));
    assert_eq!(timeline.usage().bytes_limit, 2160 * (124 + 128 * 32));
}

#[test]
fn points_of_several_steps_end_with_the_latest_and_lose_nothing() {
    let mut timeline = Timeline::default();
    for (n, one) in
        [sample(1, 9, 9), sample(2, 2, 8), sample(5, 1, 3), sample(0, 0, 0)].iter().enumerate()
    {
        step(&mut timeline, n as u64, *one, &[]);
    }
    let said = timeline.read_report(&HistoryWish { points: 2, ..ALL }, &[], &[]);
    assert_eq!((said.ends, said.point_seconds), (vec![1, 3], 20));
    assert_eq!(said.all.classes, [[0, 3, 0, 0, 0, 0], [0, 5, 0, 0, 0, 0]]);
    assert_eq!(said.all.p50_ms, [Some(0.002), Some(0.001)]);
    assert_eq!(said.all.p99_ms, [Some(0.009), Some(0.003)]);
    let late = timeline.read_report(&HistoryWish { minutes: 0, ..ALL }, &[], &[]);
    assert_eq!(late.ends, [0_u32; 0]);
}

#[test]
fn a_route_that_comes_late_is_as_long_as_the_others() {
    let mut timeline = Timeline::default();
    step(&mut timeline, 10, sample(1, 1, 1), &[]);
    step(&mut timeline, 20, sample(1, 1, 1), &[(7, sample(1, 5, 5))]);
    step(&mut timeline, 30, sample(0, 0, 0), &[]);
    let said = timeline.read_report(&ALL, &[(7, "late".into()), (8, "never".into())], &[]);
    assert_eq!(said.routes.len(), 1);
    assert_eq!(said.routes[0].columns.p50_ms, [None, Some(0.005), None]);
}

#[test]
fn places_are_bounded_and_idle_ones_make_room() {
    let mut timeline = Timeline::default();
    let many: Vec<_> = (0..70).map(|id| (id, sample(1, 1, 1))).collect();
    step(&mut timeline, 10, sample(70, 1, 1), &many);
    assert_eq!((timeline.usage().series, timeline.usage().left_out), (64, 6));
    for n in 0..61 {
        step(&mut timeline, 20 + n, sample(1, 1, 1), &[(3, sample(1, 1, 1))]);
    }
    step(&mut timeline, 100, sample(1, 1, 1), &[(99, sample(1, 1, 1))]);
    assert_eq!((timeline.usage().series, timeline.usage().left_out), (64, 6));
    assert!(timeline.routes.series.contains_key(&99) && timeline.routes.series.contains_key(&3));
    timeline.retain_configured(|id| id == 99, |_| true);
    assert_eq!(timeline.usage().series, 1);
}
