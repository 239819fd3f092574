//! A circuit breaker: after too many failures nothing is sent for a while, then a few requests find
//! out whether that has changed.
//!
//! Closed, open, half-open, as described by Nygard ("Release It!", 2007). It opens by failures in a
//! row or by their rate over a sliding window. While half-open it lets through at most as many requests
//! at a time as it wants to see succeed: a herd would be the next failure. All of its state but the
//! window is one word, so that no two workers can disagree about it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};

/// The rules for opening and closing a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// The condition that opens it.
    pub trip: Trip,
    /// Successes in a row that close it again, at least 1; also how many may try at a time.
    pub successes: u16,
    /// The time for which it stays open.
    pub open_for: Duration,
}

/// The condition that opens a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trip {
    /// Failures in a row.
    Failures(u16),
    /// A rate of failures.
    Rate {
        /// 0 to 1.
        rate: f64,
        /// The time over which it is measured.
        window: Duration,
        /// Fewer requests prove nothing.
        min_requests: u32,
    },
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// A few requests pass.
    HalfOpen,
}

/// A breaker. Shared by all workers.
#[derive(Debug, Default)]
pub struct Breaker {
    word: AtomicU64,
    /// The end of being open, in milliseconds.
    until: AtomicU64,
    buckets: [WindowBucket; BUCKETS],
    opened: AtomicU64,
    refused: AtomicU64,
}

/// The breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBreaker;

/// The right to send one request, and the duty to say how that ended. Dropping it says nothing.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    settings: &'a BreakerSettings,
    epoch: u32,
    trial: bool,
}

impl Breaker {
    /// Asks for one request to pass.
    ///
    /// # Errors
    /// [`OpenBreaker`].
    #[inline]
    pub fn admit_request<'a>(
        &'a self,
        settings: &'a BreakerSettings,
        now: Instant,
    ) -> Result<Permit<'a>, OpenBreaker> {
        let word = BreakerWord::from_bits(self.word.load(Ordering::Acquire));
        if word.state == BreakerState::Closed {
            return Ok(Permit { breaker: self, settings, epoch: word.epoch, trial: false });
        }
        self.try_out(settings, now)
    }

    #[cold]
    fn try_out<'a>(
        &'a self,
        settings: &'a BreakerSettings,
        now: Instant,
    ) -> Result<Permit<'a>, OpenBreaker> {
        let passed = self.change_word(|word| match word.state {
            BreakerState::Closed => Some(word),
            BreakerState::Open if clock::millis(now) < self.until.load(Ordering::Acquire) => None,
            BreakerState::Open => {
                Some(BreakerWord { trials: 1, ..word.next(BreakerState::HalfOpen) })
            }
            BreakerState::HalfOpen if word.trials >= settings.successes => None,
            BreakerState::HalfOpen => Some(BreakerWord { trials: word.trials + 1, ..word }),
        });
        match passed {
            Some((_, word)) => {
                let trial = word.state == BreakerState::HalfOpen;
                Ok(Permit { breaker: self, settings, epoch: word.epoch, trial })
            }
            None => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(OpenBreaker)
            }
        }
    }

    /// Returns its state now. A breaker that was open for long enough counts as half-open.
    #[must_use]
    pub fn state_at(&self, now: Instant) -> BreakerState {
        let word = BreakerWord::from_bits(self.word.load(Ordering::Acquire));
        match word.state {
            BreakerState::Open if clock::millis(now) >= self.until.load(Ordering::Acquire) => {
                BreakerState::HalfOpen
            }
            state => state,
        }
    }

    /// Returns how often it opened.
    #[must_use]
    pub fn times_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns how many requests it refused.
    #[must_use]
    pub fn requests_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Replaces the word unless `by` declines; returns it before and after.
    fn change_word(
        &self,
        by: impl Fn(BreakerWord) -> Option<BreakerWord>,
    ) -> Option<(BreakerWord, BreakerWord)> {
        let mut after = None;
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            after = by(BreakerWord::from_bits(word));
            after.map(BreakerWord::to_bits)
        });
        Some((BreakerWord::from_bits(before.ok()?), after?))
    }

    fn open_circuit(&self, epoch: u32, settings: &BreakerSettings, now: Instant) {
        if !self.is_current(epoch) {
            return;
        }
        let until = clock::deadline(now, Some(settings.open_for)).map_or(u64::MAX, clock::millis);
        // Before the word, so that nobody sees an open breaker with an old end.
        self.until.store(until, Ordering::Release);
        let opened = self.change_word(|word| {
            (word.epoch == epoch && word.state != BreakerState::Open)
                .then(|| word.next(BreakerState::Open))
        });
        if opened.is_some() {
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.buckets.iter().for_each(WindowBucket::clear_counts);
        }
    }

    /// Returns whether a request of this epoch still has a say. A late result must not move the end of being
    /// open, nor count towards the rate of the time after it.
    fn is_current(&self, epoch: u32) -> bool {
        BreakerWord::from_bits(self.word.load(Ordering::Acquire)).epoch == epoch
    }

    fn record_success(&self, settings: &BreakerSettings, epoch: u32, trial: bool, now: Instant) {
        if trial {
            self.change_word(|word| {
                let more = BreakerWord {
                    trials: word.trials.saturating_sub(1),
                    count: word.count + 1,
                    ..word
                };
                let enough = more.count >= settings.successes;
                let after = if enough { more.next(BreakerState::Closed) } else { more };
                (word.epoch == epoch).then_some(after)
            });
            return;
        }
        match settings.trip {
            Trip::Failures(_) => {
                let word = BreakerWord::from_bits(self.word.load(Ordering::Relaxed));
                if word.count != 0 && word.epoch == epoch {
                    self.change_word(|word| {
                        (word.epoch == epoch).then_some(BreakerWord { count: 0, ..word })
                    });
                }
            }
            Trip::Rate { window, .. } => {
                if self.is_current(epoch) {
                    self.current_bucket(window, now).add_counts(1, 0);
                }
            }
        }
    }

    fn record_failure(&self, settings: &BreakerSettings, epoch: u32, trial: bool, now: Instant) {
        let trips = trial
            || match settings.trip {
                Trip::Failures(most) => {
                    let counted = self.change_word(|word| {
                        let count = word.count.saturating_add(1);
                        (word.epoch == epoch).then_some(BreakerWord { count, ..word })
                    });
                    counted.is_some_and(|(_, word)| word.count >= most)
                }
                Trip::Rate { .. } if !self.is_current(epoch) => false,
                Trip::Rate { rate, window, min_requests } => {
                    self.current_bucket(window, now).add_counts(1, 1);
                    let (requests, failures) = self.sum_window(window, now);
                    requests >= min_requests && f64::from(failures) >= rate * f64::from(requests)
                }
            };
        if trips {
            self.open_circuit(epoch, settings, now);
        }
    }

    /// The bucket of this moment, emptied if it was used before.
    fn current_bucket(&self, window: Duration, now: Instant) -> &WindowBucket {
        let stamp = window_stamp(window, now);
        let index = usize::try_from(stamp % BUCKETS as u64).unwrap_or(0);
        let [first, ..] = &self.buckets;
        let bucket = self.buckets.get(index).unwrap_or(first);
        if bucket.stamp.swap(stamp, Ordering::AcqRel) != stamp {
            bucket.requests.store(0, Ordering::Relaxed);
            bucket.failures.store(0, Ordering::Relaxed);
        }
        bucket
    }

    fn sum_window(&self, window: Duration, now: Instant) -> (u32, u32) {
        let stamp = window_stamp(window, now);
        let recent = |b: &&WindowBucket| b.stamp.load(Ordering::Relaxed) + BUCKETS as u64 > stamp;
        self.buckets.iter().filter(recent).fold((0, 0), |(requests, failures), bucket| {
            (
                requests + bucket.requests.load(Ordering::Relaxed),
                failures + bucket.failures.load(Ordering::Relaxed),
            )
        })
    }
}

impl Permit<'_> {
    /// Returns whether few others may pass until this one has ended.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// The request succeeded.
    pub fn report_success(self, now: Instant) {
        let Self { breaker, settings, epoch, trial } = self;
        std::mem::forget(self);
        breaker.record_success(settings, epoch, trial, now);
    }

    /// The request failed.
    pub fn report_failure(self, now: Instant) {
        let Self { breaker, settings, epoch, trial } = self;
        std::mem::forget(self);
        breaker.record_failure(settings, epoch, trial, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.breaker.change_word(|word| {
                let trials = word.trials.saturating_sub(1);
                (word.epoch == self.epoch).then_some(BreakerWord { trials, ..word })
            });
        }
    }
}

/// The window is divided into this many parts; the oldest is dropped as a whole.
const BUCKETS: usize = 10;

#[derive(Debug, Default)]
struct WindowBucket {
    stamp: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
}

impl WindowBucket {
    fn add_counts(&self, requests: u32, failures: u32) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
        self.failures.fetch_add(failures, Ordering::Relaxed);
    }

    fn clear_counts(&self) {
        self.stamp.store(0, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// The number of a bucket since the process started; never 0, which stands for an empty one.
fn window_stamp(window: Duration, now: Instant) -> u64 {
    let width = u64::try_from(window.as_millis() / BUCKETS as u128).unwrap_or(u64::MAX).max(1);
    clock::millis(now) / width + BUCKETS as u64
}

/// The word, taken apart.
#[derive(Debug, Clone, Copy)]
struct BreakerWord {
    state: BreakerState,
    /// Closed: failures in a row. Half-open: successes.
    count: u16,
    /// Requests under way that are trials.
    trials: u16,
    /// Changes with the state, so that late results are told from current ones.
    epoch: u32,
}

impl BreakerWord {
    fn from_bits(bits: u64) -> Self {
        let state = match bits & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        };
        Self {
            state,
            count: (bits >> 2 & 0x7fff) as u16,
            trials: (bits >> 17 & 0x7fff) as u16,
            epoch: (bits >> 32) as u32,
        }
    }

    fn to_bits(self) -> u64 {
        let state = match self.state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        state
            | u64::from(self.count & 0x7fff) << 2
            | u64::from(self.trials & 0x7fff) << 17
            | u64::from(self.epoch) << 32
    }

    fn next(self, state: BreakerState) -> Self {
        Self { state, count: 0, trials: 0, epoch: self.epoch.wrapping_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The figures of a platform that is to be replaced: 5 failures, 2 successes, 30 s.
    const CONSECUTIVE: BreakerSettings = BreakerSettings {
        trip: Trip::Failures(5),
        successes: 2,
        open_for: Duration::from_secs(30),
    };
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

    #[test]
    fn the_word_holds_all_of_it() {
        let word = BreakerWord { state: BreakerState::HalfOpen, count: 5, trials: 3, epoch: 9 };
        assert_eq!(word.to_bits(), 2 + 5 * 4 + 3 * 131_072 + 9 * 4_294_967_296);
        let full = BreakerWord {
            state: BreakerState::Open,
            count: 0x7fff,
            trials: 0x7fff,
            epoch: u32::MAX,
        };
        assert_eq!(full.to_bits(), 0xffff_ffff_ffff_fffd);
        for word in [word, full, full.next(BreakerState::Closed)] {
            let again = BreakerWord::from_bits(word.to_bits());
            assert_eq!(
                (again.state, again.count, again.trials, again.epoch),
                (word.state, word.count, word.trials, word.epoch)
            );
        }
        let next = full.next(BreakerState::Closed);
        assert_eq!((next.count, next.trials, next.epoch), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_has_ten_parts() {
        let now = clock::now();
        let at = |window: u64, after: u64| {
            let now = now + Duration::from_millis(after);
            window_stamp(Duration::from_millis(window), now)
        };
        let began = clock::millis(now);
        assert_eq!(at(10_000, 0), began / 1000 + 10);
        assert_eq!(at(10_000, 5000), (began + 5000) / 1000 + 10);
        // No part is shorter than a millisecond.
        assert_eq!(at(3, 0), began + 10);
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
}
