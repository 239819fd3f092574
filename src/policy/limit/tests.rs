//! Limits under load: what passes, what waits, and what is forgotten.

use proptest::prelude::*;

use super::*;

const TEN: Pace = Pace { count: 10, period: Duration::from_secs(1), burst: 20 };

fn key(state: &LimitState, key: &[u8]) -> HashedKey {
    state.hash([key].into_iter())
}

#[tokio::test(start_paused = true)]
async fn the_burst_passes_at_once_and_then_the_steady_rate() {
    let state = LimitState::new(TEN);
    let client = key(&state, b"1");
    let at_once =
        (0..100).filter(|_| state.check_request(client, None, clock::now()).is_ok()).count();
    assert_eq!(at_once, 21);
    let Err(LimitWait(wait)) = state.check_request(client, None, clock::now()) else {
        panic!("not refused")
    };
    assert!(wait > Duration::from_millis(99) && wait <= Duration::from_millis(100), "{wait:?}");
    tokio::time::advance(Duration::from_millis(101)).await;
    assert_eq!(state.check_request(client, None, clock::now()).map(|p| p.remaining), Ok(0));
    assert!(state.check_request(client, None, clock::now()).is_err());
    assert!(state.check_request(key(&state, b"2"), None, clock::now()).is_ok(), "another client");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(
        (0..100).filter(|_| state.check_request(client, None, clock::now()).is_ok()).count(),
        21
    );
}

#[tokio::test(start_paused = true)]
async fn w7_a_burst_of_months_is_a_limit() {
    for (count, hours, burst) in [(1, 1, 1600), (1, 1, 800_000), (7, 1, 4_000_000)] {
        let period = Duration::from_hours(hours);
        let state = LimitState::new(Pace { count, period, burst });
        let client = key(&state, b"1");
        let tries = u64::from(burst) + 2000;
        let passed = (0..tries).filter(|_| state.check_request(client, None, clock::now()).is_ok());
        assert_eq!(passed.count() as u64, u64::from(burst) + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_delay_the_burst_waits_for_its_turn() {
    let state = LimitState::new(Pace { burst: 5, ..TEN });
    let client = key(&state, b"1");
    let waits: Vec<u128> = (0..6)
        .map(|_| state.check_request(client, Some(2), clock::now()).unwrap().wait.as_millis())
        .collect();
    assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
    assert!(state.check_request(client, Some(2), clock::now()).is_err());
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_swept_and_others_are_not() {
    let state = LimitState::with_keys(TEN, 1000);
    for n in 0_u32..7 {
        assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
    }
    assert_eq!((state.forget_idle(), state.table().len()), (7, 7));
    tokio::time::advance(Duration::from_millis(60)).await;
    for n in 0_u32..2 {
        assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
    }
    // Those that sent one have paid for it after a tenth of a second, those that sent two have not.
    tokio::time::advance(Duration::from_millis(60)).await;
    state.forget_idle();
    assert_eq!((state.forget_idle(), state.table().len()), (2, 2));
    tokio::time::advance(Duration::from_millis(100)).await;
    state.forget_idle();
    assert_eq!((state.forget_idle(), state.table().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_can_be_used_again() {
    let state = LimitState::new(Pace { burst: 0, ..TEN });
    let client = key(&state, b"1");
    for _ in 0..5 {
        assert!(state.check_request(client, None, clock::now()).is_ok());
        assert!(state.check_request(client, None, clock::now()).is_err());
        state.give_back(client, clock::now());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_forgotten_and_time_may_go_round() {
    let state = LimitState::new(Pace { count: 1_000_000, ..TEN });
    let client = key(&state, b"1");
    for _ in 0..10 {
        // 2^40 units of 100 ns are 30.5 hours.
        assert!(state.check_request(client, None, clock::now()).is_ok());
        tokio::time::advance(Duration::from_hours(10)).await;
        assert_eq!(state.forget_idle(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attack_with_many_keys_takes_no_more_memory() {
    let state = LimitState::with_keys(TEN, 1000);
    for n in 0_u32..50_000 {
        assert!(state.check_request(key(&state, &n.to_le_bytes()), None, clock::now()).is_ok());
    }
    assert_eq!(state.table().capacity(), 1000);
    assert!(state.table().len() <= 1000);
}

proptest! {
    /// Every pace that the check lets in is one: no more than burst and one at once, and then one
    /// in each interval.
    #[test]
    fn w7_every_rate_and_burst_holds(
        count in 1_u32..=u32::MAX, shift in 0_u32..32, period in prop::sample::select(vec![1_u64, 500, 1_000, 10_000, 60_000, 3_600_000, 172_800_000]),
        burst in 0_u32..=u32::MAX, narrow in 0_u32..32, later in 0_u64..100_000_000,
    ) {
        let period = Duration::from_millis(period);
        let pace = Pace { count: (count >> shift).max(1), period, burst: burst >> narrow };
        prop_assume!(u128::from(pace.count) <= period.as_nanos());
        let recovers_in = (period / pace.count).saturating_mul(pace.burst);
        prop_assume!(recovers_in <= LONGEST);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let state = LimitState::with_keys(pace, 100);
            let client = key(&state, b"1");
            // On a tick of the limit's own clock, so that nothing has to be rounded.
            let base = state.store.ticks.epoch + Duration::from_nanos(state.store.unit * later);
            // The last of the burst: as if all before it had passed at once.
            let unused = 20.min(pace.burst);
            let used = pace.burst - unused;
            let first = state.check_request(client, None, base).unwrap();
            assert_eq!(first.remaining, pace.burst);
            let paid = to_nanos(state.interval) / state.store.unit * u64::from(used);
            state.table().update_key(client, |_| false, |value| Ok::<_, ()>(((), (value.unwrap() + paid) & VALUE))).unwrap();
            let at_once = (0..100).filter(|_| state.check_request(client, None, base).is_ok()).count();
            assert_eq!(at_once as u32, unused, "{pace:?}");
            for step in 1..10 {
                let now = base + state.interval * step;
                assert!(state.check_request(client, None, now).is_ok(), "{pace:?} at {step}");
                assert!(state.check_request(client, None, now).is_err(), "{pace:?} at {step}");
            }
            let exact = period.as_secs_f64() / f64::from(pace.count);
            let off = (state.interval.as_secs_f64() - exact).abs();
            assert!(off <= exact * 0.02 + 1e-9, "{pace:?}: {:?}", state.interval);
        });
    }

    /// The definition, with exact numbers: nginx's `ngx_http_limit_req_lookup`, without its
    /// milliseconds.
    #[test]
    fn it_decides_as_a_leaky_bucket(
        burst in 0_u32..10, count in 1_u32..50, gaps in proptest::collection::vec(0_u64..300_000, 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let state = LimitState::new(Pace { count, period: Duration::from_secs(1), burst });
            let client = key(&state, b"1");
            let (mut excess, mut last): (f64, Option<Instant>) = (0.0, None);
            for gap in gaps {
                tokio::time::advance(Duration::from_micros(gap)).await;
                let now = clock::now();
                let passed: f64 = last.map_or(0.0, |last| (now - last).as_secs_f64());
                let grown = f64::max(0.0, excess - passed * f64::from(count) + 1.0);
                let next: f64 = last.map_or(0.0, |_| grown);
                // Within a thousandth of the line either answer is right.
                let margin = next - f64::from(burst);
                let allowed = state.check_request(client, None, clock::now()).is_ok();
                if margin.abs() > 0.01 {
                    assert_eq!(allowed, margin < 0.0, "excess {next} of {burst}");
                }
                if allowed {
                    excess = next;
                    last = Some(now);
                }
            }
        });
    }
}

#[test]
fn times_are_kept_in_units_that_fit_the_pace() {
    let measured = |count, period: u64, burst| {
        let (interval, unit) =
            Pace { count, period: Duration::from_nanos(period), burst }.interval_and_unit();
        (to_nanos(interval), unit)
    };
    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;
    assert_eq!(measured(1, SECOND, 0), (1_000_000_000, 10_000));
    assert_eq!(measured(3, SECOND, 0), (333_330_000, 10_000));
    assert_eq!(measured(7, SECOND, 0), (142_860_000, 10_000));
    assert_eq!(measured(1, 2_000_005_000, 0), (2_000_000_000, 10_000));
    assert_eq!(measured(50, SECOND, 9), (20_000_000, 10_000));
    assert_eq!(measured(1_000_000, SECOND, 20), (1000, 100));
    assert_eq!(measured(10_000_000, SECOND, 0), (100, 100));
    assert_eq!(measured(1_000_000_000, SECOND, 0), (1, 1));
    assert_eq!(measured(1, HOUR, 1600), (3_600_000_001_534, 20_981));
    assert_eq!(measured(1, HOUR, 800_000), (3_599_994_791_976, 10_477_406));
    assert_eq!(measured(7, HOUR, 4_000_000), (514_282_413_274, 7_483_846));
    assert_eq!(measured(1, 48 * HOUR, u32::MAX), (734_254_720, 11_472_730));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_and_delayed_is_counted_and_the_time_until_all_is_paid_for_told() {
    let state = LimitState::new(Pace { burst: 2, ..TEN });
    let client = key(&state, b"1");
    let mut passes = Vec::new();
    for _ in 0..4 {
        passes.push(
            state.check_request(client, Some(0), clock::now()).map_err(|LimitWait(wait)| wait),
        );
    }
    let pass = |remaining, wait, reset| {
        let (wait, reset) = (Duration::from_millis(wait), Duration::from_millis(reset));
        Ok(LimitPass { remaining, wait, reset })
    };
    let expected =
        [pass(2, 0, 100), pass(1, 100, 200), pass(0, 200, 300), Err(Duration::from_millis(100))];
    assert_eq!(passes, expected);
    let counted = [&state.refused, &state.delayed, &state.exempt].map(|n| n.load(Relaxed));
    assert_eq!(counted, [1, 2, 0]);
    assert!(
        format!("{state:?}").starts_with("State { pace: Pace { count: 10, period: 1s, burst: 2 }")
    );
    // What is given back is one request, and not more.
    state.give_back(client, clock::now());
    assert_eq!(state.check_request(client, None, clock::now()).map(|pass| pass.remaining), Ok(0));
    assert!(state.check_request(client, None, clock::now()).is_err());
    let stranger = key(&state, b"2");
    state.give_back(stranger, clock::now());
    assert_eq!(state.check_request(stranger, None, clock::now()).map(|pass| pass.remaining), Ok(2));
}
