//! Breakers that open, half open and close.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The figures of a platform that is to be replaced: 5 failures, 2 successes, 30 s.
const CONSECUTIVE: BreakerSettings =
    BreakerSettings { trip: Trip::Failures(5), successes: 2, open_for: Duration::from_secs(30) };
const RATE: BreakerSettings = BreakerSettings {
    trip: Trip::Rate { rate: 0.3, window: Duration::from_secs(10), min_requests: 20 },
    successes: 2,
    open_for: Duration::from_secs(10),
};

fn succeed(breaker: &Breaker, settings: &BreakerSettings) {
    breaker.admit_request(settings, clock::now()).unwrap().report_success(clock::now());
}

fn fail(breaker: &Breaker, settings: &BreakerSettings) {
    breaker.admit_request(settings, clock::now()).unwrap().report_failure(clock::now());
}

fn refuses(breaker: &Breaker, settings: &BreakerSettings) -> bool {
    breaker.admit_request(settings, clock::now()).is_err()
}

#[tokio::test(start_paused = true)]
async fn five_failures_open_it_and_two_successes_close_it() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..4 {
        fail(&breaker, &CONSECUTIVE);
    }
    succeed(&breaker, &CONSECUTIVE);
    for _ in 0..4 {
        fail(&breaker, &CONSECUTIVE);
    }
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &CONSECUTIVE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
    advance(Duration::from_millis(29_999)).await;
    assert!(refuses(&breaker, &CONSECUTIVE));
    advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.state_at(clock::now()), BreakerState::HalfOpen);
    succeed(&breaker, &CONSECUTIVE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::HalfOpen);
    succeed(&breaker, &CONSECUTIVE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    assert_eq!((breaker.times_opened(), breaker.requests_refused()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_failure_while_half_open_opens_it_again() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..5 {
        fail(&breaker, &CONSECUTIVE);
    }
    advance(30 * SECOND).await;
    succeed(&breaker, &CONSECUTIVE);
    fail(&breaker, &CONSECUTIVE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
    advance(29 * SECOND).await;
    assert!(refuses(&breaker, &CONSECUTIVE));
    assert_eq!(breaker.times_opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_a_few_through_and_gives_places_back() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..5 {
        fail(&breaker, &CONSECUTIVE);
    }
    advance(30 * SECOND).await;
    let first = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    let second = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    assert!(refuses(&breaker, &CONSECUTIVE));
    drop(first);
    let third = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    assert!(refuses(&breaker, &CONSECUTIVE));
    second.report_success(clock::now());
    third.report_success(clock::now());
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn late_results_do_not_count() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    let late: Vec<_> =
        (0..4).map(|_| breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap()).collect();
    for _ in 0..5 {
        fail(&breaker, &CONSECUTIVE);
    }
    advance(30 * SECOND).await;
    let trial = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    let [a, b, c, d]: [Permit<'_>; 4] = late.try_into().unwrap();
    a.report_success(clock::now());
    b.report_success(clock::now());
    c.report_failure(clock::now());
    d.report_failure(clock::now());
    assert_eq!(breaker.state_at(clock::now()), BreakerState::HalfOpen);
    drop(trial);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_fails_late_does_not_keep_it_open_for_longer() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..5 {
        fail(&breaker, &CONSECUTIVE);
    }
    advance(30 * SECOND).await;
    let late = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    fail(&breaker, &CONSECUTIVE);
    advance(29 * SECOND).await;
    late.report_failure(clock::now());
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
    advance(SECOND).await;
    assert_eq!(breaker.state_at(clock::now()), BreakerState::HalfOpen);
    assert_eq!(breaker.times_opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn late_results_count_towards_no_rate() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    let late: Vec<_> =
        (0..30).map(|_| breaker.admit_request(&RATE, clock::now()).unwrap()).collect();
    for _ in 0..20 {
        fail(&breaker, &RATE);
    }
    advance(9 * SECOND).await;
    late.into_iter().for_each(|permit| permit.report_failure(clock::now()));
    advance(SECOND).await;
    succeed(&breaker, &RATE);
    succeed(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    assert_eq!(breaker.times_opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_opens_it_once_there_are_enough_requests() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..13 {
        succeed(&breaker, &RATE);
    }
    for _ in 0..6 {
        fail(&breaker, &RATE);
    }
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn what_left_the_window_does_not_count() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..19 {
        fail(&breaker, &RATE);
    }
    advance(10 * SECOND).await;
    fail(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_window_slides_a_part_at_a_time() {
    // Ten failures are counted, and count until they are ten seconds old, give or take a part.
    for (passes, opens) in [(Duration::from_millis(8900), true), (11 * SECOND, false)] {
        let _epoch = clock::millis(clock::now());
        let breaker = Breaker::default();
        for _ in 0..10 {
            fail(&breaker, &RATE);
        }
        advance(passes).await;
        for _ in 0..9 {
            succeed(&breaker, &RATE);
        }
        assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
        fail(&breaker, &RATE);
        let state = if opens { BreakerState::Open } else { BreakerState::Closed };
        assert_eq!(breaker.state_at(clock::now()), state, "after {passes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_window_that_comes_round_starts_from_nothing() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    for _ in 0..10 {
        fail(&breaker, &RATE);
    }
    advance(10 * SECOND).await;
    for _ in 0..9 {
        succeed(&breaker, &RATE);
    }
    fail(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    for _ in 0..5 {
        succeed(&breaker, &RATE);
    }
    // Up to nineteen requests are too few, however many of them failed.
    (0..4).for_each(|_| fail(&breaker, &RATE));
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &RATE);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
}

#[test]
fn no_more_than_the_allowance_are_ever_on_trial() {
    let settings = BreakerSettings { open_for: Duration::ZERO, ..CONSECUTIVE };
    let breaker = Breaker::default();
    for _ in 0..5 {
        fail(&breaker, &settings);
    }
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (breaker, running, most) = (&breaker, &running, &most);
            scope.spawn(move || {
                for round in 0..20_000 {
                    let Ok(permit) = breaker.admit_request(&settings, clock::now()) else {
                        continue;
                    };
                    if !permit.trial {
                        permit.report_failure(clock::now());
                        continue;
                    }
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::hint::spin_loop();
                    running.fetch_sub(1, Ordering::SeqCst);
                    if (round + thread) % 3 > 0 {
                        drop(permit);
                    } else {
                        permit.report_success(clock::now());
                    }
                }
            });
        }
    });
    // A trial whose epoch ended may still run when the next one begins; none ends in failure here.
    assert!(most.load(Ordering::SeqCst) <= 2 * usize::from(settings.successes), "{most:?}");
}

proptest! {
    #[test]
    fn trials_never_exceed_the_allowance(
        steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 1..200),
        successes in 1_u16..4,
    ) {
        let settings = BreakerSettings { successes, open_for: Duration::ZERO, ..CONSECUTIVE };
        let breaker = Breaker::default();
        let mut permits: Vec<Permit<'_>> = Vec::new();
        for (step, which) in steps {
            if step == 0 || permits.is_empty() {
                permits.extend(breaker.admit_request(&settings, clock::now()).ok());
            } else {
                let permit = permits.swap_remove(which.index(permits.len()));
                match step {
                    1 => permit.report_success(clock::now()),
                    2 => permit.report_failure(clock::now()),
                    _ => drop(permit),
                }
            }
            let word = BreakerWord::from_bits(breaker.word.load(Ordering::Relaxed));
            let on_trial = permits.iter().filter(|p| p.trial && p.epoch == word.epoch).count();
            if word.state == BreakerState::HalfOpen {
                prop_assert!(on_trial <= usize::from(successes));
                prop_assert_eq!(on_trial, usize::from(word.trials));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_half_open_is_a_request_a_trial_and_what_is_refused_is_counted() {
    let _epoch = clock::millis(clock::now());
    let breaker = Breaker::default();
    assert!(!breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap().is_trial());
    (0..5).for_each(|_| fail(&breaker, &CONSECUTIVE));
    assert!((0..3).all(|_| refuses(&breaker, &CONSECUTIVE)));
    assert_eq!((breaker.times_opened(), breaker.requests_refused()), (1, 3));
    advance(30 * SECOND).await;
    let permit = breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap();
    assert!(permit.is_trial());
    // A place that is given back twice over is one place.
    drop(permit);
    let permits = [(); 2].map(|()| breaker.admit_request(&CONSECUTIVE, clock::now()).unwrap());
    assert!(refuses(&breaker, &CONSECUTIVE));
    permits.into_iter().for_each(|permit| permit.report_success(clock::now()));
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    assert_eq!((breaker.times_opened(), breaker.requests_refused()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_of_the_requests_in_the_window() {
    let _epoch = clock::millis(clock::now());
    let half = BreakerSettings {
        trip: Trip::Rate { rate: 0.5, window: Duration::from_secs(10), min_requests: 4 },
        ..RATE
    };
    // Failures among others: of ten just below the half, then the half.
    let breaker = Breaker::default();
    (0..5).for_each(|_| succeed(&breaker, &half));
    (0..4).for_each(|_| fail(&breaker, &half));
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &half);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
    // What opened it is forgotten when it closes.
    advance(10 * SECOND).await;
    (0..2).for_each(|_| succeed(&breaker, &half));
    (0..3).for_each(|_| fail(&breaker, &half));
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Closed);
    fail(&breaker, &half);
    assert_eq!(breaker.state_at(clock::now()), BreakerState::Open);
    assert_eq!(breaker.times_opened(), 2);
}
